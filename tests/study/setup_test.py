"""What the stages of a study share."""

import jax
import numpy as np
import pytest

from configs import spar_activity
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
