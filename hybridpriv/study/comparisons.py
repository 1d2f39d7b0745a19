"""Paired comparisons of defences: against none, and at equal utility."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybridpriv.audit import statistics


def compare(
  rows: Sequence[Mapping[str, Any]],
  tables: Mapping[tuple[str, str, int], statistics.Table],
  targets: Sequence[str],
) -> list[dict[str, Any]]:
  """Compare defences in pairs: against none, and at equal utility.

  A row on which no attack on a target could be run is in none of its pairs.
  """
  found = []
  undefended = rows[0]
  for target in targets:
    for row in rows[1:]:
      if not row["selected"]:
        continue
      if not all(target in r["worst"] for r in (row, undefended)):
        continue
      difference, low, high = statistics.paired_difference(
        tables[row["name"], "leakage", row["worst"][target]],
        tables[undefended["name"], "leakage", undefended["worst"][target]],
      )
      found.append(
        {
          "what": f"worst leakage of {target}, against the undefended feature",
          "a": row["name"],
          "b": undefended["name"],
          "difference": difference,
          "low": low,
          "high": high,
          "tie": bool(low <= 0 <= high),
        }
      )
    found += _at_equal_utility(rows, tables, target)
  return found


def _at_equal_utility(
  rows: Sequence[Mapping[str, Any]],
  tables: Mapping[tuple[str, str, int], statistics.Table],
  target: str,
) -> list[dict[str, Any]]:
  """Compare trainings along their noise grids where utility is the same."""
  if not rows[0]["utility"]:
    return []
  curves: dict[str, list[Mapping[str, Any]]] = {}
  for row in rows:
    if len(row["privatizer"]) and target in row["worst"]:
      curves.setdefault(row["training"], []).append(row)
  names = list(curves)
  best = rows[0]["utility"][0]["value"]

  def pick(training: str, kind: str) -> list[statistics.Table]:
    return [
      tables[r["name"], kind, r["worst"][target] if kind == "leakage" else 0]
      for r in curves[training]
    ]

  found = []
  for other in names[1:]:
    if min(len(curves[n]) for n in (other, names[0])) < 2:
      continue
    arguments = (
      pick(other, "utility"),
      pick(other, "leakage"),
      pick(names[0], "utility"),
      pick(names[0], "leakage"),
    )
    lowest, highest = statistics.utility_range(arguments[0], arguments[2])
    for cost in (0.02, 0.05, 0.1):
      if not lowest <= best - cost <= highest:
        continue
      difference, low, high = statistics.at_equal_utility(
        *arguments, best - cost
      )
      found.append(
        {
          "what": (
            f"worst leakage of {target} at equal utility, {100 * cost:g} points"
            " below the undefended network"
          ),
          "a": f"{other}, noise grid",
          "b": f"{names[0]}, noise grid",
          "difference": difference,
          "low": low,
          "high": high,
          "tie": bool(low <= 0 <= high),
        }
      )
  return found
