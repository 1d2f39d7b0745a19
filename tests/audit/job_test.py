"""One adversary as a function: what it sees, and how it is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import averaging, outliers
from hybridpriv.audit import job, problems
from hybridpriv.privatizers import noise, privatizer

LABEL = np.arange(40) % 2
ROLE = np.repeat([problems.TRAIN, problems.VALIDATION, problems.TEST, 0], 10)
PROBLEM = problems.Problem("label", 0, LABEL, ROLE, 2, "attribute")
EMPTY = privatizer.chain()
MEANS = averaging.of_inputs(EMPTY, 3)
SILENT = privatizer.chain(noise.isotropic(sigma=0.0))


def seen(codes, chain, law, bulk):
  """Returns what an attacker sees of its own codes [m, k]."""
  found = []

  def fit(key, victim, auxiliary, knobs):
    sent = victim.sample(key, auxiliary.train_index)
    jax.debug.callback(lambda x: found.append(np.asarray(x)), sent)
    return {}

  def score(attacker, sent):
    return jnp.zeros((sent.shape[0], 2))

  attack = attack_lib.Attack("test.look", fit, score, ({"none": 0.0},))
  run = job._job(attack, chain, 2, 1, 1)
  padded = jax.tree.map(jnp.asarray, problems.pad([PROBLEM]))
  zero, knobs = jnp.zeros([], jnp.int32), {"none": jnp.zeros([])}
  key = jax.random.key(0)
  run(codes[None], law, None, padded, key, zero, zero, knobs, zero, bulk)
  jax.effects_barrier()
  return found[0]


@pytest.mark.parametrize(
  "chain, law, inputs",
  [
    (EMPTY, (), 0),
    (SILENT, ({"std": jnp.zeros(1)},), 0),
    (MEANS, ((),), 3),
  ],
  ids=["no noise", "silent noise", "means of several inputs"],
)
def test_what_is_sent_is_drawn_in_and_nothing_before(chain, law, inputs):
  rng = np.random.default_rng(0)
  shape = (len(LABEL), inputs, 4) if inputs else (len(LABEL), 4)
  codes = rng.normal(size=shape).astype(np.float32)
  codes[3] *= 500
  if inputs:
    codes[5, 0] = 40 * codes[5, 1]  # far from the others of its mean
  sent = codes.mean(axis=1) if inputs else codes
  bulk = outliers.bulk(jnp.asarray(sent[:10]))
  expected = outliers.draw_in(jnp.asarray(sent[:10]), bulk)
  assert np.any(expected[3] != sent[3])
  found = seen(jnp.asarray(codes), chain, law, bulk)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
