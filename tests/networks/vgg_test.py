import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.networks import staged, vgg


def test_vgg16_has_the_published_counts():
  network = vgg.vgg16(num_classes=2)
  table = staged.describe(network, (224, 224, 3))
  params = list(itertools.accumulate(row.num_params for row in table))
  macs = list(itertools.accumulate(row.macs for row in table))
  # Values of the published table of cuts, cumulative on the client.
  expected = {
    "conv5_1": (9_995_072, 14.42, 100_352),
    "conv5_2": (12_354_880, 14.88, 100_352),
    "conv5_3": (14_714_688, 15.35, 100_352),
    "fc6": (117_479_232, 15.45, 4_096),
    "fc7": (134_260_544, 15.47, 4_096),
    "fc8": (134_268_738, 15.47, 2),
  }
  for row, num_params, num_macs in zip(table, params, macs, strict=True):
    if row.name in expected:
      size = int(np.prod(row.shape))
      found = (num_params, round(num_macs / 1e9, 2), size)
      assert found == expected[row.name], row.name


def test_vgg16_stages_have_the_published_names():
  names = (
    "conv1_1 conv1_2 pool1 conv2_1 conv2_2 pool2 conv3_1 conv3_2 conv3_3 "
    "pool3 conv4_1 conv4_2 conv4_3 pool4 conv5_1 conv5_2 conv5_3 pool5 "
    "fc6 fc7 fc8"
  )
  assert vgg.vgg16(num_classes=2).stage_names() == tuple(names.split())


def test_conv_stages_end_after_their_relu(key):
  network = vgg.vgg16(num_classes=2, width=1 / 32)
  x = jax.random.normal(key, (2, 8, 8, 3))
  variables = network.init(key, x, train=False, upto="conv1_1")
  feature, _ = network.apply(variables, x, train=False, upto="conv1_1")
  assert np.min(feature) == 0


def test_pools_take_maxima_and_drop_the_odd_edge():
  x = np.random.default_rng(0).normal(size=(2, 7, 4, 3)).astype("f4")
  network = vgg.vgg16(num_classes=2)
  pooled, _ = network.apply({}, x, train=False, after="conv5_3", upto="pool5")
  expected = np.empty((2, 3, 2, 3))
  for row, column in np.ndindex(3, 2):
    window = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
    expected[:, row, column] = window.max(axis=(1, 2))
  np.testing.assert_array_equal(pooled, expected)


def test_the_width_scales_channels_and_hidden_units():
  network = vgg.vgg16(num_classes=2, width=0.25)
  shapes = {
    row.name: row.shape for row in staged.describe(network, (64, 64, 3))
  }
  assert shapes["conv1_1"] == (64, 64, 16)
  assert shapes["conv5_3"] == (4, 4, 128)
  assert shapes["fc6"] == (1024,)


def test_activations_keep_their_scale_through_a_block(key):
  network = vgg.vgg16(num_classes=2, width=1 / 4)
  x = jax.random.normal(key, (2, 8, 8, 64))
  run = {"train": False, "after": "pool2", "upto": "conv3_3"}
  feature, _ = network.apply(network.init(key, x, **run), x, **run)
  # He's initialization keeps the mean square but for the zeros around the
  # image; Lecun's would leave an eighth of it.
  assert 0.4 < jnp.mean(feature**2) < 2


def test_small_images_and_unknown_norms_are_refused(key):
  network = vgg.vgg16(num_classes=2, width=1 / 32)
  with pytest.raises(ValueError, match="pool5 got 1 x 1.*32 x 32"):
    jax.eval_shape(
      lambda x: network.init(key, x, train=False), jnp.ones((1, 16, 16, 3))
    )
  with pytest.raises(ValueError, match="norm='layer'.*\"batch\""):
    vgg.vgg16(num_classes=2, norm="layer")
