import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.losses import adversarial, classification


def test_the_defender_raises_what_the_adversary_lowers():
  logits = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)))
  labels = jnp.asarray([0, 1, 2, 3, 0, 1])

  def total(loss):
    return jax.grad(lambda z: loss(logits=z, labels=labels).sum())(logits)

  up = total(adversarial.reversed_cross_entropy)
  down = total(classification.cross_entropy)
  assert float(jnp.abs(up).max()) > 0.1
  np.testing.assert_array_equal(up, -down)


def test_negative_entropy_is_that_of_the_softmax():
  logits = np.random.default_rng(0).normal(size=(5, 3), scale=3)
  odds = np.exp(logits)
  p = odds / odds.sum(1, keepdims=True)
  found = adversarial.negative_entropy(logits=jnp.asarray(logits, jnp.float32))
  np.testing.assert_allclose(found, (p * np.log(p)).sum(1), rtol=1e-5)


def test_it_is_least_where_all_classes_are_alike_and_finite_far_away():
  logits = jnp.asarray([[2.0, 2.0, 2.0], [1e4, -1e4, 0.0]])
  value = adversarial.negative_entropy(logits=logits)
  np.testing.assert_allclose(value, [-np.log(3), 0.0], atol=1e-6)
  gradient = jax.grad(lambda z: adversarial.negative_entropy(logits=z).sum())(
    logits
  )
  assert np.isfinite(gradient).all()
  # At its least there is nowhere to go; an adversary that is sure and wrong is
  # not what this asks for.
  np.testing.assert_allclose(gradient[0], 0.0, atol=1e-6)
