"""Ranks of studies are by the likelihood of the law that made the codes."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from hybridpriv.study import victims

RNG = np.random.default_rng(0)
CLEAN = RNG.normal(size=(40, 2, 2)).astype("f4")
LEVELS = np.asarray([[0.2, 1.0], [3.0, 0.5]], "f4")
FACTOR = np.linalg.qr(RNG.normal(size=(4, 4)))[0] * [1.0, 0.5, 0.2, 0.1]
FACTOR = FACTOR @ FACTOR.T


@pytest.mark.parametrize(
  ("law", "covariance"),
  [
    (({"std": jnp.asarray(0.7)},), 0.49 * np.eye(4)),
    (({"std": jnp.asarray(LEVELS)},), np.diag(LEVELS.ravel() ** 2)),
    (({"factor": jnp.asarray(FACTOR)}, {}), FACTOR @ FACTOR.T),
    (
      ({"factor": jnp.asarray(FACTOR)}, {"std": jnp.asarray(LEVELS)}),
      FACTOR @ FACTOR.T + np.diag(LEVELS.ravel() ** 2),
    ),
  ],
  ids=["one level", "levels", "covariance", "both"],
)
def test_candidates_are_ranked_by_likelihood(law, covariance):
  noise = RNG.multivariate_normal(np.zeros(4), covariance, size=40)
  sent = CLEAN + noise.reshape(CLEAN.shape).astype("f4")
  person = np.repeat(np.arange(10), 4)
  found = victims._ranks([sent], CLEAN, law, person)
  score = np.stack(
    [
      stats.multivariate_normal.logpdf(sent.reshape(40, 4), u, covariance)
      for u in CLEAN.reshape(40, 4)
    ],
    axis=1,
  )
  true = score[np.arange(40), np.arange(40)][:, None]
  expected = 1 + np.sum(score > true, axis=1)
  np.testing.assert_array_equal(found["rank.image"][0], expected)
  # Within the rounding of the sums.
  by_person = np.exp(score - score.max(axis=1, keepdims=True))
  by_person = by_person.reshape(40, 10, 4).sum(axis=2)
  own = by_person[np.arange(40), person][:, None]
  expected = 1 + np.sum(by_person > own * (1 + 1e-9), axis=1)
  np.testing.assert_array_equal(found["rank.person"][0], expected)


def test_levels_that_are_all_zero_rank_the_true_one_first():
  law = ({"std": jnp.zeros((2, 2)), "shift": jnp.zeros((2, 2))},)
  found = victims._ranks([CLEAN], CLEAN, law, np.arange(40))
  np.testing.assert_array_equal(found["rank.image"], 1)
  np.testing.assert_array_equal(found["rank.person"], 1)
