import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attack
from hybridpriv.privatizers import noise, privatizer

NOISE = privatizer.chain(noise.isotropic(sigma=1.0))
CODES = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)
STD = np.array([0.0, 2.0], np.float32)


def victim(which=1, rows=(4, 2, 0), num_queries=1):
  return attack.Victim(
    jnp.asarray(CODES),
    ({"std": jnp.asarray(STD)},),
    jnp.int32(which),
    jnp.asarray(rows),
    NOISE,
    num_queries,
  )


def test_samples_are_addressed_among_the_attackers_own(key):
  index = jnp.array([2, 0, 0])
  expected = CODES[0][[0, 4, 4]]
  np.testing.assert_array_equal(victim(0).clean(index), expected)
  np.testing.assert_array_equal(victim(0).sample(key, index), expected)


def test_two_codes_of_one_input_differ(key):
  index = jnp.array([1, 1])
  first = victim().sample(key, index)
  assert np.all(first[0] != first[1])
  again = victim().sample(jax.random.key(1), index)
  assert np.all(first != again)
  np.testing.assert_array_equal(victim().clean(index), CODES[1][[2, 2]])


@pytest.mark.parametrize("num", [1, 10])
def test_the_mean_of_n_queries_has_an_nth_of_the_noise(key, num):
  index = jnp.zeros(4000, jnp.int32)
  sample = jax.jit(lambda v, key: v.sample(key, index))
  codes = sample(victim(num_queries=num), key)
  spread = np.var(codes - CODES[1, 4][None])  # of 12,000 numbers
  np.testing.assert_allclose(spread, STD[1] ** 2 / num, rtol=0.06)
  np.testing.assert_allclose(np.mean(codes, axis=0), CODES[1, 4], atol=0.15)


def test_averaging_silent_codes_changes_nothing(key):
  codes = victim(0, num_queries=10).sample(key, jnp.arange(3))
  np.testing.assert_allclose(codes, CODES[0][[4, 2, 0]], rtol=1e-6)


def test_uncensored_features_are_addressed_as_codes_are():
  features = jnp.asarray(-CODES)
  own = dataclasses.replace(victim(), uncensored=features)
  index = jnp.array([2, 0, 0])
  np.testing.assert_array_equal(own.reference(index), -CODES[1][[0, 4, 4]])
  np.testing.assert_array_equal(own.reference(index), -own.clean(index))
  with pytest.raises(ValueError, match="uncensored"):
    victim().reference(index)


def test_a_grid_is_every_setting_of_each_knob_with_every_other():
  found = attack.grid(rate=(0.1, 0.2), decay=0.5, width=[1.0, 2.0])
  assert found == (
    {"rate": 0.1, "decay": 0.5, "width": 1.0},
    {"rate": 0.1, "decay": 0.5, "width": 2.0},
    {"rate": 0.2, "decay": 0.5, "width": 1.0},
    {"rate": 0.2, "decay": 0.5, "width": 2.0},
  )


def test_moments_count_every_sample_by_its_weight():
  rng = np.random.default_rng(0)
  codes = rng.normal(size=(6, 3)) * np.array([1.0, 5.0, 0.0]) + 2
  count = np.array([1, 3, 0, 2, 1, 1])
  mean, std = attack.moments(
    jnp.asarray(codes, jnp.float32), jnp.asarray(count / 8, jnp.float32)
  )
  repeated = np.repeat(codes, count, axis=0)
  np.testing.assert_allclose(mean, repeated.mean(axis=0), rtol=1e-5)
  np.testing.assert_allclose(std[:2], repeated.std(axis=0)[:2], rtol=1e-4)
  assert 0 < std[2] < 1e-4  # never 0, so that it can divide


AUXILIARY = attack.Auxiliary(
  label=jnp.array([0, 0, 1, 2, 2, 1, 0, 1, 1, 0]),
  train=jnp.array([1.0, 1, 1, 1, 0, 0]),
  validation=jnp.array([1.0, 1, 1, 0]),
  num_classes=4,
)


def test_every_class_present_weighs_the_same_and_padding_nothing():
  third = 1 / 3
  np.testing.assert_allclose(
    AUXILIARY.train_weights, [third / 2, third / 2, third, third, 0, 0]
  )
  np.testing.assert_allclose(AUXILIARY.validation_weights, [0.5, 0.25, 0.25, 0])


def test_the_attackers_samples_are_training_first_then_validation():
  np.testing.assert_array_equal(AUXILIARY.train_index, range(6))
  np.testing.assert_array_equal(AUXILIARY.validation_index, range(6, 10))
  nothing = dataclasses.replace(AUXILIARY, train=jnp.zeros(6))
  np.testing.assert_array_equal(nothing.train_weights, np.zeros(6))


def test_codes_are_laid_out_as_vectors():
  found = attack.flatten(jnp.zeros((2, 3, 4), jnp.bfloat16))
  assert found.shape == (2, 12) and found.dtype == jnp.float32
