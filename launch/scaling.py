"""Fit how time, memory and bytes grow, and predict: tables and a figure.

  python launch/bench.py scaling --json=scaling.json
  python launch/bench.py processes --json=processes.json
  python launch/scaling.py scaling.json processes.json serve.json --out=scaling

The last file is one of the bench `serve`. A fit is a + b x, or c x^p where that
is nearer to what was measured; it says by how much it is off at most.
"""

import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import program
from absl import flags

OUT = flags.DEFINE_string("out", "scaling", "folder for tables and figure")

_IMDB_WIKI = 523_051  # images, Rothe et al. 2018
_FEATURE = 4 * 4 * 4 * 256  # bytes of a feature behind block12, float32
_VALUES = 8  # of a code
_USERS, _DAY_S = 10**6, 86_400
_BATCH = 64  # images of a step on each device
_DEVICES = (2, 8)
_ACCELERATOR = 1e14  # FLOP/s that are reached, stated, not measured
_RANKED = 4096  # observed codes of the series
_SMALL = "VGG-16 of a quarter of the width"


class Fit(NamedTuple):
  """How something grows with x.

  Attributes:
    text: the formula.
    at: its value.
    off: largest relative deviation from what was measured.
  """

  text: str
  at: Any
  off: float


def fit(xs: Sequence[float], ys: Sequence[float]) -> Fit:
  """Fit a line and a power, by relative deviations; return the nearer.

  Args:
    xs: positive, three or more.
    ys: measured there, positive.
  """
  x, y = np.array(xs, float), np.array(ys, float)
  design = np.stack([1 / y, x / y], axis=1)
  (start, slope), *_ = np.linalg.lstsq(design, np.ones(len(x)), rcond=None)
  power, scale = np.polyfit(np.log(x), np.log(y), 1)
  fits = [
    (f"{np.exp(scale):.3g} x^{power:.2f}", lambda x: np.exp(scale) * x**power)
  ]
  if start >= 0 and slope >= 0:
    fits.append((f"{start:.3g} + {slope:.3g} x", lambda x: start + slope * x))
  found = [Fit(t, at, float(np.max(np.abs(at(x) / y - 1)))) for t, at in fits]
  return min(found, key=lambda one: one.off)


# (name, unit) -> what was measured, by x.
Series = dict[tuple[str, str], dict[float, float]]


def series(rows: Sequence[Mapping[str, Any]]) -> Series:
  """Collect the rows of the bench `scaling` by series."""
  found: Series = {}
  for row in rows:
    name, x = row["what"].rsplit(": ", 1)
    own = found.setdefault((name, row["unit"]), {})
    own[float(x.replace(",", ""))] = row["ours"]
  return found


def growth(measured: Series) -> str:
  """Lay out what was measured, and the fits."""
  lines = ["| | x, from, to | measured there | fit | off by, at most |"]
  lines.append("| --- | ---: | ---: | ---: | ---: |")
  for (name, unit), own in measured.items():
    if len(own) > 2:
      (low, first), *_, (high, last) = own.items()
      found = fit(list(own), list(own.values()))
      lines.append(
        f"| {name} | {low:,.0f}, {high:,.0f} | {first:.3g}, {last:.3g} {unit}"
        f" | {found.text} {unit} | {100 * found.off:.0f} % |"
      )
  return "\n".join(lines)


def predictions(measured: Series, serve: Sequence[Mapping[str, Any]]) -> str:
  """Say what the fits mean for a large data set and for many users."""

  def at(name: str, x: float) -> float:
    (own,) = [v for (n, _), v in measured.items() if n.startswith(name)]
    return float(fit(list(own), list(own.values())).at(x))

  num = _IMDB_WIKI
  (((batch, step),),) = [
    v.items() for (n, _), v in measured.items() if "a step of" in n
  ]
  frame = at("a frame", _VALUES)
  ranks = at("ranks of", num) * num / _RANKED
  full = at("ranks of", 1e6) * 1e6 / _RANKED
  pairs = {
    f"IMDB-WIKI, {num:,} images: features behind block12": (
      f"{num * _FEATURE / 1e9:.1f} GB"
    ),
    f"frames of {_VALUES} values": f"{num * frame / 1e6:.1f} MB",
    "one pass of training behind block12": f"{num / batch * step / 60:.1f} min",
    "rank measure, all among all": f"{ranks / 60:.1f} min",
    "memory of that": f"{at('memory', num):.0f} MiB",
    "rank measure, a million among a million": f"{full / 60:.0f} min",
    f"{_USERS:,} users, a code a day each: frames": (
      f"{_USERS * frame / 1e6:.0f} MB a day"
    ),
  }
  for row in serve:
    if row["what"].endswith(": a code") and "one at a time" in row["against"]:
      # A code a day each comes alone: nothing to make up a batch with.
      busy = row["reference"] * _USERS
      name = row["what"].split(",")[0]
      pairs[f"two cores busy with them, {name}"] = (
        f"{busy / 60:.0f} min a day ({100 * busy / _DAY_S:.1f} %)"
      )
  lines = [f"| {what} | {value} |" for what, value in pairs.items()]
  return "\n".join(["| what | prediction |", "| --- | ---: |", *lines])


def traffic(measured: Series, processes: Sequence[Mapping[str, Any]]) -> str:
  """Compare the bytes of gradients with the work of a step."""
  row = next(r for r in processes if r["what"].startswith(_SMALL))
  size = int(re.findall(r"batch (\d+)", row["what"])[0])
  work = {
    name.split(", operations")[0]: own[1.0]
    for (name, unit), own in measured.items()
    if unit == "FLOP"
  }
  (small,) = [v for k, v in work.items() if k.startswith(_SMALL)]
  rate = size * small / row["reference"]
  heads = [f"sent by each of {n}, MB" for n in _DEVICES]
  lines = [
    f"| network | gradients, MB | {' | '.join(heads)} | GFLOP of"
    f" {_BATCH} images | equal on two cores, {rate / 1e9:.0f} GFLOP/s"
    f" | equal at {_ACCELERATOR / 1e12:.0f} TFLOP/s |",
    "| --- " + "| ---: " * (4 + len(_DEVICES)) + "|",
  ]
  for name, each in work.items():
    (own,) = [
      v for (n, _), v in measured.items() if n == f"{name}, gradients of a step"
    ]
    sent = [2 * (n - 1) / n * own[1.0] for n in _DEVICES]
    flops = _BATCH * each
    # Of the most devices; where that many bytes take as long as the work.
    slow, fast = (sent[-1] / (flops / r) for r in (rate, _ACCELERATOR))
    cells = [f"{b / 1e6:.3g}" for b in (own[1.0], *sent)]
    lines.append(
      f"| {name} | {' | '.join(cells)} | {flops / 1e9:,.3g}"
      f" | {slow / 1e6:.3g} MB/s | {fast / 1e9:.3g} GB/s |"
    )
  return "\n".join(lines)


def figure(measured: Series, theme: Any) -> Any:
  """Draw what was measured, and the fits, on logarithmic axes."""
  from hybridpriv.audit import drawing

  shown = [(k, v) for k, v in measured.items() if len(v) > 2]
  made, (axes,) = drawing.panels(1, len(shown), 2.4)
  for panel, ((name, unit), own) in zip(axes, shown, strict=True):
    xs = np.array(list(own))
    panel.plot(xs, list(own.values()), "o", color=theme.colour(0), ms=4)
    between = np.geomspace(xs[0], xs[-1], 50)
    found = fit(list(own), list(own.values()))
    panel.plot(between, found.at(between), color=theme.colour(1), lw=1)
    panel.set_xscale("log")
    panel.set_yscale("log")
    what, _, by = name.rpartition(", by ")
    panel.set_title(drawing.heading(what, 9))
    panel.set_xlabel(by)
    panel.set_ylabel(unit)
  return made


def read(path: str, bench: str) -> list[dict[str, Any]]:
  """Read the rows of a bench."""
  try:
    found = json.loads(pathlib.Path(path).read_text())
    rows = found["rows"] if found["bench"] == bench else []
    complete = found.get("complete", True)  # files of earlier versions are
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{path} cannot be read ({error})") from error
  if not rows:
    raise ValueError(f"{path} is of no run of `launch/bench.py {bench}`")
  if not complete:
    raise ValueError(
      f"{path} is of a run of `launch/bench.py {bench}` that stopped or failed"
      " on the way: run it again"
    )
  return rows


def main(given: list[str]) -> None:
  """Lay out three files."""
  if len(given) != 3:
    program.fail(
      "name three files, of launch/bench.py scaling, processes and serve"
    )
  import functools

  from hybridpriv.audit import drawing

  names = ("scaling", "processes", "serve")
  rows, processes, serve = map(read, given, names)
  measured = series(rows)
  blocks = [
    growth(measured),
    predictions(measured, serve),
    traffic(measured, processes),
  ]
  out = pathlib.Path(OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  drawing.save(functools.partial(figure, measured), out, "scaling")
  path = out / "scaling.md"
  path.write_text("\n\n".join(blocks) + "\n")
  print(path)


if __name__ == "__main__":
  program.start(main, takes="files", study=False)
