"""Augmentation inside the compiled step: pure functions of (key, inputs).

Signature of every one: `(key, inputs, *, shape) -> inputs`, where `shape` is
what the network takes, without the batch axis.
"""

import jax
import jax.numpy as jnp
from jax.scipy import ndimage


def _check(inputs: jax.Array, shape: tuple[int, ...]) -> None:
  """Refuse samples of another kind than the network takes, or smaller ones."""
  have = inputs.shape[1:]
  if len(have) != len(shape) or have[-1:] != shape[-1:]:
    raise ValueError(
      f"samples of shape {have} are no input for a network that takes {shape}:"
      " set config.input_shape to the same number of axes and channels"
    )
  if any(own < want for own, want in zip(have, shape, strict=True)):
    raise ValueError(
      f"samples of shape {have} are too small for a network that takes"
      f" {shape}: set config.input_shape, or the size of the data"
    )


def _check_images(inputs: jax.Array, shape: tuple[int, ...], name: str) -> None:
  """Refuse what `_check` does, and signals."""
  _check(inputs, shape)
  if inputs.ndim != 4:
    raise ValueError(
      f"{name} takes images [b, h, w, c] and got {inputs.shape}: signals have"
      " augment.jitter"
    )


def centre(inputs: jax.Array, *, shape: tuple[int, ...]) -> jax.Array:
  """Cut the central part of the network's size out of every sample.

  Args:
    inputs: [b, h, w, c] or [b, t, c], at least as large as `shape`.
    shape: [h', w', c] or [t', c] that the network takes.

  Returns:
    [b, *shape].

  Raises:
    ValueError: if the samples do not fit the network's input.
  """
  _check(inputs, shape)
  for axis, want in enumerate(shape, start=1):
    start = (inputs.shape[axis] - want) // 2
    inputs = jax.lax.slice_in_dim(inputs, start, start + want, axis=axis)
  return inputs


def crop_mirror(
  key: jax.Array, inputs: jax.Array, *, shape: tuple[int, ...]
) -> jax.Array:
  """Cut at a random place and mirror half of the images (paper, training).

  Args:
    key: typed key.
    inputs: [b, h, w, c].
    shape: [h', w', c].

  Returns:
    [b, *shape], each sample cut and mirrored on its own.

  Raises:
    ValueError: if the samples do not fit the network's input, or are no images.
  """
  _check_images(inputs, shape, "crop_mirror")
  place, flip = jax.random.split(key)
  room = jnp.asarray(
    [[h - w for h, w in zip(inputs.shape[1:], shape, strict=True)]]
  )
  corner = jax.random.randint(place, (inputs.shape[0], room.size), 0, room + 1)
  cut = jax.vmap(lambda x, at: jax.lax.dynamic_slice(x, at, shape))(
    inputs, corner
  )
  mirrored = jax.random.bernoulli(flip, shape=(inputs.shape[0], 1, 1, 1))
  return jnp.where(mirrored, cut[:, :, ::-1], cut)


def photo(
  key: jax.Array, inputs: jax.Array, *, shape: tuple[int, ...]
) -> jax.Array:
  """Turn, zoom, shift and mirror images, and change contrast and brightness.

  Turns by up to 12 degrees, zooms by up to 12 %, shifts by up to 5 % of the
  side; what lies outside the picture is its nearest border.

  Args:
    key: typed key.
    inputs: images [b, h, w, c], 0 to 255.
    shape: [h', w', c].

  Returns:
    float32 [b, *shape], each sample changed on its own.

  Raises:
    ValueError: if the samples do not fit the network's input, or are no images.
  """
  _check_images(inputs, shape, "photo")
  place, contrast, light = jax.random.split(key, 3)
  seen = jax.vmap(lambda k, x: _warp(k, x, shape))(
    jax.random.split(place, len(inputs)), inputs.astype(jnp.float32)
  )
  size = (len(inputs), 1, 1, 1)
  gain = jnp.exp(0.25 * jax.random.normal(contrast, size))
  offset = 255 * 0.1 * jax.random.normal(light, size)
  middle = jnp.mean(seen, axis=(1, 2, 3), keepdims=True)
  return (seen - middle) * gain + middle + offset


def _warp(
  key: jax.Array, image: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
  """Look at one image [h, w, c] through a frame that is turned and moved."""
  turn, zoom, shift, flip = jax.random.split(key, 4)
  side = jnp.asarray(image.shape[:2])
  angle = jnp.deg2rad(jax.random.uniform(turn, minval=-12, maxval=12))
  scale = jnp.exp(jax.random.uniform(zoom, minval=-0.12, maxval=0.12))
  offset = side * jax.random.uniform(shift, (2,), minval=-0.05, maxval=0.05)
  y, x = jnp.meshgrid(
    *(jnp.arange(n) - (n - 1) / 2 for n in shape[:2]), indexing="ij"
  )
  x = jnp.where(jax.random.bernoulli(flip), -x, x)
  cos, sin = scale * jnp.cos(angle), scale * jnp.sin(angle)
  centre = (side - 1) / 2 + offset
  at = [cos * y + sin * x + centre[0], cos * x - sin * y + centre[1]]
  return jax.vmap(
    lambda channel: ndimage.map_coordinates(channel, at, 1, mode="nearest"),
    in_axes=-1,
    out_axes=-1,
  )(image)


def jitter(
  key: jax.Array, inputs: jax.Array, *, shape: tuple[int, ...]
) -> jax.Array:
  """Scale each channel of a signal window by a few per cent and shift it.

  Stands for another person's strength and another fit of the strap.

  Args:
    key: typed key.
    inputs: [b, t, c].
    shape: [t', c].

  Returns:
    [b, *shape].
  """
  scale, shift = jax.random.split(key)
  inputs = centre(inputs, shape=shape).astype(jnp.float32)
  size = (inputs.shape[0], 1, inputs.shape[2])
  gain = jnp.exp(0.15 * jax.random.normal(scale, size))
  offset = 0.1 * jax.random.normal(shift, size)
  spread = jnp.std(inputs, axis=(0, 1), keepdims=True)
  return inputs * gain + offset * spread
