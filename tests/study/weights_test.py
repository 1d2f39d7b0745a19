"""Published weights: where they go, what stays frozen, what is refused."""

import jax
import numpy as np
import pytest

from hybridpriv import study
from hybridpriv.networks import bottleneck
from hybridpriv.study import setup as setup_lib
from hybridpriv.study import stored, training, weights
from tests.study import made_up

WEIGHTS = {"function": "tests.study.made_up:weights", "seed": 7}
FROZEN = {"base": {"start": "pool1"}, "finetune": {"start": "pool1"}}
TRIAL = "simple siamese.weight=0"


@pytest.fixture(scope="module")
def trained(of_signals, quiet, tmp_path_factory):
  """A study of published weights, frozen up to pool1, after its training."""
  config = of_signals(weights=WEIGHTS, train=FROZEN)
  folder = tmp_path_factory.mktemp("trained")
  study.run(config, folder, "train", say=quiet)
  return study.prepare(config, folder)


@pytest.fixture(scope="module")
def published(trained):
  shape = trained.data.inputs.shape[1:]
  return made_up.weights(network=trained.network, input_shape=shape, seed=7)[0]


def test_a_study_starts_from_the_weights_it_names(trained, published):
  found = training.whole(trained, 0, 0)
  jax.tree.map(np.testing.assert_array_equal, found, published)


def test_what_the_weights_report_is_said(of_signals, tmp_path, capsys):
  weights._read.cache_clear()
  study.prepare(of_signals(weights=WEIGHTS), tmp_path)
  assert "weights: drawn from seed 7" in capsys.readouterr().err


def test_the_frozen_prefix_is_as_published_bit_for_bit(trained, published):
  for found in (
    training.trained_base(trained, 0, 0),
    training.variables(trained, 0, 0, TRIAL),
  ):
    assert set(found) == {"params", "batch_stats"}
    for collection, stages in found.items():
      assert set(stages) == set(published[collection])
      for name, value in stages.items():
        before = published[collection][name]
        same = jax.tree.map(np.array_equal, value, before)
        # All that comes behind was trained.
        assert set(jax.tree.leaves(same)) == {name == "conv1"}, name


def test_the_frozen_prefix_runs_once_for_both_trainings(trained):
  (file,) = (trained.folder / "features").iterdir()
  assert file.name.startswith("pool1-")


def _refused(config, folder, message):
  with pytest.raises(ValueError, match=message) as error:
    study.run(config, folder, "train", say=lambda line: None)
  assert "\n" not in str(error.value)
  assert not (folder / "checkpoints").exists()
  assert not (folder / "config.json").exists()


def test_stages_that_nothing_has_trained_cannot_be_frozen(of_signals, tmp_path):
  _refused(
    of_signals(train=FROZEN),
    tmp_path,
    r"base\.start='pool1' freezes stages that nothing has trained",
  )


@pytest.mark.parametrize("start", ["", "conv1"])
def test_fine_tuning_does_not_train_what_the_base_keeps_frozen(
  of_signals, tmp_path, start
):
  phases = {"base": {"start": "pool1"}, "finetune": {"start": start}}
  _refused(
    of_signals(weights=WEIGHTS, train=phases),
    tmp_path,
    rf"base\.start is 'pool1' and config\.train\.finetune\.start is '{start}'",
  )


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"input_mean": (1.0, 2.0)}, r"config\.input_mean is \(1\.0, 2\.0\)"),
    ({"input_mean": ("chanel",)}, r"'channel',.*'image',.*one number, or 3"),
    ({"input_std": ("image",)}, r"config\.input_std is \('image',\)"),
    ({"input_std": (0.0,)}, r"config\.input_std is \(0\.0,\)"),
  ],
)
def test_constants_that_do_not_fit_the_inputs_are_refused(
  of_signals, tmp_path, changes, message
):
  _refused(of_signals(**changes), tmp_path, message)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"function": "tests.study.made_up:weight"}, "weight' is not known"),
    ({"sed": 7}, r"config\.weights: .*'sed'"),
  ],
)
def test_weights_that_are_not_there_are_refused_before_training(
  of_signals, tmp_path, change, message
):
  _refused(of_signals(weights=WEIGHTS | change), tmp_path, message)


def test_weights_of_another_network_are_refused_before_training(
  of_signals, tmp_path
):
  config = of_signals(weights=WEIGHTS | {"width": 0.25})
  _refused(config, tmp_path, "'conv1' in 'params'")


@pytest.mark.parametrize("per", ["channel", "image"])
def test_means_and_spreads_are_those_of_task_train(of_signals, tmp_path, per):
  given = study.prepare(
    of_signals(input_mean=(per,), input_std=(0.5,)), tmp_path
  )
  values = given.data.inputs[given.folds[0].train].astype(np.float64)
  found = setup_lib.constants(given, 0)
  axes = (0, 1) if per == "channel" else (0,)
  np.testing.assert_allclose(found["mean"], values.mean(axes), rtol=1e-4)
  np.testing.assert_array_equal(found["std"], np.full(3, 0.5, np.float32))


# --- The bottleneck of DPFE.


@pytest.fixture(scope="module")
def narrow_config(of_signals):
  config = of_signals(
    weights=WEIGHTS,
    cut="private",
    train={"base": {"start": "pool2"}, "finetune": {"start": "pool2"}},
    privatizers={},
  )
  config["network"] |= {
    "function": "bottleneck.dpfe",
    "inner": "sensor.sensor",
    "after": "pool2",
    "k": 3,
  }
  config["train"]["margin_unit"] = "raw"
  config["objective"] = {
    "task": config["objective"]["task"],
    "dpfe": {
      "function": "siamese.reversed_contrastive",
      "inputs": {"feature": "feature", "labels": "labels/person"},
      "weight": 0.0,
      "margin": 10.0,
    },
  }
  config["trainings"] = {
    "simple": {"dpfe": {"weight": 0.0}},
    "dpfe": {"dpfe": {"weight": (0.1, 1.0)}},
  }
  config["privatizers"] = {
    "identity": {"chain": ()},
    "noise": {"chain": ("noise.covariance",), "scale": (0.5,)},
  }
  return config


@pytest.fixture(scope="module")
def narrow(narrow_config, tmp_path_factory):
  return study.prepare(narrow_config, tmp_path_factory.mktemp("narrow"))


def test_a_bottleneck_starts_as_the_components_of_task_train(narrow):
  found = weights.published(narrow, 0)
  fixed = setup_lib.constants(narrow, 0)
  before = np.asarray(stored.features_of(narrow, found, fixed, "pool2"))
  train = before[narrow.folds[0].train]
  flat = train.reshape(len(train), -1).astype(np.float64)
  centred = flat - flat.mean(0)
  _, values, directions = np.linalg.svd(centred, full_matrices=False)
  want = centred @ directions[:3].T
  want /= want.std(0, ddof=1)
  network = narrow.network
  code, _ = network.apply(
    found, train, train=False, after="pool2", upto=bottleneck.PRIVATE
  )
  # The sign of a component is free.
  sign = np.sign(np.sum(np.asarray(code) * want, axis=0))
  np.testing.assert_allclose(code, want * sign[None], atol=2e-3)
  restored, _ = network.apply(
    found, code, train=False, after="private", upto=bottleneck.RESTORE
  )
  lost = np.sum((np.asarray(restored).reshape(flat.shape) - flat) ** 2)
  assert lost == pytest.approx(np.sum(values[3:] ** 2), rel=1e-3)


def test_the_rest_of_a_bottlenecked_network_is_as_published(narrow):
  found = training.whole(narrow, 0, 0)
  inner, _ = made_up.weights(
    network=narrow.network.inner, input_shape=(16, 3), seed=7
  )
  assert set(found["params"]) == set(inner["params"]) | {"private", "restore"}
  for collection, stages in inner.items():
    for name, value in stages.items():
      jax.tree.map(
        np.testing.assert_array_equal, found[collection][name], value
      )


def test_dpfe_is_trained_and_its_reference_is_simple(
  narrow, narrow_config, quiet, capsys
):
  study.run(narrow_config, narrow.folder, "fit", say=quiet)
  # Its margin is between people, and far away on purpose.
  assert "margin" not in capsys.readouterr().err
  (chosen,) = training.chosen(narrow)
  assert list(chosen) == ["simple", "dpfe"]
  assert len(chosen["dpfe"]["trials"]) == 2
  start = training.whole(narrow, 0, 0)["params"]
  for own in chosen.values():
    found = training.variables(narrow, 0, 0, own["chosen"])["params"]
    for name in ("conv1", "conv2"):
      jax.tree.map(np.testing.assert_array_equal, found[name], start[name])
    moved = found["private"]["projection"]["dense"]["kernel"]
    assert not np.array_equal(
      moved, start["private"]["projection"]["dense"]["kernel"]
    )
