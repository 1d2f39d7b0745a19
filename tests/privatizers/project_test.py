import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.privatizers import (
  clip,
  moments,
  privatizer,
  project,
  responses,
)

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
  own = project.pca(k=k)
  state = own.fit(key, {"features": feature})
  mean, components, variances = oracle(feature, k)
  assert state["mean"].shape == shape
  np.testing.assert_allclose(state["mean"].ravel(), mean, atol=1e-5)
  np.testing.assert_allclose(state["variances"], variances, rtol=TOLERANCE)
  np.testing.assert_allclose(state["components"], components, atol=1e-3)
  code = own.encode(state, key, feature)
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
  own = project.pca(k=4)
  state = own.fit(key, {"features": feature})
  gram = state["components"] @ state["components"].T
  np.testing.assert_allclose(gram, np.eye(4), atol=1e-5)
  np.testing.assert_allclose(
    state["variances"], [0.25 * 20 / 19, 0, 0, 0], atol=1e-6
  )
  restored = own.decode(state, own.encode(state, key, feature))
  np.testing.assert_allclose(restored, feature, atol=1e-5)


def test_equal_features_have_a_projection(key):
  state = project.pca(k=2).fit(key, {"features": np.ones((5, 3), "f4")})
  np.testing.assert_allclose(state["variances"], 0, atol=1e-7)
  np.testing.assert_allclose(state["mean"], 1)


def test_decode_restores_the_shape_and_all_components_the_feature(key):
  feature = features(40, (2, 3, 2))
  own = project.pca(k=12)
  state = own.fit(key, {"features": feature})
  restored = own.decode(state, own.encode(state, key, feature))
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
  own = project.pca(k=3)
  state = own.fit(key, {"features": feature})
  stranger = np.random.default_rng(1).normal(size=(1000, 20)).astype("f4")
  # The worst direction too: against the mean, within the components.
  worst = -state["components"].T @ (state["components"] @ state["mean"])
  stranger[0] = worst / np.linalg.norm(worst)
  stranger /= np.linalg.norm(stranger, axis=1, keepdims=True)
  for r in (0.5, 10.0):
    code = own.encode(state, key, r * stranger)
    longest = np.linalg.norm(code, axis=1).max()
    bound = own.radius(state, r)
    assert longest <= bound * (1 + 1e-6)
    assert longest == pytest.approx(float(bound), rel=1e-4)


def test_states_stack_and_vmap(key):
  feature = features(50, (4, 3))
  own = project.pca(k=2)
  fit = [
    own.fit(key, {"features": feature[part]})
    for part in (slice(0, 25), slice(25, 50))
  ]
  states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *fit)

  def restore(state):
    code = own.encode(state, key, feature)
    return code, own.decode(state, code)

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
  own = project.pca(k=1)
  state = own.fit(key, {"features": features(5, (2, 3))})
  with pytest.raises(ValueError, match=r"features \(2, 3\) and got \(6,\)"):
    own.encode(state, key, np.zeros((1, 6), "f4"))


def joined(answers):
  return np.concatenate([answers[name] for name in sorted(answers)], axis=1)


def two(weights, feature):
  """A linear cloud half with two questions, of two and three classes."""
  flat = feature.reshape((feature.shape[0], -1))
  return {"a": flat @ weights[:, :2], "b": flat @ weights[:, 2:]}


def bent(weights, feature):
  """One that is not linear."""
  flat = feature.reshape((feature.shape[0], -1))
  inner = jnp.tanh(flat @ weights["inner"])
  return {"a": inner @ weights["outer"]}


@pytest.fixture
def services():
  rng = np.random.default_rng(5)

  def draw(size):
    linear = rng.normal(size=(size, 5)) / np.sqrt(size)
    curved = {
      "inner": rng.normal(size=(size, 6)) / np.sqrt(size),
      "outer": rng.normal(size=(6, 3)),
    }
    return tuple(
      jax.tree_util.Partial(
        f, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), w)
      )
      for f, w in ((two, linear), (bent, curved))
    )

  return draw


@pytest.mark.parametrize("formed", [4096, 10], ids=["formed", "streamed"])
def test_removing_the_null_space_leaves_every_answer(
  key, monkeypatch, services, formed
):
  monkeypatch.setattr(project, "_FORMED", formed)
  feature = features(300, (4, 5, 3))
  cloud, _ = services(60)
  own = project.active_subspace(k=5)
  state = own.fit(key, {"features": feature, "cloud": cloud})
  code = own.encode(state, key, feature)
  restored = own.decode(state, code)
  assert code.shape == (300, 5) and restored.shape == feature.shape
  before, after = joined(cloud(feature)), joined(cloud(restored))
  np.testing.assert_allclose(after, before, atol=1e-5)
  # Much was removed, and what was is the mean.
  assert np.abs(restored - feature).max() > 1
  weights = np.asarray(cloud.args[0], "f8")
  left, scale, _ = np.linalg.svd(weights, full_matrices=False)
  np.testing.assert_allclose(state["gains"], scale**2, rtol=1e-4)
  moved = (feature - feature.mean(axis=0)).reshape(300, -1)
  kept = moved @ left @ left.T + feature.mean(axis=0).ravel()
  np.testing.assert_allclose(restored.reshape(300, -1), kept, atol=1e-4)


@pytest.mark.parametrize("formed", [4096, 10], ids=["formed", "streamed"])
def test_of_a_bent_service_the_mean_response_counts(
  key, monkeypatch, services, formed
):
  monkeypatch.setattr(project, "_FORMED", formed)
  monkeypatch.setattr(responses, "_ROWS", 32)  # the last chunk is padded
  feature = features(70, (6, 2))
  _, cloud = services(12)
  state = project.active_subspace(k=3).fit(
    key, {"features": feature, "cloud": cloud}
  )
  jacobian = jax.jacobian(lambda z: cloud(z[None])["a"][0])
  rows = np.asarray([jacobian(z) for z in feature], "f8").reshape(70, 3, 12)
  gram = np.einsum("bnd,bne->de", rows, rows) / 70
  values, vectors = np.linalg.eigh(gram)
  np.testing.assert_allclose(state["gains"], values[::-1][:3], rtol=1e-4)
  along = np.abs(
    np.sum(state["components"].T * vectors[:, ::-1][:, :3], axis=0)
  )
  np.testing.assert_allclose(along, 1, atol=1e-5)


def test_what_no_answer_depends_on_is_not_sent(key, services):
  feature = features(200, (60,))
  cloud, _ = services(60)
  own = project.active_subspace(k=9)
  state = own.fit(key, {"features": feature, "cloud": cloud})
  code = own.encode(state, key, feature)
  np.testing.assert_array_equal(code[:, 5:], 0)
  assert np.abs(code[:, :5]).max(axis=0).min() > 0.01
  after = joined(cloud(own.decode(state, code)))
  np.testing.assert_allclose(after, joined(cloud(feature)), atol=1e-5)


def test_all_directions_change_no_answer(key, services):
  feature = features(100, (2, 6))
  _, cloud = services(12)
  own = project.active_subspace(k=12)
  state = own.fit(key, {"features": feature, "cloud": cloud})
  after = cloud(own.decode(state, own.encode(state, key, feature)))
  # All but what is lost in the rounding of six directions' responses.
  np.testing.assert_allclose(joined(after), joined(cloud(feature)), atol=1e-4)


def test_behind_a_projection_the_service_is_asked_through_it(key, services):
  """Of four principal components those count that the service reads."""
  feature = features(300, (60,))
  cloud, _ = services(60)
  chained = privatizer.chain(project.pca(k=8), project.active_subspace(k=2))
  state = chained.fit(key, {"features": feature, "cloud": cloud})
  seen = np.asarray(state[0]["components"], "f8") @ np.asarray(cloud.args[0])
  left, scale, _ = np.linalg.svd(seen, full_matrices=False)
  np.testing.assert_allclose(state[1]["gains"], scale[:2] ** 2, rtol=1e-4)
  along = np.abs(np.sum(state[1]["components"].T * left[:, :2], axis=0))
  np.testing.assert_allclose(along, 1, atol=1e-5)


def test_a_planted_secret_goes_and_the_answer_stays(key, toy, told):
  own, context = toy()
  assert told(own.features, own.labels["secret"]) > 0.96
  kept = project.active_subspace(k=1)
  state = kept.fit(key, context)
  code = kept.encode(state, key, own.features)
  assert 0.46 < told(code, own.labels["secret"]) < 0.54
  # Phi(2) = 0.977, within three standard errors of 2,000 samples.
  assert told(code, own.labels["answer"]) == pytest.approx(0.977, abs=0.01)


def test_networks_and_bounds_of_one_kind_share_a_program(key, services):
  feature = features(40, (12,))
  compiled = []
  for bound in (1.0, 2.0):
    stages = clip.norm(clip_norm=bound), project.active_subspace(k=2)
    context = {"features": feature, "cloud": services(12)[0]}
    privatizer.chain(*stages).fit(key, context)
    compiled.append(responses._block._cache_size())
  assert compiled[0] == compiled[1]


def test_directions_that_cannot_be_found_are_said(key, services):
  feature = features(40, (12,))
  with pytest.raises(ValueError, match="k=0"):
    project.active_subspace(k=0)
  own = project.active_subspace(k=13)
  with pytest.raises(ValueError, match="k=13 and features of 12 values"):
    own.fit(key, {"features": feature, "cloud": services(12)[0]})
  own = project.active_subspace(k=2)
  for context in ({}, {"cloud": lambda z: z}):
    with pytest.raises(ValueError, match="needs 'cloud', a jax.tree_util.Par"):
      own.fit(key, {"features": feature, **context})
  deaf = jax.tree_util.Partial(two, jnp.zeros((12, 5)))
  with pytest.raises(ValueError, match="does not depend on the feature"):
    own.fit(key, {"features": feature, "cloud": deaf})
