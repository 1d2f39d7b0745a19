"""Outputs of a frozen prefix are computed once for all that share it."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv import study
from hybridpriv.study import setup as setup_lib
from hybridpriv.study import stored
from hybridpriv.train import features
from tests.study import made_up


@pytest.fixture(scope="module")
def weights():
  """Returns variables of the network of `of_signals`, by seed."""

  def draw(given, seed=0):
    shape = given.data.inputs.shape[1:]
    drawn, _ = made_up.weights(
      network=given.network, input_shape=shape, seed=seed
    )
    return drawn

  return draw


@pytest.fixture
def folder(tmp_path):
  return tmp_path / "features"


@pytest.fixture
def given(of_signals, folder, tmp_path):
  return study.prepare(of_signals(features=str(folder)), tmp_path / "one")


def _features(given, variables, start="pool1"):
  fixed = setup_lib.constants(given, 0)
  return stored.features_of(given, variables, fixed, start)


def _files(folder: pathlib.Path):
  return {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_stored_features_are_those_of_the_prefix(given, weights):
  variables, fixed = weights(given), setup_lib.constants(given, 0)
  x = (given.data.inputs - fixed["mean"]) / fixed["std"]
  want, _ = given.network.apply(
    variables, jnp.asarray(x), train=False, upto="pool1"
  )
  found = _features(given, variables)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_without_a_prefix_they_are_the_samples(given, weights, folder):
  found = _features(given, weights(given), None)
  assert found is given.data.inputs
  assert not folder.exists()


def test_without_a_folder_of_their_own_they_are_in_the_workdir(
  of_signals, weights, tmp_path
):
  given = study.prepare(of_signals(), tmp_path)
  _features(given, weights(given))
  (file,) = (tmp_path / "features").iterdir()
  assert file.name.startswith("pool1-") and file.suffix == ".npy"


def test_a_study_with_another_cut_and_seed_reads_the_same_file(
  of_signals, given, weights, folder, tmp_path
):
  first = _features(given, weights(given))
  before = _files(folder)
  config = of_signals(
    features=str(folder), cut="pool3", name="other", train={"batch_size": 8}
  )
  other = study.prepare(config, tmp_path / "two")
  # What comes behind the prefix does not count either.
  variables = weights(other)
  variables["params"]["fc1"] = weights(other, seed=1)["params"]["fc1"]
  again = _features(other, variables)
  np.testing.assert_array_equal(again, first)
  assert _files(folder) == before and len(before) == 1


def test_other_weights_constants_or_samples_have_files_of_their_own(
  of_signals, given, weights, folder, tmp_path
):
  variables = weights(given)
  found = [_features(given, variables)]
  found.append(_features(given, weights(given, seed=1)))
  others = (
    of_signals(features=str(folder), input_std=(2.0,)),
    of_signals(features=str(folder), data={"people": 11}),
    of_signals(features=str(folder), network={"norm": "none"}),
  )
  for number, config in enumerate(others):
    other = study.prepare(config, tmp_path / str(number))
    found.append(_features(other, weights(other)))
  found.append(_features(given, variables, "pool2"))
  assert len(_files(folder)) == len(found)
  assert not any(
    np.array_equal(a, b) for i, a in enumerate(found) for b in found[:i]
  )


def test_statistics_of_batches_are_weights_too(given, weights, folder):
  variables = weights(given)
  first = _features(given, variables)
  statistics = jax.tree.map(lambda x: x + 1, variables["batch_stats"])
  other = _features(given, {**variables, "batch_stats": statistics})
  assert len(_files(folder)) == 2 and not np.array_equal(first, other)


def test_a_file_that_is_cut_short_is_computed_again_and_said(
  given, weights, folder, capfd
):
  first = np.array(_features(given, weights(given)))
  (path,) = folder.iterdir()
  with path.open("r+b") as file:
    file.truncate(path.stat().st_size // 2)
  again = _features(given, weights(given))
  np.testing.assert_array_equal(again, first)
  assert f"{path} has " in capfd.readouterr().err
  assert list(folder.iterdir()) == [path]


def test_a_disk_without_room_is_said_before_the_prefix_runs(
  given, weights, folder, monkeypatch
):
  variables = weights(given)
  free = shutil.disk_usage(folder.parent)._replace(free=1000)
  monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
  monkeypatch.setattr(features, "stream", None)
  with pytest.raises(ValueError) as refused:
    _features(given, variables)
  shape = _shape(given, variables)
  needed = 4 * np.prod(shape) + 128  # values, and what stands before them
  assert f"needs {needed} bytes in {folder}" in str(refused.value)
  assert not list(folder.iterdir())


def _shape(given, variables):
  x = jnp.asarray(given.data.inputs)
  return jax.eval_shape(
    lambda: given.network.apply(variables, x, train=False, upto="pool1")[0]
  ).shape
