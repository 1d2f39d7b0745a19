import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

from hybridpriv.losses import dependence


def _oracle(x, y):
  def centred(v):
    d = distance.squareform(distance.pdist(v.reshape(len(v), -1)))
    return d - d.mean(0) - d.mean(1)[:, None] + d.mean()

  a, b = centred(x), centred(y)
  return np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))


def _dcor(x, y):
  return float(
    dependence.distance_correlation(
      feature=jnp.asarray(x), other=jnp.asarray(y)
    )
  )


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def test_distance_correlation_is_that_of_its_definition(rng):
  x = rng.normal(size=(40, 3, 2)).astype("f4")
  y = (x.reshape(40, 6) ** 2 + rng.normal(size=(40, 6))).astype("f4")
  assert _dcor(x, y) == pytest.approx(_oracle(x, y), abs=1e-4)


def test_it_is_one_for_the_same_turned_and_scaled(rng):
  x = rng.normal(size=(50, 4)).astype("f4")
  turn = np.linalg.qr(rng.normal(size=(4, 4)))[0].astype("f4")
  assert _dcor(x, 100 + 7 * x @ turn) == pytest.approx(1.0, abs=1e-3)


def test_it_sees_what_no_line_does_and_nothing_in_nothing(rng):
  x = rng.normal(size=(800, 1)).astype("f4")
  assert abs(np.corrcoef(x[:, 0], x[:, 0] ** 2)[0, 1]) < 0.15
  assert _dcor(x, x**2) > 0.4
  free = rng.normal(size=(800, 1)).astype("f4")
  assert _dcor(x, free) < 0.1
  assert _dcor(x, np.full((800, 1), 3.0, "f4")) < 2e-3


def test_labels_are_apart_or_not(rng):
  label = np.arange(60) % 3
  told = (5 * np.eye(3)[label] + 0.01 * rng.normal(size=(60, 3))).astype("f4")
  assert _dcor(told, label) > 0.98
  assert _dcor(told, label) == pytest.approx(
    _oracle(told, np.eye(3)[label]), abs=0.01
  )
  # Other names for the same classes.
  assert _dcor(told, 7 * ((label + 1) % 3)) == pytest.approx(_dcor(told, label))


def test_gaussian_rate_is_the_divergence(rng):
  feature = rng.normal(size=(3, 2, 2)).astype("f4")
  v = 0.3
  expected = 0.5 * (
    (feature.reshape(3, 4) ** 2).sum(1) + 4 * (v - 1 - np.log(v))
  )
  found = dependence.gaussian_rate(feature=feature, variance=jnp.float32(v))
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  least = dependence.gaussian_rate(
    feature=jnp.zeros((1, 4)), variance=jnp.float32(1.0)
  )
  np.testing.assert_allclose(least, 0.0, atol=1e-6)


def test_conditional_entropy_is_what_differs_within_a_class(rng):
  label = np.repeat([0, 1], [20, 40])
  feature = rng.normal(size=(60, 3)).astype("f4") * [1.0, 0.1, 3.0]
  feature += 100 * label[:, None]  # what the label tells does not count
  found = dependence.conditional_entropy(
    feature=jnp.asarray(feature, jnp.float32),
    labels=jnp.asarray(label),
    variance=jnp.float32(0.5),
  )
  for c in (0, 1):
    spread = feature[label == c].var(axis=0)
    expected = 0.5 * np.log1p(spread / 0.5).mean()
    np.testing.assert_allclose(
      np.asarray(found)[label == c], expected, rtol=1e-2
    )
  alone = dependence.conditional_entropy(
    feature=jnp.asarray(100.0 * label[:, None], jnp.float32),
    labels=jnp.asarray(label),
    variance=jnp.float32(0.5),
  )
  np.testing.assert_allclose(alone, 0.0, atol=1e-5)


@pytest.mark.parametrize("same", [True, False])
def test_gradients_are_finite_where_features_are_equal(rng, same):
  x = np.zeros((8, 3), "f4") if same else rng.normal(size=(8, 3)).astype("f4")
  y = rng.normal(size=(8, 2)).astype("f4")

  def total(z):
    return (
      dependence.distance_correlation(feature=z, other=y)
      + dependence.gaussian_rate(feature=z, variance=jnp.float32(1)).sum()
      + dependence.conditional_entropy(
        feature=z, labels=jnp.arange(8) % 2, variance=jnp.float32(1)
      ).sum()
    )

  assert np.isfinite(jax.grad(total)(jnp.asarray(x))).all()


def test_descent_on_distance_correlation_makes_independent(rng):
  """The published use: a map that keeps a feature and forgets the input."""
  x = rng.normal(size=(64, 4)).astype("f4")

  def loss(w):
    return dependence.distance_correlation(
      feature=jnp.asarray(x) @ w, other=jnp.asarray(x[:, :1])
    )

  w = start = jnp.eye(4)[:, :2] + 0.3
  step = jax.jit(lambda w: w - 0.5 * jax.grad(loss)(w))
  for _ in range(100):
    w = step(w)
  assert loss(start) > 0.5 and loss(w) < 0.25
