import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import signal

from hybridpriv.networks import convolution

NUMBERS = ("NHWC", "HWIO", "NHWC")


def _draw(num, channels, outputs, side=4):
  rng = np.random.default_rng(num + outputs)
  images = rng.normal(size=(num, side, side, channels)).astype("f4")
  return images, rng.normal(size=(3, 3, channels, outputs)).astype("f4")


def test_it_is_a_convolution():
  images, kernels = _draw(5, 3, 2)
  found = convolution.small_image(jnp.asarray(images), jnp.asarray(kernels))
  assert found.shape == (5, 4, 4, 2)
  for i in range(5):
    for k in range(2):
      expected = sum(
        signal.correlate2d(
          images[i, ..., c].astype("f8"), kernels[..., c, k], mode="same"
        )
        for c in range(3)
      )
      np.testing.assert_allclose(found[i, ..., k], expected, atol=1e-4)


def test_its_gradients_are_those_of_the_compiler_s_own():
  images, kernels = _draw(convolution.MANY, 8, 6)
  weight = jnp.cos(jnp.arange(16 * 6.0)).reshape(4, 4, 6)

  def loss(images, kernels, convolve):
    return jnp.mean(jnp.tanh(convolve(images, kernels)) * weight[None])

  def plain(images, kernels):
    return jax.lax.conv_general_dilated(
      images, kernels, (1, 1), "SAME", dimension_numbers=NUMBERS
    )

  found, expected = (
    jax.grad(loss, (0, 1))(images, kernels, f)
    for f in (convolution.small_image, plain)
  )
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize(
  ("side", "size", "stride", "before", "after"),
  [(4, 3, 2, 0, 0), (1, 3, 1, 1, 1), (2, 5, 3, 2, 1), (3, 2, 9, 0, 4)],
)
def test_a_kernel_with_one_place_is_a_matrix(side, size, stride, before, after):
  rng = np.random.default_rng(side)
  images = rng.normal(size=(convolution.FEW, side, side, 3)).astype("f4")
  kernels = rng.normal(size=(size, size, 3, 2)).astype("f4")
  padding = [(before, after)] * 2
  expected = jax.lax.conv_general_dilated(
    images, kernels, (stride, stride), padding, dimension_numbers=NUMBERS
  )
  assert expected.shape[1:3] == (1, 1)
  found = convolution.one_spot(
    jnp.asarray(images), jnp.asarray(kernels), (before, before)
  )
  np.testing.assert_allclose(found, expected, atol=1e-5)


def _is_left_to_the_compiler(images, kernels, **kwargs):
  layer = nn.Conv(
    kernels[-1],
    kernels[:2],
    conv_general_dilated=convolution.conv_general_dilated,
    **{"padding": 1, **kwargs},
  )
  x = jax.ShapeDtypeStruct(images, kwargs.get("dtype", jnp.float32))

  def run(x):
    return layer.init_with_output(jax.random.key(0), x)[0]

  return "conv_general_dilated" in str(jax.make_jaxpr(run)(x))


@pytest.mark.skipif(
  jax.default_backend() != "cpu", reason="other devices have their own"
)
@pytest.mark.parametrize(
  ("images", "kwargs"),
  [
    ((convolution.MANY, 4, 4, 3), {}),
    ((convolution.FEW, 1, 1, 3), {}),
    ((convolution.FEW, 4, 4, 3), {"padding": 0, "strides": 2}),
  ],
)
def test_a_layer_of_flax_takes_what_is_faster(images, kwargs):
  assert not _is_left_to_the_compiler(images, (3, 3, 3, 2), **kwargs)


@pytest.mark.parametrize(
  ("images", "kernels", "kwargs"),
  [
    ((convolution.MANY - 1, 4, 4, 3), (3, 3, 3, 2), {}),
    ((convolution.MANY, 5, 4, 3), (3, 3, 3, 2), {}),
    ((convolution.MANY, 4, 4, 3), (1, 3, 3, 2), {}),
    ((convolution.MANY, 4, 4, 3), (3, 3, 3, 2), {"padding": 0}),
    ((convolution.MANY, 4, 4, 3), (3, 3, 3, 2), {"padding": "CIRCULAR"}),
    ((convolution.MANY, 4, 4, 3), (3, 3, 3, 2), {"strides": (2, 1)}),
    ((convolution.MANY, 4, 4, 3), (3, 3, 3, 2), {"kernel_dilation": (2, 1)}),
    ((convolution.MANY, 4, 4, 3), (3, 3, 3, 2), {"input_dilation": (2, 1)}),
    ((convolution.MANY, 4, 4, 3), (3, 3, 3, 3), {"feature_group_count": 3}),
    ((convolution.MANY, 4, 4, 3), (3, 3, 3, 2), {"dtype": jnp.bfloat16}),
    ((convolution.FEW - 1, 1, 1, 3), (3, 3, 3, 2), {}),
  ],
)
def test_elsewhere_the_compiler_convolves(images, kernels, kwargs):
  assert _is_left_to_the_compiler(images, kernels, **kwargs)


def test_a_symbolic_batch_is_left_to_the_compiler():
  (batch,) = jax.export.symbolic_shape("b")
  layer = nn.Conv(
    2, (3, 3), conv_general_dilated=convolution.conv_general_dilated
  )
  variables = layer.init(jax.random.key(0), jnp.ones((1, 4, 4, 3)))
  images = jax.ShapeDtypeStruct((batch, 4, 4, 3), jnp.float32)
  exported = jax.export.export(jax.jit(layer.apply))(variables, images)
  assert "stablehlo.convolution" in exported.mlir_module()
