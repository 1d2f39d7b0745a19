import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.networks import frozen, vgg

CUT = "conv3_2"  # of 32 channels at an eighth of the width


@pytest.fixture(scope="module")
def drawn():
  """A narrow VGG to its cut with statistics as of a training, and an image."""
  network = vgg.vgg16(num_classes=3, width=0.125, norm="batch")
  x = jax.random.normal(jax.random.key(1), (1, 16, 16, 3))
  shapes = _shapes(network, x)
  leaves, tree = jax.tree.flatten(shapes)
  keys = jax.random.split(jax.random.key(2), len(leaves))
  values = [
    jax.random.uniform(key, leaf.shape, minval=0.5, maxval=1.5)
    if len(leaf.shape) == 1
    else 0.1 * jax.random.normal(key, leaf.shape)
    for key, leaf in zip(keys, leaves, strict=True)
  ]
  return network, jax.tree.unflatten(tree, values), x


def _shapes(network, x):
  return jax.eval_shape(
    lambda x: network.init(jax.random.key(0), x, train=False, upto=CUT), x
  )


def _answer(network, variables, x):
  run = jax.jit(lambda v, x: network.apply(v, x, train=False, upto=CUT)[0])
  return run(variables, x)


def _close(found, expected):
  scale = float(jnp.abs(expected).max())
  np.testing.assert_allclose(found, expected, atol=1e-5 * scale)


def test_a_folded_network_answers_as_before(drawn):
  network, variables, x = drawn
  expected = _answer(network, variables, x)
  plain = network.copy(norm="none")
  folded = frozen.fold(variables)
  shapes = _shapes(plain, x)
  assert jax.tree.map(jnp.shape, folded) == jax.tree.map(jnp.shape, shapes)
  _close(_answer(plain, folded, x), expected)


def test_a_prepared_half_answers_as_before(drawn):
  network, variables, x = drawn
  prepared = frozen.prepare(network, variables)
  wide = {name for name, own in prepared.items() if "points" in own}
  assert wide == {"conv3_2"}
  found = jax.jit(lambda p, x: frozen.run(network, CUT, p, x))(prepared, x)
  _close(found, _answer(network, variables, x))


def test_a_half_with_dense_layers_is_refused():
  network = vgg.vgg16(num_classes=2)
  dense = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
  with pytest.raises(ValueError, match="not 'fc6'; cut before fc6"):
    frozen.prepare(network, {"params": {"fc6": {"dense": dense}}})
