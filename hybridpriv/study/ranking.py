"""Defences ranked where they leak the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybridpriv.audit import statistics
from hybridpriv.study import comparisons

# Leakage and utility of a curve, a table for each strength.
_Curve = tuple[list[statistics.Table], list[statistics.Table]]
# What may leak: shares of what the undefended feature leaks above its floor.
_SHARES = (0.1, 0.25, 0.5)


def rank(
  rows: Sequence[Mapping[str, Any]],
  tables: Mapping[tuple[str, str, int], statistics.Table],
  targets: Sequence[str],
) -> list[dict[str, Any]]:
  """Rank curves of defences by utility at equal worst leakage.

  Each is compared with the most useful one; a difference that may be none is a
  tie with it.  The first was picked among all after looking, so that intervals
  are corrected for all pairs there are (Bonferroni).  The worst leakage of a
  row is that of the attacks which every row of every curve faced.

  Args:
    rows: all defences, the undefended feature first.
    tables: the scores behind them, by (row, "utility" or "leakage", number).
    targets: whose leakage.

  Returns:
    By target and leakage: "target", "desired", "leakage", "share", "attacks"
    (those that every row faced), "curves"
    (each "name", "utility", and its "difference", "low", "high" and "tie" to
    the first), and "short": names of those that were measured to leak more at
    all of their strengths.
  """
  undefended, found = rows[0], []
  for target in targets:
    lines = comparisons.curves(rows, target)
    if (
      len(lines) < 2
      or target not in undefended["worst"]
      or not undefended["utility"]
    ):
      continue
    faced, attacks = comparisons.shared_worst(
      [row for own in lines.values() for row in own], target
    )
    if not faced:
      continue
    given = {
      name: (
        comparisons.points(tables, own, "leakage", faced),
        comparisons.points(tables, own, "utility", faced),
      )
      for name, own in lines.items()
    }
    worst = undefended["leakage"][undefended["worst"][target]]
    floor = max(worst["floor"], worst["chance"])
    for share in _SHARES:
      at = floor + share * (worst["value"] - floor)
      if at > floor:
        found.append(
          {
            "target": target,
            "desired": undefended["utility"][0]["target"],
            "leakage": at,
            "share": share,
            "attacks": attacks,
            **_at(given, at),
          }
        )
  return found


def _at(given: Mapping[str, _Curve], at: float) -> dict[str, Any]:
  """Rank all curves at one leakage."""
  able = {
    name: statistics.utility_at(*tables_of, at)
    for name, tables_of in given.items()
    if min(map(statistics.value, tables_of[0])) <= at
  }
  level = 1 - 0.05 / max(len(able) * (len(able) - 1) / 2, 1)
  order = sorted(able, key=lambda name: -able[name])
  ranked = []
  for name in order:
    difference, low, high = 0.0, 0.0, 0.0
    if name != order[0]:
      difference, low, high = statistics.at_equal_leakage(
        *given[name], *given[order[0]], at, level=level, resamples=5000
      )
    ranked.append(
      {
        "name": name,
        "utility": able[name],
        "difference": difference,
        "low": low,
        "high": high,
        "tie": bool(low <= 0 <= high),
      }
    )
  return {
    "curves": ranked,
    "short": [name for name in given if name not in able],
  }
