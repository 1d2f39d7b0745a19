"""Every choice of a study follows its rule, on validation alone."""

import pathlib

import pytest

from configs import spar_activity
from hybridpriv import build
from hybridpriv.study import choices, fitting, setup


@pytest.fixture
def config():
  config = spar_activity.get_config("tiny").to_dict()
  config["trainings"] = {
    "simple": {"siamese": {"weight": 0.0}},
    "siamese": {"siamese": {"weight": (1.0, 10.0, 100.0), "margin": (1.0,)}},
  }
  config["train"]["tolerance"] = 0.01
  return config


def _choose(config, name, values):
  trials = [t.name for t in setup.trials(config)]
  utilities = dict(zip(trials, values, strict=True))
  pairs = {t: [{}] for t in trials}
  given = setup.Setup(config, None, None, (), None, pathlib.Path())
  return choices.choose(given, name, utilities, pairs)


def test_trials_are_the_grid_of_every_training(config):
  config["trainings"]["siamese"]["siamese"]["margin"] = (1.0, 2.0)
  trials = setup.trials(config)
  assert len({t.name for t in trials}) == len(trials) == 1 + 3 * 2
  assert trials[0].name == "simple siamese.weight=0"
  assert dict(trials[2].knobs) == {"siamese/weight": 1, "siamese/margin": 2}


def test_the_largest_weight_within_the_tolerance_is_chosen(config):
  values = [[0.90, 0.92], [0.95, 0.95], [0.91, 0.90], [0.89, 0.90]]
  found = _choose(config, "siamese", values)
  assert found["knobs"]["siamese/weight"] == 10
  assert found["chosen"] == "siamese siamese.weight=10 siamese.margin=1"
  assert "at most 1 points" in found["rule"] and "91.0 %" in found["rule"]
  assert [row["utility"] for row in found["trials"]] == [0.95, 0.905, 0.895]


def test_where_every_weight_costs_too_much_the_most_useful_is_chosen(config):
  found = _choose(config, "siamese", [[0.9], [0.8], [0.85], [0.7]])
  assert found["knobs"]["siamese/weight"] == 10
  assert "none did" in found["rule"]


def test_noise_in_the_loop_is_judged_against_the_same_noise(config):
  config["trainings"]["noisy"] = {
    "siamese": {"weight": (0.0, 1.0, 10.0)},
    "privatizer": "project",
  }
  values = [[0.9], [0.9], [0.9], [0.9], [0.7], [0.695], [0.6]]
  found = _choose(config, "noisy", values)
  assert found["knobs"]["siamese/weight"] == 1
  assert "70.0 % of the first trial with project between" in found["rule"]
  assert "between" not in _choose(config, "siamese", values)["rule"]


def test_a_negative_weight_is_as_strong_as_its_size(config):
  config["trainings"]["siamese"] = {"siamese": {"weight": (-0.1, -1.0)}}
  found = _choose(config, "siamese", [[0.9], [0.9], [0.9]])
  assert found["knobs"]["siamese/weight"] == -1.0


def _points(config, *utilities):
  """Chooses for one training without and with three levels of noise."""
  config["trainings"] = {"simple": {"siamese": {"weight": 0.0}}}
  config["privatizers"]["noise"]["sigma"] = (0.1, 1.0, 10.0)
  del config["privatizers"]["project"]
  config["audit"]["max_cost"] = 0.05
  rows = build.rows(config)
  by_row = {r.name: [u] for r, u in zip(rows, utilities, strict=True)}
  found = fitting._operating_points(config, rows, by_row)
  return [r.name for r in rows if found[r.name]["selected"]]


def test_the_strongest_noise_within_the_cost_is_the_operating_point(config):
  assert _points(config, 0.9, 0.9, 0.86, 0.5) == [
    "simple/identity",
    "simple/noise sigma=1",
  ]


def test_the_weakest_noise_is_taken_where_all_cost_too_much(config):
  assert _points(config, 0.9, 0.8, 0.7, 0.5)[1] == "simple/noise sigma=0.1"


def test_members_that_chains_share_have_one_name(config):
  by_name = {r.name: r for r in build.rows(config)}
  project = fitting.member_names(by_name["simple/project"])
  noise = fitting.member_names(by_name["simple/noise sigma=0.5"])
  other = fitting.member_names(by_name["simple/noise sigma=2"])
  assert project == noise[:1] == other[:1]
  assert noise[1] != other[1]


def test_only_terms_that_keep_desired_classes_apart_are_warned_about(config):
  config["objective"]["people"] = {
    "function": "siamese.reversed_contrastive",
    "inputs": {"feature": "feature", "labels": "labels/person"},
    "weight": 0.0,
    "margin": 10.0,
  }
  given = setup.Setup(
    config, build.roles(config), None, (), None, pathlib.Path()
  )
  moves = {
    name: choices.moves_pairs(given, setup.Trial("any", ((name, value),)))
    for name, value in (
      ("siamese/weight", 1.0),
      ("siamese/margin", 1.0),
      ("people/weight", 1.0),
      ("task/weight", 1.0),
    )
  }
  assert [name for name, own in moves.items() if own] == ["siamese/weight"]
  silent = setup.Trial("simple", (("siamese/weight", 0.0),))
  assert not choices.moves_pairs(given, silent)
