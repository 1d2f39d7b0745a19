"""The part of the report on attackers with less data and of other sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from hybridpriv.audit import drawing, embeddings, page, words
from hybridpriv.audit.drawing import Theme
from hybridpriv.audit.results import Results, Row

_COLUMNS = 2  # of the legend
_LABEL = {"share": "share of its data", "width": "width of its layers"}


def _points(row: Row, what: str, target: str) -> list[tuple[float, ...]]:
  """List (at, value, low, high)."""
  return sorted(
    (p["at"], p["value"], p["low"], p["high"])
    for p in row.saturation
    if (p["what"], p["target"]) == (what, target)
  )


def _there(results: Results) -> tuple[list[Row], list[str], list[str]]:
  rows = [row for row in results.rows if row.saturation]
  points = [p for row in rows for p in row.saturation]
  targets = list(dict.fromkeys(p["target"] for p in points))
  return rows, targets, list(dict.fromkeys(p["what"] for p in points))


def section(
  results: Results, picture: Sequence[page.Block]
) -> page.Section | None:
  """Print the curves, and what the last step of each still found."""
  rows, targets, kinds = _there(results)
  cells = []
  for target in targets:
    for what in kinds:
      for row in rows:
        points = _points(row, what, target)
        if len(points) < 2:
          continue
        listed = "; ".join(
          f"{at:g}: {words.share(value)} {words.between(low, high)}"
          for at, value, low, high in points
        )
        gain = words.points(points[-1][1] - points[-2][1])
        cells.append(
          (target, _LABEL[what], embeddings.title(row), listed, gain)
        )
  if not cells:
    return None
  return page.Section(
    "saturation",
    "Would a larger attacker have found more?",
    (
      *picture,
      page.Table(
        ("target", "by", "embedding", "leakage, %", "last step"),
        tuple(cells),
        "The audit's perceptron (all of the data, and its own width) and the "
        "same with less data and at other widths; the last step in points. "
        "Where it is far from 0, the audit's attackers are not at their end.",
        words=(1, 2, 3),
      ),
    ),
  )


def figure(results: Results, theme: Theme) -> Figure | None:
  """Draw leakage by share of the data, and by width, one line an embedding."""
  rows, targets, kinds = _there(results)
  if not rows:
    return None
  legend = 0.2 * math.ceil(len(rows) / _COLUMNS)
  made, axes = drawing.panels(
    len(targets), len(kinds), 0.6 + 2.2 * len(targets) + legend
  )
  for line, target in zip(axes, targets, strict=True):
    for panel, what in zip(line, kinds, strict=True):
      for number, row in enumerate(rows):
        points = _points(row, what, target)
        if not points:
          continue
        at, value, low, high = zip(*points, strict=True)
        errors = [
          [v - x for v, x in zip(value, low, strict=True)],
          [x - v for v, x in zip(value, high, strict=True)],
        ]
        panel.errorbar(
          at,
          value,
          yerr=errors,
          color=theme.colour(number),
          marker=drawing.mark(number),
          ms=4.5,
          elinewidth=0.8,
          label=embeddings.title(row),
        )
      panel.set_xscale("log", base=2)
      panel.set_title(drawing.heading(target))
      panel.set_xlabel(_LABEL[what])
      panel.grid(alpha=0.6)
      drawing.percent(panel.yaxis)
    line[0].set_ylabel("leakage, %")
  handles, labels = axes[0][0].get_legend_handles_labels()
  made.legend(handles, labels, loc="outside lower center", ncols=_COLUMNS)
  return made
