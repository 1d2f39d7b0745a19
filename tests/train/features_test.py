import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.train import features


@pytest.mark.parametrize("num", [1, 4, 11])
def test_features_are_those_of_each_sample_in_order(num):
  inputs = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
  index = np.random.default_rng(1).permutation(20)[:num]
  shapes = []

  @jax.jit
  def function(x):
    shapes.append(x.shape)
    return {"sum": jnp.sum(x, axis=1), "double": 2 * x}

  found = features.compute(function, inputs, index, batch_size=4)
  np.testing.assert_allclose(found["sum"], inputs[index].sum(1), rtol=1e-5)
  np.testing.assert_array_equal(found["double"], 2 * inputs[index])
  assert shapes == [(min(num, 4), 3)]  # one program


def test_streamed_features_are_the_same_in_the_memory_of_two_batches():
  inputs = np.random.default_rng(0).normal(size=(4096, 5)).astype("f4")
  double = jax.jit(lambda x: 2 * x)
  given, held = [], []

  def function(x):
    given.append(weakref.ref(x))
    return double(x)

  for place, part in enumerate(
    features.stream(function, inputs, np.arange(4096))
  ):
    start = 256 * place
    np.testing.assert_array_equal(part, 2 * inputs[start : start + 256])
    held.append(weakref.ref(part))
    for batches in (given, held):
      assert sum(x() is not None for x in batches) <= 2
  assert len(given) == len(held) == 16
