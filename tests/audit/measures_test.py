"""Curves of single measures hold what the results hold, and name themselves."""

import copy
import json

import matplotlib
import numpy as np
import pytest

from hybridpriv.audit import compare, drawing, measures, studies

FIRST = "neighbour.first:accuracy"
LOG_RANK = "density.density:log_rank"
METHODS = [
  "simple, for gender",
  "dpfe, for gender",
  "simple, for gender and emotion",
  "dpfe, for gender and emotion",
]


@pytest.fixture(scope="module")
def kept(repository):
  """The stored results of DPFE, with gender and with gender and emotion."""
  return [
    repository / "docs" / "results" / f"{name}.json"
    for name in ("lfw_dpfe", "lfw_dpfe_gender_emotion")
  ]


@pytest.fixture(scope="module")
def given(kept):
  return studies.read(kept)


def _draw(given, *wanted):
  columns = [m for text in wanted for m in measures.find(given, text)]
  with matplotlib.rc_context(drawing.LIGHT.settings):
    return measures.figure(measures._curves(given), columns, drawing.LIGHT)


def _expected(path, training, label, attack, metric):
  """Privacy and utility along the noise grid, straight from the file."""
  points = []
  for row in json.loads(path.read_text())["rows"]:
    if row["training"] != training or not row["privatizer"]:
      continue
    (leak,) = (
      m["value"]
      for m in row["leakage"]
      if (m["attack"], m["metric"], m["target"], m["num_queries"])
      == (attack, metric, "identity", 1)
    )
    (useful,) = (
      m["value"]
      for m in row["utility"]
      if (m["target"], m["metric"]) == (label, "balanced_accuracy")
    )
    points.append((1 - leak, useful))
  return np.asarray(points)


def _lines(panel):
  """The grids that are drawn in a panel: lines of more than two points."""
  return [
    np.transpose(line.get_data())
    for line in panel.lines
    if np.size(line.get_xdata()) > 2
  ]


def test_a_curve_for_each_training_and_set_of_desired_labels(kept, given):
  figure = _draw(given, FIRST, LOG_RANK)
  titles = [panel.get_title(loc="left") for panel in figure.axes]
  assert titles == 2 * ["identity, gender kept"] + 2 * [
    "identity, emotion kept"
  ]
  for panel, label, shown in zip(
    figure.axes,
    ("gender", "gender", "emotion", "emotion"),
    (kept, kept, kept[1:], kept[1:]),  # one of them answers gender alone
    strict=True,
  ):
    attack, metric = (FIRST, LOG_RANK)[panel.get_xlabel()[0] == "l"].split(":")
    found = _lines(panel)
    assert len(found) == 2 * len(shown)
    for points, (path, training) in zip(
      found, [(p, t) for p in shown for t in ("simple", "dpfe")], strict=True
    ):
      expected = _expected(path, training, label, attack, metric)
      assert len(expected) == 5
      np.testing.assert_allclose(points, expected)


def test_axes_and_curves_are_named_in_words(given):
  figure = _draw(given, FIRST, "neighbour.first", LOG_RANK, "rank.image:rank")
  assert [panel.get_xlabel() for panel in figure.axes[:4]] == [
    "error of neighbour.first, %",
    "balanced error of neighbour.first, %",
    "log-rank privacy of density.density, %",
    "rank privacy of rank.image, %",
  ]
  names = [text.get_text() for text in figure.legends[0].texts]
  assert names[:4] == METHODS


def test_intervals_are_those_of_the_results_turned_round(given):
  figure = _draw(given, LOG_RANK)
  measured = {
    (1 - m.high, 1 - m.low)
    for s in given
    for row in s.results.rows
    for m in row.leakage
    if (m.attack, m.metric, m.num_queries) == ("density.density", "log_rank", 1)
  }
  assert len(measured) == 24
  flat = {
    (segment[0][0], segment[1][0])
    for lines in figure.axes[0].collections
    if hasattr(lines, "get_segments")
    for segment in lines.get_segments()
    if segment[0][1] == segment[1][1]
  }
  assert np.allclose(sorted(flat), sorted(measured))


def test_panels_of_one_measure_have_one_scale(given):
  axes = _draw(given, FIRST, LOG_RANK).axes
  assert axes[0].get_xlim() == axes[2].get_xlim()
  assert axes[1].get_xlim() == axes[3].get_xlim() != axes[0].get_xlim()


def test_the_cut_of_a_bottleneck_is_what_it_stands_behind(kept, tmp_path):
  value = json.loads(kept[0].read_text())
  value["study"]["config"]["network"]["after"] = "block11"
  (tmp_path / "deep.json").write_text(json.dumps(value))
  compared = studies.read([*kept, tmp_path / "deep.json"])
  labels = [curve.label for curve in measures._curves(compared)]
  assert labels[::2] == [
    "simple, for gender, behind block13",
    "simple, for gender and emotion, behind block13",
    "simple, for gender, behind block11",
  ]
  # Two of the same kind are told apart by their names.
  (tmp_path / "again.json").write_text(kept[0].read_text())
  again = studies.read([kept[0], tmp_path / "again.json"])
  labels = [curve.label for curve in measures._curves(again)]
  assert labels[::2] == ["simple, lfw_dpfe.json", "simple, again.json"]


@pytest.fixture(scope="module")
def text(kept, tmp_path_factory):
  out = tmp_path_factory.mktemp("dpfe") / "report"
  compare.write(kept, out)
  for end in (".png", "-dark.png", ".pdf"):
    assert (out / "figures" / f"measures{end}").is_file()
  return (out / "report.md").read_text().replace("\\", "")


def test_the_comparison_has_them_without_being_asked(kept, text):
  part = text[text.index("## Utility against single measures") :]
  part = part[: part.index("## The studies")]
  assert "![Utility against error of neighbour.first and log-rank" in part
  lines = [
    x
    for x in part.splitlines()
    if x.startswith(tuple(f"| {name} |" for name in METHODS))
  ]
  assert len(lines) == 4 * 6  # without noise, and five strengths
  value = json.loads(kept[1].read_text())
  row = next(r for r in value["rows"] if r["name"] == "dpfe/noise scale=0.1")
  (leak,) = (
    m
    for m in row["leakage"]
    if m["attack"] == "density.density" and m["metric"] == "log_rank"
  )
  ends = [100 * (1 - leak[name]) for name in ("value", "high", "low")]
  expected = "{:.1f} [{:.1f}, {:.1f}] | {:.1f} |".format(
    *ends, 100 * (1 - leak["floor"])
  )
  (line,) = (
    x
    for x in lines
    if x.startswith("| dpfe, for gender and emotion | scale 0.1 |")
  )
  assert line.endswith(expected)


def test_any_attack_can_be_asked_for(make_workdir, tmp_path):
  workdirs = [make_workdir(), make_workdir(margin=2.0, failed=True)]
  index = compare.write(workdirs, tmp_path / "usual")
  assert "single measures" not in (index.parent / "report.md").read_text()
  index = compare.write(
    workdirs, tmp_path / "asked", ["attribute.mlp", "rank.by_distance:rank"]
  )
  text = (index.parent / "report.md").read_text().replace("\\", "")
  assert "| person: balanced error of attribute.mlp |" in text
  assert "| side: balanced error of attribute.mlp |" in text
  assert "| image: rank privacy of rank.by_distance |" in text


def test_what_one_study_lacks_is_not_drawn_and_refused_if_asked_for(
  kept, tmp_path
):
  value = json.loads(kept[1].read_text())
  for row in value["rows"]:
    gone = [m["attack"] == "neighbour.first" for m in row["leakage"]]
    before = copy.copy(row["leakage"])
    row["leakage"] = [m for m, g in zip(before, gone, strict=True) if not g]
    row["worst"] = {
      target: row["leakage"].index(before[index])
      for target, index in row["worst"].items()
      if not gone[index]
    }
  path = tmp_path / "other.json"
  path.write_text(json.dumps(value))
  given = studies.read([kept[0], path])
  (tmp_path / "figures").mkdir()
  section = measures.section(given, tmp_path)
  assert "neighbour.first" not in section.blocks[0].alt
  assert "density.density" in section.blocks[0].alt
  with pytest.raises(ValueError) as error:
    measures.section(given, tmp_path, ["neighbour.first"])
  told = str(error.value)
  assert told.startswith("not all studies have 'neighbour.first'; all have ")
  assert "density.density, " in told and "\n" not in told
  with pytest.raises(ValueError, match="'lograk'; expected one of balanced_"):
    measures.section(given, tmp_path, ["density.density:lograk"])
