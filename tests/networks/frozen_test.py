import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.networks import frozen, staged, vgg


@pytest.fixture(scope="module")
def drawn():
  """A narrow VGG with statistics as of a training, and an image."""
  network = vgg.vgg16(num_classes=3, width=0.125, norm="batch")
  x = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
  variables = jax.jit(
    lambda x: network.init(jax.random.key(0), x, train=False)
  )(x)
  leaves, tree = jax.tree.flatten(variables)
  keys = jax.random.split(jax.random.key(2), len(leaves))
  moved = [
    leaf + jax.random.uniform(key, leaf.shape, minval=-0.1, maxval=0.5)
    if leaf.ndim == 1
    else leaf
    for key, leaf in zip(keys, leaves, strict=True)
  ]
  return network, jax.tree.unflatten(tree, moved), x


def _answer(network, variables, x, **stages):
  run = jax.jit(lambda v, x: network.apply(v, x, train=False, **stages)[0])
  return run(variables, x)


def test_a_folded_network_answers_as_before(drawn):
  network, variables, x = drawn
  expected = _answer(network, variables, x)
  plain = network.copy(norm="none")
  folded = frozen.fold(variables)
  shapes = jax.eval_shape(
    lambda x: plain.init(jax.random.key(0), x, train=False), x
  )
  assert jax.tree.map(jnp.shape, folded) == jax.tree.map(jnp.shape, shapes)
  found = _answer(plain, folded, x)
  np.testing.assert_allclose(
    found, expected, atol=1e-5 * float(jnp.abs(expected).max())
  )
  # The statistics matter: without them it would not.
  assert np.abs(_answer(plain, shapes_of(variables), x) - expected).max() > 1e-2


def shapes_of(variables):
  """The same network as if nothing had been seen."""
  fresh = jax.tree.map(jnp.ones_like, variables["batch_stats"])
  return frozen.fold({**variables, "batch_stats": fresh})


@pytest.mark.parametrize("cut", ["conv1_2", "pool3", "conv5_1"])
def test_a_prepared_half_answers_as_before(drawn, cut):
  network, variables, x = drawn
  expected = _answer(network, variables, x, upto=cut)
  half, _ = staged.split_variables(variables, network, cut)
  prepared = frozen.prepare(network, half)
  assert any("points" in own for own in prepared.values()) == (cut != "conv1_2")
  found = jax.jit(lambda p, x: frozen.run(network, cut, p, x))(prepared, x)
  np.testing.assert_allclose(
    found, expected, atol=1e-4 * float(jnp.abs(expected).max())
  )


def test_a_half_with_dense_layers_is_refused(drawn):
  network, variables, _ = drawn
  with pytest.raises(ValueError, match="not 'fc6'; cut before fc6"):
    frozen.prepare(network, variables)
