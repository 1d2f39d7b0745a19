"""Paired comparisons of defences: against none, and at equal utility."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybridpriv.audit import embeddings, statistics
from hybridpriv.audit import worst as worst_lib


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
  """Compare every curve with the first one where utility is the same.

  The worst of two curves is that of the attacks which all their rows faced.
  """
  if not rows[0]["utility"]:
    return []
  lines = curves(rows, target)
  names = list(lines)
  best = rows[0]["utility"][0]["value"]

  found = []
  for other in names[1:]:
    pair = lines[other], lines[names[0]]
    worst, _ = shared_worst([*pair[0], *pair[1]], target)
    if not worst:
      continue
    utilities, leakages = (
      [points(tables, own, kind, worst) for own in pair]
      for kind in ("utility", "leakage")
    )
    lowest, highest = statistics.utility_range(*utilities)
    for cost in (0.02, 0.05, 0.1):
      if not lowest <= best - cost <= highest:
        continue
      difference, low, high = statistics.at_equal_utility(
        utilities[0],
        leakages[0],
        utilities[1],
        leakages[1],
        best - cost,
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


def shared_worst(
  rows: Sequence[Mapping[str, Any]], target: str
) -> tuple[dict[str, int], list[str]]:
  """Choose the worst attack of rows as `worst.of_shared` does.

  Returns:
    (place of the attack, by name of the row; names of the shared attacks).
  """
  places, attacks = worst_lib.of_shared(
    [row["leakage"] for row in rows], target
  )
  names = [row["name"] for row in rows]
  return dict(zip(names, places, strict=True)) if places else {}, attacks


def points(
  tables: Mapping[tuple[str, str, int], statistics.Table],
  rows: Sequence[Mapping[str, Any]],
  kind: str,
  worst: Mapping[str, int],
) -> list[statistics.Table]:
  """Take the tables of a curve: first utility, or leakage to `worst`."""
  return [
    tables[r["name"], kind, worst[r["name"]] if kind == "leakage" else 0]
    for r in rows
  ]
