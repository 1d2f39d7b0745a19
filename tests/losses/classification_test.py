import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.losses import classification


def test_cross_entropy_is_the_negative_log_of_the_softmax():
  logits = np.random.default_rng(0).normal(size=(5, 3), scale=3)
  labels = np.array([0, 2, 1, 1, 0])
  odds = np.exp(logits)
  expected = -np.log(odds[np.arange(5), labels] / odds.sum(axis=1))
  loss = classification.cross_entropy(
    logits=jnp.asarray(logits, jnp.float32), labels=jnp.asarray(labels)
  )
  assert loss.shape == (5,)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_cross_entropy_is_finite_for_huge_logits_and_unknown_labels():
  logits = jnp.asarray([[1e4, -1e4], [0.0, 1.0]])

  def total(logits):
    labels = jnp.asarray([1, -1])
    return classification.cross_entropy(logits=logits, labels=labels).sum()

  value, gradient = jax.value_and_grad(total)(logits)
  assert np.isfinite(value) and np.isfinite(gradient).all()


def test_cross_entropy_computes_in_float32():
  logits = jnp.asarray([[0.5, -0.25]], jnp.bfloat16)
  loss = classification.cross_entropy(logits=logits, labels=jnp.asarray([0]))
  assert loss.dtype == jnp.float32
  np.testing.assert_allclose(loss, [np.log1p(np.exp(-0.75))], rtol=1e-6)


def test_cross_entropy_refuses_shapes_that_do_not_fit():
  with pytest.raises(ValueError, match=r"logits \(2, 3\) and labels \(3,\)"):
    classification.cross_entropy(
      logits=jnp.zeros((2, 3)), labels=jnp.zeros(3, int)
    )
