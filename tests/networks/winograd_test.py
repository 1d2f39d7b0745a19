import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import signal

from hybridpriv.networks import winograd

# Whole tiles and parts of them.
SHAPES = [(8, 16, 16), (4, 5, 7), (7, 9, 2)]


@pytest.fixture(params=[1, 8, winograd.AT_A_TIME])
def tiles(request, monkeypatch):
  """One image at a time, some with a part that is filled up, and all."""
  monkeypatch.setattr(winograd, "AT_A_TIME", request.param)
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  return request.param


def _draw(num, height, width, channels=3, outputs=2):
  rng = np.random.default_rng(num)
  images = rng.normal(size=(num, height, width, channels)).astype("f4")
  kernels = rng.normal(size=(3, 3, channels, outputs)).astype("f4")
  return jnp.asarray(images), jnp.asarray(kernels)


def _plain(images, kernels):
  return jax.lax.conv_general_dilated(
    images,
    kernels,
    (1, 1),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_a_convolution(shape, tiles):
  images, kernels = _draw(*shape)
  # What is traced is a new function, with the tiles of now.
  program = jax.jit(lambda x, k: winograd.slide(x, k))
  text = program.lower(images, kernels).as_text()
  num, height, width = shape
  one_by_one = f"tensor<{num}x1x{height}x{width}x3xf32>"
  of_an_image = -(-height // winograd.TILE) * -(-width // winograd.TILE)
  assert (one_by_one in text) == (tiles <= of_an_image)
  found = program(images, kernels)
  images, kernels = np.asarray(images, "f8"), np.asarray(kernels, "f8")
  expected = np.stack(
    [
      sum(
        np.stack(
          [
            signal.correlate2d(x[..., c], kernels[..., c, k], mode="same")
            for x in images
          ]
        )
        for c in range(3)
      )
      for k in range(2)
    ],
    axis=-1,
  )
  np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_its_gradients_are_those_of_the_compiler_s_own(shape, tiles):
  images, kernels = _draw(*shape)
  weight = jnp.cos(jnp.arange(np.prod(shape) * 2.0)).reshape(*shape, 2)

  def loss(images, kernels, convolve):
    return jnp.mean(jnp.tanh(convolve(images, kernels)) * weight)

  found, expected = (
    jax.jit(jax.grad(lambda x, k, f=f: loss(x, k, f), (0, 1)))(images, kernels)
    for f in (winograd.slide, _plain)
  )
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize("num, sizes", [(8, [4, 4]), (7, [4, 3]), (2, [2])])
def test_a_batch_is_taken_in_parts_of_like_size(monkeypatch, num, sizes):
  monkeypatch.setattr(winograd, "AT_A_TIME", 9)  # tiles: three images
  parts = winograd._parts(jnp.ones((num, 5, 7, 1)))
  assert len(parts) == len(sizes) and parts.shape[1] == sizes[0]
  # What is filled up is zero.
  assert [int(x.sum()) // 35 for x in parts] == sizes


def test_a_batch_of_two_devices_stays_on_both(monkeypatch):
  monkeypatch.setattr(winograd, "AT_A_TIME", 32)  # two images
  images, kernels = _draw(16, 16, 16)
  mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
  divided = NamedSharding(mesh, PartitionSpec("data"))
  copied = NamedSharding(mesh, PartitionSpec())

  def loss(images, kernels):
    return jnp.mean(jnp.tanh(winograd.slide(images, kernels)))

  def by_definition(images, kernels):
    return jnp.mean(jnp.tanh(_plain(images, kernels)))

  slope = jax.jit(jax.grad(loss, (0, 1)))
  expected = jax.grad(by_definition, (0, 1))(images, kernels)
  given = jax.device_put(images, divided), jax.device_put(kernels, copied)
  compiled = slope.lower(*given).compile()
  text = compiled.as_text()
  assert "while(" in text and "all-gather" not in text
  found = compiled(*given)
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())
