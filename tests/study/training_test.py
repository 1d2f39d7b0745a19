"""Fine-tuning with noise between the halves, and with who restores inputs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv import build, study
from hybridpriv.study import fitting, laws, training, validation
from hybridpriv.study import setup as setup_lib
from hybridpriv.train import checkpoints
from hybridpriv.train import step as step_lib

NOISY = "noisy siamese.weight=0"
SIMPLE = "simple siamese.weight=0"


@pytest.fixture(scope="module")
def config(of_pictures):
  made = of_pictures(train={"checkpoint_every": 5, "tolerance": 1.0})
  made["trainings"]["noisy"] = {
    "siamese": {"weight": 0.0},
    "privatizer": "noise sigma=0.5",
  }
  return made


@pytest.fixture(scope="module")
def noisy(config, quiet, tmp_path_factory):
  """A study with and without noise in the loop, up to its privatizers."""
  folder = tmp_path_factory.mktemp("noisy")
  study.run(config, folder, "fit", say=quiet)
  return study.prepare(config, folder)


def _features(setup, variables):
  index = setup.folds[0].train
  x = step_lib.prepare(
    jnp.asarray(setup.data.inputs[index]),
    jax.tree.map(jnp.asarray, setup_lib.constants(setup, 0)),
    shape=(16, 16, 3),
  )
  return setup.network.apply(variables, x, train=False, upto="inner")[0]


def _spread(feature, k):
  """The RMS deviation of the first k principal coordinates."""
  feature = np.asarray(feature, np.float64)
  values = np.linalg.svd(feature - feature.mean(0), compute_uv=False)[:k]
  return np.sqrt(np.mean(values**2) / (len(feature) - 1))


def test_the_noise_is_fitted_on_the_base_network(noisy):
  project, added = laws.read(noisy, 0, 0, "noisy")
  feature = _features(noisy, training.trained_base(noisy, 0, 0))
  assert project["components"].shape == (4, 96)
  np.testing.assert_allclose(project["mean"], feature.mean(0), atol=1e-4)
  np.testing.assert_allclose(added["std"], 0.5 * _spread(feature, 4), rtol=1e-2)
  assert laws.read(noisy, 0, 0, "simple") is None


def test_privatizers_are_fitted_anew_on_the_tuned_network(noisy):
  row = next(
    r for r in build.rows(noisy.config) if r.name == "noisy/noise sigma=0.5"
  )
  _, added = fitting.read_law(noisy, 0, 0, row)
  feature = _features(noisy, training.variables(noisy, 0, 0, NOISY))
  np.testing.assert_allclose(added["std"], 0.5 * _spread(feature, 4), rtol=1e-2)
  inside = laws.read(noisy, 0, 0, "noisy")[1]["std"]
  assert abs(float(added["std"] - inside)) > 1e-4


def test_both_trainings_start_alike_and_the_noise_makes_the_difference(noisy):
  found = [training.variables(noisy, 0, 0, name) for name in (SIMPLE, NOISY)]
  base = training.trained_base(noisy, 0, 0)
  kernels = [v["params"]["inner"]["dense"]["kernel"] for v in (base, *found)]
  assert np.abs(kernels[1] - kernels[2]).max() > 1e-4
  assert np.abs(kernels[1] - kernels[0]).max() > 1e-4
  (chosen,) = training.chosen(noisy)
  assert "first trial with noise sigma=0.5 between" in chosen["noisy"]["rule"]
  assert "between" not in chosen["simple"]["rule"]


def test_the_choice_is_made_with_the_noise_on(noisy):
  own = setup_lib.spec(noisy, "finetune", "noisy")
  base = training.trained_base(noisy, 0, 0)
  state = training._tunable(noisy, 0, 0, "noisy", base)
  evaluate = validation.make(
    noisy,
    0,
    0,
    own,
    noisy.data.inputs,
    jax.jit(step_lib.make_answers(own)),
  )

  def worth(std):
    project, added = state.constants["privatizer"]
    law = (project, {"std": jnp.full_like(added["std"], std)})
    constants = {**state.constants, "privatizer": law}
    loud = training.dataclasses.replace(state, constants=constants)
    return evaluate(loud)["validation/answer/balanced_accuracy"]

  assert worth(0.0) > 0.9
  # 24 samples, drawn twice: 0.5 is guessing.
  assert 0.2 < worth(1e4) < 0.8
  assert worth(1e4) == worth(1e4)  # of one step, for all trials


def test_a_stopped_training_with_noise_goes_on_as_the_straight_one(
  noisy, config, quiet, tmp_path, monkeypatch
):
  save = checkpoints.save

  def stop(folder, step, state):
    save(folder, step, state)
    if folder.name == NOISY and step == 5:
      raise KeyboardInterrupt

  monkeypatch.setattr(checkpoints, "save", stop)
  with pytest.raises(KeyboardInterrupt):
    study.run(config, tmp_path, "train", say=quiet)
  monkeypatch.undo()
  study.run(config, tmp_path, "train", say=quiet)
  resumed = study.prepare(config, tmp_path)
  jax.tree.map(
    np.testing.assert_array_equal,
    training.variables(resumed, 0, 0, NOISY),
    training.variables(noisy, 0, 0, NOISY),
  )
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  steps = [
    line["step"]
    for line in map(json.loads, lines)
    if line["run"] == f"fold0/seed0/{NOISY}"
  ]
  assert steps == [5, 10]


def test_what_no_gradient_comes_through_is_one_clear_error(
  of_pictures, tmp_path
):
  made = of_pictures()
  made["privatizers"]["whole"] = {
    "chain": ("clip.unit_ball", "quantize.toward_zero"),
    "clip_norm": 1.0,
    "levels": 127,
  }
  made["train"]["privatizer"] = "whole"
  given = study.prepare(made, tmp_path)
  with pytest.raises(ValueError, match="no gradient .*'whole'.*whole num"):
    laws.fit(
      given, 0, 0, "simple", training.whole(given, 0, 0), given.data.inputs
    )


# --- An adversary that restores the inputs.


def _restoring(made):
  both = {"restored": "artist/restored", "target": "inputs/8"}
  made["players"] = {
    "artist": {
      "input": "feature",
      "size": 8,
      "hidden": (16,),
      "optimizer": {"name": "adam", "learning_rate": 0.01},
    }
  }
  made["objective"] |= {
    "artist": {
      "function": "reconstruction.squared_error",
      "inputs": both,
      "weight": 1.0,
      "player": "artist",
    },
    "conceal": {
      "function": "reconstruction.advantage",
      "inputs": both,
      "weight": 0.0,
    },
  }
  made["trainings"]["conceal"] = {"conceal": {"weight": (10.0,)}}
  return made


@pytest.fixture(scope="module")
def restoring(of_pictures, quiet, tmp_path_factory):
  config = _restoring(of_pictures(train={"checkpoint_every": 5}))
  folder = tmp_path_factory.mktemp("restoring")
  study.run(config, folder, "train", say=quiet)
  return study.prepare(config, folder)


@pytest.fixture(scope="module")
def stored(of_pictures, quiet, tmp_path_factory):
  config = of_pictures(train={"finetune": {"start": "inner"}})
  folder = tmp_path_factory.mktemp("stored")
  study.run(_restoring(config), folder, "train", say=quiet)
  return study.prepare(config, folder)


def test_an_adversary_that_restores_changes_nothing_at_weight_zero(
  noisy, restoring
):
  plain, simple, other = (
    training.variables(setup, 0, 0, name)["params"]
    for setup, name in (
      (noisy, SIMPLE),
      (restoring, SIMPLE),
      (restoring, "conceal conceal.weight=10"),
    )
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    plain,
    simple,
  )
  moved = np.abs(
    other["inner"]["dense"]["kernel"] - simple["inner"]["dense"]["kernel"]
  )
  assert moved.max() > 1e-4


def test_small_inputs_come_along_with_stored_features(stored):
  tune = setup_lib.spec(stored, "finetune")
  small = training._thumbnails(stored, 0, tune)
  assert list(small) == ["inputs/8"]
  fixed = setup_lib.constants(stored, 0)
  whole = (stored.data.inputs - fixed["mean"]) / fixed["std"]
  # Pictures of 16 pixels a side, standardised: their colours stay.
  assert small["inputs/8"].shape == (len(whole), 8, 8, 3)
  np.testing.assert_allclose(
    small["inputs/8"].mean((1, 2)), whole.mean((1, 2)), atol=0.1
  )
  places = np.arange(len(whole))
  batch = training.make_batches(stored, 0, 0, places, "finetune", small)(3)
  np.testing.assert_array_equal(
    batch["inputs/8"], small["inputs/8"][batch["inputs"]]
  )
  # A batch of samples needs none: they are made in the step.
  base = setup_lib.spec(stored, "base")
  assert training._thumbnails(stored, 0, base) == {}


def test_from_stored_features_the_adversary_learns_to_restore(stored):
  lines = (stored.folder / "metrics.jsonl").read_text().splitlines()
  errors = [
    line["train/artist/loss"]
    for line in map(json.loads, lines)
    if line["run"] == f"fold0/seed0/{SIMPLE}"
  ]
  assert len(errors) == 2 and errors[1] < errors[0]
