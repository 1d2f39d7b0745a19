"""What the stages of a study share."""

import jax
import numpy as np
import pytest

from configs import default, spar_activity
from hybridpriv import study
from hybridpriv.study import setup


@pytest.fixture(scope="module")
def given(tmp_path_factory):
  config = spar_activity.get_config("tiny").to_dict()
  config["data"] |= {"desired": "exercise,side", "unforeseen": ""}
  config["objective"]["confuse"] = {
    "function": "classification.cross_entropy",
    "inputs": {"logits": "adversary/logits", "labels": "labels/person"},
    "weight": -1.0,
  }
  config["objective"]["adversary"] = {
    **config["objective"]["confuse"],
    "weight": 1.0,
    "player": "adversary",
  }
  config["players"]["adversary"] = {
    "input": "feature",
    "label": "person",
    "hidden": (8,),
    "optimizer": {"name": "adam", "learning_rate": 0.01},
  }
  return study.prepare(config, tmp_path_factory.mktemp("workdir"))


def test_inputs_are_standardised_by_task_train_only(given):
  index = given.folds[1].train
  values = given.data.inputs[index].astype(np.float64)
  found = setup.constants(given, 1)
  np.testing.assert_allclose(found["mean"], values.mean((0, 1)), rtol=1e-5)
  np.testing.assert_allclose(found["std"], values.std((0, 1)), rtol=1e-5)
  other = setup.constants(given, 0)
  assert not np.allclose(found["mean"], other["mean"])


def test_the_base_training_knows_the_question_only(given):
  base = setup.spec(given, "base")
  assert {t.name for t in base.terms} == {"task", "task/side"}
  assert not base.players and not base.monitors and base.start is None


def test_fine_tuning_has_all_terms_and_players(given):
  tune = setup.spec(given, "finetune")
  assert {t.name for t in tune.terms} == {
    "task",
    "task/side",
    "siamese",
    "siamese/side",
    "confuse",
    "adversary",
  }
  assert {t.player for t in tune.terms} == {"defender", "adversary"}
  assert set(tune.optimizers) == {"defender", "adversary"}
  assert [p.network.num_classes for p in tune.players] == [10]
  assert tune.start == given.config["train"]["finetune"]["start"]


def test_logits_are_divided_among_desired_labels(given):
  assert setup.spec(given, "base").answers == (("exercise", 7), ("side", 2))
  assert given.network.num_classes == 9


def test_every_fold_seed_and_name_has_a_stream_of_its_own(given):
  found = {
    bytes(np.asarray(jax.random.key_data(setup.key(given, fold, seed, name))))
    for fold in range(2)
    for seed in range(3)
    for name in ("base", "finetune")
  }
  assert len(found) == 12
  again = setup.integer(given, 1, 2, "base")
  assert again == setup.integer(given, 1, 2, "base")


@pytest.fixture
def config():
  return spar_activity.get_config("tiny").to_dict()


def test_nothing_is_between_the_halves_unless_asked(config):
  assert setup.between(config, "siamese") == ("", None)
  config["train"]["privatizer"] = "identity"
  assert setup.between(config, "siamese") == ("", None)


def test_a_training_says_itself_what_is_between_or_the_study_does(config):
  config["train"]["privatizer"] = "project"
  config["trainings"]["siamese"]["privatizer"] = "noise sigma=2"
  config["trainings"]["siamese"]["siamese"]["weight"] = (0.0, 1.0)
  config["trainings"]["bare"] = {"siamese": {"weight": 1.0}, "privatizer": ""}
  name, chain = setup.between(config, "siamese")
  assert name == "noise sigma=2" and chain.is_random
  name, chain = setup.between(config, "simple")
  assert (name, chain.name) == ("project", "project.pca")
  assert setup.between(config, "bare") == ("", None)
  knobs = {t.training: dict(t.knobs) for t in setup.trials(config)}
  assert knobs["bare"] == {"siamese/weight": 1.0}


@pytest.mark.parametrize("name", ["noise", "noise sigma=7", "nois sigma=2"])
def test_a_grid_without_a_choice_lists_what_there_is(config, name):
  config["trainings"]["siamese"]["privatizer"] = name
  with pytest.raises(ValueError, match="'siamese' has the privatizer") as error:
    setup.trials(config)
  assert repr(name) in str(error.value) and "\n" not in str(error.value)
  assert "identity, project, noise sigma=0.5, noise sigma=2" in str(error.value)


def test_a_training_that_sets_no_knobs_is_one_clear_error(config):
  config["trainings"]["siamese"]["privatiser"] = "project"
  with pytest.raises(
    ValueError, match="siamese sets 'privatiser' to 'project'"
  ):
    setup.trials(config)


def test_the_reference_that_a_sorted_dict_hides_is_missed(config):
  made = spar_activity.get_config("tiny")
  # A plain dict: the alphabet puts "dpfe" before "simple".
  made.trainings = {
    "simple": {"siamese": {"weight": 0.0}},
    "dpfe": {"siamese": {"weight": (0.0, 1.0)}},
  }
  with pytest.raises(
    ValueError, match=r"begins with 'dpfe'.*'simple' should be.*in_order"
  ):
    setup.trials(made.to_dict())
  made.trainings = default.in_order(
    {"simple": made.trainings.simple, "dpfe": made.trainings.dpfe}
  )
  assert setup.trials(made.to_dict())[0].training == "simple"


def test_noise_in_the_loop_makes_no_reference(config):
  noisy = {"siamese": {"weight": 0.0}, "privatizer": "project"}
  config["trainings"] = {"noisy": noisy, **config["trainings"]}
  with pytest.raises(ValueError, match="begins with 'noisy'.*'simple' should"):
    setup.trials(config)
  # Where all have it, the first is as good as any.
  config["trainings"] = {"noisy": noisy}
  assert [t.training for t in setup.trials(config)] == ["noisy"]


def test_the_undefended_code_that_a_sorted_dict_hides_is_missed(config):
  chains = config["privatizers"]
  config["privatizers"] = {k: chains[k] for k in ("project", "identity")}
  with pytest.raises(ValueError, match="'project'.*'identity' should be"):
    setup.trials(config)


def test_retuning_leaves_out_what_reads_the_inputs(given):
  config = {
    **given.config,
    "objective": {
      **given.config["objective"],
      "nopeek": {
        "function": "dependence.distance_correlation",
        "inputs": {"feature": "feature", "other": "inputs/20"},
        "weight": 1.0,
      },
    },
  }
  own = given._replace(config=config)
  names = {
    phase: {t.name for t in setup.spec(own, phase).terms}
    for phase in ("base", "finetune", "retune")
  }
  assert "nopeek" in names["base"] & names["finetune"]
  assert "nopeek" not in names["retune"]
