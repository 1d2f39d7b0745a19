r"""Kernels of 3 x 3 slid over images by fewer products.

A tile of 4 x 4 outputs takes 144 products for each pair of channels.  Evaluated
at the points 0, 1, -1, 2, -2 and infinity in each direction, where a
convolution is a product of polynomials, 36 do:

$$ Y = A^T [(G k G^T) \odot (B^T x B)] A $$

summed over the input channels (Lavin and Gray 2016, arXiv 1509.09308, F(4 x 4,
3 x 3)).  The gradient by the kernels is a sum over tiles of the same kind.  A
few images are taken at a time, in a loop: what is in between stays in the
cache of a CPU, where that of a whole batch takes longer to write and read
than the products.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

TILE = 4  # values a side
# Tiles. With fewer, the kernels at their points are more to write and read than
# what they are multiplied with; of more, what is in between leaves the cache.
AT_A_TIME = 128
_POINTS = TILE + 2

_B = np.array(
  [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
  ]
)
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


@jax.custom_vjp
def slide(images: jax.Array, kernels: jax.Array) -> jax.Array:
  """Slide kernels `[3 3 c k]` over zero-padded images `[b h w c]`.

  Args:
    images: float32.
    kernels: float32.

  Returns:
    Images `[b h w k]`; they differ from those of other algorithms by some
    1e-5 of the largest value.
  """
  return slide_evaluated(images, evaluate(kernels))


def slide_evaluated(images: jax.Array, at_points: jax.Array) -> jax.Array:
  """Do what `slide` does, with kernels that `evaluate` has been given."""

  def some(_: None, x: jax.Array) -> tuple[None, jax.Array]:
    return None, _back(_image_at_points(x), at_points, x.shape)

  def all_of(images: jax.Array) -> jax.Array:
    parts = jax.lax.scan(some, None, _parts(images))[1]
    return _joined(parts)[: len(images)]

  return _joined(_by_device(all_of, images))


def _forward(
  images: jax.Array, kernels: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return slide(images, kernels), (images, kernels)


def _backward(
  kept: tuple[jax.Array, jax.Array], slope: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Give the gradients by images and by kernels."""
  images, kernels = kept
  turned = jnp.swapaxes(kernels[::-1, ::-1], 2, 3)
  return slide(slope, turned), _by_kernels(images, slope)


slide.defvjp(_forward, _backward)


def _by_kernels(images: jax.Array, slope: jax.Array) -> jax.Array:
  """Give the gradient `[3 3 c k]` by kernels, from that by the outputs."""
  channels, outputs = images.shape[-1], slope.shape[-1]

  def some(
    total: jax.Array, parts: tuple[jax.Array, jax.Array]
  ) -> tuple[jax.Array, None]:
    left, right = _image_at_points(parts[0]), _slope_at_points(parts[1])
    found = jnp.einsum("ptc,ptk->pck", _flat(left), _flat(right))
    return total + found, None

  def all_of(images: jax.Array, slope: jax.Array) -> jax.Array:
    total = jnp.zeros((_POINTS**2, channels, outputs), images.dtype)
    parts = _parts(images), _parts(slope)
    total, _ = jax.lax.scan(some, total, parts)
    return jnp.einsum("ps,pck->sck", _of_kernels(total.dtype), total)

  found = jnp.sum(_by_device(all_of, images, slope), axis=0)
  return found.reshape(3, 3, channels, outputs)


def _by_device(
  function: Callable[..., jax.Array], *arrays: jax.Array
) -> jax.Array:
  """Apply a function to the images of each device: `[devices ...]`.

  The compiler divides this axis; along that of a loop it could not.
  """
  devices = jax.device_count()
  if devices == 1 or len(arrays[0]) % devices:  # and so they are not divided
    # A leading axis of one makes products with a turned side slow.
    return function(*arrays)[None]
  own = [x.reshape(devices, -1, *x.shape[1:]) for x in arrays]
  return jax.vmap(function)(*own)


def _parts(images: jax.Array) -> jax.Array:
  """Divide images into parts of enough tiles each; the last is filled up."""
  tiles = math.prod(-(-side // TILE) for side in images.shape[1:3])
  enough = -(-AT_A_TIME // tiles)
  parts = max(len(images) // enough, 1)
  num = -(-len(images) // parts)
  pads = ((0, parts * num - len(images)), (0, 0), (0, 0), (0, 0))
  return jnp.pad(images, pads).reshape(parts, num, *images.shape[1:])


def _joined(parts: jax.Array) -> jax.Array:
  return parts.reshape(-1, *parts.shape[2:])


def evaluate(kernels: jax.Array) -> jax.Array:
  """Evaluate kernels `[3 3 c k]` at the points: `[36 c k]`."""
  flat = kernels.reshape(9, *kernels.shape[2:])
  return jnp.einsum("ps,sck->pck", _of_kernels(kernels.dtype), flat)


def _of_kernels(dtype: jnp.dtype) -> jax.Array:
  """Give the matrix `[36 9]` of `evaluate`: points by column, then by row."""
  both = np.einsum("qj,pi->qpij", _G, _G)
  return jnp.asarray(both.reshape(_POINTS**2, 9), dtype)


# Barriers below keep the compiler from making one loop of all sums, in which it
# would compute the inner ones again for every outer one: three times slower.


def _image_at_points(x: jax.Array) -> jax.Array:
  """Evaluate the tiles of images `[n h w c]`: `[6 6 n rows columns c]`."""
  tiles = [-(-side // TILE) for side in x.shape[1:3]]
  pads = [
    (1, TILE * number - side + 1)
    for number, side in zip(tiles, x.shape[1:3], strict=True)
  ]
  x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  rows, columns = (TILE * (number - 1) + 1 for number in tiles)
  lines = [x[:, i : i + rows : TILE] for i in range(_POINTS)]
  x = _combined(_B, lines)
  return _combined(
    _B, [x[:, :, :, i : i + columns : TILE] for i in range(_POINTS)]
  )


def _slope_at_points(y: jax.Array) -> jax.Array:
  """Evaluate the tiles of a gradient, as `_image_at_points`."""
  pads = [(0, -side % TILE) for side in y.shape[1:3]]
  y = jnp.pad(y, ((0, 0), *pads, (0, 0)))
  y = _combined(_A.T, [y[:, i::TILE] for i in range(TILE)])
  return _combined(_A.T, [y[:, :, :, i::TILE] for i in range(TILE)])


def _back(
  points: jax.Array, kernels: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
  """Multiply at the points, and go back to images."""
  num, rows, columns = points.shape[2:5]
  y = jnp.einsum("ptc,pck->ptk", _flat(points), kernels)
  y = jax.lax.optimization_barrier(y)
  y = y.reshape(_POINTS, _POINTS, num, rows, columns, -1)
  y = _combined(_A, list(y), axis=4)  # [6 n rows columns 4 k]
  y = _combined(_A, list(y), axis=2)  # [n rows 4 columns 4 k]
  y = y.reshape(num, TILE * rows, TILE * columns, -1)
  return jax.lax.optimization_barrier(y[:, : shape[1], : shape[2]])


def _flat(points: jax.Array) -> jax.Array:
  return points.reshape(_POINTS**2, -1, points.shape[-1])


def _combined(
  weights: np.ndarray, terms: list[jax.Array], axis: int = 0
) -> jax.Array:
  """Stack sums of arrays, with the weights of a row each; 0 is left out."""
  found = []
  for row in weights:
    pairs = [(w, x) for w, x in zip(row, terms, strict=True) if w]
    found.append(sum(x if w == 1 else float(w) * x for w, x in pairs))
  return jax.lax.optimization_barrier(jnp.stack(found, axis))
