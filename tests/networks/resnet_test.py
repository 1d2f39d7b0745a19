import jax
import numpy as np
import pytest

from hybridpriv.networks import convolution, resnet, staged


@pytest.mark.parametrize(
  "build, num_params, macs, blocks",
  [
    # Counts of the models in circulation, 1000 classes at 224 x 224.
    (resnet.resnet18, 11_689_512, 1.81, 8),
    (resnet.resnet50, 25_557_032, 4.09, 16),
  ],
)
def test_resnets_have_the_published_counts(build, num_params, macs, blocks):
  table = staged.describe(build(num_classes=1000), (224, 224, 3))
  assert sum(row.num_params for row in table) == num_params
  assert round(sum(row.macs for row in table) / 1e9, 2) == macs
  names = [row.name for row in table]
  assert names[:3] == ["stem", "pool1", "block1_1"]
  assert names[-2:] == ["avgpool", "fc"]
  assert sum(name.startswith("block") for name in names) == blocks


def test_blocks_start_as_their_shortcut(key):
  network = resnet.resnet18(num_classes=2, width=1 / 16)
  x = jax.random.normal(key, (2, 8, 8, 4))
  run = {"train": False, "after": "pool1", "upto": "block1_1"}
  variables = network.init(key, x, **run)
  block, _ = network.apply(variables, x, **run)
  np.testing.assert_allclose(block, np.maximum(x, 0), rtol=1e-6)


def test_the_first_pool_ignores_its_padding():
  network = resnet.resnet18(num_classes=2)
  x = -np.ones((1, 4, 4, 1), "f4")
  pooled, _ = network.apply({}, x, train=False, after="stem", upto="pool1")
  np.testing.assert_array_equal(pooled, -np.ones((1, 2, 2, 1)))


def test_flat_pointwise_layers_are_the_convolutions(key, monkeypatch):
  network = resnet.resnet50(num_classes=2, width=1 / 8)
  x = jax.random.normal(key, (8, 7, 9, 64))
  run = {"train": False, "after": "block1_3", "upto": "block2_1"}
  variables = jax.jit(lambda x: network.init(key, x, **run))(x)

  def slopes(variables, x):
    def loss(variables, x):
      return jax.numpy.mean(network.apply(variables, x, **run)[0] ** 2)

    return jax.value_and_grad(loss, (0, 1))(variables, x)

  found = jax.jit(slopes)(variables, x)
  monkeypatch.setattr(convolution, "FEW", 9)
  plain = jax.jit(lambda v, x: slopes(v, x))
  for a, b in zip(
    jax.tree.leaves(found), jax.tree.leaves(plain(variables, x)), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
