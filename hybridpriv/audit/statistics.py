"""Values, intervals and paired differences of clustered scores (NumPy only).

A score is a number in [0, 1] for one query (1 = the attacker, or the service,
was right; for ranks 1 - rank/n). Queries of one person are not independent, so
everything here works on a `Table`: the sums of scores by train seed, attack
seed, person and true class. The *value* of a table is the mean over seeds and
over classes of the class's mean score: balanced accuracy for many classes,
plain accuracy (or a mean rank) for one.

How an interval is made:

* **Resampling.** Train seeds, within each of them attack seeds, and (crossed
  with both) people are drawn with replacement. One fewer is drawn than there
  are, which makes the variance of a resampled mean unbiased (Rao and Wu 1988);
  a plain bootstrap of 3 seeds has two thirds of the variance. A level with one
  seed is not resampled: the interval leaves that spread out, and the report
  says so. Crossed resampling counts the spread of single queries more than
  once and is on the wide side (Owen 2007, the pigeonhole bootstrap).
* **Percentiles**, moved outwards for few people as Student's t asks (Hesterberg
  2015, the expanded percentile interval). Limits corrected for many comparisons
  lie farther out than resamples tell: those are stretched from where ten still
  lie beyond, as a normal distribution's would be.
* **Classes.** Where every class belongs to one person (who is it?), a person
  drawn twice counts as two classes. Otherwise a resample in which a class has
  no person is drawn again; after 50 rounds the class is left out.
* **No zero width.** Where all n people of a class have one and the same score
  v, resampling sees no spread. A share u = 1 - (alpha/2)^(1/n) of the people
  might still behave in another way unseen: the limit of Clopper and Pearson for
  0 of n, 0.31 for 10 people, 0.058 for 62. The class may then lie u v lower and
  u (1 - v) higher. These distances join the others by squares (Zou and Donner
  2008, the limits of a sum from those of its parts).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hybridpriv.audit import resampling

Table = resampling.Table


def tabulate(
  value: np.ndarray,
  label: np.ndarray | None,
  person: np.ndarray,
  num_classes: int = 1,
  *,
  bounded: bool = True,
) -> Table:
  """Sum the scores of queries by person and class.

  Args:
    value: [S, A, n] scores in [0, 1] by train seed, attack seed and query.
    label: int [n], true class of each query; None puts all in one class, for
      plain accuracy and for ranks.
    person: [n], the person (cluster) of each query.
    num_classes: the number of classes; not read where label is None.
    bounded: whether each score must lie in [0, 1], and not their mean alone:
      those of `linkage.judge` carry what one person does to the others.

  Raises:
    ValueError: for scores outside [0, 1], labels outside the classes, shapes
      that do not fit, or no query at all.
  """
  value = np.asarray(value, np.float64)
  person = np.asarray(person)
  if value.ndim != 3 or person.shape != value.shape[2:] or not value.size:
    raise ValueError(
      f"value has shape {value.shape} and person {person.shape}; expected "
      "[S, A, n] and [n] with at least one query"
    )
  checked = value if bounded else value.mean()
  if not np.all((checked >= -1e-6) & (checked <= 1 + 1e-6)):
    raise ValueError(
      f"scores lie between {value.min()} and {value.max()}; expected [0, 1] "
      "(scale a rank as 1 - rank/n, a log-rank as 1 - log(rank)/log(n))"
    )
  if label is None:
    label, num_classes = np.zeros(person.shape, np.int64), 1
  label = np.asarray(label, np.int64)
  if label.shape != person.shape:
    raise ValueError(
      f"label has shape {label.shape}, person {person.shape}; expected the same"
    )
  if label.min() < 0 or label.max() >= num_classes:
    raise ValueError(
      f"labels lie between {label.min()} and {label.max()}; expected 0 to "
      f"{num_classes - 1}: leave out queries whose label is not known"
    )
  people, index = np.unique(person, return_inverse=True)
  seeds, size = value.shape[:2], len(people) * num_classes
  cell = index.reshape(-1) * num_classes + label
  sums = [np.bincount(cell, v, size) for v in value.reshape(-1, len(cell))]
  return Table(
    np.reshape(sums, (*seeds, len(people), num_classes)).astype(np.float32),
    np.bincount(cell, minlength=size)
    .reshape(len(people), num_classes)
    .astype(np.float32),
    people,
  )


def value(table: Table) -> float:
  """Return the mean over seeds and classes of the class's mean score."""
  return float(resampling.rates(resampling.unnest(table)).mean())


def interval(
  table: Table, *, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
  """Return the limits of a table's value; see the head of this file.

  Args:
    table: one measurement.
    seed: of the resampling; the same seed gives the same limits.
    resamples: the number of resamples.
    level: coverage asked for.
  """
  tables = [resampling.unnest(table)]
  (draws,) = resampling.replicates(tables, seed, resamples)
  centre = value(table)
  low, high = resampling.percentiles(
    draws, resampling.smallest_class(*tables), level
  )
  below, above = resampling.slack(tables[0], level)
  low = centre - math.hypot(max(centre - low, 0.0), below)
  high = centre + math.hypot(max(high - centre, 0.0), above)
  return max(low, 0.0), min(high, 1.0)


def paired_difference(
  a: Table,
  b: Table,
  *,
  seed: int = 0,
  resamples: int = 1000,
  level: float = 0.95,
) -> tuple[float, float, float]:
  """Return value(a) - value(b) and its limits, paired by person and seed.

  Each resample draws the same people for both, and the same train seeds: where
  one was measured on fewer, the other is cut to as many, the first ones. Attack
  seeds are the same where both have as many.

  Args:
    a: one measurement.
    b: another one, of the same people.
    seed: of the resampling.
    resamples: the number of resamples.
    level: coverage asked for.

  Raises:
    ValueError: when a and b are measured on different people.
  """
  _same_people([a, b])
  num = min(len(a.sum), len(b.sum))
  a, b = (table._replace(sum=table.sum[:num]) for table in (a, b))
  tables = [resampling.unnest(a), resampling.unnest(b)]
  draws = resampling.replicates(tables, seed, resamples)
  slack = [resampling.slack(table, level) for table in tables]
  return _difference(
    value(a) - value(b),
    draws[0] - draws[1],
    slack,
    resampling.smallest_class(*tables),
    level,
  )


def utility_range(
  utilities: Sequence[Table], utilities_b: Sequence[Table]
) -> tuple[float, float]:
  """Return the lowest and highest utility that both curves reach."""
  curves = [[value(t) for t in tables] for tables in (utilities, utilities_b)]
  return max(map(min, curves)), min(map(max, curves))


def at_equal_utility(
  utilities: Sequence[Table],
  leakages: Sequence[Table],
  utilities_b: Sequence[Table],
  leakages_b: Sequence[Table],
  utility: float,
  *,
  seed: int = 0,
  resamples: int = 1000,
  level: float = 0.95,
) -> tuple[float, float, float]:
  """Compare the leakage of two methods where their utility is the same.

  Each method is a curve: its settings in order of utility, with utility and
  leakage made monotone (running maximum) and joined by straight lines. People
  and seeds are resampled for all tables at once, so that the difference is
  paired. In a resample whose curve does not reach the utility, the nearest end
  of the curve stands for it.

  Args:
    utilities: one table for each setting of the first method.
    leakages: the leakage at these settings.
    utilities_b: the same for the second method.
    leakages_b: the same for the second method.
    utility: where to compare.
    seed: of the resampling.
    resamples: the number of resamples.
    level: coverage asked for.

  Returns:
    First minus second method's leakage, and the limits of this difference.

  Raises:
    ValueError: for a utility that one of the curves does not reach (see
      `utility_range`), lists of unequal length, or leakages of different
      people.
  """
  _same_people([*leakages, *leakages_b])
  lowest, highest = utility_range(utilities, utilities_b)
  if not lowest <= utility <= highest:
    raise ValueError(
      f"utility {utility:.4f} is not reached by both methods; their settings "
      f"share {lowest:.4f} to {highest:.4f}: choose a utility in this range or "
      "audit more settings"
    )
  given = (utilities, leakages, utilities_b, leakages_b)
  return _where_equal(*given, utility, seed, resamples, level)


def at_equal_leakage(
  leakages: Sequence[Table],
  utilities: Sequence[Table],
  leakages_b: Sequence[Table],
  utilities_b: Sequence[Table],
  leakage: float,
  *,
  seed: int = 0,
  resamples: int = 1000,
  level: float = 0.95,
) -> tuple[float, float, float]:
  """Compare the utility of two methods that may leak so much.

  `at_equal_utility` with the axes changed.  A method whose every setting leaks
  less counts with its most useful one.

  Args:
    leakages: one table for each setting of the first method.
    utilities: the utility at these settings.
    leakages_b: the same for the second method.
    utilities_b: the same for the second method.
    leakage: what may leak.
    seed: of the resampling.
    resamples: the number of resamples.
    level: coverage asked for.

  Returns:
    First minus second method's utility, and the limits of this difference.

  Raises:
    ValueError: where a method leaks more at all of its settings, and as in
      `at_equal_utility`.
  """
  _same_people([*utilities, *utilities_b])
  least = max(min(map(value, own)) for own in (leakages, leakages_b))
  if least > leakage:
    raise ValueError(
      f"a method leaks {least:.4f} at least; expected {leakage:.4f} or less: "
      "choose a higher leakage or audit stronger settings"
    )
  given = (leakages, utilities, leakages_b, utilities_b)
  return _where_equal(*given, leakage, seed, resamples, level)


def _where_equal(
  across: Sequence[Table],
  up: Sequence[Table],
  across_b: Sequence[Table],
  up_b: Sequence[Table],
  at: float,
  seed: int,
  resamples: int,
  level: float,
) -> tuple[float, float, float]:
  """Read two curves off where one axis is the same, and subtract."""
  sizes = len(across), len(up), len(across_b), len(up_b)
  if sizes[0] != sizes[1] or sizes[2] != sizes[3] or not min(sizes):
    raise ValueError(
      f"got {sizes} tables; expected as many utilities as leakages, at least "
      "one, for each method"
    )
  given = [*across, *up, *across_b, *up_b]
  tables = [resampling.unnest(table) for table in given]
  draws = np.stack(resampling.replicates(tables, seed, resamples))
  values = np.array([value(table) for table in given])[:, None]
  slacks = np.array([resampling.slack(table, level) for table in tables])
  points, resampled, slack = [], [], []
  for start, size in (0, sizes[0]), (2 * sizes[0], sizes[2]):
    u = slice(start, start + size)
    v = slice(start + size, start + 2 * size)
    order = np.lexsort((values[v, 0], values[u, 0]))
    curve = values[u][order], values[v][order]
    points.append(_along(*curve, at)[0])
    resampled.append(_along(draws[u][order], draws[v][order], at))
    widths = slacks[v][order]
    slack.append(
      [_along(curve[0], w[:, None], at, rising=False)[0] for w in widths.T]
    )
  return _difference(
    points[0] - points[1],
    resampled[0] - resampled[1],
    slack,
    resampling.smallest_class(*tables),
    level,
  )


def utility_at(
  leakages: Sequence[Table], utilities: Sequence[Table], leakage: float
) -> float:
  """Read the utility of a method off where it leaks so much."""
  points = sorted(
    (value(a), value(b)) for a, b in zip(leakages, utilities, strict=True)
  )
  across, up = (np.asarray(axis)[:, None] for axis in zip(*points, strict=True))
  return float(_along(across, up, leakage)[0])


def _along(
  across: np.ndarray, up: np.ndarray, at: float, rising: bool = True
) -> np.ndarray:
  """Read curves [settings, R] off at one place of an axis; returns [R]."""
  across = np.maximum.accumulate(across, 0)
  up = np.maximum.accumulate(up, 0) if rising else up
  right = np.minimum((across < at).sum(0), len(across) - 1)
  left = np.maximum(right - 1, 0)

  def pick(x, i):
    return np.take_along_axis(x, i[None], 0)[0]

  span = pick(across, right) - pick(across, left)
  share = (at - pick(across, left)) / np.where(span > 0, span, 1)
  share = np.where(span > 0, np.clip(share, 0, 1), 1)
  lower, upper = pick(up, left), pick(up, right)
  return lower + share * (upper - lower)


def _difference(centre, draws, slack, num_people, level):
  """Join percentiles of a difference with the slack of both its parts."""
  low, high = resampling.percentiles(draws, num_people, level)
  (below_a, above_a), (below_b, above_b) = slack
  low = centre - math.hypot(max(centre - low, 0.0), below_a, above_b)
  high = centre + math.hypot(max(high - centre, 0.0), above_a, below_b)
  return float(centre), max(low, -1.0), min(high, 1.0)


def _same_people(tables: Sequence[Table]) -> None:
  first = set(np.asarray(tables[0].people).tolist())
  for table in tables[1:]:
    other = set(np.asarray(table.people).tolist())
    if other != first:
      raise ValueError(
        f"a paired comparison of {len(first)} and {len(other)} people, "
        f"{len(first & other)} of them in both; expected the same people"
      )
