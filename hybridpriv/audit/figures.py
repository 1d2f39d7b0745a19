"""Pictures of an audit: the trade-off, leakage by attack, and what it costs."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hybridpriv.audit import drawing, embeddings
from hybridpriv.audit.drawing import Theme
from hybridpriv.audit.results import Measurement, Row

COSTS = {
  "params": "parameters",
  "macs": "MACs",
  "time_ms": "time",
  "memory_bytes": "memory",
  "num_bytes": "bytes that leave",
}


@dataclasses.dataclass(frozen=True)
class Curve:
  """One method along its noise grid.

  Attributes:
    label: for the legend.
    rows: the settings, in the order of the noise.
    undefended: the feature as it is, drawn apart.
    desired: the labels whose utility is drawn.
  """

  label: str
  rows: tuple[Row, ...]
  undefended: Row | None
  desired: tuple[str, ...]


def trade_off(
  curves: Sequence[Curve], targets: Sequence[str], theme: Theme
) -> Figure:
  """Draw utility against leakage, one panel for each target.

  Args:
    curves: the methods.
    targets: what is attacked.
    theme: colours.
  """
  columns = 2 if len(targets) in (2, 4) else min(len(targets), 3)
  lines = -(-len(targets) // columns)
  figure, axes = drawing.panels(lines, columns, 0.55 + 2.9 * lines, sharey=True)
  flat = [panel for line in axes for panel in line]
  for panel, target in zip(flat, targets, strict=False):
    across = operator.methodcaller("leakage_of", target)
    for number, curve in enumerate(curves):
      draw_curve(panel, curve, number, across, theme)
    rows = [row for curve in curves for row in curve.rows]
    levels(panel, [row.leakage_of(target) for row in rows], theme)
    panel.set_title(drawing.heading(target))
    panel.set_xlabel("leakage, %")
    panel.grid(alpha=0.6)
    panel.set_axisbelow(True)
    drawing.percent(panel.xaxis)
    drawing.percent(panel.yaxis)
  for panel in flat[len(targets) :]:
    panel.remove()
  for line in axes:
    line[0].set_ylabel(f"utility ({', '.join(curves[0].desired)}), %")
  explain(flat[0], curves, theme)
  figure.legend(loc="outside lower center", ncols=4)
  return figure


def explain(panel: Axes, curves: Sequence[Curve], theme: Theme) -> None:
  """Put what colours and marks mean into the legend."""
  for number, curve in enumerate(curves):
    panel.plot(
      [],
      [],
      marker=drawing.mark(number),
      color=theme.colour(number),
      label=curve.label,
    )
  for mark, size, what in (
    ("o", 11, "operating point"),
    ("s", 6.5, "hollow: whole feature"),
  ):
    panel.plot(
      [],
      [],
      marker=mark,
      ms=size,
      mfc="none",
      mec=theme.ink,
      mew=1.3,
      ls="none",
      label=what,
    )


def draw_curve(
  panel: Axes,
  curve: Curve,
  number: int,
  across: Callable[[Row], Measurement | None],
  theme: Theme,
) -> None:
  """Draw utility of one method against what `across` takes from its rows.

  Args:
    panel: where to draw.
    curve: the method; rows without either number are left out.
    number: which colour and mark.
    across: returns a row's measurement on the horizontal axis.
    theme: colours.
  """
  colour, mark = theme.colour(number), drawing.mark(number)
  points = [
    (row, leak, useful)
    for row in curve.rows
    if (leak := across(row))
    and (useful := embeddings.utility(row, curve.desired))
  ]
  if points:
    _, leaks, useful = zip(*points, strict=True)
    x, y = [m.value for m in leaks], [m.value for m in useful]
    panel.errorbar(
      x,
      y,
      xerr=_errors(leaks),
      yerr=_errors(useful),
      fmt="none",
      ecolor=colour,
      elinewidth=0.8,
      alpha=0.45,
    )
    panel.plot(
      x,
      y,
      marker=mark,
      color=colour,
      ms=4.5,
      mec=theme.ground,
      mew=0.6,
      zorder=3,
    )
  for row, leak, useful in points:
    if row.selected and embeddings.noise_knob(row):
      panel.plot(
        leak.value,
        useful.value,
        marker="o",
        ms=11,
        mfc="none",
        mec=colour,
        mew=1.3,
        ls="none",
        zorder=4,
      )
  if curve.undefended is not None:
    leak = across(curve.undefended)
    useful = embeddings.utility(curve.undefended, curve.desired)
    if leak and useful:
      panel.errorbar(
        leak.value,
        useful.value,
        xerr=_errors([leak]),
        yerr=_errors([useful]),
        fmt=mark,
        ms=6.5,
        mfc=theme.ground,
        mec=colour,
        mew=1.4,
        ecolor=colour,
        elinewidth=0.8,
        zorder=3,
      )


def attacks(
  rows: Sequence[Row], targets: Sequence[str], theme: Theme
) -> Figure:
  """Draw the leakage of each embedding under each attack, as dots.

  The attack that is worst on the attacker's validation is filled and has its
  interval; the others are hollow.

  Args:
    rows: the embeddings, from top to bottom.
    targets: what is attacked, one panel each.
    theme: colours.
  """
  names = list(
    dict.fromkeys(
      m.attack for row in rows for t in targets for m in row.attacks_on(t)
    )
  )
  columns = min(len(targets), 3)
  lines = -(-len(targets) // columns)
  figure, axes = drawing.panels(
    lines, columns, 0.8 + lines * (0.75 + 0.32 * len(rows)), sharey=True
  )
  flat = [panel for line in axes for panel in line]
  for panel, target in zip(flat, targets, strict=False):
    for place, row in enumerate(rows):
      _draw_attacks(panel, row, place, target, names, theme)
    levels(panel, [row.leakage_of(target) for row in rows], theme)
    panel.set_title(drawing.heading(target))
    panel.set_xlabel("leakage, %")
    panel.set_yticks(range(len(rows)), [_short(row) for row in rows])
    panel.set_ylim(len(rows) - 0.5, -1.1)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", alpha=0.8)
    panel.set_axisbelow(True)
    drawing.percent(panel.xaxis)
  for panel in flat[len(targets) :]:
    panel.remove()
  for number, name in enumerate(names):
    flat[0].plot(
      [],
      [],
      marker=drawing.mark(number),
      color=theme.colour(number),
      ls="none",
      label=name,
    )
  figure.legend(loc="outside lower center", ncols=min(len(names), 4))
  return figure


def cost(costs: Mapping[str, Mapping[str, Any]], theme: Theme) -> Figure:
  """Draw what client halves cost, relative to the whole network.

  Bytes that leave the client half can be many times those of the answer, so
  they have a scale of their own.

  Args:
    costs: `study.cost` of results by the name of the cut.
    theme: colours.
  """
  *shares, sent = COSTS
  figure, (axes,) = drawing.panels(1, 2, 2.7, width_ratios=(len(shares), 1.35))
  for panel, kinds, form in (
    (axes[0], shares, lambda v: f"{100 * v:.{1 if v < 0.1 else 0}f}"),
    (axes[1], [sent], lambda v: f"{v:,.0f}" if v >= 10 else f"{v:.2g}"),
  ):
    groups = [COSTS[kind] for kind in kinds]
    places, width = drawing.places(groups, list(costs))
    tops = [1.0]
    for number, (cut, own) in enumerate(costs.items()):
      for kind in kinds:
        ratio = own["client"][kind] / own["whole"][kind]
        place, bars = places[COSTS[kind], cut], len(costs) * len(COSTS)
        panel.bar(place, ratio, width, color=theme.colour(number))
        drawing.number(panel, place, ratio, form(ratio), bars, theme)
        tops.append(ratio)
    drawing.groups(panel, groups, max(tops))
  axes[0].axhline(1.0, color=theme.ink, lw=0.8, ls=":", zorder=1)
  drawing.percent(axes[0].yaxis)
  axes[0].set_ylabel("of the whole network, %")
  axes[1].set_ylabel("times the answer")
  handles = [
    Patch(color=theme.colour(i), label=cut) for i, cut in enumerate(costs)
  ]
  figure.legend(handles=handles, loc="outside lower center", ncols=7)
  return figure


def _draw_attacks(
  panel: Axes, row: Row, place: int, target: str, names: list, theme: Theme
) -> None:
  worst = row.leakage_of(target)
  for m in row.attacks_on(target):
    number = names.index(m.attack)
    colour = theme.colour(number)
    first = m is worst
    if first:
      panel.hlines(place, m.low, m.high, color=colour, lw=2.2, alpha=0.55)
    panel.plot(
      m.value,
      place,
      marker=drawing.mark(number),
      ms=7 if first else 5,
      mfc=colour if first else theme.ground,
      mec=colour,
      mew=1.1,
      ls="none",
      zorder=4 if first else 3,
    )


def _short(row: Row) -> str:
  knob = embeddings.noise_knob(row)
  name = embeddings.title(row, noise=False)
  return f"{name}\n{knob[0]} {knob[1]:g}" if knob else name


def levels(
  panel: Axes,
  measured: Sequence[Measurement | None],
  theme: Theme,
  names: tuple[str, str] = ("chance", "floor"),
) -> None:
  """Draw chance and floor; a floor that differs by row as a band."""
  found = [m for m in measured if m is not None]
  if not found:
    return
  chance = found[0].chance
  floors = [m.floor for m in found if m.floor is not None]
  drawing.level(panel, chance, names[0], ":", theme, left=True)
  if floors:
    low, high = min(floors), max(floors)
    if high - low > 0.005:
      panel.axvspan(low, high, color=theme.ink, alpha=0.1, lw=0)
    drawing.level(panel, high, names[1], "--", theme, left=high < chance)
  left = min([chance, *floors, *(m.low for m in found)])
  right = max([chance, *floors, *(m.high for m in found)])
  have = panel.dataLim
  left, right = min(left, have.x0), max(right, have.x1)
  margin = 0.05 * max(right - left, 0.1)
  panel.set_xlim(left - 2 * margin, right + margin)


def _errors(measured: Sequence[Measurement]) -> list[list[float]]:
  return [
    [max(m.value - m.low, 0.0) for m in measured],
    [max(m.high - m.value, 0.0) for m in measured],
  ]
