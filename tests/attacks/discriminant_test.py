import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import discriminant
from hybridpriv.privatizers import noise, privatizer

RNG = np.random.default_rng(0)
NUM, CLASSES = 300, 3
LABEL = RNG.integers(0, CLASSES, NUM)
MIX = RNG.normal(size=(4, 4))
CODES = (RNG.normal(size=(NUM, 4)) + np.eye(4)[LABEL]) @ MIX
CODES = CODES.astype("f4")


def fitted(codes=CODES, label=LABEL, ridge=0.0, attack=None, knobs=None):
  victim = attack_lib.Victim(
    jnp.asarray(codes)[None],
    (),
    jnp.int32(0),
    jnp.arange(len(codes)),
    privatizer.chain(),
  )
  used = jnp.ones(200)
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(label), used, jnp.ones(len(codes) - 200), CLASSES
  )
  attack = attack or discriminant.linear(draws=1)
  knobs = knobs or {"ridge": jnp.float32(ridge)}
  attacker = attack.fit(jax.random.key(0), victim, auxiliary, knobs)
  return attack, attacker


def test_scores_are_mahalanobis_distances_worked_in_float64():
  attack, attacker = fitted()
  scores = np.asarray(attack.score(attacker, jnp.asarray(CODES[200:])), "f8")
  own, label = CODES[:200].astype("f8"), LABEL[:200]
  means = np.stack([own[label == c].mean(0) for c in range(CLASSES)])
  # Every class counts alike.
  within = np.mean(
    [np.cov(own[label == c].T, bias=True) for c in range(CLASSES)], axis=0
  )
  inverse = np.linalg.inv(within)
  away = CODES[200:, None].astype("f8") - means[None]
  expected = -np.einsum("bci,ij,bcj->bc", away, inverse, away) / 2
  for x in (scores, expected):
    x -= x.mean(1, keepdims=True)
  np.testing.assert_allclose(scores, expected, rtol=2e-3, atol=2e-3)


def test_with_a_large_ridge_it_is_the_nearest_mean():
  attack, attacker = fitted(ridge=1e4)
  found = np.argmax(attack.score(attacker, jnp.asarray(CODES[200:])), 1)
  own = CODES / CODES[:200].std(0)
  means = [own[:200][LABEL[:200] == c].mean(0) for c in range(CLASSES)]
  away = np.linalg.norm(own[200:, None] - np.stack(means)[None], axis=2)
  # The spread is of samples that count by class.
  assert np.mean(found == away.argmin(1)) > 0.97


@pytest.mark.parametrize("ratio", [30, 3000])
def test_noise_in_a_direction_of_its_own_hides_nothing(ratio):
  side = LABEL % 2
  small = side + 0.1 * RNG.normal(size=NUM)
  large = ratio * RNG.normal(size=NUM)
  codes = np.stack([large + small, large - small], 1).astype("f4")
  attack, attacker = fitted(codes, side)
  found = np.argmax(attack.score(attacker, jnp.asarray(codes[200:])), 1)
  assert np.mean(found == side[200:]) > 0.98


def test_a_class_that_the_attacker_never_saw_is_never_said():
  label = np.where(LABEL == 1, 0, LABEL)
  attack, attacker = fitted(label=label)
  scores = attack.score(attacker, jnp.asarray(CODES))
  assert np.all(np.isneginf(scores[:, 1]))
  assert np.all(np.isfinite(scores[:, [0, 2]]))


def test_one_is_for_short_codes_and_one_for_long():
  chain = privatizer.chain(noise.isotropic(sigma=1.0))
  short = discriminant.linear().applies
  long = discriminant.shrinkage().applies
  for shape, is_short in (((256,), True), ((4, 4, 16), True), ((257,), False)):
    assert short(chain, shape) is is_short
    assert long(chain, shape) is not is_short


def shrunk(codes, label, ridge, units=0.0):
  attack = discriminant.shrinkage(ridge=ridge)
  knobs = {"units": jnp.float32(units)}
  return attack, fitted(codes, label, attack=attack, knobs=knobs)[1]


@pytest.mark.parametrize("size", [20, 500])  # fewer than samples, and more
@pytest.mark.parametrize("units", [0.0, 0.5, 1.0])
def test_shrunk_scores_are_those_of_float64(size, units):
  rng = np.random.default_rng(1)
  spread = 10.0 ** rng.uniform(-1, 1, size)
  codes = rng.normal(size=(NUM, 5)) @ rng.normal(size=(5, size))
  codes = codes + rng.normal(size=(NUM, size)) + np.eye(size)[LABEL]
  codes = (codes * spread).astype("f4")
  attack, attacker = shrunk(codes, LABEL, 0.05, units)
  scores = np.asarray(attack.score(attacker, jnp.asarray(codes[200:])), "f8")

  own, label = codes[:200].astype("f8"), LABEL[:200]
  weights = 1 / np.bincount(label)[label] / CLASSES
  mean = weights @ own
  std = np.sqrt(weights @ (own - mean) ** 2)
  unit = (std / std.max()) ** units / std
  own, asked = (own - mean) * unit, (codes[200:].astype("f8") - mean) * unit
  means = np.stack([own[label == c].mean(0) for c in range(CLASSES)])
  rows = (own - means[label]) * np.sqrt(weights)[:, None]
  within = rows.T @ rows
  within += 0.05 * np.trace(within) / size * np.eye(size)
  turn = np.linalg.solve(within, means.T)
  expected = asked @ turn - np.sum(means * turn.T, 1) / 2
  np.testing.assert_allclose(
    scores, expected, atol=1e-3 * np.abs(expected).max()
  )


def test_large_noise_in_a_direction_of_its_own_hides_nothing_in_long_codes():
  rng = np.random.default_rng(2)
  size, side = 600, LABEL % 2
  large, small = rng.normal(size=(2, size)) / np.sqrt(size)
  codes = 300 * rng.normal(size=(NUM, 1)) * large + 3 * side[:, None] * small
  codes = (codes + 0.02 * rng.normal(size=(NUM, size))).astype("f4")
  attack, attacker = shrunk(codes, side, 0.01)
  found = np.argmax(attack.score(attacker, jnp.asarray(codes[200:])), 1)
  assert np.mean(found == side[200:]) > 0.98


@pytest.mark.parametrize("ratio", [1e4, 1e5])
@pytest.mark.parametrize("num", [1, 12])  # directions of noise
def test_noise_next_to_which_codes_are_all_but_constant_hides_nothing(
  ratio, num
):
  rng = np.random.default_rng(3)
  size, side = 600, LABEL % 2
  large = rng.normal(size=(NUM, num)) @ rng.choice([-1, 1], size=(num, size))
  small = rng.choice([-1, 1], size=size)
  codes = ratio * large + (2 * side[:, None] - 1) * small
  codes = (codes + 0.2 * rng.normal(size=(NUM, size))).astype("f4")
  attack, attacker = shrunk(codes, side, 0.1)
  found = np.argmax(attack.score(attacker, jnp.asarray(codes[200:])), 1)
  assert np.mean(found == side[200:]) > 0.98


@pytest.mark.parametrize("ridges", [(0.01, 1e4), (1e4, 0.01)])
def test_of_several_ridges_the_one_that_answers_validation_best_is_taken(
  ridges,
):
  rng = np.random.default_rng(4)
  size, side = 600, LABEL % 2
  codes = rng.normal(size=(NUM, 30)) @ rng.normal(size=(30, size))
  codes = codes + 0.3 * rng.normal(size=(NUM, size)) + side[:, None] * 0.3
  codes = codes.astype("f4")

  def answers(ridge):
    attack, attacker = shrunk(codes, side, ridge)
    return np.asarray(attack.score(attacker, jnp.asarray(codes[200:])))

  good, bad, found = answers(0.01), answers(1e4), answers(ridges)
  right = [np.mean(x.argmax(1) == side[200:]) for x in (good, bad)]
  assert right[0] > right[1] + 0.2
  np.testing.assert_allclose(found, good, rtol=1e-5)


def test_a_shrunk_one_never_says_a_class_that_it_never_saw():
  label = np.where(LABEL == 1, 0, LABEL)
  attack, attacker = shrunk(np.tile(CODES, 80), label, 0.1)
  scores = attack.score(attacker, jnp.tile(CODES, 80))
  assert np.all(np.isneginf(scores[:, 1]))
  assert np.all(np.isfinite(scores[:, [0, 2]]))
