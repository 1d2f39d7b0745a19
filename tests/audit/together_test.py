"""Codes that are known to be of one person are attacked together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.audit import engine
from hybridpriv.audit.problems import TEST, TRAIN, VALIDATION, Problem
from hybridpriv.privatizers import noise, privatizer


def test_codes_of_one_person_add_up_to_the_known_rate():
  # Two classes 1 apart in noise of 1: n codes are told apart with
  # Phi(sqrt(n) / 2).
  label = np.repeat([0, 1], 600)
  role = np.tile(np.repeat([TRAIN, VALIDATION, TEST], [20, 20, 560]), 2)
  codes = label[None, :, None].astype("f4")
  alone = Problem("side", 0, label, role, 2, "attribute")
  many = alone._replace(together=np.arange(1200) // 4)

  def likelihoods(attacker, codes):
    return -0.5 * (codes - jnp.asarray([[0.0, 1.0]])) ** 2

  attack = attack_lib.Attack(
    "test.known", lambda *_: {}, likelihoods, ({"none": 0.0},)
  )
  law = ({"std": jnp.ones(1)},)
  chain = privatizer.chain(noise.isotropic(sigma=1.0))
  found = engine.attack_all(
    attack,
    engine.Victims(["a"], np.zeros(1, int), codes, law, chain),
    [alone, many],
    [(0, 0), (0, 1)],
    key=jax.random.key(0),
    seeds=3,
    draws=8,
  )
  for q, num in ((0, 1), (1, 4)):
    right = found[0, q].right.mean()
    assert right == pytest.approx(stats.norm.cdf(num**0.5 / 2), abs=0.02)
  # Those that are joined are right together.
  together = found[0, 1].right.reshape(3, -1, 4)
  np.testing.assert_allclose(together.min(-1), together.max(-1))
  assert found[0, 0].validation == pytest.approx(
    found[0, 1].validation, abs=0.1
  )
