import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.privatizers import moments, project

# Eigenvalues within the tolerance of float32 features, directions too.
TOLERANCE = 1e-4


def features(num, shape, seed=0):
  """Features after a ReLU, with a spectrum that falls as a power."""
  rng = np.random.default_rng(seed)
  size = int(np.prod(shape))
  plane = np.linalg.qr(rng.normal(size=(size, min(size, 32))))[0]
  scale = 4 * np.arange(1, plane.shape[1] + 1) ** -0.7
  strong = (rng.normal(size=(num, plane.shape[1])) * scale) @ plane.T
  weak = rng.normal(size=(num, size)) / np.sqrt(size)
  return np.maximum(strong + weak + 0.1, 0).astype("f4").reshape(num, *shape)


def oracle(feature, k):
  flat = feature.reshape(len(feature), -1).astype("f8")
  _, scale, rows = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
  rows = rows[:k]
  largest = np.abs(rows).argmax(axis=1)
  sign = np.sign(rows[np.arange(k), largest])
  return (
    flat.mean(axis=0),
    rows * sign[:, None],
    scale[:k] ** 2 / (len(flat) - 1),
  )


@pytest.mark.parametrize(
  "num, shape, k, chunk",
  [
    (60, (5,), 5, 2**24),  # all components
    (200, (4, 5, 6), 4, 2**12),  # chunks
    (9, (40,), 8, 2**24),  # fewer features than values
    (300, (600,), 8, 2**16),
    (120, (4200,), 6, 2**18),  # the covariance is not formed
  ],
)
def test_pca_is_that_of_the_singular_values(
  key, monkeypatch, num, shape, k, chunk
):
  monkeypatch.setattr(moments, "_CHUNK_VALUES", chunk)
  feature = features(num, shape)
  privatizer = project.pca(k=k)
  state = privatizer.fit(key, {"features": feature})
  mean, components, variances = oracle(feature, k)
  assert state["mean"].shape == shape
  np.testing.assert_allclose(state["mean"].ravel(), mean, atol=1e-5)
  np.testing.assert_allclose(state["variances"], variances, rtol=TOLERANCE)
  np.testing.assert_allclose(state["components"], components, atol=1e-3)
  code = privatizer.encode(state, key, feature)
  flat = feature.reshape(num, -1) - mean
  np.testing.assert_allclose(code, flat @ components.T, atol=5e-3)


def test_large_features_never_form_a_square_matrix(key, monkeypatch):
  monkeypatch.setattr(moments, "covariance", None)
  monkeypatch.setattr(project, "_FORMED", 100)
  passes = []

  class Counted:
    feature = features(50, (300,))
    shape = feature.shape

    def __getitem__(self, rows):
      passes.append(rows)
      return self.feature[rows]

  state = project.pca(k=3).fit(key, {"features": Counted()})
  _, components, _ = oracle(Counted.feature, 3)
  np.testing.assert_allclose(state["components"], components, atol=1e-4)
  # One chunk: the offset, the mean, and a pass for each power.
  assert len(passes) <= 2 + 10


def test_components_are_orthonormal_even_without_variance(key):
  # As after a training that collapses the features to two points.
  feature = np.zeros((20, 6), "f4")
  feature[10:, 2] = 1.0
  privatizer = project.pca(k=4)
  state = privatizer.fit(key, {"features": feature})
  gram = state["components"] @ state["components"].T
  np.testing.assert_allclose(gram, np.eye(4), atol=1e-5)
  np.testing.assert_allclose(
    state["variances"], [0.25 * 20 / 19, 0, 0, 0], atol=1e-6
  )
  restored = privatizer.decode(state, privatizer.encode(state, key, feature))
  np.testing.assert_allclose(restored, feature, atol=1e-5)


def test_equal_features_have_a_projection(key):
  state = project.pca(k=2).fit(key, {"features": np.ones((5, 3), "f4")})
  np.testing.assert_allclose(state["variances"], 0, atol=1e-7)
  np.testing.assert_allclose(state["mean"], 1)


def test_decode_restores_the_shape_and_all_components_the_feature(key):
  feature = features(40, (2, 3, 2))
  privatizer = project.pca(k=12)
  state = privatizer.fit(key, {"features": feature})
  restored = privatizer.decode(state, privatizer.encode(state, key, feature))
  assert restored.shape == feature.shape
  np.testing.assert_allclose(restored, feature, atol=1e-4)


def test_fits_of_the_same_features_agree_whatever_the_key():
  feature = features(100, (30,))
  one, two = (
    project.pca(k=3).fit(jax.random.key(seed), {"features": feature})
    for seed in range(2)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, two
  )


def test_the_radius_bounds_every_code(key):
  feature = 3 + features(50, (20,))
  privatizer = project.pca(k=3)
  state = privatizer.fit(key, {"features": feature})
  stranger = np.random.default_rng(1).normal(size=(1000, 20)).astype("f4")
  # The worst direction too: against the mean, within the components.
  worst = -state["components"].T @ (state["components"] @ state["mean"])
  stranger[0] = worst / np.linalg.norm(worst)
  stranger /= np.linalg.norm(stranger, axis=1, keepdims=True)
  for r in (0.5, 10.0):
    code = privatizer.encode(state, key, r * stranger)
    longest = np.linalg.norm(code, axis=1).max()
    bound = privatizer.radius(state, r)
    assert longest <= bound * (1 + 1e-6)
    assert longest == pytest.approx(float(bound), rel=1e-4)


def test_states_stack_and_vmap(key):
  feature = features(50, (4, 3))
  privatizer = project.pca(k=2)
  fit = [
    privatizer.fit(key, {"features": feature[part]})
    for part in (slice(0, 25), slice(25, 50))
  ]
  states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *fit)

  def restore(state):
    code = privatizer.encode(state, key, feature)
    return code, privatizer.decode(state, code)

  codes, restored = jax.vmap(restore)(states)
  assert codes.shape == (2, 50, 2) and restored.shape == (2, 50, 4, 3)
  for index, state in enumerate(fit):
    np.testing.assert_allclose(codes[index], restore(state)[0], atol=1e-5)


def test_bad_arguments_are_refused(key):
  with pytest.raises(ValueError, match="k=0"):
    project.pca(k=0)
  for shape, largest in (((5, 10), 4), ((50, 3), 3)):
    with pytest.raises(ValueError, match=f"k=8.*at most {largest}"):
      project.pca(k=8).fit(key, {"features": np.zeros(shape, "f4")})
  privatizer = project.pca(k=1)
  state = privatizer.fit(key, {"features": features(5, (2, 3))})
  with pytest.raises(ValueError, match=r"features \(2, 3\) and got \(6,\)"):
    privatizer.encode(state, key, np.zeros((1, 6), "f4"))
