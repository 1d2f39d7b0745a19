"""What attackers are given beside codes: features nobody censored."""

import jax
import numpy as np
import pytest

from hybridpriv import study
from hybridpriv.attacks import decensoring
from hybridpriv.audit import engine
from hybridpriv.study import auditing, training, victims
from hybridpriv.study.setup import constants

KEPT = "audit/reference/fold0/seed1.npz"


@pytest.fixture(scope="module")
def fitted(of_pictures, quiet, tmp_path_factory):
  """A study of two networks, fitted and not yet audited."""
  config = of_pictures(
    train={"seeds": 2},
    audit={
      "attacks": {
        "nearest": {"function": "neighbour.nearest"},
        "ridge": {"function": "decensoring.ridge"},
      }
    },
  )
  folder = tmp_path_factory.mktemp("fitted")
  study.run(config, folder, "fit", say=quiet)
  return study.prepare(config, folder)


@pytest.fixture(scope="module")
def features(fitted):
  return victims.references(fitted)


def test_features_are_components_of_those_of_the_base_network(fitted, features):
  assert features.keys() == {(0, 0), (0, 1)}
  parts, own = fitted.folds[0], constants(fitted, 0)
  inputs = (fitted.data.inputs - own["mean"]) / own["std"]
  for (fold, seed), found in features.items():
    base = training.trained_base(fitted, fold, seed)["params"]["inner"]["dense"]
    kernel, bias = (np.asarray(base[k], "f8") for k in ("kernel", "bias"))
    inner = np.maximum(inputs.reshape(len(inputs), -1) @ kernel + bias, 0)
    mean = inner[parts.train].mean(axis=0)
    vectors = np.linalg.svd(inner[parts.train] - mean)[2]
    expected = (inner[parts.audit] - mean) @ vectors[:10].T
    # Fewer than 64: there are 60 samples to find them in.
    assert found.dtype == np.float32
    assert found.shape == (len(parts.audit), len(parts.train) - 1)
    np.testing.assert_allclose(
      np.abs(found[:, :10]), np.abs(expected), rtol=1e-2, atol=1e-2
    )


def test_features_are_computed_once(fitted, features, monkeypatch):
  before = (fitted.folder / KEPT).stat().st_mtime_ns
  monkeypatch.setattr(training, "trained_base", None)
  again = victims.references(fitted)
  assert (fitted.folder / KEPT).stat().st_mtime_ns == before
  for name, found in features.items():
    np.testing.assert_array_equal(again[name], found)


def test_without_an_attack_that_reads_them_there_are_none(fitted):
  config = dict(fitted.config)
  config["audit"] = config["audit"] | {
    "attacks": {"nearest": {"function": "neighbour.nearest"}}
  }
  assert victims.references(fitted._replace(config=config)) == {}
  # Of another system's codes no network is known.
  assert victims.references(fitted._replace(network=None)) == {}


def test_systems_have_the_features_of_their_own_network(features):
  chain, law = victims.silent()
  rng = np.random.default_rng(0)
  long, short = (
    rng.normal(size=(n, 3)).astype("f4") for n in (len(features[0, 0]), 7)
  )
  known = {**features, (1, 0): features[0, 0][:7] + 1}
  members = [
    (("row", 0, 0), long, law, chain),
    (("row", 0, 1), long, law, chain),
    (("row", 1, 0), short, law, chain),
    (("planted leak", 0, 5), long, law, chain),
  ]
  (group,) = victims.group(members, known)
  expected = [
    known[0, 0],
    known[0, 1],
    np.pad(known[1, 0], [(0, len(long) - 7), (0, 0)]),
    known[0, 0],
  ]
  np.testing.assert_array_equal(group.reference, expected)
  (without,) = victims.group(members)
  assert without.reference is None
  np.testing.assert_array_equal(without.codes, group.codes)


def test_with_features_too_controls_tell_nothing_and_planted_leaks_all(
  fitted, features
):
  asked = auditing.list_problems(fitted)
  (p,) = (p for p in asked if p.kind == "identity")
  q = asked.index(p)
  rng = np.random.default_rng(0)
  example = rng.normal(size=(len(p.label), 4))
  (group,) = victims.group(
    victims.control_systems(fitted, asked, example), features
  )
  attack = decensoring.ridge(weight_decay=0.001, strength=0.03)
  found = engine.attack_all(
    attack,
    group,
    asked,
    [(v, q) for v in range(len(group.names))],
    key=jax.random.key(0),
    seeds=2,
    draws=4,
  )
  right = {
    name[0]: found[v, q].right.mean() for v, name in enumerate(group.names)
  }
  chance = 1 / p.num_classes
  assert right["constant"] == pytest.approx(chance)
  assert right["equal-energy noise"] == pytest.approx(chance, abs=0.15)
  assert right["planted leak"] > 0.95
