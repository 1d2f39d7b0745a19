import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.networks import staged, vgg_s


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


def test_vgg_s_has_the_published_shapes_and_counts():
  table = staged.describe(vgg_s.vgg_s(num_classes=7), (224, 224, 3))
  # (224 - 7) / 2 + 1 = 109, 109 / 3 rounded up = 37, 37 - 5 + 1 = 33, ...
  assert [(row.name, row.shape, row.num_params) for row in table] == [
    ("conv1", (109, 109, 96), (7 * 7 * 3 + 1) * 96),
    ("norm1", (109, 109, 96), 0),
    ("pool1", (37, 37, 96), 0),
    ("conv2", (33, 33, 256), (5 * 5 * 96 + 1) * 256),
    ("pool2", (17, 17, 256), 0),
    ("conv3", (17, 17, 512), (3 * 3 * 256 + 1) * 512),
    ("conv4", (17, 17, 512), (3 * 3 * 512 + 1) * 512),
    ("conv5", (17, 17, 512), (3 * 3 * 512 + 1) * 512),
    ("pool5", (6, 6, 512), 0),
    ("fc6", (4096,), (6 * 6 * 512 + 1) * 4096),
    ("fc7", (4096,), (4096 + 1) * 4096),
    ("fc8", (7,), (4096 + 1) * 7),
  ]
  # What the documentation of the function says.
  assert sum(row.num_params for row in table) == 98_840_199


@pytest.mark.parametrize("channels", [1, 3, 12])
def test_norm1_is_caffes_local_response_normalization(channels):
  rng = np.random.default_rng(0)
  x = 100 * rng.normal(size=(2, 3, 2, channels)).astype("f4")
  network = vgg_s.vgg_s(num_classes=2)
  found, _ = network.apply({}, x, train=False, after="conv1", upto="norm1")
  expected = np.empty(x.shape)
  for i in range(channels):
    energy = (x[..., max(0, i - 2) : i + 3].astype("f8") ** 2).sum(-1)
    expected[..., i] = x[..., i] / (2 + 5e-4 / 5 * energy) ** 0.75
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
  "before, name, size",
  [
    ("norm1", "pool1", 3),
    ("conv2", "pool2", 2),
    ("conv5", "pool5", 3),
  ],
)
def test_pools_see_the_odd_edge_too(before, name, size):
  x = np.random.default_rng(0).normal(size=(2, 7, 5, 3)).astype("f4") - 9
  network = vgg_s.vgg_s(num_classes=2)

  def pool(x):
    return network.apply({}, x, train=False, after=before, upto=name)[0]

  expected = np.empty((2, math.ceil(7 / size), math.ceil(5 / size), 3))
  for row, column in np.ndindex(expected.shape[1:3]):
    top, left = row * size, column * size
    window = x[:, top : top + size, left : left + size]
    expected[:, row, column] = window.max(axis=(1, 2))
  np.testing.assert_array_equal(pool(x), expected)
  # What is added at the edge takes nothing from the gradient of the maxima.
  gradient = jax.grad(lambda x: pool(x).sum())(x)
  np.testing.assert_array_equal(gradient, np.isin(x, expected))


def test_client_then_cloud_is_the_whole_at_every_cut(key):
  network = vgg_s.vgg_s(num_classes=3, width=1 / 32)
  x = jax.random.normal(key, (2, 40, 36, 3))
  variables = random_variables(network, x)
  whole, _ = network.apply(variables, x, train=False)
  assert jnp.ptp(whole) > 1e-3
  for cut in network.stage_names():
    client, cloud = staged.split_variables(variables, network, cut)
    feature, _ = network.apply(client, x, train=False, upto=cut)
    answer, _ = network.apply(cloud, feature, train=False, after=cut)
    np.testing.assert_array_equal(answer, whole)


def test_conv_stages_end_after_their_relu(key):
  network = vgg_s.vgg_s(num_classes=2, width=1 / 32)
  x = jax.random.normal(key, (2, 31, 31, 3))
  variables = network.init(key, x, train=False, upto="conv1")
  feature, _ = network.apply(variables, x, train=False, upto="conv1")
  assert np.min(feature) == 0


def test_fc6_and_fc7_drop_units_in_training_only(key):
  network = vgg_s.vgg_s(num_classes=2, width=1 / 32, dropout=0.5)
  x = jnp.ones((4, 16))
  variables = network.init(key, x, train=False, after="pool5")
  run = {"after": "pool5", "upto": "fc6", "rngs": {"dropout": key}}
  kept, _ = network.apply(variables, x, train=True, **run)
  clean, _ = network.apply(variables, x, train=False, **run)
  dropped = (kept == 0) & (clean > 0)
  assert 0.3 < dropped.sum() / (clean > 0).sum() < 0.7
  np.testing.assert_allclose(
    np.where(dropped, 0, 2 * clean), kept, rtol=1e-6, atol=1e-6
  )


def test_small_images_are_refused(key):
  network = vgg_s.vgg_s(num_classes=2, width=1 / 32)

  def shapes(side):
    x = jnp.ones((1, side, side, 3))
    return jax.eval_shape(lambda x: network.init(key, x, train=False), x)

  assert shapes(31)["params"]
  with pytest.raises(ValueError, match="conv2 got 4 x 4 .*5 x 5.*31 x 31"):
    shapes(30)
  with pytest.raises(ValueError, match="conv1 got 6 x 6 .*7 x 7.*31 x 31"):
    shapes(6)
