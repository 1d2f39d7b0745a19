"""Compares audited workdirs: configs, rows side by side, curves in one picture.

Numbers can also be had as CSV (every measurement) and as a LaTeX table (the
embeddings, in the style of the booktabs package).
"""

from __future__ import annotations

import csv
import functools
import io
import pathlib
from collections.abc import Sequence

from hybridpriv.audit import (
  card,
  drawing,
  embeddings,
  figures,
  layers,
  levels,
  measures,
  page,
  statistics,
  words,
)
from hybridpriv.audit import studies as studies_lib
from hybridpriv.audit.results import Row
from hybridpriv.audit.studies import Study

_FIELDS = (
  "target",
  "attack",
  "metric",
  "num_queries",
  "value",
  "low",
  "high",
  "chance",
  "floor",
  "excess",
  "num_units",
  "unit",
)


def write(
  workdirs: Sequence[pathlib.Path],
  out: pathlib.Path,
  against: Sequence[str] = (),
) -> pathlib.Path:
  """Write a report that compares workdirs; an old one is replaced whole.

  Args:
    workdirs: at least two audited studies' folders.
    out: the folder of the report.
    against: attacks, with a metric or not, that utility is drawn against, see
      `measures.section`.

  Returns:
    The path of `index.html`.

  Raises:
    ValueError: for fewer than two workdirs, one given twice, or an attack that
      not all of them have.
    FileNotFoundError: when one has not been audited.
  """
  studies = studies_lib.read(workdirs)
  if len(studies) < 2:
    raise ValueError(
      f"got workdirs {[str(w) for w in workdirs]}; expected at least two"
    )
  out = pathlib.Path(out)
  out.parent.mkdir(parents=True, exist_ok=True)
  return card.publish(functools.partial(_page, studies, against), out)


def to_csv(workdirs: Sequence[pathlib.Path]) -> str:
  """Return every measurement of the workdirs, a line each."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(
    ("study", "row", "training", "embedding", "noise", "num_bytes")
    + ("train_seeds", "attack_seeds", "selected", "kind", "worst", *_FIELDS)
    + ("queries",)
  )
  for study in studies_lib.read(workdirs):
    for row in study.results.rows:
      knob = embeddings.noise_knob(row)
      head = (study.name, row.name, row.training, row.embedding)
      head += (knob[1] if knob else "", row.num_bytes, row.train_seeds)
      head += (row.attack_seeds, row.selected)
      worst = {id(row.leakage_of(target)) for target in row.worst}
      for kind, found in (("utility", row.utility), ("leakage", row.leakage)):
        for m in found:
          numbers = (getattr(m, name) for name in _FIELDS)
          queries = m.extra.get("queries", "one input")
          writer.writerow((*head, kind, id(m) in worst, *numbers, queries))
  return text.getvalue()


def to_latex(workdirs: Sequence[pathlib.Path]) -> str:
  """Return the embeddings of the workdirs as a LaTeX table (booktabs)."""
  studies = studies_lib.read(workdirs)
  desired, targets = _shared(studies)
  header = ["study", "embedding", "bytes", *desired, *targets]
  lines = [
    "% In percent, with 95 % intervals; leakage is that of the attack worst on",
    "% the attacker's validation. Needs \\usepackage{booktabs}.",
    f"\\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}",
    "\\toprule",
    " & ".join(map(_escape, header)) + " \\\\",
  ]
  for study in studies:
    lines.append("\\midrule")
    for row in embeddings.main_rows(study.results):
      cells = [study.name, embeddings.title(row), f"{row.num_bytes:,}"]
      cells += [_cell(row.utility_of(name)) for name in desired]
      cells += [_cell(row.leakage_of(target)) for target in targets]
      lines.append(" & ".join(map(_escape, cells)) + " \\\\")
  lines += ["\\bottomrule", "\\end{tabular}"]
  return "\n".join(lines) + "\n"


def _cell(measurement) -> str:
  return words.measured(measurement).replace(words.NONE, "--")


def _escape(text: str) -> str:
  for character in "&%$#_{}":
    text = text.replace(character, f"\\{character}")
  return text


def _shared(studies: Sequence[Study]) -> tuple[list[str], list[str]]:
  """Return desired labels and targets of any study, in the order they come."""
  return (
    list(
      dict.fromkeys(
        n for s in studies for n in s.results.study["roles"]["desired"]
      )
    ),
    list(dict.fromkeys(t for s in studies for t in s.results.targets)),
  )


def _page(
  studies: Sequence[Study], against: Sequence[str], folder: pathlib.Path
) -> page.Page:
  parts = [
    layers.section([study.results for study in studies], folder),
    measures.section(studies, folder, against),
    page.Section("studies", "The studies", _studies(studies)),
    page.Section("curves", "Utility against leakage", _curves(studies, folder)),
    levels.section(studies),
    page.Section("rows", "Rows side by side", _rows(studies)),
    page.Section("paired", "Operating points, paired", (_paired(studies),)),
    page.Section(
      "config", "What differs in the configs", _differences(studies)
    ),
  ]
  synthetic = any(s.results.study["data"]["synthetic"] for s in studies)
  return page.Page(
    title="Comparison of " + words.listing(s.name for s in studies),
    subtitle=words.count(len(studies), "study", "studies"),
    badges=(page.Badge("synthetic data", "bad"),) if synthetic else (),
    blocks=tuple(part for part in parts if part is not None and part.blocks),
    footer=card.FOOTER,
  )


def _studies(studies: Sequence[Study]) -> tuple[page.Block, ...]:
  cells = []
  for study in studies:
    value = study.results.study
    failed = sum(c.passed is False for c in study.results.controls)
    if failed:
      verdict = page.Badge(f"{failed} FAILED", "bad")
    elif study.results.controls:
      verdict = page.Badge("passed", "good")
    else:
      verdict = page.Badge("not run", "bad")
    synthetic = " (synthetic)" if value["data"]["synthetic"] else ""
    seeds = {(r.train_seeds, r.attack_seeds) for r in study.results.rows}
    cells.append(
      (
        study.name,
        f"{value['data']['name']}{synthetic}",
        f"{value['network']}, cut after {value['cut']}",
        words.listing(value["roles"]["desired"]),
        words.listing(
          f"{train} and {attack}" for train, attack in sorted(seeds)
        ),
        verdict,
      )
    )
  return (
    page.Table(
      ("study", "data", "network", "desired", "train and attack seeds")
      + ("controls",),
      tuple(cells),
      "What is compared.",
      words=(1, 2, 3, 4, 5),
    ),
  )


def _curves(
  studies: Sequence[Study], folder: pathlib.Path
) -> tuple[page.Block, ...]:
  targets = [
    target
    for target in _shared(studies)[1]
    if all(target in study.results.targets for study in studies)
  ]
  if not targets:
    return (page.Text("No target is attacked in all studies."),)
  drawn = [
    curve
    for study in studies
    for curve in card.study_curves(study.results, f"{study.name}: ")
  ]
  drawing.save(
    functools.partial(figures.trade_off, drawn, targets),
    folder / "figures",
    "trade_off",
  )
  return (
    page.Picture(
      "trade_off",
      "Utility against worst leakage for all studies",
      "Further up and to the left is better. Each line is one training of one "
      "study along its noise grid; hollow marks are the whole feature, rings "
      "the operating points. Bars are 95 % intervals. Where studies differ in "
      "data or people, their curves can't be compared point by point.",
    ),
  )


def _rows(studies: Sequence[Study]) -> tuple[page.Block, ...]:
  desired, targets = _shared(studies)
  kept = [embeddings.main_rows(study.results) for study in studies]
  names = list(
    dict.fromkeys(
      embeddings.title(r, noise=False) for rows in kept for r in rows
    )
  )
  cells = []
  for name in names:
    for study, rows in zip(studies, kept, strict=True):
      for row in rows:
        if embeddings.title(row, noise=False) == name:
          cells.append(_line(study, row, desired, targets))
  return (
    page.Table(
      ("embedding", "study", "bytes", *desired)
      + tuple(f"leakage: {target}" for target in targets),
      tuple(cells),
      "Balanced utility and worst leakage, in percent, with 95 % intervals. "
      "Noisy rows stand at the operating point chosen on validation.",
      words=(1,),
    ),
  )


def _line(
  study: Study, row: Row, desired: Sequence[str], targets: Sequence[str]
) -> tuple[str, ...]:
  return (
    embeddings.title(row),
    study.name,
    f"{row.num_bytes:,}",
    *(words.measured(row.utility_of(name)) for name in desired),
    *(words.measured(row.leakage_of(target)) for target in targets),
  )


def _paired(studies: Sequence[Study]) -> page.Block:
  """Compare operating points with the first study's, person by person."""
  first, *others = studies
  desired, targets = _shared(studies)
  cells = []
  for study in others:
    for kind, names in (("utility", desired), ("leakage", targets)):
      for name in names:
        a, b = (_operating_table(s, kind, name) for s in (study, first))
        if a is None or b is None:
          continue
        if not studies_lib.of_same_people((study, first), (a, b)):
          line = ("–", "–", page.Badge("other people: not paired"))
        else:
          difference, low, high = statistics.paired_difference(a, b)
          tie = low <= 0 <= high
          side = "lower" if difference < 0 else "higher"
          line = (
            words.points(difference),
            f"[{words.points(low)}, {words.points(high)}]",
            page.Badge("tie") if tie else page.Badge(side, "mark"),
          )
        cells.append((f"{study.name} − {first.name}", f"{kind}: {name}", *line))
  if not cells:
    return page.Text("The studies share no operating point to compare.")
  return page.Table(
    ("difference", "of", "points", "95 % interval", "verdict"),
    tuple(cells),
    "Operating points compared person by person. A tie: zero lies in the "
    "interval, so no winner is named.",
    words=(1, 4),
  )


def _operating_table(
  study: Study, kind: str, name: str
) -> statistics.Table | None:
  """Return the scores behind a number of the operating point, if kept."""
  row = embeddings.operating_point(study.results)
  return None if row is None else studies_lib.table(study, row, kind, name)


def _differences(studies: Sequence[Study]) -> tuple[page.Block, ...]:
  flat = [
    words.flat(
      {
        "data": {"name": s.results.study["data"]["name"]},
        "revision": s.results.study.get("revision"),
        "versions": s.results.study["versions"],
        "config": s.results.study.get("config", {}),
      }
    )
    for s in studies
  ]
  names = list(dict.fromkeys(name for values in flat for name in values))
  differing = [
    (name, *(str(values.get(name, words.NONE)) for values in flat))
    for name in names
    if any(
      values.get(name, words.NONE) != flat[0].get(name, words.NONE)
      for values in flat
    )
  ]
  if not differing:
    return (page.Text("Nothing: the configs are the same."),)
  return (
    page.Table(
      ("setting", *(study.name for study in studies)),
      tuple(differing),
      "Settings that are not the same everywhere.",
      words=tuple(range(1, len(studies) + 1)),
    ),
  )
