"""Convolutions by fewer or larger products, where it pays.

The compiler's convolutions on a CPU are slow for images of a few values, and
slower yet for the gradient by the kernels, which turns images of a whole batch
round in memory.  Some cases are done otherwise, in float32 and for batches that
are large enough:

`one_spot`: a kernel that has one place only is a matrix.

`winograd.slide`: a 3 x 3 kernel slid over a padded image.

`patches`: few places: one product with what lies under the kernels.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.networks import winograd

# Images in a batch. What is described, or exported for one image at a time,
# stays a convolution.
FEW: int = 8
CHANNELS: int = 32  # with fewer, a product at a point is too small
_PLACES = 1536  # of a kernel in a batch; with more, patches outgrow the cache


def conv_general_dilated(
  lhs: jax.Array,
  rhs: jax.Array,
  window_strides: Sequence[int],
  padding: Any,
  **options: Any,
) -> jax.Array:
  """Convolve images `[b h w c]` with kernels `[h w c k]`, as Flax asks for it.

  What `winograd.slide` does has no derivative in forward mode.

  Args:
    lhs: images.
    rhs: kernels.
    window_strides: one for each direction.
    padding: (before, after) for each direction, or a name of theirs.
    **options: others of `jax.lax.conv_general_dilated`, which does what the
      functions here cannot.

  Returns:
    Images `[b h w k]`.
  """
  faster = _choose(lhs, rhs, window_strides, padding, options)
  if faster is not None:
    return faster(lhs, rhs)
  return jax.lax.conv_general_dilated(
    lhs, rhs, window_strides, padding, **options
  )


def _choose(
  images: jax.Array,
  kernels: jax.Array,
  strides: Sequence[int],
  padding: Any,
  options: dict[str, Any],
) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
  """Give what does a convolution faster than the compiler, or None."""
  dilations = (options.get("lhs_dilation"), options.get("rhs_dilation"))
  known = (
    is_ours(images)
    and images.dtype == kernels.dtype
    and not isinstance(padding, str)
    and all(d is None or set(d) == {1} for d in dilations)
    and options.get("feature_group_count", 1) == 1
  )
  if not known:
    return None
  sides, sizes = images.shape[1:3], kernels.shape[:2]
  spots = [
    (side + sum(pad) - size) // stride + 1
    for side, pad, size, stride in zip(
      sides, padding, sizes, strides, strict=True
    )
  ]
  if spots == [1, 1]:
    before = tuple(pad[0] for pad in padding)
    return functools.partial(one_spot, before=before)
  if sizes != (3, 3) or min(kernels.shape[2:]) < CHANNELS:
    return None
  ends = {pad for pads in padding for pad in pads}
  tiles = images.shape[0] * math.prod(-(-n // winograd.TILE) for n in sides)
  if set(strides) == ends == {1} and tiles >= winograd.AT_A_TIME:
    return winograd.slide
  if images.shape[0] * math.prod(spots) <= _PLACES:
    return functools.partial(patches, strides=strides, padding=padding)
  return None


def is_ours(images: jax.Array) -> bool:
  """Say whether images are such, and so many, as these functions are for."""
  return (
    jax.default_backend() == "cpu"
    and images.ndim == 4
    and isinstance(images.shape[0], int)  # where exported, it may be a symbol
    and images.shape[0] >= FEW
    and images.dtype == jnp.float32
  )


def one_spot(
  images: jax.Array, kernels: jax.Array, before: tuple[int, int]
) -> jax.Array:
  """Lay kernels `[h w c k]` on images `[b h w c]` at their only place.

  Args:
    images: images.
    kernels: kernels.
    before: how far they stand out before the first row and column.

  Returns:
    Images `[b 1 1 k]`.
  """
  for axis, out in enumerate(before):
    # Only what lies on the image counts.
    size = min(kernels.shape[axis] - out, images.shape[axis + 1])
    kernels = jax.lax.slice_in_dim(kernels, out, out + size, axis=axis)
    images = jax.lax.slice_in_dim(images, 0, size, axis=axis + 1)
  outputs = kernels.shape[-1]
  found = images.reshape(images.shape[0], -1) @ kernels.reshape(-1, outputs)
  return found[:, None, None]


def patches(
  images: jax.Array,
  kernels: jax.Array,
  strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
) -> jax.Array:
  """Multiply what lies under kernels `[h w c k]`, at all their places at once.

  Args:
    images: images `[b h w c]`.
    kernels: kernels.
    strides: one for each direction.
    padding: (before, after) for each direction.

  Returns:
    Images `[b h w k]`.
  """
  height, width, _, outputs = kernels.shape
  images = jnp.pad(images, ((0, 0), *padding, (0, 0)))
  rows, columns = (
    stride * ((side - size) // stride) + 1
    for side, size, stride in zip(
      images.shape[1:3], kernels.shape[:2], strides, strict=True
    )
  )
  under = [
    images[:, i : i + rows : strides[0], j : j + columns : strides[1]]
    for i in range(height)
    for j in range(width)
  ]
  return jnp.concatenate(under, axis=-1) @ kernels.reshape(-1, outputs)
