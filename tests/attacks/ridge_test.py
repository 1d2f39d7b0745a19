"""The linear inversion is the best linear one, also under fresh noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import inversion, ridge


def restored_by(attacker, codes):
  """Pictures cut to 0 .. 1, as the caller of an attack cuts them."""
  return np.clip(inversion.restore(attacker, np.asarray(codes)), 0, 1)


def _noisy(codes, std, key, index):
  noise = jax.random.normal(key, (len(index), codes.shape[1]))
  return codes[index] + std * noise


def _sample(codes, std=0.0):
  return jax.tree_util.Partial(_noisy, jnp.asarray(codes), jnp.asarray(std))


@pytest.fixture
def linear():
  """Images that are a linear function of codes, and a little else."""
  rng = np.random.default_rng(0)
  codes = rng.normal(size=(400, 6)).astype(np.float32)
  weights = 0.05 * rng.normal(size=(6, 5 * 5 * 3))
  images = 0.5 + codes @ weights + 0.002 * rng.normal(size=(400, 75))
  return codes, images.reshape(400, 5, 5, 3).astype(np.float32)


def _fit(key, sample, images, **knobs):
  index, held_out = np.arange(300), np.arange(300, 400)
  return ridge.fit(
    key, sample, images, index=index, held_out=held_out, **knobs
  ), held_out


def test_a_linear_code_is_inverted_to_the_last_detail(key, linear):
  codes, images = linear
  attacker, held_out = _fit(key, _sample(codes), images)
  error = inversion.error(attacker, _sample(codes), key, images, held_out)
  assert error < 1.1 * 0.002**2


def test_under_noise_it_is_the_shrunken_regression_of_the_closed_form(
  key, linear
):
  codes, images = linear
  std = 1.0
  attacker, held_out = _fit(key, _sample(codes, std), images, draws=64)
  x = codes[:300] - codes[:300].mean(0)
  y = images[:300].reshape(300, -1)
  best = np.linalg.solve(
    x.T @ x + 300 * std**2 * np.eye(6), x.T @ (y - y.mean(0))
  )
  want = y.mean(0) + (codes[held_out] - codes[:300].mean(0)) @ best
  found = restored_by(attacker, jnp.asarray(codes[held_out]))
  np.testing.assert_allclose(
    np.asarray(found).reshape(100, -1), np.clip(want, 0, 1), atol=0.02
  )


def test_codes_that_say_nothing_give_the_mean_image(key, linear):
  _, images = linear
  silent = np.zeros((400, 6), np.float32)
  attacker, _ = _fit(key, _sample(silent, 1.0), images, draws=4)
  found = restored_by(attacker, jnp.ones((1, 6)))
  np.testing.assert_allclose(
    np.asarray(found)[0], images[:300].mean(0), atol=0.02
  )


def test_constant_codes_are_no_division_by_zero(key, linear):
  _, images = linear
  attacker, held_out = _fit(key, _sample(np.ones((400, 6), "f4")), images)
  found = restored_by(attacker, jnp.ones((1, 6)))
  np.testing.assert_allclose(
    np.asarray(found)[0], images[:300].mean(0), atol=1e-4
  )


def test_fewer_images_than_values_are_enough(key, linear):
  # One direction is far larger than all others, and most do not occur.
  codes, images = linear
  rng = np.random.default_rng(1)
  wide = codes @ rng.normal(size=(6, 1500)) + 300 * codes[:, :1]
  wide = wide.astype(np.float32)
  attacker, held_out = _fit(key, _sample(wide), images)
  error = inversion.error(attacker, _sample(wide), key, images, held_out)
  nothing = np.mean((images[held_out] - images[:300].mean(0)) ** 2)
  assert error < 0.1 * nothing
