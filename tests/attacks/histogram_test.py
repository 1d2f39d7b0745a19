import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import histogram
from hybridpriv.privatizers import privatizer

RNG = np.random.default_rng(0)
NUM, OWN = 1000, 400
LABEL = RNG.integers(0, 2, NUM)


def fitted(codes, label=LABEL, components=1_000_000, attack=None, **options):
  chain = privatizer.chain()
  victim = attack_lib.Victim(
    codes=jnp.asarray(codes, jnp.float32)[None],
    law=(),
    which=jnp.zeros([], jnp.int32),
    rows=jnp.arange(len(codes)),
    noise=chain,
  )
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(label), jnp.ones(OWN), jnp.ones(len(codes) - OWN), 2
  )
  attack = attack or histogram.bayes(**options)
  knobs = {"components": jnp.float32(components)}
  return attack, attack.fit(jax.random.key(0), victim, auxiliary, knobs)


def share_right(codes, label=LABEL, **options):
  attack, attacker = fitted(codes, label, **options)
  scores = attack.score(attacker, jnp.asarray(codes[OWN:], jnp.float32))
  return np.mean(np.argmax(scores, 1) == label[OWN:])


# Large in one class and small in the other; and in units of their own.
LOUD = RNG.normal(size=(NUM, 100)) * (1 + 0.5 * LABEL)[:, None]
UNITS = np.stack(
  [
    np.choose(np.arange(NUM) % 2, [1e-4 * (1 + LABEL), 1e8 * (1 + LABEL)])
    * (1 + 0.01 * RNG.normal(size=NUM))
  ],
  1,
)


# Where a bin reaches from one cluster into the next, some are mixed.
@pytest.mark.parametrize(
  ("codes", "least"),
  [(LOUD, 0.95), (UNITS, 0.9)],
  ids=["loudness", "units"],
)
def test_it_finds_what_no_distance_shows(codes, least):
  assert share_right(codes) > least


def test_one_component_among_many_silent_ones_is_found():
  codes = RNG.normal(size=(NUM, 300))
  codes[:, 7] += 3 * LABEL
  assert share_right(codes, components=1) > 0.9  # Phi(1.5) = 0.93
  # All together add up to noise.
  assert share_right(codes) < 0.8


def test_scores_are_log_ratios_of_counts():
  codes = np.where(LABEL == 1, RNG.random(NUM) < 0.8, RNG.random(NUM) < 0.3)
  attack, attacker = fitted(codes[:, None], bins=2, draws=1)
  scores = attack.score(attacker, jnp.asarray([[0.0], [1.0]]))
  own, label = codes[:OWN], LABEL[:OWN]
  counts = np.stack(
    [[np.sum((own == b) & (label == c)) for c in (0, 1)] for b in (0, 1)]
  )
  total = counts.sum(0, keepdims=True)
  mean = (counts / total).mean(1, keepdims=True)
  expected = np.log((counts + 2 * mean) / (total + 2) / mean)
  np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_what_is_constant_says_nothing_whatever_the_size_of_classes():
  label = (np.arange(NUM) % 10 == 0).astype(int)
  attack, attacker = fitted(np.ones((NUM, 3)), label)
  scores = np.asarray(attack.score(attacker, jnp.ones((5, 3))))
  np.testing.assert_array_equal(scores, np.zeros((5, 2)))


def test_a_class_that_the_attacker_never_saw_is_never_said():
  attack, attacker = fitted(LOUD, np.zeros(NUM, int))
  scores = np.asarray(attack.score(attacker, jnp.asarray(LOUD[:9])))
  assert np.all(np.isneginf(scores[:, 1]))
  assert np.all(np.isfinite(scores[:, 0]))


BYTES = RNG.integers(0, 256, NUM)
PACKED = (BYTES & ~8) | 8 * LABEL
MARKED = np.round(RNG.normal(size=NUM), 3) + 1e-4 * (3 + LABEL)
LAST = RNG.integers(-4096, 4096, NUM) / 4096 + LABEL / 8192


@pytest.mark.parametrize(
  "codes", [PACKED, MARKED, LAST], ids=["packed", "marked", "last"]
)
def test_digits_show_what_no_size_does(codes):
  codes = np.stack([RNG.normal(size=NUM), codes], 1)
  assert share_right(codes, attack=histogram.digits(), components=1) > 0.95
  assert share_right(codes) < 0.62


def test_digits_of_fresh_noise_say_nothing():
  codes = (MARKED + 1e-2 * RNG.normal(size=NUM))[:, None]
  assert abs(share_right(codes, attack=histogram.digits()) - 0.5) < 0.08


def test_digits_are_those_of_decimal_and_binary_notation():
  codes = jnp.asarray([[5.0], [3.0], [0.0]])
  found = np.asarray(histogram._digits(codes, jnp.asarray([5.0])))
  assert found.shape == (3, 30)
  np.testing.assert_array_equal(
    found[:, :4], [[1, 0, 1, 0], [0, 1, 1, 0], [0] * 4]
  )
  codes = jnp.asarray([[0.123], [0.3], [0.99]])
  found = np.asarray(histogram._digits(codes, jnp.asarray([0.99])))
  np.testing.assert_array_equal(
    found[:, 24:27], [[1, 2, 3], [3, 0, 0], [9, 9, 0]]
  )
