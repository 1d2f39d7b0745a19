"""Draws up the report of one workdir: the privacy card.

Reads `audit/results.json`, `audit/codes.npz` and `metrics.jsonl`; writes
`report/index.html` (self-contained), `report/report.md` and
`report/figures/NAME.png`, `NAME-dark.png`, `NAME.pdf`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import shutil
from collections.abc import Callable, Iterable

import numpy as np

from hybridpriv.audit import (
  curves,
  drawing,
  embeddings,
  figures,
  groups,
  habit,
  headline,
  page,
  proved,
  provenance,
  ranking,
  reconstructions,
  saturation,
  sections,
)
from hybridpriv.audit import results as results_lib
from hybridpriv.audit.results import Results

FOOTER = (
  "A value is what the attacks in this set reached on these people, not what "
  "any attacker could. An interval covers the spread between the people drawn "
  "and the seeds run, not other populations, other sensors or stronger attacks."
)


def write(
  workdir: pathlib.Path, out: pathlib.Path | None = None
) -> pathlib.Path:
  """Write the report of an audited workdir; an old one is replaced whole.

  Args:
    workdir: a study's folder, audited; or a results file that was kept of one,
      which lacks what pictures of codes and trainings are drawn from.
    out: the folder of the report; `report` in the workdir by default.

  Returns:
    The path of `index.html`.

  Raises:
    FileNotFoundError: when the audit has not been run.
    ValueError: when its results break the format.
  """
  workdir = pathlib.Path(workdir)
  results = _with_times(results_lib.read(workdir), workdir)

  def build(folder: pathlib.Path) -> page.Page:
    return _page(results, workdir, folder)

  return publish(build, out or workdir / "report")


def _with_times(results: Results, workdir: pathlib.Path) -> Results:
  """Add the time of the stages that were not over when results were written."""
  path = workdir / "seconds.json"
  if not path.is_file():
    return results
  spent = json.loads(path.read_text())
  # The time of the drawing itself is not known before it is drawn, and a
  # report that is drawn again is to be the same.
  spent.pop("report", None)
  study = {**results.study, "seconds": spent}
  return dataclasses.replace(results, study=study)


def publish(
  build: Callable[[pathlib.Path], page.Page], out: pathlib.Path
) -> pathlib.Path:
  """Build a report in a folder beside `out`, then put it in its place.

  Args:
    build: draws figures into the given folder's `figures` and returns the
      page.
    out: where the report goes.

  Returns:
    The path of `index.html`.
  """
  fresh = out.with_name(f".{out.name}.new")
  old = out.with_name(f".{out.name}.old")
  for left_over in (fresh, old):
    shutil.rmtree(left_over, ignore_errors=True)
  (fresh / "figures").mkdir(parents=True)
  try:
    document = build(fresh)
    (fresh / "report.md").write_text(page.to_markdown(document))
    (fresh / "index.html").write_text(page.to_html(document, fresh))
    if out.exists():
      out.rename(old)
    fresh.rename(out)
  finally:
    shutil.rmtree(fresh, ignore_errors=True)
  shutil.rmtree(old, ignore_errors=True)
  return out / "index.html"


def _page(
  results: Results, workdir: pathlib.Path, folder: pathlib.Path
) -> page.Page:
  study = results.study
  draw = functools.partial(_draw, results, workdir, folder / "figures")
  parts = [
    headline.section(results),
    page.Section("trade-off", "Utility against leakage", tuple(draw("trade"))),
    sections.table(results),
    page.Section("attacks", "Leakage by attack", tuple(draw("attacks"))),
    sections.comparisons(results),
    ranking.section(results),
    sections.controls(results),
    sections.ranks(results),
    sections.repeats(results),
    habit.section(results),
    groups.section(results),
    saturation.section(results, draw("saturation")),
    proved.section(results),
    reconstructions.section(results, draw("pictures")),
    page.Section("codes", "What the codes look like", tuple(draw("codes"))),
    provenance.threat(results),
    provenance.people(results),
    provenance.trainings(results, draw("training")),
    sections.all_rows(results),
    provenance.environment(results),
  ]
  badges = [page.Badge(study["data"]["name"])]
  if study["data"]["synthetic"]:
    badges.append(page.Badge("synthetic data", "bad"))
  return page.Page(
    title=f"Privacy card: {study['name']}",
    subtitle=f"`{study['network']}` cut after `{study['cut']}`, "
    f"{study.get('date', 'no date')}",
    badges=tuple(badges),
    blocks=tuple(_filled(parts)),
    footer=FOOTER,
  )


def _filled(parts: Iterable[page.Section | None]) -> Iterable[page.Section]:
  return (part for part in parts if part is not None and part.blocks)


def study_curves(results: Results, prefix: str = "") -> list[figures.Curve]:
  """Return one curve for each grid of each training, that of noise first."""
  curves = []
  for training in embeddings.trainings(results):
    others = [n for n in embeddings.grids(results, training) if n != "noise"]
    for name in ("noise", *others):
      rows = embeddings.grid(results, training, name)
      bare = embeddings.find(results, training, "identity")
      if rows or not others:
        curves.append(
          figures.Curve(
            prefix + training + (f", {name}" if name != "noise" else ""),
            rows,
            bare,
            tuple(results.study["roles"]["desired"][:1]),
          )
        )
  return curves


def _draw(
  results: Results, workdir: pathlib.Path, folder: pathlib.Path, what: str
) -> list[page.Block]:
  """Draw one picture; an empty list where there is nothing to draw."""
  match what:
    case "trade":
      return _trade_off(results, folder)
    case "attacks":
      return _attacks(results, folder)
    case "codes":
      return _codes(results, workdir, folder)
    case "pictures":
      return _pictures(results, workdir, folder)
    case "saturation":
      return _saturation(results, folder)
    case "training":
      return _training(results, workdir, folder)
  raise ValueError(f"no picture is called {what!r}")


def _mark_synthetic(results: Results) -> str:
  return " Synthetic data." if results.study["data"]["synthetic"] else ""


def _trade_off(results: Results, folder: pathlib.Path) -> list[page.Block]:
  if not results.targets:
    return []
  drawn = study_curves(results)
  drawing.save(
    functools.partial(figures.trade_off, drawn, results.targets),
    folder,
    "trade_off",
  )
  return [
    page.Picture(
      "trade_off",
      "Utility against worst leakage for "
      + " and ".join(curve.label for curve in drawn),
      "Further up and to the left is better. Each line is one training along "
      "its noise grid, from no noise (upper right) to the strongest; hollow "
      "marks are the whole feature, rings the operating points chosen on "
      "validation. Leakage is that of the attack worst on the attacker's "
      "validation. Bars are 95 % intervals; dotted: chance; dashed: the floor, "
      "what an attacker reaches that sees only what the service must learn."
      f"{_mark_synthetic(results)}",
    )
  ]


def _attacks(results: Results, folder: pathlib.Path) -> list[page.Block]:
  if not results.targets:
    return []
  rows = embeddings.main_rows(results)
  drawing.save(
    functools.partial(figures.attacks, rows, results.targets), folder, "attacks"
  )
  return [
    page.Picture(
      "attacks",
      "Leakage of each embedding under each attack",
      "Further left is better. Filled, with its 95 % interval: the attack "
      "worst on the attacker's validation, the headline; hollow: the others."
      f"{_mark_synthetic(results)}",
    )
  ]


def _codes(
  results: Results, workdir: pathlib.Path, folder: pathlib.Path
) -> list[page.Block]:
  path = workdir / "audit" / "codes.npz"
  if not path.is_file():
    return []
  with np.load(path) as archive:
    arrays = dict(archive)
  last = embeddings.trainings(results)[-1]
  wanted = [
    embeddings.undefended(results),
    embeddings.find(results, last, "project"),
    embeddings.operating_point(results),
  ]
  titles = {row.name: embeddings.title(row) for row in wanted if row}
  there = [n for n in titles if f"{n}/code" in arrays]
  there = there or [n[:-5] for n in arrays if n.endswith("/code")][:3]
  arrays = {
    name: array
    for name, array in arrays.items()
    if any(name.startswith(f"{row}/") for row in there)
  }
  roles, data = results.study["roles"], results.study["data"]
  labels = [*roles["desired"][:1], *roles["private"][:1]]
  draw = functools.partial(
    curves.codes, arrays, labels, data.get("classes", {}), titles
  )
  if not drawing.save(draw, folder, "codes"):
    return []
  return [
    page.Picture(
      "codes",
      f"Codes in two dimensions, coloured by {' and by '.join(labels)}",
      "Codes of audit people as they are sent, noise included, on their two "
      "main directions. Groups should be seen on the left, by the desired "
      "label, and not on the right, by the private one; that two directions "
      "show no groups does not mean that there are none."
      f"{_mark_synthetic(results)}",
    )
  ]


def _pictures(
  results: Results, workdir: pathlib.Path, folder: pathlib.Path
) -> list[page.Block]:
  path = workdir / "audit" / "pictures.npz"
  if not path.is_file():
    return []
  with np.load(path) as archive:
    arrays = {name: archive[name] / 255 for name in archive.files}
  by_row, captions = {}, {}
  for row in results.rows:
    if f"{row.name}/restored" in arrays:
      title = embeddings.title(row)
      by_row[title] = arrays[f"{row.name}/restored"]
      captions[title] = reconstructions.of_row(row)
  draw = functools.partial(
    reconstructions.figure, arrays["original"], by_row, captions
  )
  drawing.save(lambda theme: draw(), folder, "pictures")
  return [
    page.Picture(
      "pictures",
      "Pictures of audit people, and what a decoder restores of them",
      "One picture of some of the attacked people, and below it what a decoder "
      "makes of its code under each embedding."
      f"{_mark_synthetic(results)}",
    )
  ]


def _saturation(results: Results, folder: pathlib.Path) -> list[page.Block]:
  draw = functools.partial(saturation.figure, results)
  if not drawing.save(draw, folder, "saturation"):
    return []
  return [
    page.Picture(
      "saturation",
      "Leakage by the attacker's data and by its size",
      "What the same attacker reaches with a share of its data, and at other "
      "widths of its layers, with 95 % intervals. A line that still rises at "
      f"its right end is not at its end.{_mark_synthetic(results)}",
    )
  ]


def _training(
  results: Results, workdir: pathlib.Path, folder: pathlib.Path
) -> list[page.Block]:
  metrics = curves.read_metrics(workdir / "metrics.jsonl")
  kinds = curves.chosen_runs(metrics, results.study.get("trainings", {}))
  draw = functools.partial(curves.training, metrics, kinds)
  if not drawing.save(draw, folder, "training"):
    return []
  return [
    page.Picture(
      "training",
      "Loss terms, validation utility and distances during training",
      "Each line is one fold and seed. Of trainings with several trials the "
      "chosen ones are drawn. A contrastive term whose share of pairs inside "
      "the margin is 0 or 1 does nothing, or nothing useful."
      f"{_mark_synthetic(results)}",
    )
  ]
