"""Compare codes with a gallery of any length, in memory that does not grow.

Codes are read piece by piece, so that they may be memory maps of files.  What
is held at a time are a few pieces of either side and a tile of distances,
whatever the lengths.

A distance is defined to the last bit, as ties are part of what is measured:
differences, squares and sums in float32, each rounded, component after
component; of codes with more than 512 values, such sums of 512 are added up.
It is the same on every machine and with every version of JAX.
"""

import os
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

_TILE = 16  # blocks of codes are a multiple of this
_WIDTH = 512  # values of a code that are summed before sums are
_UNROLLED = 16  # values of a code in one pass over a tile of distances
_PIECE = 2**20  # numbers of codes of the gallery that are held at a time
_OBSERVED = 4  # times as many of observed codes, for which each is read once
_BAR_S = 2.0  # what takes no longer shows no progress


@jax.jit
def _places(
  observed: jax.Array, own: jax.Array, piece: jax.Array, ones: jax.Array
) -> jax.Array:
  """Compare a tile of observed codes with a piece of the gallery.

  Args:
    observed: codes [d, c].
    own: the true candidates of each [d, c].
    piece: candidates [m, d, e].
    ones: see `_squares`.

  Returns:
    For each the candidates that are nearer than the true one, counted twice,
    and those as near, once; int32 [c].
  """
  true = _distances(observed, own, ones)[None]

  def count(total: jax.Array, block: jax.Array) -> tuple[jax.Array, None]:
    d = _distances(observed[:, None], block[:, :, None], ones)
    twice = (d < true).astype(jnp.int32) + (d <= true).astype(jnp.int32)
    return total + jnp.sum(twice, axis=0), None

  zero = jnp.zeros(observed.shape[1], jnp.int32)
  return jax.lax.scan(count, zero, piece)[0]


def _distances(a: jax.Array, b: jax.Array, ones: jax.Array) -> jax.Array:
  """Squared distances of codes [d, ...], without the first axis."""
  if len(a) <= _UNROLLED:
    return _squares(None, a, b, ones)
  zero = jnp.zeros(jnp.broadcast_shapes(a.shape[1:], b.shape[1:]))

  def add(total: jax.Array, parts: Any) -> tuple[jax.Array, None]:
    return _squares(total, parts[0], parts[1], ones), None

  def add_sum(total: jax.Array, parts: Any) -> tuple[jax.Array, None]:
    return total + jax.lax.scan(add, zero, parts)[0], None

  def cut(x: jax.Array) -> jax.Array:
    # Zeros on both sides add nothing.
    x = jnp.pad(x, [(0, -len(x) % _UNROLLED)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(-1, _UNROLLED, *x.shape[1:])

  whole = len(a) // _WIDTH * _WIDTH
  total = zero
  if whole:
    parts = tuple(
      cut(x[:whole]).reshape(-1, _WIDTH // _UNROLLED, _UNROLLED, *x.shape[1:])
      for x in (a, b)
    )
    total = jax.lax.scan(add_sum, zero, parts)[0]
  if whole < len(a):
    total = add_sum(total, (cut(a[whole:]), cut(b[whole:])))[0]
  return total


def _squares(
  total: jax.Array | None, a: jax.Array, b: jax.Array, ones: jax.Array
) -> jax.Array:
  """Add squared differences of some components, one after the other.

  A processor that multiplies and adds in one go rounds once where others round
  twice.  `ones`, all bits set, is no constant: the compiler cannot see that
  this leaves a square as it is, and has to round it.
  """
  for x, y in zip(a, b, strict=True):
    bits = jax.lax.bitcast_convert_type((x - y) ** 2, jnp.int32) & ones
    square = jax.lax.bitcast_convert_type(bits, jnp.float32)
    total = square if total is None else total + square
  assert total is not None  # codes without a value are none
  return total


def ranks(
  observed: np.ndarray, clean: np.ndarray, index: np.ndarray, *, block: int
) -> np.ndarray:
  """Rank true candidates by distance, 1 the nearest; ties get the average.

  Args:
    observed: codes [m, ...].
    clean: the gallery [n, ...].
    index: place of the true candidate of each in the gallery [m].
    block: codes, and candidates, compared at once.

  Returns:
    Float64 [m].
  """
  width = int(np.prod(clean.shape[1:]))
  block = -(-min(block, len(clean)) // _TILE) * _TILE
  most = max(_PIECE // (block * width), 1)
  twice = np.zeros(len(observed), np.int64)
  with (
    futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    bar(len(observed) * len(clean)) as progress,
  ):

    def count(tile: Any) -> np.ndarray:
      return jax.device_get(_places(*tile, jnp.int32(-1)))

    for at in _pieces(len(observed), block, _OBSERVED * most):
      own = observed[at], clean[index[at]]
      # What fills up a tile is cut off again.
      tiles = list(zip(*(_tiles(x, block, 0.0) for x in own), strict=True))
      for part in _pieces(len(clean), block, most):
        # Padding is no candidate: a NaN is neither nearer nor as near.
        piece = jnp.asarray(_tiles(clean[part], block, np.nan))
        found = pool.map(count, [(*tile, piece) for tile in tiles])
        twice[at] += np.concatenate(list(found))[: at.stop - at.start]
        progress.update((at.stop - at.start) * (part.stop - part.start))
  # The true candidate counted itself, once.
  return (1 + twice) / 2


def bar(pairs: int) -> tqdm.tqdm:
  """Make the progress bar of comparisons; none for what is soon done."""
  return tqdm.tqdm(
    total=pairs,
    desc="ranks",
    leave=False,
    delay=_BAR_S,
    disable=None,
    unit="pair",
    unit_scale=True,
  )


def _pieces(num: int, block: int, most: int) -> Iterator[slice]:
  """Divide a list into pieces of up to `most` blocks, as equal as can be."""
  blocks = -(-num // block)
  count = -(-blocks // most)
  size = -(-blocks // max(count, 1)) * block
  for start in range(0, num, max(size, 1)):
    yield slice(start, min(start + size, num))


def _tiles(codes: np.ndarray, size: int, filler: float) -> np.ndarray:
  """Cut codes [n, ...] into tiles [m, d, size], the last one filled up."""
  codes = flat(codes)
  padding = ((0, -len(codes) % size), (0, 0))
  codes = np.pad(codes, padding, constant_values=filler)
  return np.ascontiguousarray(
    codes.reshape(-1, size, codes.shape[1]).swapaxes(1, 2)
  )


def flat(codes: np.ndarray) -> np.ndarray:
  """Lay codes [n, ...] out as vectors of float32."""
  codes = np.asarray(codes, np.float32)
  return codes.reshape(len(codes), int(np.prod(codes.shape[1:])))


def check(
  observed: np.ndarray, clean: np.ndarray, index: np.ndarray | None
) -> tuple[np.ndarray, bool]:
  """Say why codes cannot be compared, or that they can.

  Args:
    observed: codes [m, ...].
    clean: the gallery [n, ...].
    index: see `ranks`; None where the i-th belongs to the i-th.

  Returns:
    The index, and whether every observed code is its candidate's own.

  Raises:
    ValueError: shapes or places do not fit, or a code is not finite.
  """
  if observed.shape[1:] != clean.shape[1:] or (
    index is None and len(observed) != len(clean)
  ):
    raise ValueError(
      f"observed codes {observed.shape} and candidates {clean.shape} must have"
      " the same shape: the i-th code belongs to the i-th candidate, or to that"
      " of the i-th place in `index`"
    )
  if index is None:
    index = np.arange(len(clean))
  if index.shape != (len(observed),) or (
    len(index) and not 0 <= index.min() <= index.max() < len(clean)
  ):
    raise ValueError(
      f"index {index.shape}: {len(observed)} observed codes need as many"
      f" places, from 0 to {len(clean) - 1}"
    )
  same = True
  for at in rows(observed):
    sent = flat(observed[at])
    same = same and np.array_equal(sent, flat(clean[index[at]]))
    _check_finite(sent)
  for at in rows(clean):
    _check_finite(flat(clean[at]))
  return index, same


def rows(codes: np.ndarray) -> Iterator[slice]:
  """Divide codes [n, ...] into pieces that are held at a time."""
  width = int(np.prod(codes.shape[1:]))
  return _pieces(len(codes), 1, max(_PIECE // max(width, 1), 1))


def _check_finite(codes: np.ndarray) -> None:
  if not np.isfinite(codes).all():
    raise ValueError(
      "some codes are not finite numbers, so that nothing is near them; was the"
      " training stable?"
    )


def copies(codes: np.ndarray) -> np.ndarray:
  """Number codes [n, ...] so that equal ones have one number [n].

  A code that is sent as it is has no distance to itself: only its copies tie
  with it, and nothing need be compared with anything.
  """
  sums = np.concatenate([_hash(flat(codes[at])) for at in rows(codes)])
  _, first, number = np.unique(sums, return_index=True, return_inverse=True)
  # Codes of one sum are nearly always one code; it is looked up.
  for at in rows(codes):
    if not np.array_equal(flat(codes[at]), flat(codes[first[number[at]]])):
      every = flat(codes) + np.float32(0)  # minus zero is zero
      return np.unique(every, axis=0, return_inverse=True)[1].reshape(-1)
  return number


def _hash(codes: np.ndarray) -> np.ndarray:
  """Sum the bits of codes [n, d] up with odd weights: 64 bits [n]."""
  bits = (codes + np.float32(0)).view(np.uint32)  # minus zero is zero
  weights = np.random.default_rng(0).integers(
    2**64, size=codes.shape[1], dtype=np.uint64
  )
  # Whole numbers overflow, which is meant.
  return bits.astype(np.uint64) @ (weights | np.uint64(1))
