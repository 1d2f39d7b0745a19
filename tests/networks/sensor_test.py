import jax
import jax.numpy as jnp
import pytest

from hybridpriv.networks import sensor, staged


def test_the_default_takes_four_seconds_at_50_hz():
  network = sensor.sensor(num_classes=7)
  shapes = {row.name: row.shape for row in staged.describe(network, (200, 6))}
  assert shapes == {
    "conv1": (200, 32),
    "pool1": (100, 32),
    "conv2": (100, 64),
    "pool2": (50, 64),
    "conv3": (50, 64),
    "pool3": (25, 64),
    "fc1": (128,),
    "fc2": (7,),
  }


def test_statistics_are_float32_with_momentum_nine_tenths(key):
  network = sensor.sensor(num_classes=2, norm="batch", dtype="bfloat16")
  x = jax.random.normal(key, (8, 16, 3))
  run = {"train": True, "upto": "conv1"}
  variables = network.init(key, x, **run)
  _, updated = network.apply(variables, x, mutable=["batch_stats"], **run)
  old = variables["batch_stats"]["conv1"]["norm"]
  new = updated["batch_stats"]["conv1"]["norm"]
  assert new["mean"].dtype == new["var"].dtype == jnp.float32
  kernel = variables["params"]["conv1"]["conv"]["kernel"]
  response = jax.lax.conv_general_dilated(
    x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
  )
  expected = 0.9 * old["mean"] + 0.1 * response.mean(axis=(0, 1))
  # The convolution ran in bfloat16: eight bits.
  assert jnp.max(jnp.abs(new["mean"] - expected)) < 2e-3
  assert jnp.max(jnp.abs(new["mean"])) > 5e-3


def test_dropout_follows_its_stream(key):
  network = sensor.sensor(num_classes=2)
  x = jnp.ones((2, 4))
  variables = network.init(key, x, train=False, after="pool3", upto="fc1")

  def answer(seed):
    rngs = {"dropout": jax.random.key(seed)}
    run = {"train": True, "after": "pool3", "upto": "fc1"}
    return network.apply(variables, x, rngs=rngs, **run)[0]

  assert (answer(0) == answer(0)).all()
  assert (answer(0) != answer(1)).any()


def test_short_windows_and_unknown_norms_are_refused(key):
  network = sensor.sensor(num_classes=2)
  with pytest.raises(ValueError, match="pool3 got 1 sample.*at least 8"):
    jax.eval_shape(
      lambda x: network.init(key, x, train=False), jnp.ones((1, 7, 3))
    )
  with pytest.raises(ValueError, match="norm='layer'.*\"batch\""):
    sensor.sensor(num_classes=2, norm="layer")
