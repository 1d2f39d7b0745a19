"""Pictures show the numbers of the results and leave Matplotlib alone."""

import dataclasses
import functools
import json

import matplotlib
import numpy as np
import pytest

from hybridpriv.audit import (
  card,
  curves,
  drawing,
  embeddings,
  figures,
  results,
  saturation,
)


@pytest.fixture(scope="module")
def given(workdir):
  return results.read(workdir)


def _draw(function, *arguments):
  with matplotlib.rc_context(drawing.LIGHT.settings):
    return function(*arguments, drawing.LIGHT)


def _upright(panel):
  """Return the places of upright lines over the whole panel."""
  return sorted(
    line.get_xdata()[0]
    for line in panel.lines
    if line.get_transform() == panel.get_xaxis_transform()
  )


def test_the_trade_off_shows_each_setting_where_it_was_measured(given):
  drawn = card.study_curves(given)
  figure = _draw(figures.trade_off, drawn, given.targets)
  panel = figure.axes[0]
  assert panel.get_title(loc="left") == "person"
  simple = embeddings.grid(given, "simple")
  expected = [
    (r.leakage_of("person").value, r.utility_of("exercise").value)
    for r in simple
  ]
  assert len(expected) == 7
  lines = [np.transpose(line.get_data()) for line in panel.lines]
  assert any(
    line.shape == (7, 2) and np.allclose(line, expected) for line in lines
  )
  ring = embeddings.operating_point(given)
  point = ring.leakage_of("person").value, ring.utility_of("exercise").value
  assert any(len(x) == 1 and np.allclose(x, point) for x in lines)
  whole = given.rows[0]
  point = whole.leakage_of("person").value, whole.utility_of("exercise").value
  assert any(len(x) == 1 and np.allclose(x, point) for x in lines)


def test_chance_and_floor_stand_at_their_values_in_every_panel(given):
  for function, first in (
    (figures.trade_off, card.study_curves(given)),
    (figures.attacks, embeddings.main_rows(given)),
  ):
    figure = _draw(function, first, given.targets)
    assert [_upright(panel) for panel in figure.axes] == [
      pytest.approx([0.2, 0.23]),
      pytest.approx([0.2, 0.22]),
      pytest.approx([0.5, 0.51]),
    ]
    for panel in figure.axes:
      assert panel.get_xlim()[0] < _upright(panel)[0]


def test_the_dot_plot_shows_every_attack_and_fills_the_worst(given):
  rows = embeddings.main_rows(given)
  panel = _draw(figures.attacks, rows, given.targets).axes[0]
  dots = {
    (line.get_ydata()[0], round(float(line.get_xdata()[0]), 6)): line
    for line in panel.lines
    if len(line.get_xdata()) == 1
  }
  for place, row in enumerate(rows):
    for m in row.attacks_on("person"):
      dot = dots[place, round(m.value, 6)]
      filled = dot.get_markerfacecolor() != drawing.LIGHT.ground
      assert filled == (m is row.leakage_of("person"))


@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_any_number_of_targets_can_be_drawn(given, number):
  targets = (given.targets * 2)[:number]
  drawn = card.study_curves(given)
  assert len(_draw(figures.trade_off, drawn, targets).axes) == number
  rows = embeddings.main_rows(given)
  assert len(_draw(figures.attacks, rows, targets).axes) == number


def test_drawing_changes_no_settings(given, tmp_path):
  before = dict(matplotlib.rcParams)
  draw = functools.partial(
    figures.attacks, embeddings.main_rows(given), ("person",)
  )
  assert drawing.save(draw, tmp_path, "attacks")
  assert dict(matplotlib.rcParams) == before


def test_nothing_to_draw_writes_nothing(tmp_path):
  assert not drawing.save(lambda theme: None, tmp_path, "empty")
  assert list(tmp_path.iterdir()) == []
  assert _draw(curves.codes, {}, ["a"], {}, {}) is None
  assert _draw(curves.training, [], []) is None


def test_the_operating_point_is_the_noisy_row_of_the_last_training(given):
  assert embeddings.operating_point(given).name == "siamese/noise sigma=1.0"
  assert embeddings.undefended(given).name == "simple/identity"


def test_a_training_without_operating_point_borrows_its_noise(workdir):
  value = json.loads((workdir / "audit" / "results.json").read_text())
  for row in value["rows"]:
    row["selected"] = row["name"] == "siamese/noise sigma=1.0"
  given = results.from_json(value)
  borrowed = embeddings.find(given, "simple", "noise")
  assert borrowed.name == "simple/noise sigma=1.0"


def test_codes_are_projected_on_their_main_directions():
  rng = np.random.default_rng(0)
  code = rng.normal(size=(500, 5)) * [0.1, 3.0, 0.1, 1.0, 0.1]
  plane, share = curves.project(code)
  centred = code - code.mean(0)
  assert np.corrcoef(plane[:, 0], centred[:, 1])[0, 1] ** 2 > 0.99
  assert np.corrcoef(plane[:, 1], centred[:, 3])[0, 1] ** 2 > 0.99
  expected = plane.var(0).sum() / centred.var(0).sum()
  assert share == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(40, 1), (40, 3, 2), (1, 4)])
def test_codes_of_any_shape_become_points_of_a_plane(shape):
  plane, share = curves.project(np.random.default_rng(1).normal(size=shape))
  assert plane.shape == (shape[0], 2)
  assert 0 <= share <= 1


def test_constant_codes_become_one_point():
  plane, share = curves.project(np.ones((6, 3)))
  np.testing.assert_allclose(plane, 0)
  assert share == 1


def test_many_classes_are_drawn_as_a_few_and_others():
  rng = np.random.default_rng(2)
  arrays = {
    "row/code": rng.normal(size=(600, 4)),
    "row/labels/person": rng.integers(-1, 62, 600),
  }
  figure = _draw(curves.codes, arrays, ["person"], {}, {"row": "simple"})
  (panel,) = figure.axes
  assert panel.get_title(loc="left") == "simple: person"
  names = [t.get_text() for t in panel.get_legend().get_texts()]
  assert len(names) == 9 and names[0] == "54 others"


def test_only_chosen_trials_are_drawn(workdir, given):
  metrics = curves.read_metrics(workdir / "metrics.jsonl")
  assert curves.chosen_runs(metrics, given.study["trainings"]) == [
    "base",
    "simple",
    "siamese weight=0.1 margin=1.0",
    "siamese weight=1.0 margin=1.0",
  ]
  assert len(curves.chosen_runs(metrics, {})) == 6


def test_training_curves_show_every_term_that_was_logged(workdir):
  metrics = curves.read_metrics(workdir / "metrics.jsonl")
  figure = _draw(curves.training, metrics, ["base", "simple"])
  titles = [
    panel.get_title(loc="left").replace("\n", " ") for panel in figure.axes
  ]
  assert titles == [
    "task loss",
    "validation exercise balanced accuracy",
    "contrastive loss",
    "distance of same (solid) and different pairs",
    "different pairs inside the margin",
  ]


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"run": "a", "step": 1}\n{"run": "a", "st')
  assert curves.read_metrics(path) == [{"run": "a", "step": 1}]
  assert curves.read_metrics(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("num", [1, 24])
def test_panels_of_saturation_are_as_large_whatever_the_legend(
  given, num, tmp_path
):
  curve = tuple(
    {"target": "person", "what": "share", "at": at, "value": at / 2}
    | {"low": at / 3, "high": at}
    for at in (0.25, 0.5, 1.0)
  )
  rows = tuple(
    dataclasses.replace(given.rows[0], name=f"{n}/x", saturation=curve)
    for n in range(num)
  )
  many = dataclasses.replace(given, rows=rows)
  figure = _draw(saturation.figure, many)
  figure.savefig(tmp_path / "figure.png")  # or it warns that there is no room
  height = figure.axes[0].get_position().height * figure.get_figheight()
  assert height > 1.4
  (legend,) = figure.legends
  assert len(legend.get_texts()) == num


def test_long_titles_stay_over_their_panels(given):
  arrays = {"a/code": np.eye(4), "a/labels/person": np.arange(4)}
  title = "noisy reduced siamese_entropy, sigma 0.32"
  figure = _draw(curves.codes, arrays, ["person"], {}, {"a": title})
  text = figure.axes[0].get_title(loc="left") or figure.axes[0].get_title()
  assert text.replace("\n", " ") == f"{title}: person"
  assert max(map(len, text.splitlines())) <= 36
