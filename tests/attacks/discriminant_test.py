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


def fitted(codes=CODES, label=LABEL, floor=1e-6, own=200):
  victim = attack_lib.Victim(
    jnp.asarray(codes)[None],
    (),
    jnp.int32(0),
    jnp.arange(len(codes)),
    privatizer.chain(),
  )
  used = jnp.ones(own)
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(label), used, jnp.ones(len(codes) - own), CLASSES
  )
  attack = discriminant.linear(draws=1)
  knobs = {"floor": jnp.float32(floor)}
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


def test_with_the_whole_floor_it_is_the_nearest_mean():
  attack, attacker = fitted(floor=1.0)
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


def test_it_is_for_short_codes():
  chain = privatizer.chain(noise.isotropic(sigma=1.0))
  applies = discriminant.linear().applies
  assert applies(chain, (1024,)) and applies(chain, (4, 16, 16))
  assert not applies(chain, (1025,))


def test_a_small_direction_of_long_codes_is_found():
  # Spreads from 1 to 1000, turned into all 300 values.
  rng = np.random.default_rng(0)
  values = rng.normal(size=(800, 300)) * np.logspace(0, 3, 300)
  side = rng.integers(0, 2, 800)
  values[:, 0] = 5 * side + 0.5 * rng.normal(size=800)
  codes = (values @ np.linalg.qr(rng.normal(size=(300, 300)))[0]).astype("f4")
  attack, attacker = fitted(codes, side, floor=1e-6, own=600)
  found = np.argmax(attack.score(attacker, jnp.asarray(codes[-200:])), 1)
  assert np.mean(found == side[-200:]) > 0.95
