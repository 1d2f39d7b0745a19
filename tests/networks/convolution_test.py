import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from hybridpriv.networks import convolution

NUMBERS = ("NHWC", "HWIO", "NHWC")


CHANNELS = convolution.CHANNELS


@pytest.mark.parametrize(
  ("side", "size", "stride", "before", "after"),
  [(4, 3, 2, 1, 1), (5, 3, 2, 0, 0), (3, 3, 1, 1, 1), (6, 2, 3, 0, 4)],
)
def test_patches_give_a_convolution_and_its_gradients(
  side, size, stride, before, after
):
  rng = np.random.default_rng(side)
  images = rng.normal(size=(3, side, side, 4)).astype("f4")
  kernels = rng.normal(size=(size, size, 4, 2)).astype("f4")
  strides, padding = (stride, stride), [(before, after)] * 2

  def loss(images, kernels, convolve):
    return jnp.sum(jnp.sin(convolve(images, kernels)))

  def plain(images, kernels):
    return jax.lax.conv_general_dilated(
      images, kernels, strides, padding, dimension_numbers=NUMBERS
    )

  def ours(images, kernels):
    return convolution.patches(images, kernels, strides, padding)

  found, expected = (
    (f(images, kernels), *jax.grad(loss, (0, 1))(images, kernels, f))
    for f in (ours, plain)
  )
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


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


IMAGES = (convolution.FEW, 16, 16, CHANNELS)
KERNELS = (3, 3, CHANNELS, CHANNELS)


ON_CPU = pytest.mark.skipif(
  jax.default_backend() != "cpu", reason="other devices have their own"
)


@ON_CPU
@pytest.mark.parametrize(
  ("chosen", "sides", "size", "strides", "padding"),
  [
    ("slide", (11, 23), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ("patches", (5, 3), (3, 3), (1, 2), ((0, 2), (1, 0))),
    ("patches", (4, 6), (3, 3), (2, 1), ((1, 1), (0, 0))),
    ("one_spot", (2, 4), (3, 2), (3, 4), ((0, 2), (1, 0))),
    ("one_spot", (1, 2), (3, 3), (1, 2), ((1, 1), (0, 1))),
  ],
)
def test_whatever_is_chosen_gives_the_compiler_s_values(
  chosen, sides, size, strides, padding, monkeypatch
):
  rng = np.random.default_rng(0)
  images = rng.normal(size=(64, *sides, CHANNELS)).astype("f4")
  kernels = rng.normal(size=(*size, CHANNELS, CHANNELS)).astype("f4")
  where = convolution.winograd if chosen == "slide" else convolution
  plain, asked = getattr(where, chosen), []

  def counted(*args, **kwargs):
    asked.append(chosen)
    return plain(*args, **kwargs)

  monkeypatch.setattr(where, chosen, counted)
  found, expected = (
    convolve(
      jnp.asarray(images),
      jnp.asarray(kernels),
      strides,
      padding,
      dimension_numbers=NUMBERS,
    )
    for convolve in (
      convolution.conv_general_dilated,
      jax.lax.conv_general_dilated,
    )
  )
  assert asked == [chosen] and found.shape == expected.shape
  largest = np.abs(expected).max()
  np.testing.assert_allclose(found, expected, atol=1e-5 * largest)


@ON_CPU
@pytest.mark.parametrize(
  ("images", "kwargs"),
  [
    (IMAGES, {}),  # by Winograd
    ((convolution.FEW, 4, 4, CHANNELS), {}),  # by patches
    (IMAGES, {"strides": 2}),
    ((convolution.FEW, 1, 1, 3), {}),  # by a matrix
    ((convolution.FEW, 4, 4, 3), {"padding": 0, "strides": 2}),
  ],
)
def test_a_layer_of_flax_takes_what_is_faster(images, kwargs):
  assert not _is_left_to_the_compiler(images, KERNELS, **kwargs)


@pytest.mark.parametrize(
  ("images", "kernels", "kwargs"),
  [
    ((convolution.FEW - 1, *IMAGES[1:]), KERNELS, {}),
    ((convolution.FEW - 1, 1, 1, 3), KERNELS, {}),
    ((*IMAGES[:-1], 3), KERNELS, {}),
    (IMAGES, (3, 3, CHANNELS, 2), {}),
    (IMAGES, (1, 3, CHANNELS, CHANNELS), {}),
    (IMAGES, (5, 5, CHANNELS, CHANNELS), {}),
    ((64, *IMAGES[1:]), KERNELS, {"padding": 0}),
    ((64, *IMAGES[1:]), KERNELS, {"strides": 2}),
    (IMAGES, KERNELS, {"padding": "CIRCULAR"}),
    (IMAGES, KERNELS, {"kernel_dilation": (2, 1)}),
    (IMAGES, KERNELS, {"input_dilation": (2, 1)}),
    (IMAGES, KERNELS, {"feature_group_count": 2}),
    (IMAGES, KERNELS, {"dtype": jnp.bfloat16}),
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
