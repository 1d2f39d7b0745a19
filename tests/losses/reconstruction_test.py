import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.losses import reconstruction


@pytest.fixture
def target():
  return np.random.default_rng(0).normal(size=(6, 4, 4, 2)).astype("f4")


def test_the_error_is_the_mean_square_of_each_example(target):
  restored = target + np.arange(6, dtype="f4")[:, None, None, None]
  found = reconstruction.squared_error(restored=restored, target=target)
  np.testing.assert_allclose(found, np.arange(6) ** 2, rtol=1e-5, atol=1e-6)


def test_the_advantage_is_over_the_mean_of_the_others(target):
  restored = 0.3 * target
  found = reconstruction.advantage(restored=restored, target=target)
  for i in range(6):
    others = np.delete(target, i, axis=0).mean(0)
    guessed = ((target[i] - others) ** 2).mean()
    error = ((target[i] - restored[i]) ** 2).mean()
    assert guessed > error
    np.testing.assert_allclose(found[i], guessed - error, rtol=1e-4)


def test_nothing_is_gained_by_an_adversary_worse_than_the_mean(target):
  def total(restored):
    return reconstruction.advantage(restored=restored, target=target).sum()

  bad = jnp.asarray(-target)
  assert total(bad) == 0
  np.testing.assert_array_equal(jax.grad(total)(bad), 0)
  # Where it is better, the defender raises its error.
  good = jnp.asarray(0.9 * target)
  pull = jax.grad(
    lambda x: reconstruction.squared_error(restored=x, target=target).sum()
  )(good)
  np.testing.assert_allclose(jax.grad(total)(good), -pull, rtol=1e-5)


def test_shapes_that_differ_are_one_clear_error(target):
  with pytest.raises(ValueError, match=r"\(6, 2, 2, 2\).*\(6, 4, 4, 2\)"):
    reconstruction.squared_error(restored=target[:, ::2, ::2], target=target)


def test_one_example_has_no_others(target):
  with pytest.raises(ValueError, match="got 1 example"):
    reconstruction.advantage(restored=target[:1], target=target[:1])
