"""The field's habit: weaker than what the audit runs, and still an attack."""

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.attacks import habit
from hybridpriv.audit import engine, problems
from hybridpriv.privatizers import noise, privatizer

PEOPLE, EACH = 6, 40


def _outcome(attack, sigma):
  """Attacks who sent a code: one number of eight is theirs."""
  rng = np.random.default_rng(0)
  label = np.repeat(np.arange(PEOPLE), EACH)
  role = np.tile(
    np.repeat(
      [problems.TRAIN, problems.VALIDATION, problems.TEST], [20, 8, 12]
    ),
    PEOPLE,
  )
  clean = np.eye(PEOPLE, 8, dtype=np.float32)[label]
  clean += 0.05 * rng.normal(size=clean.shape).astype(np.float32)
  chain = privatizer.chain(noise.isotropic(sigma=0.0))
  law = ({"std": jnp.full(1, sigma, jnp.float32)},)
  victims = engine.Victims(["v"], np.zeros(1, int), clean[None], law, chain)
  asked = problems.Problem("person", 0, label, role, PEOPLE, "identity")
  found = engine.attack_all(
    attack, victims, [asked], [(0, 0)], key=jax.random.key(1), seeds=2, draws=4
  )
  return found[0, 0].right.mean()


def test_it_finds_what_is_plain():
  assert _outcome(habit.frozen_mlp(max_steps=400), 0.01) > 0.95


def test_it_learns_stored_noise_by_heart():
  # Two classes' centres are 1.4 apart: with noise of 0.6 the best rule is
  # right about two times in three, which fresh noise teaches and stored not.
  from hybridpriv.attacks import attribute

  fresh = _outcome(attribute.mlp(max_steps=400), 0.6)
  stored = _outcome(habit.frozen_mlp(max_steps=400), 0.6)
  assert 1 / PEOPLE < stored < fresh
