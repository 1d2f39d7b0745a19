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


@pytest.fixture(scope="module")
def compared(make_workdir, tmp_path_factory):
  root = tmp_path_factory.mktemp("levels")
  first = _ranked(make_workdir(), root / "first")
  shutil.copytree(make_workdir(margin=2.0, failed=True), root / "second")
  return studies.read([first, root / "second"])


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
  shown = [float(x.replace("−", "-")) for x in lines[0][2].split(" and ")]
  assert lines[0][3].replace("−", "-") == f"{100 * difference + 0:+.1f}"
  assert shown[0] - shown[1] == pytest.approx(100 * difference, abs=0.11)
  assert lines[0][4].replace("−", "-") == (
    f"[{100 * low:+.1f}, {100 * high:+.1f}]"
  )


def test_a_study_is_tied_with_itself(compared, tmp_path):
  twin = tmp_path / "twin"
  shutil.copytree(compared[0].workdir, twin)
  lines = _lines(levels.section(studies.read([compared[0].workdir, twin])))
  assert len(lines) == 2
  for line in lines:
    assert line[3] == "0.0" or line[3] == "+0.0"
    assert line[5].text == "tie"


def test_a_level_that_a_defence_does_not_reach_has_no_line(
  make_workdir, compared, tmp_path
):
  low = _ranked(make_workdir(), tmp_path / "low", at=0.001)
  assert levels.section(studies.read([low, compared[1].workdir])) is None


def test_other_people_are_not_paired(make_workdir, compared, tmp_path):
  other = tmp_path / "other"
  shutil.copytree(compared[1].workdir, other)
  path = other / "audit" / "values.npz"
  with np.load(path) as saved:
    values = {
      k: v + 1 if k.endswith("/people") else v for k, v in saved.items()
    }
  np.savez(path, **values)
  assert levels.section(studies.read([compared[0].workdir, other])) is None


def test_without_the_scores_nothing_is_compared(compared, tmp_path):
  bare = tmp_path / "bare"
  shutil.copytree(compared[1].workdir, bare)
  (bare / "audit" / "values.npz").unlink()
  assert levels.section(studies.read([compared[0].workdir, bare])) is None


def test_the_comparison_has_the_part(compared, tmp_path):
  compare.write([s.workdir for s in compared], tmp_path / "report")
  assert f"## {TITLE}\n" in (tmp_path / "report" / "report.md").read_text()
