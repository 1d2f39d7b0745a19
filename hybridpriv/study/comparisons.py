"""Paired comparisons of defences: against none, and at equal utility."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybridpriv.audit import embeddings, statistics


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
  """Compare every curve with the first one where utility is the same."""
  if not rows[0]["utility"]:
    return []
  lines = curves(rows, target)
  names = list(lines)
  best = rows[0]["utility"][0]["value"]

  def pick(name: str, kind: str) -> list[statistics.Table]:
    return points(tables, lines[name], kind, target)

  found = []
  for other in names[1:]:
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
          "a": other,
          "b": names[0],
          "difference": difference,
          "low": low,
          "high": high,
          "tie": bool(low <= 0 <= high),
        }
      )
  return found


def curves(
  rows: Sequence[Mapping[str, Any]], target: str
) -> dict[str, list[Mapping[str, Any]]]:
  """Collect rows that differ in one strength: a curve for each grid.

  A row whose chain is the beginning of a grid's, such as the projection before
  noise, is the weak end of its curve.  What is no more than a point is no
  curve.

  Args:
    rows: all defences.
    target: of the leakage; rows on which no attack on it was run are left out.

  Returns:
    Rows by "<training>, <embedding> grid", in their order.
  """
  families: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
  for row in rows:
    if len(row["privatizer"]) and target in row["worst"]:
      families.setdefault((row["training"], row["embedding"]), []).append(row)
  found = {}
  for (training, embedding), own in families.items():
    weaker = [
      row
      for (other, name), rows in families.items()
      if other == training and name != embedding
      for row in rows
      if any(
        embeddings.begins(row["privatizer"], strong["privatizer"])
        for strong in own
      )
    ]
    if len(weaker) + len(own) > 1:
      found[f"{training}, {embedding} grid"] = [*weaker, *own]
  return found


def points(
  tables: Mapping[tuple[str, str, int], statistics.Table],
  rows: Sequence[Mapping[str, Any]],
  kind: str,
  target: str,
) -> list[statistics.Table]:
  """Take the tables of a curve: first utility, or worst leakage of a target."""
  return [
    tables[r["name"], kind, r["worst"][target] if kind == "leakage" else 0]
    for r in rows
  ]
