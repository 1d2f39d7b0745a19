"""Pictures of training and of codes."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hybridpriv.audit import drawing
from hybridpriv.audit import results as results_lib
from hybridpriv.audit.drawing import Theme

_MOST_POINTS = 1500
_MOST_CLASSES = 8
_PANELS = (
  ("train/task", "task loss"),
  ("train/siamese", "contrastive loss"),
  ("train/same_distance", "distance of same (solid) and different pairs"),
  ("train/inside_margin", "different pairs inside the margin"),
)


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
  """Read `metrics.jsonl`; a line cut off by a kill is left out."""
  lines = []
  for line in path.read_text().splitlines() if path.is_file() else ():
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      continue
  return lines


def chosen_runs(
  metrics: Sequence[Mapping], trainings: Mapping[str, Any]
) -> list[str]:
  """Return the kinds of run in the order they came, without lost trials.

  A kind is the last part of a run's name, such as "siamese weight=0.1
  margin=1"; its first word is the training. Of a training those kinds are kept
  that were chosen in some fold, all of them where nothing was chosen.

  Args:
    metrics: lines of `metrics.jsonl`.
    trainings: of the study; each entry says what was "chosen".
  """
  chosen = {
    name: {f["chosen"] for f in results_lib.folds(training) if "chosen" in f}
    for name, training in trainings.items()
  }
  kinds = dict.fromkeys(_kind(line) for line in metrics)
  return [
    kind for kind in kinds if kind in (chosen.get(kind.split(" ")[0]) or {kind})
  ]


def training(
  metrics: Sequence[Mapping], kinds: Sequence[str], theme: Theme
) -> Figure | None:
  """Draw loss terms, validation utility, distances and share in the margin.

  Args:
    metrics: lines of `metrics.jsonl`.
    kinds: the kinds of run to draw, see `chosen_runs`.
    theme: colours.

  Returns:
    The figure, or None when nothing was logged.
  """
  names = {name for line in metrics for name in line}
  wanted = [(n, label) for n, label in _PANELS if n in names]
  utility = sorted(n for n in names if n.startswith("validation/"))
  wanted[1:1] = [(n, "validation " + _plain(n)) for n in utility]
  if not wanted:
    return None
  columns = min(len(wanted), 3)
  lines = -(-len(wanted) // columns)
  figure, axes = drawing.panels(lines, columns, 0.5 + 2.0 * lines)
  flat = [panel for line in axes for panel in line]
  for panel, (name, label) in zip(flat, wanted, strict=False):
    drawn = [(name, "-")]
    if name == "train/same_distance":
      drawn.append(("train/different_distance", "--"))
    for number, kind in enumerate(kinds):
      for series, style in drawn:
        for x, y in _runs(metrics, kind, series):
          few = len(x) < 40
          panel.plot(x, y, style, c=theme.colour(number), lw=0.8, alpha=0.35)
          panel.plot(
            x,
            y if few else _smooth(y),
            style,
            c=theme.colour(number),
            marker=drawing.mark(number) if len(x) < 12 else "",
            ms=3.5,
          )
    panel.set_title(drawing.heading(label, 24))
    panel.set_xlabel("step")
    panel.grid(alpha=0.6)
    if name.startswith("validation/") or name == "train/inside_margin":
      panel.set_ylim(-0.02, 1.02)
  for panel in flat[len(wanted) :]:
    panel.remove()
  for number, kind in enumerate(kinds):
    flat[0].plot(
      [], [], c=theme.colour(number), marker=drawing.mark(number), label=kind
    )
  figure.legend(loc="outside lower center", ncols=min(len(kinds), 3))
  return figure


def codes(
  arrays: Mapping[str, np.ndarray],
  labels: Sequence[str],
  names: Mapping[str, Sequence[str]],
  titles: Mapping[str, str],
  theme: Theme,
) -> Figure | None:
  """Draw codes in two dimensions, coloured by label, one line for each row.

  Args:
    arrays: of `codes.npz`: "<row>/code" [n, ...], "<row>/labels/<label>" [n].
    labels: the labels to colour by, one column each.
    names: class names of labels, where known.
    titles: what to call a row, if not by its name.
    theme: colours.

  Returns:
    The figure, or None when there are no codes or labels.
  """
  rows = [name[: -len("/code")] for name in arrays if name.endswith("/code")]
  labels = [
    n for n in labels if any(f"{row}/labels/{n}" in arrays for row in rows)
  ]
  if not rows or not labels:
    return None
  figure, axes = drawing.panels(len(rows), len(labels), 0.3 + 2.8 * len(rows))
  for line, row in zip(axes, rows, strict=True):
    plane, share = project(arrays[f"{row}/code"])
    keep = np.random.default_rng(0).permutation(len(plane))[:_MOST_POINTS]
    for panel, label in zip(line, labels, strict=True):
      values = np.asarray(arrays[f"{row}/labels/{label}"])
      _scatter(panel, plane[keep], values[keep], names.get(label, ()), theme)
      panel.set_title(drawing.heading(f"{titles.get(row, row)}: {label}", 36))
      panel.set(xticks=[], yticks=[])
      panel.spines[:].set(visible=True, color=theme.faint)
      panel.set_xlabel(f"{share:.0%} of the variance shown", fontsize=7.5)
  return figure


def project(code: np.ndarray) -> tuple[np.ndarray, float]:
  """Project codes [n, ...] on their two main directions.

  Returns:
    The plane [n, 2] and the share of the variance in it.
  """
  flat = np.asarray(code, np.float64).reshape(len(code), -1)
  flat = flat - flat.mean(0)
  if flat.shape[1] < 2:
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
  # Of wide codes the inner products are few, of many codes the covariances.
  wide = flat.shape[1] > len(flat)
  values, vectors = np.linalg.eigh(flat @ flat.T if wide else flat.T @ flat)
  values, vectors = np.maximum(values[:-3:-1], 0), vectors[:, :-3:-1]
  total = np.square(flat).sum()
  share = min(values.sum() / total, 1.0) if total > 0 else 1.0
  plane = vectors * np.sqrt(values) if wide else flat @ vectors
  if plane.shape[1] < 2:
    plane = np.pad(plane, ((0, 0), (0, 1)))
  return plane, float(share)


def _scatter(panel, plane, values, names, theme: Theme) -> None:
  classes, counts = np.unique(values[values >= 0], return_counts=True)
  shown = np.sort(classes[np.argsort(-counts, kind="stable")][:_MOST_CLASSES])
  rest = ~np.isin(values, shown)
  if rest.any():
    panel.scatter(
      *plane[rest].T,
      s=5,
      color=theme.ink,
      alpha=0.25,
      lw=0,
      label=f"{len(classes) - len(shown)} others"
      if len(classes) > len(shown)
      else "not known",
    )
  for number, value in enumerate(shown):
    name = names[value] if value < len(names) else str(value)
    panel.scatter(
      *plane[values == value].T,
      s=11,
      marker=drawing.mark(number),
      color=theme.colour(number),
      alpha=0.75,
      lw=0,
      label=name,
    )
  panel.legend(
    loc="center left",
    bbox_to_anchor=(1, 0.5),
    fontsize=7,
    handletextpad=0.1,
    borderaxespad=0.2,
    markerscale=1.4,
  )


def _runs(metrics, kind: str, name: str):
  """Yield steps and values of each run of a kind."""
  runs: dict[str, list[tuple[float, float]]] = {}
  for line in metrics:
    if _kind(line) == kind and line.get(name) is not None:
      runs.setdefault(line["run"], []).append((line["step"], line[name]))
  for points in runs.values():
    x, y = np.array(sorted(points), float).T
    yield x, y


def _smooth(values: np.ndarray) -> np.ndarray:
  """Take a running mean over a twentieth of the steps."""
  half = max(1, len(values) // 40)
  total = np.concatenate([[0.0], np.cumsum(values)])
  place = np.arange(len(values))
  start = np.maximum(place - half, 0)
  stop = np.minimum(place + half + 1, len(values))
  return (total[stop] - total[start]) / (stop - start)


def _kind(line: Mapping) -> str:
  return str(line["run"]).rsplit("/", 1)[-1]


def _plain(name: str) -> str:
  return name.removeprefix("validation/").replace("/", " ").replace("_", " ")
