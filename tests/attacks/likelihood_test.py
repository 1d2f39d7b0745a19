import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import likelihood
from hybridpriv.privatizers import clip, noise, privatizer, project

RNG = np.random.default_rng(0)
LABEL = np.array([0, 0, 0, 1, 2, 2, 0, 1, 1])
MASK = np.array([1, 1, 1, 1, 1, 1, 0, 0])  # the last two are padding
CODES = (RNG.normal(size=(9, 3)) @ RNG.normal(size=(3, 3)) + 5).astype("f4")
FACTOR = stats.ortho_group.rvs(3, random_state=0) * [1.0, 0.5, 0.2]
FACTOR = (FACTOR @ FACTOR.T).astype("f4")
ASKED = (CODES[:5] + RNG.normal(size=(5, 3))).astype("f4")

ISOTROPIC = noise.isotropic(sigma=1.0), {"std": jnp.asarray([0.7])}
COVARIANCE = noise.covariance(scale=1.0), {"factor": jnp.asarray(FACTOR)[None]}
LEVELS = np.asarray([0.3, 1.0, 4.0], "f4")
LEARNED = (
  noise.learned(weight=1.0),
  {"std": jnp.asarray(LEVELS)[None], "shift": jnp.ones((1, 3))},
)
LAWS = {
  "none": ((), np.zeros((3, 3)), 1),
  "isotropic": ((ISOTROPIC,), 0.49 * np.eye(3), 4),
  "covariance": ((COVARIANCE,), FACTOR @ FACTOR.T, 1),
  "levels": ((LEARNED, ISOTROPIC), np.diag(LEVELS**2 + 0.49), 2),
  "levels and covariance": (
    (LEARNED, COVARIANCE),
    FACTOR @ FACTOR.T + np.diag(LEVELS**2),
    1,
  ),
  "both": (
    (ISOTROPIC, COVARIANCE, ISOTROPIC),
    FACTOR @ FACTOR.T + 0.98 * np.eye(3),
    10,
  ),
}


def posterior(covariance, bandwidth):
  """Bayes' rule with a kernel on each of the attacker's codes, by SciPy."""
  weights = np.array([1, 1, 1, 3, 1.5, 1.5]) / 9  # classes alike
  codes = CODES[:6].astype("f8")
  spread = weights @ (codes - weights @ codes) ** 2
  covariance = covariance + np.diag(bandwidth**2 * spread)
  density = np.array(
    [stats.multivariate_normal.logpdf(ASKED, u, covariance) for u in codes]
  )
  scores = np.stack(
    [
      special.logsumexp(
        density[LABEL[:6] == c], axis=0, b=weights[LABEL[:6] == c][:, None]
      )
      for c in range(3)
    ],
    axis=1,
  )
  return scores - special.logsumexp(scores, axis=1, keepdims=True)


@pytest.mark.parametrize("law", LAWS)
def test_scores_are_the_posterior_under_the_law_of_the_noise(key, law):
  stages, covariance, num_queries = LAWS[law]
  chain = privatizer.chain(*(stage for stage, _ in stages))
  states = tuple(state for _, state in stages)
  victim = attack_lib.Victim(
    jnp.asarray(CODES)[None],
    states,
    jnp.int32(0),
    jnp.arange(9),
    chain,
    num_queries,
  )
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(LABEL), jnp.asarray(MASK, jnp.float32), jnp.ones(1), 4
  )
  attack = likelihood.bayes()

  @jax.jit
  def run(bandwidth):
    knobs = {"bandwidth": bandwidth}
    attacker = attack.fit(key, victim, auxiliary, knobs)
    return attack.score(attacker, jnp.asarray(ASKED))

  for bandwidth in (0.1, 0.8):
    scores = np.asarray(run(bandwidth), "f8")
    # Class 3 has no sample: it is impossible, not unlikely.
    np.testing.assert_array_equal(scores[:, 3], -np.inf)
    found = scores[:, :3] - special.logsumexp(scores, axis=1, keepdims=True)
    expected = posterior(covariance / num_queries, bandwidth)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_codes_of_noise_alone_leave_all_classes_tied(key, seed):
  # By rounding it would answer one class for all, and no other.
  rng = np.random.default_rng(seed)
  label = (rng.random(1400) < 0.35 + 0.1 * seed).astype("i4")
  stage, state = ISOTROPIC
  victim = attack_lib.Victim(
    jnp.zeros((1, 1400, 8)),
    (state,),
    jnp.int32(0),
    jnp.arange(1400),
    privatizer.chain(stage),
  )
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(label), jnp.ones(1399), jnp.ones(1), 2
  )
  attack = likelihood.bayes()

  @jax.jit
  def run(codes):
    attacker = attack.fit(key, victim, auxiliary, {"bandwidth": 0.05})
    return attack.score(attacker, codes)

  scores = run(jnp.asarray(0.7 * rng.normal(size=(1000, 8)), jnp.float32))
  np.testing.assert_array_equal(scores[:, 0], scores[:, 1])


@pytest.mark.parametrize(
  "stages, expected",
  [
    ((), True),
    ((noise.isotropic(sigma=1.0),), True),
    ((noise.covariance(scale=1.0), noise.isotropic(sigma=1.0)), True),
    ((noise.isotropic(sigma=1.0), clip.norm(clip_norm=1.0)), False),
    ((noise.isotropic(sigma=1.0), project.pca(k=2)), False),
  ],
)
def test_it_applies_where_the_law_of_the_code_is_gaussian(stages, expected):
  suffix = privatizer.split_random(privatizer.chain(*stages))[1]
  assert likelihood.bayes().applies(suffix, (3,)) == expected
