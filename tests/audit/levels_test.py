"""Defences of one name are compared among studies where they leak the same."""

import json
import shutil

import numpy as np
import pytest

from hybridpriv.audit import compare, embeddings, levels, statistics, studies

TITLE = "The same defences at equal leakage"


def _ranked(workdir, folder, at=None):
  """Copies a workdir, with a ranking at a leakage that all reach, or `at`."""
  shutil.copytree(workdir, folder)
  path = folder / "audit" / "results.json"
  value = json.loads(path.read_text())
  leaked = [
    row["leakage"][row["worst"]["person"]]["value"]
    for row in value["rows"]
    if row["embedding"] == "noise"
  ]
  at = at or float(np.mean(leaked))
  curves = [
    {"name": f"{t}, noise grid", "utility": 0.5, "difference": 0.0}
    | {"low": 0.0, "high": 0.0, "tie": True}
    for t in ("siamese", "simple")
  ]
  value["rankings"] = [
    {"target": "person", "desired": "exercise", "leakage": at}
    | {"share": 0.25, "curves": curves, "short": []}
  ]
  path.write_text(json.dumps(value))
  return folder


def _changed(workdir, folder, change):
  shutil.copytree(workdir, folder)
  path = folder / "audit" / "values.npz"
  with np.load(path) as saved:
    values = {k: change(k, v) for k, v in saved.items()}
  np.savez(path, **values)
  return folder


@pytest.fixture(scope="module")
def compared(make_workdir, tmp_path_factory):
  root = tmp_path_factory.mktemp("levels")
  first = _ranked(make_workdir(), root / "first")
  rng = np.random.default_rng(0)

  def less(name, value):
    if name.startswith("rows/") and name.endswith("/sum"):
      return value * rng.uniform(0.7, 1.0, value.shape)
    return value

  second = _changed(make_workdir(margin=2.0), root / "second", less)
  return studies.read([first, second])


def _lines(section):
  return [line for block in section.blocks[1:] for line in block.rows]


def test_a_line_is_the_paired_difference_at_that_leakage(compared):
  lines = _lines(levels.section(compared))
  assert [line[0] for line in lines] == ["siamese", "simple"]
  first, second = compared
  at = first.results.rankings[0]["leakage"]

  def tables(study, kind, name):
    rows = embeddings.curve(study.results, "siamese", "noise")
    assert {r.embedding for r in rows} == {"project", "noise"}
    return [studies.table(study, row, kind, name) for row in rows]

  given = [
    tables(study, kind, name)
    for study in (second, first)
    for kind, name in (("leakage", "person"), ("utility", "exercise"))
  ]
  difference, low, high = statistics.at_equal_leakage(
    *given, at, level=1 - 0.05 / 2, resamples=2000
  )
  shown = [float(x) for x in lines[0][3].split(" and ")]
  leaks = [float(x) for x in lines[0][2].split(" and ")]
  assert leaks[1] == pytest.approx(100 * at, abs=0.06) and leaks[0] <= leaks[1]
  assert difference
  assert lines[0][4].replace("−", "-") == f"{100 * difference + 0:+.1f}"
  assert shown[0] - shown[1] == pytest.approx(100 * difference, abs=0.11)
  assert lines[0][5].replace("−", "-") == (
    f"[{100 * low:+.1f}, {100 * high:+.1f}]"
  )


def test_a_study_is_tied_with_itself(compared, tmp_path):
  twin = tmp_path / "twin"
  shutil.copytree(compared[0].workdir, twin)
  lines = _lines(levels.section(studies.read([compared[0].workdir, twin])))
  assert len(lines) == 2
  for line in lines:
    assert line[4].lstrip("+") == "0.0"
    assert line[6].text == "tie"


def test_lines_of_three_studies_are_corrected_together(compared, tmp_path):
  twin = tmp_path / "twin"
  shutil.copytree(compared[1].workdir, twin)
  two = _lines(levels.section(compared))
  paths = [*(s.workdir for s in compared), twin]
  three = _lines(levels.section(studies.read(paths)))
  assert [line[0] for line in three] == ["siamese", "simple"] * 2

  def width(line):
    low, high = line[5].replace("−", "-").strip("[]").split(", ")
    return float(high) - float(low)

  assert width(three[0]) > width(two[0])
  assert width(three[0]) == width(three[2])


def test_a_level_that_nothing_reaches_has_no_table(
  make_workdir, compared, tmp_path
):
  low = _ranked(make_workdir(), tmp_path / "low", at=0.001)
  assert levels.section(studies.read([low, compared[1].workdir])) is None


def test_a_defence_that_leaks_more_in_one_study_is_named(compared, tmp_path):
  rows = compared[1].results.rows
  siamese = {i for i, r in enumerate(rows) if r.training == "siamese"}

  def leaking(name, value):
    kind, row, what, _, field = (*name.split("/"), "")[:5]
    hit = kind == "rows" and int(row) in siamese and what == "leakage"
    if not (hit and field == "sum"):
      return value
    return value * 0 + other[name.replace("/sum", "/count")]

  with np.load(compared[1].workdir / "audit" / "values.npz") as saved:
    other = dict(saved)
  worse = _changed(compared[1].workdir, tmp_path / "worse", leaking)
  lines = _lines(levels.section(studies.read([compared[0].workdir, worse])))
  assert [line[0] for line in lines] == ["siamese", "simple"]
  assert lines[0][6].text == "no setting so low"
  assert lines[1][6].text != "no setting so low"


@pytest.mark.parametrize("kind", ["leakage", "utility"])
def test_other_people_are_not_paired(compared, tmp_path, kind):
  def shifted(name, value):
    return value + 1 if f"/{kind}/" in name and "people" in name else value

  other = _changed(compared[1].workdir, tmp_path / "other", shifted)
  assert levels.section(studies.read([compared[0].workdir, other])) is None


def test_people_of_other_data_are_others(compared, tmp_path):
  other = tmp_path / "other"
  shutil.copytree(compared[1].workdir, other)
  path = other / "audit" / "results.json"
  value = json.loads(path.read_text())
  value["study"]["data"]["name"] = "numbered alike"
  path.write_text(json.dumps(value))
  assert levels.section(studies.read([compared[0].workdir, other])) is None


def test_studies_of_unequal_train_seeds_are_cut_to_the_common_ones(
  make_workdir, compared
):
  more = make_workdir(train_seeds=3)
  lines = _lines(levels.section(studies.read([compared[0].workdir, more])))
  assert [line[6].text in ("tie", "lower", "higher") for line in lines]


def test_without_the_scores_nothing_is_compared(compared, tmp_path):
  bare = tmp_path / "bare"
  shutil.copytree(compared[1].workdir, bare)
  (bare / "audit" / "values.npz").unlink()
  assert levels.section(studies.read([compared[0].workdir, bare])) is None


def test_the_comparison_has_the_part(compared, tmp_path):
  compare.write([s.workdir for s in compared], tmp_path / "report")
  assert f"## {TITLE}\n" in (tmp_path / "report" / "report.md").read_text()


def _edited(workdir, folder, edit):
  """Copies a workdir whose attacks have a validation, and edits its results."""
  shutil.copytree(workdir, folder)
  path = folder / "audit" / "results.json"
  value = json.loads(path.read_text())
  for row in value["rows"]:
    for m in row["leakage"]:
      m["validation"] = m["value"]
  with np.load(folder / "audit" / "values.npz") as saved:
    arrays = dict(saved)
  edit(value["rows"], arrays)
  path.write_text(json.dumps(value))
  np.savez(folder / "audit" / "values.npz", **arrays)
  return folder


def test_only_attacks_that_both_studies_tried_count(compared, tmp_path):
  def finds_everything(rows, arrays):
    for number, row in enumerate(rows):
      at, new = row["worst"]["person"], len(row["leakage"])
      more = {"attack": "attribute.new", "validation": 1.0}
      row["leakage"].append({**row["leakage"][at], **more})
      row["worst"]["person"] = new
      old, own = (f"rows/{number}/leakage/{i}/" for i in (at, new))
      for name in [n for n in arrays if n.startswith(old)]:
        arrays[name.replace(old, own)] = arrays[name]
      arrays[own + "sum"] = arrays[own + "sum"] * 0 + arrays[own + "count"]

  first, second = (s.workdir for s in compared)
  first = _edited(first, tmp_path / "first", lambda *_: None)
  before = _edited(second, tmp_path / "before", lambda *_: None)
  after = _edited(second, tmp_path / "after", finds_everything)
  alone, both = (
    _lines(levels.section(studies.read([first, other])))
    for other in (before, after)
  )
  assert [x[2:] for x in both] == [x[2:] for x in alone]


def test_studies_without_an_attack_in_common_are_not_compared(
  compared, tmp_path
):
  def of_others(rows, arrays):
    for row in rows:
      for m in row["leakage"]:
        m["attack"] = f"their.{m['attack']}"

  first, second = (s.workdir for s in compared)
  paths = [
    _edited(first, tmp_path / "first", lambda *_: None),
    _edited(second, tmp_path / "theirs", of_others),
    _edited(second, tmp_path / "second", lambda *_: None),
  ]
  lines = _lines(levels.section(studies.read(paths)))
  assert [x[6].text for x in lines[:2]] == ["other attacks: not compared"] * 2
  assert lines[2][6].text != "other attacks: not compared"
