import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from hybridpriv.networks import convolution, pooling

FEW = convolution.FEW


def _windows(x, padding):
  return nn.max_pool(
    x, window_shape=(3, 3), strides=(2, 2), padding=((padding, padding),) * 2
  )


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("side", [7, 8])
def test_it_is_max_pooling_and_has_its_gradient(side, padding):
  rng = np.random.default_rng(side)
  # No two are equal.
  x = rng.permutation(FEW * side * side * 2).reshape(FEW, side, side, 2)
  x = jnp.asarray(x, jnp.float32) - 99.0

  def loss(x, pool):
    y = pool(x)
    return jnp.sum(y * jnp.cos(jnp.arange(y.size)).reshape(y.shape))

  def ours(x):
    return pooling.max_pool(x, padding=padding)

  def plain(x):
    return _windows(x, padding)

  assert (ours(x) == plain(x)).all()
  found, expected = (jax.grad(loss)(x, f) for f in (ours, plain))
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_behind_a_relu_dead_windows_have_no_gradient():
  x = jax.random.normal(jax.random.key(0), (FEW, 8, 8, 4)) - 1.0

  def loss(x, pool):
    return jnp.sum(jnp.sin(pool(nn.relu(x))))

  found = jax.grad(loss)(x, lambda x: pooling.max_pool(x, padding=1))
  expected = jax.grad(loss)(x, lambda x: _windows(x, 1))
  assert (nn.relu(x) == 0).mean() > 0.5
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_equal_maxima_share_the_gradient_of_their_window():
  x = jnp.ones((FEW, 3, 3, 1)).at[:, 1, 1].set(0.0)
  found = jax.grad(lambda x: jnp.sum(pooling.max_pool(x, padding=0)))(x)
  np.testing.assert_allclose(jnp.sum(found, (1, 2, 3)), 1.0, rtol=1e-6)
  assert (found >= 0).all() and (found[:, 1, 1] == 0).all()


def test_one_image_is_pooled_by_windows_as_exporters_know_them():
  x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
  program = jax.make_jaxpr(lambda x: pooling.max_pool(x, padding=1))(x)
  assert "reduce_window" in str(program)
