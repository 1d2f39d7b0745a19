import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.networks import motion_sense, staged


def random_variables(network, x):
  """Returns variables drawn by NumPy: the draws of `init` compile slowly."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(
    lambda x: network.init(jax.random.key(0), x, train=False), x
  )
  return jax.tree.map(
    lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype),
    shapes,
  )


def test_the_network_has_the_shapes_and_counts_of_its_source():
  network = motion_sense.motion_sense(num_classes=6)
  table = staged.describe(network, (50, 12))
  assert [(row.name, row.shape, row.num_params) for row in table] == [
    ("conv1", (12, 46, 50), (5 + 1) * 50),
    ("conv2", (12, 46, 50), (3 * 50 + 1) * 50),
    ("dense1", (12, 46, 50), (50 + 1) * 50),
    ("pool1", (12, 23, 50), 0),
    ("conv3", (12, 19, 40), (5 * 50 + 1) * 40),
    ("dense2", (12, 19, 40), (40 + 1) * 40),
    ("pool2", (12, 6, 40), 0),
    ("conv4", (12, 4, 20), (3 * 40 + 1) * 20),
    ("fc1", (400,), (12 * 4 * 20 + 1) * 400),
    ("fc2", (6,), (400 + 1) * 6),
  ]
  # What the documentation of the function says.
  assert sum(row.num_params for row in table) == 411_306


def test_conv1_slides_one_set_of_kernels_along_every_channel(key):
  network = motion_sense.motion_sense(num_classes=2, width=1 / 10)
  x = np.random.default_rng(0).normal(size=(2, 30, 3)).astype("f4")
  variables = network.init(key, x, train=False, upto="conv1")
  found, _ = network.apply(variables, x, train=False, upto="conv1")
  kernel = np.asarray(variables["params"]["conv1"]["conv"]["kernel"])
  expected = np.empty((2, 3, 26, 5))
  for sample, channel, feature in np.ndindex(2, 3, 5):
    response = np.correlate(x[sample, :, channel], kernel[0, :, 0, feature])
    expected[sample, channel, :, feature] = np.maximum(response, 0)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_channels_meet_in_fc1_only(key):
  network = motion_sense.motion_sense(num_classes=2, width=1 / 5)
  x = jax.random.normal(key, (1, 30, 4))
  other = x.at[:, :, 2].add(1.0)
  variables = random_variables(network, x)

  def run(x):
    stages = {"upto": "fc1", "capture": ("conv4",)}
    hidden, captured = network.apply(variables, x, train=False, **stages)
    return hidden, captured["conv4"]

  (hidden, feature), (hidden_other, feature_other) = run(x), run(other)
  moved = np.any(feature != feature_other, axis=(0, 2, 3))
  np.testing.assert_array_equal(moved, [False, False, True, False])
  assert np.mean(hidden != hidden_other) > 0.3


@pytest.mark.parametrize(
  "before, name, size", [("dense1", "pool1", 2), ("dense2", "pool2", 3)]
)
def test_pools_take_maxima_and_drop_the_rest(before, name, size):
  x = np.random.default_rng(0).normal(size=(2, 3, 11, 4)).astype("f4")
  network = motion_sense.motion_sense(num_classes=2)
  pooled, _ = network.apply({}, x, train=False, after=before, upto=name)
  windows = [x[:, :, i * size : (i + 1) * size] for i in range(11 // size)]
  expected = np.stack([window.max(axis=2) for window in windows], axis=2)
  np.testing.assert_array_equal(pooled, expected)


@pytest.mark.parametrize(
  "before, name, rate",
  [
    ("dense1", "pool1", 0.2),
    ("dense2", "pool2", 0.2),
    ("pool2", "conv4", 0.2),
    ("conv4", "fc1", 0.4),
    ("pool1", "conv3", 0.0),
  ],
)
def test_stages_drop_the_published_share_in_training(key, before, name, rate):
  network = motion_sense.motion_sense(num_classes=2)
  x = jax.random.uniform(key, (4, 6, 12, 50))
  run = {"after": before, "upto": name}
  variables = network.init(key, x, train=False, **run)
  clean, _ = network.apply(variables, x, train=False, **run)
  trained, _ = network.apply(
    variables, x, train=True, rngs={"dropout": key}, **run
  )
  alive = clean > 0
  dropped = alive & (trained == 0)
  assert dropped.sum() / alive.sum() == pytest.approx(rate, abs=0.05)
  kept = jnp.where(dropped, 0, clean / (1 - rate))
  np.testing.assert_allclose(trained, kept, rtol=1e-5)


def test_client_then_cloud_is_the_whole_at_every_cut(key):
  network = motion_sense.motion_sense(num_classes=3, width=1 / 5)
  x = jax.random.normal(key, (2, 50, 12))
  variables = random_variables(network, x)
  whole, _ = network.apply(variables, x, train=False)
  assert jnp.ptp(whole) > 1e-3
  for cut in network.stage_names():
    client, cloud = staged.split_variables(variables, network, cut)
    feature, _ = network.apply(client, x, train=False, upto=cut)
    answer, _ = network.apply(cloud, feature, train=False, after=cut)
    np.testing.assert_array_equal(answer, whole)


def test_short_windows_are_refused(key):
  network = motion_sense.motion_sense(num_classes=2, width=1 / 10)

  def shapes(time):
    x = jnp.ones((1, time, 12))
    return jax.eval_shape(lambda x: network.init(key, x, train=False), x)

  assert shapes(30)["params"]
  with pytest.raises(ValueError, match="conv4 got 2 time steps.*at least 30"):
    shapes(29)
  with pytest.raises(ValueError, match="conv3 got 2 time steps.*at least 30"):
    shapes(8)
