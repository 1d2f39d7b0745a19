"""The paper's layer study: one network, compared by where it is cut.

Pictures and tables of studies that differ in their cut: utility and leakage of
each embedding, accuracy-privacy curves, and what the device pays.
"""

from __future__ import annotations

import functools
import operator
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hybridpriv.audit import card, drawing, embeddings, figures, page, words
from hybridpriv.audit.drawing import Theme
from hybridpriv.audit.results import Measurement, Results, Row


class Bars(NamedTuple):
  """One panel of bars: what was measured, by group and by series."""

  title: str
  measured: Mapping[tuple[str, str], Measurement]


class _Across(NamedTuple):
  """What stands on the horizontal axis: of a row, its name, its levels'."""

  pick: Callable[[Row], Measurement | None]
  label: str
  names: tuple[str, str]


def section(
  studies: Sequence[Results], folder: pathlib.Path
) -> page.Section | None:
  """Compare cuts; None unless the studies differ in their cut alone.

  Args:
    studies: in the order of the network, where they don't tell their cost.
    folder: of the report; pictures go into its `figures`.
  """
  if not by_cut(studies):
    return None
  studies = in_order(studies)
  desired = studies[0].study["roles"]["desired"][0]
  pictures = [
    (
      bars,
      "layers_bars",
      "Utility and worst leakage by cut and embedding",
      f"First utility ({desired}; higher is better), then what the strongest "
      "adversary reaches (the worst on the attacker's validation; lower is "
      "better). Noisy embeddings stand at the operating point chosen on "
      "validation. Upright lines are 95 % intervals, over people alone "
      "where the transfer adversary is the worst; dotted: chance; dashed: "
      "the floor, what an attacker reaches that sees only what the service "
      "must learn.",
    ),
    (
      transfer,
      "layers_transfer",
      "What the transfer-learning adversary reaches by cut and embedding",
      "The paper's adversary alone: a recognition network trained behind the "
      "published client half, on stored codes or with fresh noise at every "
      "step (without noise the two are one, and the second is left out). Lower "
      "is better; it need not be the strongest.",
    ),
    (
      curves,
      "layers_curves",
      "Utility against privacy for each cut",
      "One panel for each training, one line for each cut along its noise "
      "grid. Rank privacy is the mean rank of the true record over the number "
      "of records, to an attacker that knows every clean code: further up and "
      "to the **right** is better; dashed: the ceiling, where a code tells the "
      "desired label and nothing else. Of worst leakage, further up and to the "
      "**left** is better; dashed: the floor. A band: settings differ in it. "
      "The scale is logarithmic where leakage spans much. Bars are 95 % "
      "intervals.",
    ),
  ]
  blocks = []
  for draw, name, alt, caption in pictures:
    if drawing.save(functools.partial(draw, studies), folder / "figures", name):
      blocks.append(page.Picture(name, alt, caption))
  blocks += [_table(studies), *_costs(studies, folder / "figures")]
  return page.Section("cuts", "By cut", tuple(blocks))


def by_cut(studies: Sequence[Results]) -> bool:
  """Return whether network, data and question agree and all cuts differ."""
  same = [
    (s.study["network"], s.study["data"], s.study["roles"]["desired"])
    for s in studies
  ]
  cuts = set(map(_cut, studies))
  return len(cuts) == len(studies) > 1 and all(s == same[0] for s in same)


def in_order(studies: Sequence[Results]) -> list[Results]:
  """Sort by the work of the client half, if all studies tell it."""
  if any("cost" not in s.study for s in studies):
    return list(studies)
  return sorted(studies, key=lambda s: s.study["cost"]["client"]["macs"])


def bars(studies: Sequence[Results], theme: Theme) -> Figure | None:
  """Draw utility and worst leakage by cut and embedding, a panel each.

  Args:
    studies: one for each cut.
    theme: colours.

  Returns:
    The figure, or None where nothing was measured.
  """
  desired = studies[0].study["roles"]["desired"]
  pick = functools.partial(embeddings.utility, desired=desired[:1])
  panels = [Bars(f"utility: {desired[0]}", _measured(studies, pick))]
  for target in _targets(studies):
    pick = operator.methodcaller("leakage_of", target)
    panels.append(Bars(f"worst leakage: {target}", _measured(studies, pick)))
  return _grouped(studies, panels, theme)


def transfer(studies: Sequence[Results], theme: Theme) -> Figure | None:
  """Draw what attacks named "transfer.*" reach, a panel for each and target.

  Args:
    studies: one for each cut.
    theme: colours.

  Returns:
    The figure, or None where no such attack was run.
  """
  kinds = dict.fromkeys(
    (m.attack, m.target)
    for s in studies
    for row in embeddings.main_rows(s)
    for m in row.leakage
    if m.attack.startswith("transfer.")
  )
  panels = [
    Bars(
      f"{attack}: {target}",
      _measured(
        studies,
        functools.partial(embeddings.reached, attack=attack, target=target),
      ),
    )
    for attack, target in kinds
  ]
  return _grouped(studies, panels, theme)


def curves(studies: Sequence[Results], theme: Theme) -> Figure | None:
  """Draw utility against rank privacy, then against worst leakage.

  Args:
    studies: one for each cut.
    theme: colours.

  Returns:
    The figure, one column for each training, or None where neither rank nor a
    private target was measured.
  """
  private = studies[0].study["roles"]["private"]
  lines = [
    _Across(embeddings.rank_privacy, "rank privacy", ("guessing", "ceiling"))
  ]
  lines += [
    _Across(
      operator.methodcaller("leakage_of", target),
      f"worst leakage of {target}",
      ("chance", "floor"),
    )
    for target in _targets(studies)
    if target.split(" (")[0] in private
  ]
  rows = [row for s in studies for row in s.rows]
  lines = [line for line in lines if any(map(line.pick, rows))]
  if not lines:
    return None
  cuts = [_cut(s) for s in studies]
  trainings: dict[str, list[tuple[int, figures.Curve]]] = {}
  for number, s in enumerate(studies):
    for curve in card.study_curves(s):
      trainings.setdefault(curve.label, []).append((number, curve))
  figure, axes = drawing.panels(
    len(lines), len(trainings), 0.5 + 2.9 * len(lines), sharey=True
  )
  desired = studies[0].study["roles"]["desired"][0]
  for panels, line in zip(axes, lines, strict=True):
    for panel, name in zip(panels, trainings, strict=True):
      for number, curve in trainings[name]:
        figures.draw_curve(panel, curve, number, line.pick, theme)
      drawn = [row for _, curve in trainings[name] for row in curve.rows]
      figures.levels(panel, [line.pick(r) for r in drawn], theme, line.names)
      panel.set_title(name)
      panel.set_xlabel(f"{line.label}, %")
      panel.grid(alpha=0.6)
      panel.set_axisbelow(True)
      drawing.percent(panel.xaxis)
      drawing.percent(panel.yaxis)
    _align(panels, [m for r in rows if (m := line.pick(r))], line)
    panels[0].set_ylabel(f"utility ({desired}), %")
  # Names of levels stand at the top, where no curve should be.
  low, high = axes[0][0].get_ylim()
  axes[0][0].set_ylim(low, high + 0.26 * (high - low))
  drawing.up_to_all(axes[0][0])
  legend = [figures.Curve(cut, (), None, ()) for cut in cuts]
  figures.explain(axes[0][0], legend, theme)
  figure.legend(loc="outside lower center", ncols=5)
  return figure


def _align(panels, measured: Sequence[Measurement], line: _Across) -> None:
  """Give panels one scale, logarithmic where leakage spans much."""
  limits = [panel.get_xlim() for panel in panels]
  low, high = min(x for x, _ in limits), max(x for _, x in limits)
  least = min(min(m.value, m.chance) for m in measured)
  most = max(m.high for m in measured)
  spread = "floor" in line.names and 0 < 10 * least < most
  for panel in panels:
    panel.set_xlim(*((0.8 * least, 1.2 * most) if spread else (low, high)))
    if spread:
      drawing.logarithmic(panel)


def _cut(results: Results) -> str:
  return results.study["cut"]


def _targets(studies: Sequence[Results]) -> list[str]:
  """Return what is attacked in every study."""
  return [
    target
    for target in studies[0].targets
    if all(target in s.targets for s in studies)
  ]


def _measured(
  studies: Sequence[Results], pick: Callable[[Row], Measurement | None]
) -> dict[tuple[str, str], Measurement]:
  """Return what is measured, by cut and embedding."""
  return {
    (_cut(s), embeddings.title(row, noise=False)): found
    for s in studies
    for row in embeddings.main_rows(s)
    if (found := pick(row))
  }


def _grouped(
  studies: Sequence[Results], panels: Sequence[Bars], theme: Theme
) -> Figure | None:
  """Draw panels of bars, one below the other: cuts, and embeddings in each."""
  panels = [panel for panel in panels if panel.measured]
  if not panels:
    return None
  rows = {
    embeddings.title(row, noise=False): row
    for s in studies
    for row in embeddings.main_rows(s)
  }
  trainings = list(dict.fromkeys(row.training for row in rows.values()))
  groups = [_cut(s) for s in studies]
  places, width = drawing.places(groups, list(rows))
  looks = {
    name: _look(
      row, trainings.index(row.training) if row.embedding else i, theme
    )
    for i, (name, row) in enumerate(rows.items())
  }
  figure, axes = drawing.panels(
    len(panels), 1, 0.75 + 1.75 * len(panels), sharex=True
  )
  for (panel,), drawn in zip(axes, panels, strict=True):
    tops = []
    for key, m in drawn.measured.items():
      place = places[key]
      panel.bar(place, m.value, width, **looks[key[1]])
      drawing.interval(panel, place, m.low, m.high, theme)
      tops.append(m.high)
      # Utility has no floor, whatever older files say.
      if m.attack and m.floor is not None:
        ends = place - 0.58 * width, place + 0.58 * width
        drawing.across(panel, m.floor, *ends, theme)
        tops[-1] = max(m.high, m.floor)
      text = words.share(m.value)
      drawing.number(panel, place, tops[-1], text, len(places), theme)
    for chance in {m.chance for m in drawn.measured.values()}:
      panel.axhline(chance, color=theme.ink, lw=0.9, ls=":", zorder=3)
    drawing.groups(panel, groups, max(tops))
    panel.set_title(drawn.title)
    panel.set_ylabel("%")
    panel.tick_params(labelbottom=True)
    drawing.percent(panel.yaxis)
    drawing.up_to_all(panel)
  figure.align_ylabels()
  handles = [Patch(label=name, **look) for name, look in looks.items()]
  for label, style in (("chance", ":"), ("floor", "--")):
    handles += panel.plot([], [], color=theme.ink, lw=1, ls=style, label=label)
  figure.legend(handles=handles, loc="outside lower center", ncols=3)
  return figure


def _look(row: Row, number: int, theme: Theme) -> dict:
  """Return colour by number, fill by embedding: hollow, solid, hatched."""
  colour = theme.colour(number)
  solid = row.embedding not in ("identity", "noise")
  return {
    "facecolor": colour if solid else theme.ground,
    "edgecolor": colour,
    "hatch": "/////" if row.embedding == "noise" else None,
    "linewidth": 1.2,
  }


def _table(studies: Sequence[Results]) -> page.Table:
  desired, targets = studies[0].study["roles"]["desired"], _targets(studies)
  cells = [
    (
      _cut(s),
      embeddings.title(row),
      words.measured(embeddings.utility(row, desired[:1])),
      *(words.measured(row.leakage_of(target)) for target in targets),
      words.measured(embeddings.rank_privacy(row)),
      f"{row.num_bytes:,}",
    )
    for s in studies
    for row in embeddings.main_rows(s)
  ]
  return page.Table(
    ("cut", "embedding", f"utility: {desired[0]}")
    + tuple(f"leakage: {target}" for target in targets)
    + ("rank privacy", "bytes"),
    tuple(cells),
    "Utility, worst leakage and rank privacy by cut, in percent, with 95 % "
    "intervals; of rank privacy higher is more private.",
    words=(1,),
  )


def _costs(
  studies: Sequence[Results], folder: pathlib.Path
) -> list[page.Block]:
  lacking = [_cut(s) for s in studies if "cost" not in s.study]
  if lacking:
    return [
      page.Text(
        "What the device pays is left out: the results of "
        f"{words.listing(lacking)} do not tell it (`study.cost`)."
      )
    ]
  costs = {_cut(s): s.study["cost"] for s in studies}
  drawing.save(functools.partial(figures.cost, costs), folder, "layers_cost")
  lines = [(cut, cost["client"]) for cut, cost in costs.items()]
  lines += [
    (f"whole network, beside {cut}", cost["whole"])
    for cut, cost in costs.items()
  ]
  machines = dict.fromkeys(_machine(s.study) for s in studies)
  return [
    page.Picture(
      "layers_cost",
      "Cost of the client half by cut, relative to the whole network",
      "What the client half of each cut costs, over what the whole network "
      "costs; dotted: the same. Bytes that leave the device, before any "
      "reduction, are compared with those of the whole network's answer.",
    ),
    page.Table(
      ("client half up to", "parameters", "MACs", "time, ms")
      + ("memory, bytes", "bytes that leave"),
      tuple(
        (
          name,
          *(
            f"{part[k]:,.2f}" if k == "time_ms" else f"{part[k]:,}"
            for k in figures.COSTS
          ),
        )
        for name, part in lines
      ),
      "Cost for one sample; time and memory measured on "
      f"{words.listing(machines)}.",
    ),
  ]


def _machine(study: Mapping[str, Any]) -> str:
  """Name the machine of the cost: its own, or else that of the study."""
  given = words.flat(study["cost"].get("machine", study["machine"]))
  return ", ".join(f"{k} {v}".strip() for k, v in given.items())
