"""Lay out what a device pays by cut: tables in Markdown, and a figure.

  python launch/bench.py device --json=device.json
  python launch/costs.py device.json --out=costs

The file is one of the bench `device`. A cell holds what the client half costs
and, in brackets, how much that is of the whole network's; of bytes that are
sent, of the input's.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import device_costs
import program
from absl import flags
from device_costs import Cost

OUT = flags.DEFINE_string("out", "costs", "folder for tables and figure")

# Units that numbers of theirs read well in: factor and name.
_SCALES = {"s": (1e3, "ms"), "MB": (1.0, "MB"), "MiB": (1.0, "MiB")}
_TICKS = (0.01, 0.1, 0.3, 1.0)  # shares of the whole


def tables(costs: Sequence[Cost]) -> str:
  """Lay costs out as Markdown, a table for each kind."""
  blocks = []
  plain = [c for c in costs if not c.form]
  blocks.append(_table("", plain, lambda c: c.kind))
  for kind in dict.fromkeys(c.kind for c in costs if c.form):
    own = [c for c in costs if c.form and c.kind == kind]
    blocks.append(_table(kind, own, lambda c: c.form))
  return "\n\n".join(blocks) + "\n"


def _table(kind: str, costs: Sequence[Cost], column: Any) -> str:
  names = list(dict.fromkeys(map(column, costs)))
  lines = [
    f"| {kind or 'client half up to'} | {' | '.join(names)} |",
    f"| --- | {' | '.join('---:' for _ in names)} |",
  ]
  for place in dict.fromkeys((c.network, c.cut) for c in costs):
    own = {column(c): _cell(c) for c in costs if (c.network, c.cut) == place}
    cells = [own.get(name, "") for name in names]
    lines.append(f"| {place[0]}, {place[1]} | {' | '.join(cells)} |")
  return "\n".join(lines)


def _cell(cost: Cost) -> str:
  scale, unit = _SCALES.get(cost.unit, (1.0, cost.unit))
  value = cost.ours * scale
  number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
  return f"{number} {unit}".strip() + f" ({_share(cost.share)})"


def _share(share: float) -> str:
  return f"{share:.2f}" if share >= 0.095 else f"{share:.2g}"


def figure(costs: Sequence[Cost], theme: Any) -> Any:
  """Draw how much of the whole network's costs a client half has."""
  from matplotlib import ticker
  from matplotlib.lines import Line2D

  from hybridpriv.audit import drawing

  shown = {
    "file": "file",
    "loading": "loading",
    "memory": "memory",
    "a sample, one thread": "time, one thread",
  }
  places = list(dict.fromkeys((c.network, c.cut) for c in costs if c.form))
  forms = list(dict.fromkeys(c.form for c in costs if c.form))
  made, (axes,) = drawing.panels(1, len(shown), 0.6 + 0.3 * len(places))
  for panel, (kind, title) in zip(axes, shown.items(), strict=True):
    for cost in costs:
      if cost.kind != kind:
        continue
      number = forms.index(cost.form)
      panel.plot(
        cost.share,
        places.index((cost.network, cost.cut)) + 0.13 * (number - 2),
        drawing.MARKS[number],
        color=theme.colour(number),
        ms=4,
      )
    panel.axvline(1.0, color=theme.ink, lw=0.8, ls=":", zorder=1)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(ticker.FixedLocator(_TICKS))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())
    panel.set_title(title)
    panel.set_ylim(len(places) - 0.5, -0.5)
    panel.set_yticks(range(len(places)), [])
    panel.grid(axis="x")
    panel.set_xlabel("of the whole")
  axes[0].set_yticks(
    range(len(places)), [f"{network},\n{cut}" for network, cut in places]
  )
  axes[0].tick_params(axis="y", labelsize=6.5)
  handles = [
    Line2D(
      [], [], ls="", marker=drawing.MARKS[i], color=theme.colour(i), label=f
    )
    for i, f in enumerate(forms)
  ]
  made.legend(handles=handles, loc="outside lower center", ncols=len(forms))
  return made


def main(given: list[str]) -> None:
  """Lay out one file."""
  if len(given) != 1:
    program.fail("name one file, as of launch/bench.py device --json=<file>")
  import functools

  from hybridpriv.audit import drawing

  costs = device_costs.read(pathlib.Path(given[0]))
  out = pathlib.Path(OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  drawing.save(functools.partial(figure, costs), out, "device_costs")
  path = out / "device_costs.md"
  path.write_text(tables(costs))
  print(path)


if __name__ == "__main__":
  program.start(main, takes="a file", study=False)
