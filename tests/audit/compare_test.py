"""Several workdirs are compared setting by setting and person by person."""

import csv
import io
import json
import re
import shutil

import pytest

from hybridpriv.audit import compare, results, statistics, studies


@pytest.fixture(scope="module")
def workdirs(make_workdir):
  return [make_workdir(), make_workdir(margin=2.0, failed=True)]


@pytest.fixture(scope="module")
def text(workdirs, tmp_path_factory):
  out = tmp_path_factory.mktemp("comparison") / "new" / "report"
  index = compare.write(workdirs, out)
  assert index == out / "index.html"
  assert (out / "figures" / "trade_off.png").is_file()
  assert "data:image/png" in index.read_text()
  return (out / "report.md").read_text().replace("\\", "")


def test_names_are_as_short_as_tells_workdirs_apart(workdirs, tmp_path):
  names = [study.name for study in studies.read(workdirs)]
  assert names == [f"{w.parent.name}/run" for w in workdirs]


def test_only_settings_that_differ_are_listed(text):
  part = text[text.index("What differs") :]
  assert "| config.train.margin | 1.0 | 2.0 |" in part
  assert "config.train.steps" not in part


def test_a_study_with_failed_controls_is_marked(text):
  assert len(re.findall(r"\*\*1 FAILED\*\*", text)) == 1


def test_studies_of_one_cut_are_not_compared_by_cut(text):
  assert "By cut" not in text


def test_rows_of_one_embedding_stand_together(text):
  start, end = text.index("Rows side by side"), text.index("Operating points,")
  part = text[start:end]
  names = re.findall(r"^\| ([^|]*?) \| study\d", part, re.MULTILINE)
  assert names[:2] == ["simple", "simple"]
  assert len(names) == 12


def test_operating_points_are_paired_by_person(text, workdirs):
  first, second = studies.read(workdirs)
  tables = [
    compare._operating_table(s, "leakage", "person") for s in (second, first)
  ]
  difference, low, high = statistics.paired_difference(*tables)
  part = text[text.index("Operating points, paired") :]
  line = next(x for x in part.splitlines() if "| leakage: person |" in x)
  assert f"| {100 * difference + 0:+.1f} | ".replace("-", "−") in line
  assert ("**tie**" in line) == (low <= 0 <= high)


@pytest.mark.parametrize("change", [{"name": "others"}, {"people": "ab12"}])
def test_people_of_other_data_are_not_paired(workdirs, tmp_path, change):
  # Both number their people from 0.
  other = tmp_path / "other"
  shutil.copytree(workdirs[1], other)
  path = other / "audit" / "results.json"
  value = json.loads(path.read_text())
  value["study"]["data"].update(change)
  path.write_text(json.dumps(value))
  out = compare.write([workdirs[0], other], tmp_path / "out")
  text = (out.parent / "report.md").read_text()
  assert "other people: not paired" in text
  assert "points compared person by person" in text
  same = compare.write(workdirs, tmp_path / "same")
  assert "not paired" not in (same.parent / "report.md").read_text()


def test_csv_holds_every_measurement(workdirs):
  rows = list(csv.DictReader(io.StringIO(compare.to_csv(workdirs))))
  given = [results.read(w) for w in workdirs]
  total = sum(len(r.utility) + len(r.leakage) for g in given for r in g.rows)
  assert len(rows) == total
  worst = [r for r in rows if r["worst"] == "True"]
  assert len(worst) == sum(len(r.worst) for g in given for r in g.rows)
  leak = given[0].rows[3].leakage_of("side")
  assert any(
    r["row"] == given[0].rows[3].name
    and r["target"] == "side"
    and float(r["value"]) == leak.value
    and float(r["excess"]) == leak.excess
    and r["noise"] == "0.2"
    for r in worst
  )


def test_latex_is_a_table_of_equal_lines(workdirs):
  text = compare.to_latex(workdirs)
  (columns,) = re.findall(r"\\begin\{tabular\}\{(\w+)\}", text)
  lines = [line for line in text.splitlines() if line.endswith("\\\\")]
  assert len(lines) == 1 + 2 * 6
  assert {line.count(" & ") + 1 for line in lines} == {len(columns)}
  assert text.count("\\begin{") == text.count("\\end{") == 1
  assert "–" not in text


def test_latex_escapes_what_latex_reads():
  assert compare._escape("a_b & 5%") == "a\\_b \\& 5\\%"


@pytest.mark.parametrize("number", [0, 1])
def test_fewer_than_two_workdirs_cannot_be_compared(workdirs, number, tmp_path):
  with pytest.raises(ValueError, match="at least two"):
    compare.write(workdirs[:number], tmp_path / "out")


def test_one_workdir_has_tables(workdirs):
  assert compare.to_csv(workdirs[:1]).count("\n") > 1
  assert "tabular" in compare.to_latex(workdirs[:1])


def test_one_workdir_twice_is_an_error(workdirs):
  with pytest.raises(ValueError, match="each once"):
    studies.read([workdirs[0], workdirs[0]])
