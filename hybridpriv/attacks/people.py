"""Rank people with several codes each, by the likelihood of all of them.

Everything is in float64.  Distances of wide codes are first taken by a matrix
product, whose error is bounded; where that bound leaves the order of two people
open, direct differences decide, person by person.  So the ranks are those of
direct differences throughout.
"""

from collections.abc import Iterator

import numpy as np
from scipy.spatial import distance

from hybridpriv.attacks import gallery

_ROUNDING = 1e-12  # of sums in float64; codes in float32 differ by more
_PIECE = 2**21  # numbers in float64 that are held at a time
_NARROW = 64  # values of a code; for wider ones a matrix product is faster
_EPS = float(np.finfo(np.float64).eps)


def ranks(
  observed: np.ndarray,
  clean: np.ndarray,
  own: np.ndarray,
  *,
  std: float,
  block: int,
) -> np.ndarray:
  """Rank the true person of every code, 1 the likeliest; ties are averaged.

  Args:
    observed: codes as sent [n, ...].
    clean: codes of the people [n, ...].
    own: number of the person of each [n]; every number up to the largest is
      somebody's.
    std: standard deviation of the isotropic noise.
    block: observed codes compared at once.

  Returns:
    Float64 [n].
  """
  order = np.argsort(own, kind="stable")
  starts = np.concatenate([[0], np.cumsum(np.bincount(own))])

  def codes(first: int, last: int) -> np.ndarray:
    places = order[starts[first] : starts[last]]
    return gallery.flat(clean[places]).astype(np.float64)

  width = int(np.prod(clean.shape[1:]))
  most = max(_PIECE // max(width, block), 1)
  found = np.ones(len(observed))
  with gallery.bar(len(observed) * len(clean)) as progress:
    for start in range(0, len(observed), block):
      sent = gallery.flat(observed[start : start + block]).astype(np.float64)
      mine = own[start : start + block]
      true = np.empty(len(sent))
      for p in np.unique(mine):
        true[mine == p] = log_likelihood(sent[mine == p], codes(p, p + 1), std)
      ranked = found[start : start + block]
      for first, last in _groups(starts, most):
        piece = codes(first, last)
        at = starts[first:last] - starts[first]
        _rank(ranked, sent, true, mine - first, piece, at, std)
        progress.update(len(sent) * len(piece))
  return found


def _rank(
  ranked: np.ndarray,
  sent: np.ndarray,
  true: np.ndarray,
  mine: np.ndarray,
  codes: np.ndarray,
  at: np.ndarray,
  std: float,
) -> None:
  """Add to ranks [b] how many of some people are likelier than the true one.

  Args:
    ranked: is added to; half a place for a tie.
    sent: observed codes [b, d].
    true: log likelihood of the true person [b], see `log_likelihood`.
    mine: number of the true person [b]; out of range if not of these.
    codes: of the people, one after the other [n, d].
    at: where each begins [p].
    std: of the noise.
  """
  score, error = _bounded(sent, codes, at, std)
  gap = score - true[:, None]
  # Equal is what `_ROUNDING` says of numbers that are both known so well.
  unsure = np.abs(gap) <= error[:, None] + 2 * _ROUNDING * np.abs(true)[:, None]
  ranked += np.sum((gap > 0) & ~unsure, axis=1)
  rows, people = np.nonzero(unsure)
  others = people != mine[rows]
  rows, people = rows[others], people[others]
  ends = np.append(at[1:], len(codes))
  for p in np.unique(people):
    own = rows[people == p]
    exact = log_likelihood(sent[own], codes[at[p] : ends[p]], std)
    # One list of codes twice, or in another order, adds up to a little else.
    equal = np.isclose(exact, true[own], rtol=_ROUNDING, atol=0)
    ranked[own] += np.where(equal, 0.5, exact > true[own])


def _bounded(
  sent: np.ndarray, codes: np.ndarray, at: np.ndarray, std: float
) -> tuple[np.ndarray, np.ndarray]:
  """Compute `log_likelihood` of several people [b, p], all at once.

  Returns:
    The values, and how far they may be from those [b].
  """
  if sent.shape[1] <= _NARROW:
    squared, error = distance.cdist(sent, codes, "sqeuclidean"), np.zeros(1)
  else:
    squared, error = _by_product(sent, codes)
  nearest = np.minimum.reduceat(squared, at, axis=1)
  unit = 2.0 * float(std) ** 2
  if unit == 0:
    return -nearest, error
  # A soft minimum moves by no more than what it is taken of.
  count = np.diff(np.append(at, len(codes)))
  squared -= np.repeat(nearest, count, axis=1)
  squared /= -unit
  mean = np.add.reduceat(np.expm1(squared, out=squared), at, axis=1) / count
  # Of the mean, -1 + 1 / n at least, a logarithm makes n times as much.
  error = error + 8 * unit * _EPS * (count.max() + 4) * count.max()
  return unit * np.log1p(mean) - nearest, error


def _by_product(
  sent: np.ndarray, codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Squared distances [b, n], and how far they are from direct ones [b]."""
  norms, own = np.sum(codes**2, axis=1), np.sum(sent**2, axis=1)
  squared = sent @ codes.T
  squared *= -2
  squared += norms
  squared += own[:, None]
  # Sums of d products in any order are off by d units in the last place of
  # their terms, here and in the direct sum; four times that, to be safe.
  error = 8 * (sent.shape[1] + 4) * _EPS * (own + norms.max())
  return squared, error


def log_likelihood(
  sent: np.ndarray, clean: np.ndarray, std: float
) -> np.ndarray:
  """Compare codes [b, d] with a person's [n, d]: an order, by likelihood.

  Returns:
    2 std^2 times the log of the mean likelihood, less a constant [b]: so
    written, nothing underflows and std may be 0.
  """
  squared = distance.cdist(sent, clean, "sqeuclidean")
  nearest = np.min(squared, axis=1)
  unit = 2.0 * float(std) ** 2
  if unit == 0:
    return -nearest
  farther = np.expm1((nearest[:, None] - squared) / unit)
  return unit * np.log1p(np.mean(farther, axis=1)) - nearest


def _groups(starts: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
  """Divide people into groups of up to `most` codes, or of one person."""
  first = 0
  while first < len(starts) - 1:
    last = int(np.searchsorted(starts, starts[first] + most, side="right")) - 1
    last = max(last, first + 1)
    yield first, last
    first = last
