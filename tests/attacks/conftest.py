"""Systems whose leakage is known, and attacks on all of them at once."""

import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import rank
from hybridpriv.privatizers import noise, privatizer

NOISE = privatizer.chain(noise.isotropic(sigma=1.0))
SYSTEMS = ("constant", "noise", "planted", "clusters", "spread", "moved")
CLASSES = 3
TRAIN, VALIDATION, PADDING, TEST = 300, 150, 20, 3000
OWN = TRAIN + PADDING + VALIDATION + PADDING
# A triangle with sides of two standard deviations of the noise; the third
# component tells nothing.
MEANS = (
  2
  / np.sqrt(3)
  * np.array(
    [[np.cos(a), np.sin(a), 0.0] for a in 2 * np.pi * np.arange(3) / 3]
  )
)


def _systems() -> Any:
  """Codes [v, n, 3] and what else an attack on them needs.

  That is the deviation of their noise [v], classes [n], rows and masks, and
  uncensored features [v, n, 4], which tell the class whatever the codes tell.
  """
  rng = np.random.default_rng(0)
  n = TRAIN + VALIDATION + TEST
  # Every class has a third of each part.
  label = np.concatenate(
    [
      rng.permutation(np.arange(size) % CLASSES)
      for size in (TRAIN, VALIDATION, TEST)
    ]
  )
  corners = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9]])
  codes = {
    "constant": np.full((n, 3), 1 / 3),
    "noise": np.zeros((n, 3)),
    "planted": corners[label],
    "clusters": MEANS[label],
    # The same law of codes, part of it from the inputs.
    "spread": MEANS[label] + 0.5 * rng.normal(size=(n, 3)),
  }
  attacked = np.arange(n) >= TRAIN + VALIDATION
  # Clusters again, but for what the attacker must not see.
  codes["moved"] = np.where(attacked[:, None], 1e3, codes["clusters"])
  features = np.concatenate([MEANS[label, :2], np.zeros((n, 2))], axis=1)
  features += 0.3 * rng.normal(size=features.shape)
  features = np.stack([features] * len(SYSTEMS))
  features[-1, attacked] = 1e3
  own = np.arange(TRAIN + VALIDATION)
  # Padding shows attacked samples.
  padding = np.full(PADDING, n - 1)
  rows = np.concatenate([own[:TRAIN], padding, own[TRAIN:], padding])
  mask = np.concatenate([np.ones(TRAIN), np.zeros(PADDING)])
  judge = np.concatenate([np.ones(VALIDATION), np.zeros(PADDING)])
  labels = np.stack([label[rows]] * len(SYSTEMS))
  padded = np.concatenate([mask, judge]) == 0
  labels[-1, padded] = (labels[-1, padded] + 1) % CLASSES
  std = np.array([0.0, 1.0, 0.1, 1.0, np.sqrt(0.75), 1.0])
  return types.SimpleNamespace(
    codes=jnp.asarray(np.stack([codes[s] for s in SYSTEMS]), jnp.float32),
    law=({"std": jnp.asarray(std, jnp.float32)},),
    features=jnp.asarray(features, jnp.float32),
    rows=jnp.asarray(rows),
    labels=jnp.asarray(labels),
    train=jnp.asarray(mask, jnp.float32),
    validation=jnp.asarray(judge, jnp.float32),
    attacked=jnp.asarray(np.flatnonzero(attacked)),
    truth=jnp.asarray(label[attacked]),
  )


@pytest.fixture(scope="session")
def bayes_rate() -> float:
  """Accuracy of the best guess for "clusters" and "spread": nearest mean."""
  rng = np.random.default_rng(1)
  label = np.arange(600_000) % CLASSES
  codes = MEANS[label] + rng.normal(size=(len(label), 3))
  distance = [np.sum((codes - mean) ** 2, axis=1) for mean in MEANS]
  return float(np.mean(np.argmin(distance, axis=0) == label))


@pytest.fixture(scope="session")
def attack_systems() -> Any:
  """Returns a function that runs an attack with its first knobs on them all.

  Codes are laid out in a shape of three values.  It gives, by system, the
  accuracy, that of the best rule for the clusters on the same codes, and the
  attacker.
  """
  made, names = _systems(), list(enumerate(SYSTEMS))

  def run(attack: attack_lib.Attack, shape: tuple[int, ...] = (3,)) -> Any:
    codes = made.codes.reshape(*made.codes.shape[:2], *shape)
    knobs = {k: jnp.float32(v) for k, v in attack.grid[0].items()}

    def one(which: jax.Array, label: jax.Array) -> Any:
      victim = attack_lib.Victim(
        codes, made.law, which, made.rows, NOISE, uncensored=made.features
      )
      auxiliary = attack_lib.Auxiliary(
        label, made.train, made.validation, CLASSES
      )
      attacker = attack.fit(jax.random.key(1), victim, auxiliary, knobs)
      sender = attack_lib.Victim(codes, made.law, which, made.attacked, NOISE)
      sent = sender.sample(jax.random.key(2), jnp.arange(TEST))
      right, _ = rank.of_scores(attack.score(attacker, sent), made.truth)
      sent = attack_lib.flatten(sent)
      distance = jnp.sum((sent[:, None] - jnp.asarray(MEANS)[None]) ** 2, -1)
      best = jnp.argmin(distance, axis=1) == made.truth
      return jnp.mean(right), jnp.mean(best), attacker

    which = jnp.arange(len(SYSTEMS))
    program = jax.jit(jax.vmap(one))
    found = jax.device_get(program(which, made.labels))
    return [
      {name: jax.tree.map(lambda x, i=i: x[i], part) for i, name in names}
      for part in found
    ]

  return run
