import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.guarantees import fisher


@pytest.fixture
def weights():
  return np.random.default_rng(0).normal(size=(6, 5)).astype("f4")


def test_a_linear_code_has_the_square_of_its_matrix(key, weights):
  def encode(x):
    return x.reshape(len(x), -1) @ weights

  x = jnp.ones((3, 2, 3))
  found = fisher.dfil(encode, x, sigma=0.5, key=key)
  expected = (weights**2).sum() / (6 * 0.25)
  np.testing.assert_allclose(found, np.full(3, expected), rtol=1e-5)
  # An unbiased estimate of x reaches the bound, up to its spread.
  square = weights @ weights.T
  least = 0.25 * np.trace(np.linalg.pinv(square)) / 6
  rank = np.linalg.matrix_rank(square)
  assert least >= (rank / 6) ** 2 / expected


def test_the_estimate_is_right_on_average(key, weights):
  def encode(x):
    return jnp.tanh(x @ weights)

  x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 6)), jnp.float32)
  exact = fisher.dfil(encode, x, sigma=2.0, key=key)
  jacobian = jax.jacobian(lambda v: encode(v[None])[0])(x[0])
  np.testing.assert_allclose(exact, [(jacobian**2).sum() / (6 * 4)], rtol=1e-5)
  guess = fisher.dfil(encode, x, sigma=2.0, key=key, probes=4000)
  np.testing.assert_allclose(guess, exact, rtol=0.1)


def test_long_codes_are_estimated(key):
  wide = np.random.default_rng(0).normal(size=(4, 2000)).astype("f4")
  found = fisher.dfil(lambda x: x @ wide, jnp.ones((2, 4)), sigma=1.0, key=key)
  np.testing.assert_allclose(found, (wide**2).sum() / 4, rtol=0.3)
  assert found[0] != found[1]  # signs of their own
