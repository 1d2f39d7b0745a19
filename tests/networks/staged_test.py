"""The battery every network passes, at every cut."""

import functools

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from hybridpriv.networks import bottleneck, dlib, resnet, sensor, staged, vgg


class Own(staged.Staged):
  """A network as a user writes it: no decorators, several modules a stage."""

  hidden: int = 3

  def stage_names(self):
    return ("first", "second", "last")

  def stage(self, name, x, *, train):
    if name == "first":
      x = nn.Dense(self.hidden, name="dense")(x)
      return nn.relu(nn.Dense(self.hidden)(x))
    if name == "second":
      return 2.0 * x
    return nn.Dense(self.num_classes)(x)


NETWORKS = {
  "vgg16": (vgg.vgg16(num_classes=3, width=1 / 32), (32, 32, 3)),
  "vgg16_norm": (
    vgg.vgg16(num_classes=3, width=1 / 32, norm="batch"),
    (33, 32, 1),
  ),
  "resnet18": (resnet.resnet18(num_classes=3, width=1 / 32), (32, 32, 3)),
  "bottleneck": (
    resnet.resnet50(num_classes=3, width=1 / 32).copy(blocks=(2, 1)),
    (32, 32, 3),
  ),
  "sensor": (sensor.sensor(num_classes=3, width=1 / 8), (40, 6)),
  "sensor_norm": (
    sensor.sensor(num_classes=3, width=1 / 8, norm="batch"),
    (43, 6),
  ),
  "own": (Own(num_classes=3), (5,)),
  "dpfe": (
    bottleneck.dpfe(
      inner="sensor.sensor",
      after="pool2",
      k=4,
      num_classes=3,
      width=1 / 8,
      norm="batch",
    ),
    (40, 6),
  ),
  "resnet50": (resnet.resnet50(num_classes=3, width=1 / 32), (32, 32, 3)),
  "resnet29_dlib": (dlib.resnet29_dlib(num_classes=3), (103, 104, 3)),
}
SLOW = ("resnet50", "resnet29_dlib")
each_network = pytest.mark.parametrize(
  "name",
  [
    # The blocks of resnet50 are those of "bottleneck"; 18 cuts take long.
    pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
    for name in NETWORKS
  ],
)


@functools.cache
def example(name):
  """Returns a network, inputs and variables in which nothing is idle."""
  network, shape = NETWORKS[name]
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, *shape)), jnp.float32)
  shapes = jax.eval_shape(
    functools.partial(network.init, train=False), jax.random.key(0), x
  )

  def fill(leaf):
    # Drawn here, for the draws of `init` take seconds to compile.
    if leaf.ndim == 1:
      return jnp.asarray(rng.uniform(0.5, 1, leaf.shape), leaf.dtype)
    scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
    return jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype)

  return network, x, jax.tree.map(fill, shapes)


@each_network
def test_client_then_cloud_is_the_whole_at_every_cut(name):
  network, x, variables = example(name)
  whole, captured = network.apply(
    variables, x, train=False, capture=network.stage_names()
  )
  assert tuple(captured) == network.stage_names()
  assert np.ptp(np.asarray(whole)) > 1e-3
  for cut in network.stage_names():
    client, cloud = staged.split_variables(variables, network, cut)
    feature, _ = network.apply(client, x, train=False, upto=cut)
    np.testing.assert_array_equal(feature, captured[cut])
    answer, _ = network.apply(cloud, feature, train=False, after=cut)
    # The same operations on the same values: no tolerance is needed.
    np.testing.assert_array_equal(answer, whole)


@each_network
def test_halves_are_disjoint_and_complete_at_every_cut(name):
  network, _, variables = example(name)
  for cut in network.stage_names():
    client, cloud = staged.split_variables(variables, network, cut)
    for collection in variables:
      assert not set(client[collection]) & set(cloud[collection])
    merged = staged.merge_variables(client, cloud)
    assert jax.tree.structure(merged) == jax.tree.structure(variables)
    same = jax.tree.map(lambda a, b: a is b, merged, variables)
    assert all(jax.tree.leaves(same))


@each_network
def test_a_half_does_not_run_on_the_variables_of_the_other(name):
  network, x, variables = example(name)
  names = network.stage_names()
  stages = [stage for stage in names if stage in variables["params"]]
  # Cut after the first stage that has parameters, so that both halves do.
  cut = stages[0]
  client, cloud = staged.split_variables(variables, network, cut)
  with pytest.raises(flax.errors.ScopeParamNotFoundError):
    network.apply(cloud, x, train=False, upto=cut)
  feature, _ = network.apply(client, x, train=False, upto=cut)
  with pytest.raises(flax.errors.ScopeParamNotFoundError):
    network.apply(client, feature, train=False, after=cut)


@each_network
def test_one_example_is_answered_as_in_a_batch(name):
  network, x, variables = example(name)
  apply = jax.jit(functools.partial(network.apply, train=False))
  whole, _ = apply(variables, x)
  alone, _ = apply(variables, x[1:2])
  np.testing.assert_allclose(alone, whole[1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  "name", ["vgg16_norm", "resnet18", "sensor_norm", "dpfe"]
)
def test_a_half_trains_its_own_statistics_only(name):
  network, x, variables = example(name)
  names = network.stage_names()
  cut = names[len(names) // 2]
  client, cloud = staged.split_variables(variables, network, cut)
  run = functools.partial(
    network.apply,
    train=True,
    mutable=["batch_stats"],
    rngs={"dropout": jax.random.key(3)},
  )
  (whole, _), updated = run(variables, x)
  (feature, _), left = run(client, x, upto=cut)
  (answer, _), right = run(cloud, feature, after=cut)
  # Halves drop the same units, for a stage's stream is folded by its name.
  np.testing.assert_array_equal(answer, whole)
  for half, new in ((client, left), (cloud, right)):
    assert jax.tree.structure(new) == jax.tree.structure(
      {"batch_stats": half["batch_stats"]}
    )
  merged = staged.merge_variables(left, right)
  jax.tree.map(np.testing.assert_array_equal, merged, updated)
  moved = jax.tree.map(
    lambda new, old: bool(np.any(new != old)),
    updated["batch_stats"],
    variables["batch_stats"],
  )
  assert all(jax.tree.leaves(moved))


@each_network
def test_the_stage_table_is_that_of_the_network(name):
  network, x, variables = example(name)
  table = staged.describe(network, x.shape[1:])
  assert tuple(row.name for row in table) == network.stage_names()
  _, captured = jax.eval_shape(
    functools.partial(
      network.apply, train=False, capture=network.stage_names()
    ),
    variables,
    x,
  )
  for row in table:
    assert row.shape == captured[row.name].shape[1:]
    assert row.num_bytes == 4 * np.prod(row.shape)
    params = jax.tree.leaves(variables["params"].get(row.name, {}))
    assert row.num_params == sum(leaf.size for leaf in params)


def test_multiply_accumulates_of_loops_and_transposed_convolutions_count():
  class Odd(staged.Staged):
    def stage_names(self):
      return ("loop", "up", "last")

    def stage(self, name, x, *, train):
      if name == "loop":
        square = jnp.ones((4, 4))
        step = jax.jit(lambda x, _: (x @ square, None))
        return jax.lax.scan(step, x, length=5)[0]
      if name == "up":
        x = x.reshape((-1, 2, 2, 1))
        return nn.ConvTranspose(3, (2, 2), strides=(2, 2))(x)
      return nn.Dense(self.num_classes)(x.reshape((x.shape[0], -1)))

  table = staged.describe(Odd(num_classes=7), (4,))
  # The four pixels are read once, each by 2 x 2 taps of three channels.
  assert [row.macs for row in table] == [5 * 4 * 4, 4 * 4 * 3, 48 * 7]


@each_network
def test_networks_are_hashable_values(name):
  network, _, _ = example(name)
  assert hash(network) == hash(network.copy())
  assert network == network.copy()
  assert network != network.copy(num_classes=4)


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "sensor_norm", "dpfe"])
def test_bfloat16_computes_in_bfloat16_and_keeps_float32(name):
  network, x, variables = example(name)
  half = network.copy(dtype="bfloat16")
  first = network.stage_names()[0]
  (logits, captured), shapes = (
    jax.eval_shape(
      functools.partial(half.apply, train=False, capture=(first,)), variables, x
    ),
    jax.eval_shape(
      functools.partial(half.init, train=False), jax.random.key(0), x
    ),
  )
  # What leaves it is float32, and holds what was computed.
  assert captured[first].dtype == logits.dtype == jnp.float32
  run = jax.jit(functools.partial(half.apply, train=False, upto=first))
  feature = np.asarray(run(variables, x)[0])
  assert feature.dtype == np.float32
  np.testing.assert_array_equal(feature, feature.astype(jnp.bfloat16))
  assert np.ptp(feature) > 0
  # The cloud computes so as well, whatever type comes over the wire.
  second = network.stage_names()[1]
  run = jax.jit(
    functools.partial(half.apply, train=False, after=first, upto=second)
  )
  received = jnp.asarray(feature) * 1.0001  # no bfloat16 any more
  out = np.asarray(run(variables, received)[0])
  np.testing.assert_array_equal(out, out.astype(jnp.bfloat16))
  np.testing.assert_array_equal(out, run(variables, feature)[0])
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {
    np.dtype("float32")
  }


def test_unknown_stages_are_answered_with_the_known_ones():
  network, x, variables = example("own")
  for arguments in ({"upto": "fc9"}, {"after": "fc9"}, {"capture": ("fc9",)}):
    with pytest.raises(ValueError, match="'fc9'.*first, second, last"):
      network.apply(variables, x, train=False, **arguments)
  with pytest.raises(ValueError, match="'fc9'.*first, second, last"):
    staged.split_variables(variables, network, "fc9")
  with pytest.raises(ValueError, match="lies before after='second'"):
    network.apply(variables, x, train=False, after="second", upto="first")
  with pytest.raises(ValueError, match="Cannot capture 'first'"):
    network.apply(variables, x, train=False, after="first", capture=("first",))


def test_halves_that_share_a_stage_do_not_merge():
  network, _, variables = example("own")
  client, _ = staged.split_variables(variables, network, "first")
  with pytest.raises(ValueError, match=r"\['first'\].*in both halves"):
    staged.merge_variables(client, variables)


@functools.cache
def redrawn(name, classes):
  """Returns weights of a network with so many classes, another draw."""
  network, x, _ = example(name)
  shapes = jax.eval_shape(
    functools.partial(network.clone(num_classes=classes).init, train=False),
    jax.random.key(0),
    x,
  )
  rng = np.random.default_rng(1)
  return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)


def test_weights_trained_elsewhere_take_the_place_of_drawn_ones():
  network, _, variables = example("sensor_norm")
  weights = redrawn("sensor_norm", 3)
  some = {
    collection: {k: v for k, v in stages.items() if k in ("conv1", "fc2")}
    for collection, stages in weights.items()
  }
  merged = staged.overlay(variables, some, network)
  assert jax.tree.structure(merged) == jax.tree.structure(variables)
  for collection, stages in merged.items():
    for name, value in stages.items():
      source = some if name in ("conv1", "fc2") else variables
      assert value is source[collection][name], (collection, name)
  assert merged["params"]["conv1"] is not variables["params"]["conv1"]


def test_a_last_stage_with_other_answers_stays_as_drawn():
  network, _, variables = example("sensor_norm")
  weights = redrawn("sensor_norm", 7)
  merged = staged.overlay(variables, weights, network)
  assert merged["params"]["fc2"] is variables["params"]["fc2"]
  assert merged["params"]["fc1"] is weights["params"]["fc1"]


def test_weights_of_another_shape_are_refused_by_the_name_of_their_stage():
  network, _, variables = example("sensor_norm")
  dense = redrawn("sensor_norm", 3)["params"]["fc1"]["dense"]
  for wrong in (
    {"kernel": dense["kernel"][:-1], "bias": dense["bias"]},
    {"kernel": dense["kernel"]},  # a part of a stage is none
  ):
    weights = {"params": {"fc1": {"dense": wrong}}}
    with pytest.raises(ValueError, match="'fc1' in 'params'.*takes"):
      staged.overlay(variables, weights, network)


def test_weights_of_a_stage_or_a_collection_the_network_lacks_are_refused():
  network, _, variables = example("sensor")
  with pytest.raises(ValueError, match="No stage 'conv9'.*conv1, pool1"):
    staged.overlay(variables, {"params": {"conv9": {}}}, network)
  statistics = redrawn("sensor_norm", 3)["batch_stats"]
  with pytest.raises(ValueError, match="'conv1' in 'batch_stats'"):
    staged.overlay(variables, {"batch_stats": statistics}, network)


def test_a_base_without_stages_says_what_it_needs():
  with pytest.raises(NotImplementedError, match="stage_names"):
    staged.Staged(num_classes=2).init(
      jax.random.key(0), jnp.ones((1, 2)), train=False
    )
