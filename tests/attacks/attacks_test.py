"""What holds for every attack, on systems whose leakage is known."""

import jax
import numpy as np
import pytest

from hybridpriv.attacks import (
  attribute,
  decensoring,
  density,
  discriminant,
  histogram,
  likelihood,
  neighbour,
)
from hybridpriv.audit import engine, problems
from hybridpriv.privatizers import privatizer

ATTACKS = {
  "linear": attribute.linear(learning_rate=0.03, max_steps=600),
  "mlp": attribute.mlp(width=16, learning_rate=0.005, max_steps=600),
  "conv": attribute.conv(
    width=16, learning_rate=0.005, weight_decay=0.001, max_steps=600
  ),
  "nearest": neighbour.nearest(neighbours=(20,)),
  "centroid": neighbour.centroid(),
  "bayes": likelihood.bayes(bandwidth=(0.2,)),
  "kde": density.kde(),
  "fisher": discriminant.linear(ridge=(1e-3,)),
  "shrunk": discriminant.shrinkage(ridge=1e-3, units=0.0),
  "histogram": histogram.bayes(components=(3,)),
  "ridge": decensoring.ridge(strength=0.03, weight_decay=0.001),
  "restored": decensoring.mlp(
    width=16, learning_rate=0.005, weight_decay=0.001, max_steps=600
  ),
}
# How the codes are laid out: flat, where nothing is said.
SHAPES = {"conv": (3, 1)}
# Four standard deviations of 3,000 answers.
ERROR = 4 * np.sqrt(0.25 / 3000)


@pytest.fixture(scope="module", params=ATTACKS)
def attacked(request, attack_systems):
  name = request.param
  return name, *attack_systems(ATTACKS[name], SHAPES.get(name, (3,)))


def test_nobody_beats_chance_on_codes_without_information(attacked):
  _, accuracy, *_ = attacked
  # Every answer to a constant code is the same: exactly a third is right.
  np.testing.assert_allclose(accuracy["constant"], 1 / 3, atol=1e-6)
  assert abs(accuracy["noise"] - 1 / 3) < ERROR


def test_everybody_finds_a_planted_leak(attacked):
  name, accuracy, *_ = attacked
  # A bin of sixteen may reach from one class into the next.
  assert accuracy["planted"] > {"histogram": 0.99}.get(name, 0.999)


def test_nobody_beats_the_bayes_rate_and_good_attacks_reach_it(
  attacked, bayes_rate
):
  name, accuracy, best, _ = attacked
  # Twenty neighbours, drawn once, are few.
  gap = {"nearest": 0.05}.get(name, 0.02)
  for system in ("clusters", "spread"):
    assert abs(best[system] - bayes_rate) < ERROR
    # On the same codes: what is left of the error is where answers differ.
    assert accuracy[system] < best[system] + 0.01
    assert accuracy[system] > best[system] - gap


def test_attacked_samples_and_padding_do_not_reach_the_attacker(attacked):
  # In "moved" the attacked samples have other codes, and the padding shows
  # these and has other labels.
  name, *_, attackers = attacked
  a, b = attackers["clusters"], attackers["moved"]
  if name == "bayes":  # it lists the padding, of no class
    counts = np.any(a["member"] > 0, axis=1)
    assert counts.sum() == 300
    for one in (a, b):
      one["codes"], one["member"] = (
        one["codes"][counts],
        one["member"][counts],
      )
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_unit_that_was_silent_does_not_drown_the_others(
  name, key, monkeypatch
):
  # As of ReLU features: a unit is 0 in the attacker's samples, and is excited
  # by an attacked one.
  rng = np.random.default_rng(0)
  label = rng.integers(0, 3, 900)
  role = np.repeat([problems.TRAIN, problems.VALIDATION, problems.TEST], 300)
  codes = np.zeros((900, 6), np.float32)
  codes[:, :3] = 3 * np.eye(3)[label] + 0.3 * rng.normal(size=(900, 3))
  codes[::50, 3:] = 1e-5
  codes[600:, 3:] = 0.1 * rng.uniform(size=(300, 3))
  if name in SHAPES:
    codes = codes.reshape(900, *SHAPES[name][:-1], -1)
  # What an uncensored encoder makes of attacked samples, nobody reads.
  features = np.eye(3)[label] + 0.3 * rng.normal(size=(900, 3))
  features[600:] = np.nan
  victims = engine.Victims(
    ["codes"],
    np.zeros(1, np.int32),
    codes[None],
    (),
    privatizer.chain(),
    features[None].astype(np.float32),
  )
  problem = problems.Problem("label", 0, label, role, 3, "attribute")
  # One attacker at a time: there are few.
  monkeypatch.setattr(engine, "_block_size", lambda *_: 1)
  found = engine.attack_all(
    ATTACKS[name], victims, [problem], [(0, 0)], key=key, seeds=1, draws=1
  )
  assert found[0, 0].right.mean() > 0.98
