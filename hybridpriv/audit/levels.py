"""The part of a comparison on defences of the same name, at equal leakage."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hybridpriv.audit import embeddings, page, statistics, studies, words
from hybridpriv.audit import worst as worst_lib
from hybridpriv.audit.results import Row
from hybridpriv.audit.studies import Study

_GRID = ", noise grid"
_RESAMPLES = 2000


class _Curve(NamedTuple):
  """Scores of one defence, a table for each of its strengths."""

  leakage: list[statistics.Table]
  utility: list[statistics.Table]


# A defence in another study and in the first: both curves, or why not.
_Pair = tuple[_Curve, _Curve] | str


def section(compared: Sequence[Study]) -> page.Section | None:
  """Compare each defence with itself in the first study, leaking the same.

  The levels are those at which the first study ranks its defences.
  """
  first, *others = compared
  blocks: list[page.Block] = []

  @functools.cache  # read once for all levels
  def table(number: int, row: int, *what: Any) -> statistics.Table | None:
    study = compared[number]
    return studies.table(study, study.results.rows[row], *what)

  for one in first.results.rankings:
    names = [*(c["name"] for c in one["curves"]), *one["short"]]
    pairs = {
      (name, other.name): _pair(compared, number, name, one, table)
      for number, other in enumerate(others, start=1)
      for name in names
    }
    num = sum(not isinstance(pair, str) for pair in pairs.values())
    if not num:
      continue
    blocks.append(
      page.Table(
        ("defence", "study", "leakage", one["desired"], "difference")
        + ("95 % interval", ""),
        tuple(
          (name.removesuffix(_GRID), other, *_line(pair, one["leakage"], num))
          for (name, other), pair in pairs.items()
        ),
        f"**{one['target']}** at {words.share(one['leakage'])} % or less, in"
        f" the study named and in {first.name}. Leakage and utility in percent,"
        f" differences (the study named less {first.name}) in points.",
        words=(1, 2, 3, 6),
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
        "where its worst leakage is the same, by the attacks that all its "
        "settings faced in both, and paired by person and seed; "
        "intervals are corrected for the lines of a table, not for the tables. "
        "One that leaks less at all strengths counts with its most useful, and "
        "its line says how much it leaks there."
      ),
      *blocks,
    ),
  )


def _pair(
  compared: Sequence[Study],
  number: int,
  name: str,
  one: Mapping[str, Any],
  table: Callable[..., statistics.Table | None],
) -> _Pair:
  """Find both curves of a defence, or say why they are not compared."""
  target, numbers = one["target"], (number, 0)
  rows = [_rows(compared[n], name, target) for n in numbers]
  if not all(rows):
    return "scores not kept"
  worst = _worst([row for own in rows for row in own], target)
  if not worst:
    return "other attacks: not compared"
  curves = []
  for n, own in zip(numbers, rows, strict=True):
    every = compared[n].results.rows
    at = [next(i for i, r in enumerate(every) if r is row) for row in own]
    leakage = [table(n, i, "leakage", target, worst.pop(0)) for i in at]
    utility = [table(n, i, "utility", one["desired"], None) for i in at]
    curves.append(
      _Curve(
        [t for t in leakage if t is not None],
        [t for t in utility if t is not None],
      )
    )
    if min(map(len, curves[-1])) < len(own):
      return "scores not kept"
  here, there = curves
  tables = [t for kind in (*here, *there) for t in kind]
  both = compared[number], compared[0]
  if not studies.of_same_people(both, tables):
    return "other people: not paired"
  least = [min(map(statistics.value, c.leakage)) for c in (here, there)]
  if max(least) > one["leakage"]:
    return "no setting so low"
  num = min(len(table.sum) for table in tables)

  def cut(whole: _Curve) -> _Curve:
    """Keep the train seeds that both have."""
    return _Curve(*([t._replace(sum=t.sum[:num]) for t in c] for c in whole))

  return cut(here), cut(there)


def _line(pair: _Pair, at: float, num: int) -> tuple[str | page.Badge, ...]:
  """Compare two curves at one leakage, as one of `num` comparisons."""
  if isinstance(pair, str):
    return (*[words.NONE] * 4, page.Badge(pair))
  difference, low, high = statistics.at_equal_leakage(
    *pair[0], *pair[1], at, level=1 - 0.05 / num, resamples=_RESAMPLES
  )
  leaks = [min(at, max(map(statistics.value, c.leakage))) for c in pair]
  useful = [statistics.utility_at(*c, at) for c in pair]
  tie = low <= 0 <= high
  side = "lower" if difference < 0 else "higher"
  return (
    " and ".join(map(words.share, leaks)),
    " and ".join(map(words.share, useful)),
    words.points(difference),
    f"[{words.points(low)}, {words.points(high)}]",
    page.Badge("tie") if tie else page.Badge(side, "mark"),
  )


def _rows(study: Study, name: str, target: str) -> list[Row]:
  """Find the settings of "<training>, <embedding> grid" that were attacked."""
  training, _, embedding = name.removesuffix(" grid").partition(", ")
  found = embeddings.curve(study.results, training, embedding)
  return [row for row in found if target in row.worst]


def _worst(rows: Sequence[Row], target: str) -> list[int]:
  """Place the worst attack of each row among those that all rows faced.

  Where others do not say how an attack did on validation, it is what they call
  the worst, if all rows faced that; [] where there is none.
  """
  own = [[vars(m) for m in row.leakage] for row in rows]
  places, shared = worst_lib.of_shared(
    [[{**m, "validation": m["validation"] or 0.0} for m in o] for o in own],
    target,
  )
  tried = [o[i] for o in own for i in worst_lib.candidates(o, target)]
  if all(m["validation"] is not None for m in tried):
    return places
  named = [row.worst[target] for row in rows]
  known = all(o[i]["attack"] in shared for o, i in zip(own, named, strict=True))
  return named if known else []
