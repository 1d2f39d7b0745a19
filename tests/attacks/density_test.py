import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import density
from hybridpriv.privatizers import noise, privatizer

ATTACK = density.kde()
FIT, SCORE = jax.jit(ATTACK.fit), jax.jit(ATTACK.score)


def fit(codes, label, *, num_classes, law=None, seed=0, padding=0):
  """Fits to codes of which the last `padding` do not count."""
  victim = attack_lib.Victim(
    jnp.asarray(codes, jnp.float32)[None],
    () if law is None else ({"std": jnp.asarray([law], jnp.float32)},),
    jnp.int32(0),
    jnp.arange(len(codes)),
    privatizer.chain(*[noise.isotropic(sigma=1.0)] * (law is not None)),
  )
  counts = np.arange(len(codes)) < len(codes) - padding
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(np.append(label, 0)),
    jnp.asarray(counts, jnp.float32),
    jnp.ones(1),
    num_classes,
  )
  return FIT(jax.random.key(seed), victim, auxiliary, {"none": 0.0})


def scores(attacker, asked):
  return np.asarray(SCORE(attacker, jnp.asarray(asked, jnp.float32)), "f8")


def clouds(size, counts, seed=0):
  """Correlated classes of different shape and place, far from the origin."""
  rng = np.random.default_rng(seed)
  codes, label = [], []
  for c, count in enumerate(counts):
    mixing = rng.normal(size=(size, size)) + 2 * np.eye(size)
    cloud = rng.normal(size=(count, size)) @ mixing + rng.normal(size=size)
    codes.append(cloud * np.linspace(0.1, 30, size) + 50)
    label += [c] * count
  return np.concatenate(codes).astype("f4"), np.array(label)


@pytest.mark.parametrize(
  "size, counts",
  [(1, (2, 30)), (3, (4, 20, 9)), (10, (17, 40)), (16, (60, 90))],
)
def test_scores_are_the_log_densities_of_scipy(size, counts):
  codes, label = clouds(size, counts)
  padded = np.concatenate([codes, np.full((5, size), 1e4)])
  attacker = fit(
    padded,
    np.append(label, [0, 1, 0, 1, 0]),
    num_classes=len(counts) + 1,
    padding=5,
  )
  asked = clouds(size, (25,) * len(counts), seed=0)[0]
  asked = asked + 0.1 * np.random.default_rng(1).normal(size=asked.shape)
  expected = np.stack(
    [
      stats.gaussian_kde(codes[label == c].T.astype("f8")).logpdf(
        asked.astype("f4").T
      )
      for c in range(len(counts))
    ],
    axis=1,
  )
  found = scores(attacker, asked)
  assert np.ptp(expected) > 10
  np.testing.assert_allclose(found[:, :-1], expected, rtol=2e-3, atol=2e-2)
  # The last class has no sample: it is impossible, not unlikely.
  np.testing.assert_array_equal(found[:, -1], -np.inf)


def test_it_sees_noisy_codes_and_not_the_law_of_the_noise():
  codes, label = np.zeros((2000, 2)), np.arange(2000) % 2
  codes[label == 1] = [3.0, 0.0]
  attacker = fit(codes, label, num_classes=2, law=2.0)
  asked = np.random.default_rng(0).normal(scale=2, size=(200, 2))
  found = scores(attacker, asked)
  # Scott's kernel of 1,000 codes widens the variance by 10 percent.
  wide = stats.multivariate_normal(
    [0, 0], 4 * (1 + 1000 ** (-1 / 3)) * np.eye(2)
  )
  near = np.linalg.norm(asked, axis=1) < 3
  error = np.abs(found[near, 0] - wide.logpdf(asked[near]))
  assert error.max() < 0.5 and error.mean() < 0.1
  again = fit(codes, label, num_classes=2, law=2.0, seed=1)
  assert np.any(scores(again, asked) != found)


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_a_class_of_few_codes_borrows_a_tenth_of_the_average_shape(count):
  size = 6
  codes, label = clouds(size, (count, 400, 500))
  attacker = fit(codes, label, num_classes=3)
  asked = codes[label > 0][::10]
  found = scores(attacker, asked)[:, 0]
  own = [codes[label == c].astype("f8") for c in range(3)]
  means = np.concatenate([x - x.mean(0) for x in own])
  within = means.T @ means / (len(codes) - 3)
  covariance = 0.1 * within
  if count > 1:
    covariance += np.cov(own[0].T)
  covariance *= count ** (-2 / (size + 4))
  each = [
    stats.multivariate_normal.logpdf(asked, x, covariance) for x in own[0]
  ]
  expected = np.logaddexp.reduce(each) - np.log(count)
  np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-2)


def test_classes_of_one_code_each_are_told_apart_by_the_nearest():
  rng = np.random.default_rng(0)
  codes = rng.normal(size=(12, 4))
  attacker = fit(codes, np.arange(12), num_classes=12)
  asked = codes + 0.01 * rng.normal(size=codes.shape)
  found = scores(attacker, asked)
  assert np.all(np.isfinite(found))
  np.testing.assert_array_equal(found.argmax(1), np.arange(12))


@pytest.mark.parametrize("shape", [(16,), (2, 2, 4), (1,)])
def test_it_applies_to_short_codes_whatever_their_noise(shape):
  chain = privatizer.chain(noise.isotropic(sigma=1.0))
  assert ATTACK.applies(chain, shape)
  assert not ATTACK.applies(chain, (*shape, 17))


@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("rest", [0.0, 1e-6])
def test_codes_that_are_flat_are_no_breakdown(depth, rest):
  # Ten values that are combinations of few, the first of them all but binary,
  # and classes of fewer codes than values: no covariance has an inverse.
  rng = np.random.default_rng(0)
  label = np.repeat(np.arange(20), 8)
  hidden = 0.05 * rng.normal(size=(160, depth))
  hidden[:, 0] += np.where(rng.random(20) < 0.5, -1, 1)[label]
  codes = hidden @ rng.normal(size=(depth, 10))
  codes = (codes + rest * rng.normal(size=codes.shape)).astype("f4")
  attacker = fit(codes, label, num_classes=20)
  found = scores(attacker, codes)
  assert np.isfinite(found).all()
  assert np.mean(found.argmax(1) == label) > 2 / 20
