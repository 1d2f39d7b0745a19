import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import attribute
from hybridpriv.privatizers import privatizer

RNG = np.random.default_rng(0)
SIDE = 2 * (np.arange(240) % 2) - 1
# The sign of the product of two numbers: no line divides it.
CROSSED = RNG.choice([-1.0, 1.0], size=(240, 2))


def compiled(attack):
  """Train on 120 samples, stop by 60, answer 60 others."""

  def run(codes, label, rate, decay=0.001):
    victim = attack_lib.Victim(
      codes[None], (), jnp.int32(0), jnp.arange(240), privatizer.chain()
    )
    auxiliary = attack_lib.Auxiliary(
      label[:180], jnp.ones(120), jnp.ones(60), 2
    )
    knobs = {"learning_rate": rate, "weight_decay": decay}
    attacker = attack.fit(jax.random.key(0), victim, auxiliary, knobs)
    scores = attack.score(attacker, codes[180:])
    return jnp.mean(jnp.argmax(scores, axis=1) == label[180:]), attacker

  # Compiling takes longer than running.
  return jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def linear():
  return compiled(attribute.linear(max_steps=300))


@pytest.fixture(scope="module")
def mlp():
  return compiled(attribute.mlp(width=16, max_steps=300))


def test_the_mlp_finds_what_no_line_divides(linear, mlp):
  codes = np.pad(
    (CROSSED + 0.1 * RNG.normal(size=(240, 2))).astype("f4"), ((0, 0), (0, 1))
  )
  label = (CROSSED.prod(1) > 0).astype(int)
  assert mlp(codes, label, 0.02)[0] > 0.98
  assert linear(codes, label, 0.03)[0] < 0.75


def test_the_attacker_of_the_best_validation_is_kept(linear):
  # Validation says the opposite of training, so that learning only hurts:
  # what is kept is the first look and not the last.
  codes = (SIDE[:, None] + 0.3 * RNG.normal(size=(240, 3))).astype("f4")
  label = (SIDE > 0).astype(int)
  opposite = np.where(np.arange(240) < 120, label, 1 - label)

  def margin(label):
    kernel, _ = linear(codes, label, 0.01)[1]["params"][0]
    return float(jnp.sum(kernel[:, 1] - kernel[:, 0]))

  assert margin(label) > 2 * abs(margin(opposite))


def test_codes_of_any_scale_and_offset_are_learned_alike(linear):
  codes = SIDE[:, None] + 0.3 * RNG.normal(size=(240, 1))
  wide = np.concatenate([0.01 * codes + 5, 100 * codes, 0 * codes + 7], axis=1)
  label = (SIDE > 0).astype(int)
  right, attacker = linear(wide.astype("f4"), label, 0.03)
  assert right > 0.98
  mean, std = np.asarray(attacker["mean"]), np.asarray(attacker["std"])
  standard = (wide - mean) / std
  np.testing.assert_allclose(standard[:120].std(0), [1, 1, 0], atol=2e-2)


@pytest.mark.parametrize("make", [attribute.linear, attribute.mlp])
def test_the_grid_tries_every_rate_with_every_decay(make):
  found = make(learning_rate=(0.1, 0.2), weight_decay=(0.0, 1.0)).grid
  assert found == tuple(
    {"learning_rate": r, "weight_decay": d}
    for r in (0.1, 0.2)
    for d in (0.0, 1.0)
  )
  one = {"learning_rate": 0.1, "weight_decay": 0.5}
  assert make(learning_rate=0.1, weight_decay=0.5).grid == (one,)
  assert len({k["weight_decay"] for k in make().grid}) > 1


def test_a_heavier_decay_helps_where_few_samples_have_many_values(linear):
  rng = np.random.default_rng(0)
  label = (SIDE > 0).astype(int)
  wide = rng.normal(size=(len(SIDE), 300)).astype("f4")
  wide += 0.2 * np.sign(SIDE)[:, None]  # a little of it in every value
  light, _ = linear(wide, label, 0.03, 0.001)
  heavy, _ = linear(wide, label, 0.03, 0.3)
  assert heavy >= light
