"""Utility against what single measures of privacy say, over several studies.

Papers judge by one attack or one measure, such as the error of a nearest
neighbour or log-rank privacy (Osia et al., arXiv 1802.03151).  Here these have
curves of their own, beside those of the worst attack.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from hybridpriv.audit import card, drawing, embeddings, figures, page, words
from hybridpriv.audit.drawing import Theme
from hybridpriv.audit.results import Measurement, Row
from hybridpriv.audit.studies import Study

# What is drawn of studies that all have it, if nobody asks for something else.
USUAL = ("neighbour.first:accuracy", "density.density:log_rank")

# What is left of privacy, one minus what the attacker has, by metric.
_NAMES = {
  "balanced_accuracy": "balanced error",
  "accuracy": "error",
  "rank": "rank privacy",
  "log_rank": "log-rank privacy",
}


class Measure(NamedTuple):
  """What stands on a horizontal axis: one attack on one target, one metric."""

  attack: str
  metric: str
  target: str

  @property
  def name(self) -> str:
    """What is left of privacy, in words."""
    return f"{_NAMES[self.metric]} of {self.attack}"

  def of(self, row: Row) -> Measurement | None:
    """Return what a row leaves; higher is more private."""
    return embeddings.privacy(
      row, attack=self.attack, metric=self.metric, target=self.target
    )


def section(
  studies: Sequence[Study], folder: pathlib.Path, wanted: Sequence[str] = ()
) -> page.Section | None:
  """Draw utility against measures that all studies have; None if there is none.

  Args:
    studies: the studies; their curves are named by desired labels and cut where
      these tell them apart.
    folder: of the report; the picture goes into its `figures`.
    wanted: attacks as "family.name", or "family.name:metric" for another metric
      than balanced accuracy; () for those of `USUAL` that all studies have.

  Raises:
    ValueError: if one that is wanted is not in all studies, or its metric is
      none of a share.
  """
  found = [find(studies, text) for text in wanted or USUAL]
  for text, measures in zip(wanted, found, strict=False):
    if not measures:
      raise ValueError(
        f"not all studies have {text!r}; all have {_all(studies)}, each also"
        f" with a metric behind it: {', '.join(f':{m}' for m in _NAMES)}"
      )
  columns = [measure for measures in found for measure in measures]
  if not columns:
    return None
  curves = _curves(studies)
  if not drawing.save(
    functools.partial(figure, curves, columns), folder / "figures", "measures"
  ):
    return None
  return page.Section(
    "measures",
    "Utility against single measures",
    (
      page.Picture(
        "measures",
        "Utility against "
        + words.listing(dict.fromkeys(m.name for m in columns)),
        "Further up and to the **right** is better. A column for each measure, "
        "a line of panels for each desired label. Each curve is one training "
        "of one study along its noise grid; hollow marks are codes without "
        "noise, rings the operating points. No such attack is the strongest "
        "everywhere: what the worst one reaches is drawn below. Bars are 95 % "
        "intervals; dotted: guessing; dashed, or a band where settings differ: "
        "the ceiling, what an attacker leaves that sees only what the service "
        "must learn.",
      ),
      _table(curves, columns),
    ),
  )


def find(studies: Sequence[Study], text: str) -> list[Measure]:
  """Find an attack in all studies, once for each target that all have.

  Args:
    studies: where to look.
    text: "family.name" or "family.name:metric".

  Raises:
    ValueError: if there is no such metric, or it is not that of a share.
  """
  attack, _, metric = text.partition(":")
  metric = metric or "balanced_accuracy"
  if metric not in _NAMES:
    raise ValueError(
      f"{text!r} asks for the metric {metric!r}; expected one of"
      f" {', '.join(_NAMES)}"
    )
  targets = dict.fromkeys(
    m.target
    for study in studies
    for row in study.results.rows
    for m in row.leakage
    if m.attack == attack
  )
  measures = [Measure(attack, metric, target) for target in targets]
  return [
    measure
    for measure in measures
    if all(any(map(measure.of, s.results.rows)) for s in studies)
  ]


def figure(
  curves: Sequence[figures.Curve], columns: Sequence[Measure], theme: Theme
) -> Figure:
  """Draw utility against privacy: desired labels down, measures across.

  Args:
    curves: the methods, each drawn for the desired labels that it has.
    columns: the measures.
    theme: colours.
  """
  desired = list(dict.fromkeys(name for c in curves for name in c.desired))
  drawn, axes = drawing.panels(
    len(desired), len(columns), 0.75 + 2.9 * len(desired), sharey="row"
  )
  rows = [row for curve in curves for row in curve.rows]
  for line, label in zip(axes, desired, strict=True):
    for panel, measure in zip(line, columns, strict=True):
      for number, curve in enumerate(curves):
        if label in curve.desired:
          own = dataclasses.replace(curve, desired=(label,))
          figures.draw_curve(panel, own, number, measure.of, theme)
      left = [measure.of(row) for row in rows]
      figures.levels(panel, left, theme, ("guessing", "ceiling"))
      panel.set_title(drawing.heading(f"{measure.target}, {label} kept", 36))
      panel.set_xlabel(f"{measure.name}, %")
      panel.grid(alpha=0.6)
      panel.set_axisbelow(True)
      drawing.percent(panel.xaxis)
      drawing.percent(panel.yaxis)
    line[0].set_ylabel(f"utility ({label}), %")
  for column in zip(*axes, strict=True):
    limits = [panel.get_xlim() for panel in column]
    for panel in column:
      panel.set_xlim(min(x for x, _ in limits), max(x for _, x in limits))
  figures.explain(axes[0][0], curves, theme)
  drawn.legend(loc="outside lower center", ncols=3)
  return drawn


def _curves(studies: Sequence[Study]) -> list[figures.Curve]:
  """Return the curves of all studies under names that tell them apart."""
  parts: list[Callable[[Study], str]] = [_question, _cut]
  told = [part for part in parts if len(set(map(part, studies))) > 1]
  names = [", ".join(part(s) for part in told) for s in studies]
  if len(set(names)) < len(studies):
    names = [s.name for s in studies]
  return [
    dataclasses.replace(
      curve,
      label=f"{curve.label}, {name}",
      desired=tuple(study.results.study["roles"]["desired"]),
    )
    for study, name in zip(studies, names, strict=True)
    for curve in card.study_curves(study.results)
  ]


def _question(study: Study) -> str:
  return f"for {words.listing(study.results.study['roles']['desired'])}"


def _cut(study: Study) -> str:
  own = study.results.study
  # A bottleneck is cut within itself, and says what it stands behind.
  network = own.get("config", {}).get("network", {})
  return f"behind {network.get('after', own['cut'])}"


def _all(studies: Sequence[Study]) -> str:
  """List the attacks that all studies have, with one code."""
  names = [
    {m.attack for r in s.results.rows for m in r.leakage if m.num_queries == 1}
    for s in studies
  ]
  return ", ".join(sorted(set.intersection(*names))) or "none"


def _table(
  curves: Sequence[figures.Curve], columns: Sequence[Measure]
) -> page.Table:
  desired = list(dict.fromkeys(name for c in curves for name in c.desired))
  cells = []
  for curve in curves:
    bare = [curve.undefended] if curve.undefended is not None else []
    for row in [*bare, *curve.rows]:
      knob = embeddings.noise_knob(row)
      bare_name = "none" if row.embedding == "identity" else row.embedding
      cells.append(
        (
          curve.label,
          f"{knob[0]} {knob[1]:g}" if knob else bare_name,
          *(words.measured(row.utility_of(name)) for name in desired),
          *(cell for measure in columns for cell in _left(measure.of(row))),
        )
      )
  return page.Table(
    ("method", "noise")
    + tuple(f"utility: {name}" for name in desired)
    + tuple(
      name
      for measure in columns
      for name in (f"{measure.target}: {measure.name}", "ceiling")
    ),
    tuple(cells),
    "Balanced utility, and what is left of privacy by each measure (higher is "
    "more private), in percent, with 95 % intervals.",
    words=(1,),
  )


def _left(m: Measurement | None) -> tuple[str, str]:
  """Print what is left of privacy, and what no defence could exceed."""
  return words.measured(m), words.share(m.floor if m else None)
