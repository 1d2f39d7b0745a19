"""Resampling of people and seeds, and what it can't see (NumPy only).

The method and its sources stand at the head of `statistics`.
"""

from __future__ import annotations

import math
import statistics as stdlib_statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_REDRAWS = 50
_BEYOND = 10  # resamples that a percentile needs beyond it
_CHUNK = 4_000_000
_NORMAL = stdlib_statistics.NormalDist()


class Table(NamedTuple):
  """Sums of scores of one measurement.

  Attributes:
    sum: float [S, A, P, C], sums of scores by train seed, attack seed, person
      and true class.
    count: float [P, C], the number of queries behind each sum.
    people: [P], names or numbers of the people (clusters).
  """

  sum: np.ndarray
  count: np.ndarray
  people: np.ndarray


def unnest(table: Table) -> Table:
  """Sort by person; make people the units where each class is one person's."""
  order = np.argsort(table.people, kind="stable")
  sums = np.asarray(table.sum, np.float64)[:, :, order]
  count = np.asarray(table.count, np.float64)[order]
  people = np.asarray(table.people)[order]
  used = count.sum(0) > 0
  sums, count = sums[..., used], count[:, used]
  if count.shape[1] > 1 and np.all((count > 0).sum(0) == 1):
    share = np.where(count > 0, 1 / np.where(count > 0, count, 1), 0)
    sums = (sums * share).sum(-1, keepdims=True)
    count = (count > 0).sum(1, keepdims=True).astype(np.float64)
  return Table(sums, count, people)


def rates(table: Table) -> np.ndarray:
  """Return the mean score [S, A, C] of each class."""
  return table.sum.sum(2) / table.count.sum(0)


def replicates(
  tables: Sequence[Table], seed: int, resamples: int
) -> list[np.ndarray]:
  """Return the values [R] of each table in shared resamples."""
  rng = np.random.default_rng(seed)
  train, attack, people = {}, {}, {}
  groups: dict[bytes, list[Table]] = {}
  names = ["\0".join(map(str, t.people.tolist())).encode() for t in tables]
  for name, table in zip(names, tables, strict=True):
    groups.setdefault(name, []).append(table)
  for name, members in groups.items():
    people[name] = _draw_people(rng, members, resamples)
  for table in tables:
    s, a = table.sum.shape[:2]
    if s not in train:
      train[s] = _draw(rng, s, (resamples,))
    if (s, a) not in attack:
      attack[s, a] = _draw_nested(rng, train[s], a)
  return [
    _resampled_values(t, people[name], attack[t.sum.shape[:2]])
    for name, t in zip(names, tables, strict=True)
  ]


def _draw(rng, size: int, shape: tuple[int, ...]) -> np.ndarray:
  """Draw size - 1 of size things (1 of 1); returns counts [*shape, size]."""
  return rng.multinomial(max(size - 1, 1), np.full(size, 1 / size), shape)


def _draw_nested(rng, train: np.ndarray, size: int) -> np.ndarray:
  """Draw attack seeds in each drawn train seed; returns weights [R, S, A]."""
  num = max(size - 1, 1)
  drawn = rng.multinomial(train * num, np.full(size, 1 / size))
  return drawn / (num * train.sum(1)[:, None, None])


def _draw_people(rng, tables: Sequence[Table], resamples: int) -> np.ndarray:
  """Draw people so that every class keeps one; returns counts [R, P]."""
  size = len(tables[0].people)
  weights = _draw(rng, size, (resamples,))
  has = np.unique(
    np.concatenate([t.count > 0 for t in tables], 1), axis=1
  ).astype(np.float32)
  missing = np.arange(resamples)
  for _ in range(_REDRAWS):
    lost = (weights[missing].astype(np.float32) @ has == 0).any(1)
    missing = missing[lost]
    if not len(missing):
      break
    weights[missing] = _draw(rng, size, (len(missing),))
  return weights


def _resampled_values(
  table: Table, people: np.ndarray, seeds: np.ndarray
) -> np.ndarray:
  s, a, p, c = table.sum.shape
  flat = np.moveaxis(table.sum, 2, 0).reshape(p, -1)
  rows = max(1, _CHUNK // max(p, s * a * c))
  out = []
  for start in range(0, len(people), rows):
    weight = people[start : start + rows].astype(np.float64)
    total = weight @ table.count
    hit = (weight @ flat).reshape(-1, s, a, c)
    present = total > 0
    rate = hit / np.where(present, total, 1)[:, None, None]
    classes = present / np.maximum(present.sum(1, keepdims=True), 1)
    out.append(
      np.einsum(
        "rsac,rc,rsa->r",
        rate,
        classes,
        seeds[start : start + rows],
        optimize=True,
      )
    )
  return np.concatenate(out)


def slack(table: Table, level: float) -> tuple[float, float]:
  """Return what unseen people may take off and add where no spread is seen."""
  count = table.count
  share = table.sum / np.where(count > 0, count, 1)
  top = np.where(count > 0, share, -np.inf).max(2)
  bottom = np.where(count > 0, share, np.inf).min(2)
  constant = top - bottom < 1e-6
  unseen = 1 - ((1 - level) / 2) ** (1 / (count > 0).sum(0))
  rate, classes = rates(table), count.shape[1]
  below = np.where(constant, unseen * rate, 0) / classes
  above = np.where(constant, unseen * (1 - rate), 0) / classes
  lower, upper = (
    float(np.sqrt(np.square(x).sum(-1)).mean()) for x in (below, above)
  )
  return lower, upper


def smallest_class(*tables: Table) -> int:
  """Count the people of the rarest class: they limit what is known."""
  return min(int((t.count > 0).sum(0).min()) for t in tables)


def percentiles(
  draws: np.ndarray, num_people: int, level: float
) -> tuple[float, float]:
  """Return percentiles of resamples [R], moved outwards for few people.

  A percentile that fewer than ten resamples lie beyond says where the last of
  them fell.  There the limit is read off at the tenth, and its distance from
  the median stretched as that of a normal distribution.
  """
  tail = (1 - level) / 2
  wanted = _NORMAL.inv_cdf(1 - tail)
  if num_people > 1:
    wanted = student_quantile(1 - tail, num_people - 1)
  known = _NORMAL.inv_cdf(max(1 - _BEYOND / len(draws), 0.75))
  reach = min(wanted, known)
  share = _NORMAL.cdf(-reach)
  low, centre, high = np.quantile(draws, [share, 0.5, 1 - share])
  stretch = wanted / reach
  return (
    float(centre - stretch * (centre - low)),
    float(centre + stretch * (high - centre)),
  )


def student_quantile(probability: float, freedom: int) -> float:
  """Return the quantile (probability >= 1/2) of Student's t distribution.

  By bisection on the finite sums for whole degrees of freedom (Abramowitz and
  Stegun 26.7.3, 26.7.4); beyond 300 degrees the normal quantile, which then
  differs by less than half a percent.

  Args:
    probability: at least 1/2.
    freedom: degrees of freedom, at least 1.
  """
  if freedom > 300:
    return _NORMAL.inv_cdf(probability)
  low, high = 0.0, math.pi / 2
  for _ in range(60):
    angle = (low + high) / 2
    if (1 + _within(angle, freedom)) / 2 < probability:
      low = angle
    else:
      high = angle
  return math.sqrt(freedom) * math.tan((low + high) / 2)


def _within(angle: float, freedom: int) -> float:
  """Return P(|t| < sqrt(freedom) tan(angle))."""
  sine, cosine = math.sin(angle), math.cos(angle)
  odd = freedom % 2
  term, total = (cosine if odd else 1.0), 0.0
  for i in range(1 + odd, freedom, 2):
    total += term
    term *= cosine**2 * i / (i + 1)
  return 2 / math.pi * (angle + sine * total) if odd else sine * total
