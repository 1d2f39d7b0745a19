import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.networks import (
  bottleneck,
  dlib,
  frozen,
  resnet,
  sensor,
  staged,
  vgg,
)

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


NETWORKS = {
  "vgg": (vgg.vgg16(num_classes=3, width=0.1, norm="batch"), (32, 32, 3)),
  "basic": (
    resnet.ResNet(num_classes=3, blocks=(1, 2), width=0.1),
    (16, 16, 3),
  ),
  "of 1 x 1": (
    resnet.ResNet(num_classes=3, blocks=(1, 2), is_bottleneck=True, width=0.1),
    (16, 16, 3),
  ),
  "sensor": (sensor.sensor(num_classes=3, width=0.1, norm="batch"), (16, 3)),
  "waist": (
    bottleneck.Bottleneck(
      num_classes=3,
      inner=sensor.sensor(num_classes=3, width=0.1, norm="batch"),
      after="pool2",
      k=5,
    ),
    (16, 3),
  ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_answers_as_before_at_every_cut(name):
  network, shape = NETWORKS[name]
  x = jax.random.normal(jax.random.key(1), (2, *shape))
  init = jax.jit(lambda x: network.init(jax.random.key(0), x, train=False))
  variables = _trained(init(x))
  plain, folded = frozen.fold(network, variables)
  whole = plain.inner if name == "waist" else plain
  assert whole.norm == "none"
  # Of a waist only its own statistics are left, which have no layer to go to.
  assert set(folded.get("batch_stats", {})) <= {"private"}
  every = network.stage_names()
  # A half alone is folded as well.
  cut = every[len(every) // 2]
  half, _ = staged.split_variables(variables, network, cut)
  _, own = frozen.fold(network, half)

  @jax.jit
  def outputs(given, x):
    before, after, half = given
    return (
      network.apply(before, x, train=False, capture=every)[1],
      plain.apply(after, x, train=False, capture=every)[1],
      plain.apply(half, x, train=False, upto=cut)[0],
    )

  before, after, found = outputs((variables, folded, own), x)
  for stage in every:
    assert float(jnp.abs(before[stage]).max()) > 1e-3
    _close(after[stage], before[stage])
  _close(found, before[cut])
  # Weights fit where the network without a norm would draw them.
  if name != "waist":
    shapes = jax.eval_shape(
      lambda x: plain.init(jax.random.key(0), x, train=False), x
    )
    assert jax.tree.map(jnp.shape, folded) == jax.tree.map(jnp.shape, shapes)


def _trained(variables):
  """Draws what is one number for each channel, as if it had been trained."""
  leaves, tree = jax.tree.flatten(variables)
  keys = jax.random.split(jax.random.key(2), len(leaves))
  return jax.tree.unflatten(
    tree,
    [
      jax.random.uniform(key, leaf.shape, minval=0.5, maxval=1.5)
      if len(leaf.shape) == 1
      else leaf
      for key, leaf in zip(keys, leaves, strict=True)
    ],
  )


def test_what_has_no_norm_or_is_not_ours_stays_as_it_is():
  class Mine(sensor.Sensor):
    pass

  for network in (
    vgg.vgg16(num_classes=2),
    dlib.resnet29_dlib(num_classes=2),
    Mine(num_classes=2, norm="batch"),
  ):
    variables = {"params": {"conv1": {}}, "batch_stats": {"conv1": {}}}
    assert frozen.fold(network, variables) == (network, variables)


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
