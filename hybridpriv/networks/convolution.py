r"""Convolutions of small images by fewer or larger products, where it pays.

Deep layers see images of a few values, for which the compiler's convolutions
on a CPU are slow.  Two cases are done otherwise, in float32 and for batches
that are large enough:

`one_spot`: a kernel that has one place only is a matrix.

`small_image`: a 3 x 3 kernel slid over a padded image of 4 x 4 values takes 144
products for each pair of channels.  Evaluated at the points 0, 1, -1, 2, -2 and
infinity in each direction, where a convolution is a product of polynomials, 36
do:

$$ Y = A^T [(G k G^T) \odot (B^T x B)] A $$

summed over the input channels (Lavin and Gray 2016, arXiv 1509.09308, F(4 x 4,
3 x 3)).  The padding is zero, so the rows of B that meet it are left out.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Images in a batch. What is described, or exported for one image at a time,
# stays a convolution.
FEW: int = 8
MANY: int = 128  # at 64 points were seen to be no faster
_SIDE = 4

_B = np.array(
  [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
  ]
)[:, 1:-1]  # what it would take from the padding
_G = (
  np.array(
    [
      [6, 0, 0],
      [-4, -4, -4],
      [-4, 4, -4],
      [1, 2, 4],
      [1, -2, 4],
      [0, 0, 24],
    ]
  )
  / 24
)
_A = np.array(
  [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
  ]
)


def conv_general_dilated(
  lhs: jax.Array,
  rhs: jax.Array,
  window_strides: Sequence[int],
  padding: Any,
  **options: Any,
) -> jax.Array:
  """Convolve images `[b h w c]` with kernels `[h w c k]`, as Flax asks for it.

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
    jax.default_backend() == "cpu"
    and images.ndim == 4
    and isinstance(images.shape[0], int)  # where exported, it may be a symbol
    and images.shape[0] >= FEW
    and images.dtype == kernels.dtype == jnp.float32
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
  before = tuple(pad[0] for pad in padding)
  if spots == [1, 1]:
    return functools.partial(one_spot, before=before)
  ends = {pad for pads in padding for pad in pads}
  small = sides == (_SIDE, _SIDE) and sizes == (3, 3) and ends == {1}
  if small and tuple(strides) == (1, 1) and images.shape[0] >= MANY:
    return small_image
  return None


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


def small_image(images: jax.Array, kernels: jax.Array) -> jax.Array:
  """Slide kernels `[3 3 c k]` over zero-padded images `[b 4 4 c]`.

  Returns:
    Images `[b 4 4 k]`; they differ from those of other algorithms by some
    1e-5 of the largest value.
  """
  num, *_, channels = images.shape
  to_points, of_kernel, back = (
    jnp.asarray(np.kron(m, m), jnp.float32) for m in (_B, _G, _A)
  )
  spots = images.reshape(num, _SIDE**2, channels)
  spots = jnp.einsum("ps,bsc->pbc", to_points, spots)
  kernels = jnp.einsum(
    "ps,sck->pck", of_kernel, kernels.reshape(9, channels, -1)
  )
  product = jnp.einsum("pbc,pck->pbk", spots, kernels)
  found = jnp.einsum("sp,pbk->bsk", back, product)
  return found.reshape(num, _SIDE, _SIDE, -1)
