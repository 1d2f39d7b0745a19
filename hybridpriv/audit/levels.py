"""The part of a comparison on defences of the same name, at equal leakage."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hybridpriv.audit import embeddings, page, statistics, studies, words
from hybridpriv.audit.studies import Study

_GRID = ", noise grid"


class _Curve(NamedTuple):
  """Scores of one defence, a table for each of its strengths."""

  leakage: list[statistics.Table]
  utility: list[statistics.Table]


def section(compared: Sequence[Study]) -> page.Section | None:
  """Compare each defence with itself in the first study, leaking the same.

  The levels are those at which the first study ranks its defences.
  """
  first, *others = compared
  blocks: list[page.Block] = []

  @functools.cache  # read once for all levels
  def curve(number: int, *what: str) -> _Curve | None:
    return _curve(compared[number], *what)

  for one in first.results.rankings:
    cells = tuple(
      (defence, other.name, *line)
      for number, other in enumerate(others, start=1)
      for defence, *line in _lines(one, curve, number)
    )
    if cells:
      blocks.append(
        page.Table(
          ("defence", "study", one["desired"], "here less there")
          + ("95 % interval", ""),
          cells,
          f"**{one['target']}** at {words.share(one['leakage'])} %; there is"
          f" {first.name}. Utility in percent, differences in points.",
          words=(1, 2, 6),
        )
      )
  if not blocks:
    return None
  return page.Section(
    "levels",
    "The same defences at equal leakage",
    (
      page.Text(
        "Each defence is a curve over its strengths in each study, read off "
        "where its worst leakage is the same, and paired by person and seed; "
        "intervals are corrected for the lines of a table. One that leaks less "
        "at all strengths counts with its most useful."
      ),
      *blocks,
    ),
  )


def _lines(
  one: Mapping[str, Any], curve: Callable[..., _Curve | None], number: int
) -> Iterator[tuple[str | page.Badge, ...]]:
  """Compare all defences that reach the level in this and the first study."""
  at, target, desired = one["leakage"], one["target"], one["desired"]
  names = [ranked["name"] for ranked in one["curves"]]
  pairs = {
    name: (a, b)
    for name in names
    if (a := curve(number, name, target, desired))
    and (b := curve(0, name, target, desired))
    and max(min(map(statistics.value, c.leakage)) for c in (a, b)) <= at
    and _people(a) == _people(b)
  }
  level = 1 - 0.05 / max(len(pairs), 1)
  for name, (a, b) in pairs.items():
    difference, low, high = statistics.at_equal_leakage(
      *a, *b, at, level=level, resamples=2000
    )
    tie = low <= 0 <= high
    side = "lower" if difference < 0 else "higher"
    yield (
      name.removesuffix(_GRID),
      f"{words.share(statistics.utility_at(*a, at))} and"
      f" {words.share(statistics.utility_at(*b, at))}",
      words.points(difference),
      f"[{words.points(low)}, {words.points(high)}]",
      page.Badge("tie") if tie else page.Badge(side, "mark"),
    )


def _curve(study: Study, name: str, target: str, desired: str) -> _Curve | None:
  """Collect the scores of "<training>, <embedding> grid", if all were kept."""
  training, _, embedding = name.removesuffix(" grid").partition(", ")
  rows = embeddings.curve(study.results, training, embedding)
  leakage = [studies.table(study, row, "leakage", target) for row in rows]
  utility = [studies.table(study, row, "utility", desired) for row in rows]
  kept = _Curve(
    [t for t in leakage if t is not None],
    [t for t in utility if t is not None],
  )
  if not rows or min(map(len, kept)) < len(rows):
    return None
  return kept


def _people(curve: _Curve) -> set[int]:
  return set(curve.utility[0].people.tolist())
