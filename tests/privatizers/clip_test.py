import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.privatizers import clip


def norms(feature):
  flat = np.asarray(feature, "f8").reshape(len(feature), -1)
  return np.linalg.norm(flat, axis=1)


def test_long_features_get_the_norm_and_keep_their_direction(key):
  feature = np.random.default_rng(0).normal(size=(50, 8, 10)).astype("f4")
  feature *= np.logspace(-3, 6, 50, dtype="f4")[:, None, None]
  clipped = clip.norm(clip_norm=2.0)
  code = clipped.encode(clipped.fit(key, {}), key, feature)
  assert code.shape == feature.shape
  # In float64: the bound must hold for the numbers that are sent.
  assert norms(code).max() <= 2.0
  np.testing.assert_allclose(
    norms(code), np.minimum(norms(feature), 2.0), rtol=2e-5
  )
  scale = norms(code) / norms(feature)
  np.testing.assert_allclose(
    code, feature * scale[:, None, None], rtol=1e-5, atol=1e-7
  )


def test_short_features_and_zero_pass_with_finite_gradients(key):
  feature = jnp.stack([jnp.zeros(3), jnp.asarray([0.1, 0.2, -0.3])])
  clipped = clip.norm(clip_norm=1.0)
  state = clipped.fit(key, {})
  np.testing.assert_allclose(clipped.encode(state, key, feature), feature)
  gradient = jax.jacobian(lambda z: clipped.encode(state, key, z))(feature)
  expected = np.einsum("ij,kl->ikjl", np.eye(2), np.eye(3))
  np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_the_radius_is_the_smaller_bound(key):
  clipped = clip.norm(clip_norm=2.0)
  state = clipped.fit(key, {})
  assert clipped.radius(state, 1.0) == 1.0
  assert clipped.radius(state, np.inf) == 2.0


def test_bounds_stack_and_vmap(key):
  feature = np.full((3, 4), 5.0, "f4")
  clipped = clip.norm(clip_norm=1.0)
  states = {"clip_norm": jnp.asarray([1.0, 3.0])}
  code = jax.vmap(clipped.encode, (0, None, None))(states, key, feature)
  np.testing.assert_allclose(norms(code[0]), 1.0, rtol=1e-4)
  np.testing.assert_allclose(norms(code[1]), 3.0, rtol=1e-4)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, np.nan])
def test_a_bound_that_is_not_above_zero_is_refused(clip_norm):
  with pytest.raises(ValueError, match="clip_norm=.*above 0"):
    clip.norm(clip_norm=clip_norm)
