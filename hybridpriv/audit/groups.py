"""The part of the report on groups: whom a defence serves worst."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hybridpriv.audit import embeddings, page, words
from hybridpriv.audit.results import Results, Row


def section(results: Results) -> page.Section | None:
  """Print the worst group of each question, and all of the chosen row."""
  rows = [row for row in embeddings.main_rows(results) if row.groups]
  if not rows:
    return None
  cells = []
  for row in rows:
    for kind, target in _questions(row):
      worst = _worst(row, kind, target)
      cells.append(
        (
          embeddings.title(row),
          f"{kind}: {target}",
          f"{worst['label']} {worst['group']}",
          _value(worst),
          str(worst["num_units"]),
        )
      )
  blocks: list[page.Block] = [
    page.Text(
      "A group is a class of a label other than the person. The worst is the "
      "one that is served worst, or leaks most; it is picked after looking, so "
      "that part of what sets it apart is luck."
    ),
    page.Table(
      ("embedding", "question", "worst group", "value", "units"),
      tuple(cells),
      "The worst group of each question, in percent, with 95 % intervals.",
      words=(1, 2),
    ),
  ]
  point = embeddings.operating_point(results)
  if point is not None and point.groups:
    blocks.append(
      page.Table(
        ("question", "label", "group", "value", "units"),
        tuple(
          (
            f"{g['kind']}: {g['target']}",
            str(g["label"]),
            str(g["group"]),
            _value(g),
            str(g["num_units"]),
          )
          for g in point.groups
        ),
        f"All groups at the operating point ({embeddings.title(point)}).",
        words=(1, 2),
      )
    )
  return page.Section("groups", "By group", tuple(blocks))


def _questions(row: Row) -> list[tuple[str, str]]:
  return list(dict.fromkeys((g["kind"], g["target"]) for g in row.groups))


def _worst(row: Row, kind: str, target: str) -> Mapping[str, Any]:
  own = [g for g in row.groups if (g["kind"], g["target"]) == (kind, target)]
  sign = 1 if kind == "leakage" else -1
  return max(own, key=lambda g: sign * g["value"])


def _value(group: Mapping[str, Any]) -> str:
  limits = words.between(group["low"], group["high"])
  return f"{words.share(group['value'])} {limits}"
