"""Augmentation inside the compiled step: pure functions of (key, inputs).

Signature of every one: `(key, inputs, *, shape) -> inputs`, where `shape` is
what the network takes, without the batch axis.
"""

import jax
import jax.numpy as jnp


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
  _check(inputs, shape)
  if inputs.ndim != 4:
    raise ValueError(
      f"crop_mirror takes images [b, h, w, c] and got {inputs.shape}: signals"
      " have augment.jitter"
    )
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
  """Cut and mirror as `crop_mirror`, and change contrast and brightness.

  Args:
    key: typed key.
    inputs: images [b, h, w, c], 0 to 255.
    shape: [h', w', c].

  Returns:
    float32 [b, *shape].
  """
  place, contrast, light = jax.random.split(key, 3)
  cut = crop_mirror(place, inputs, shape=shape).astype(jnp.float32)
  size = (inputs.shape[0], 1, 1, 1)
  gain = jnp.exp(0.25 * jax.random.normal(contrast, size))
  offset = 255 * 0.1 * jax.random.normal(light, size)
  middle = jnp.mean(cut, axis=(1, 2, 3), keepdims=True)
  return (cut - middle) * gain + middle + offset


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
