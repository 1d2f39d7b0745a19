import functools

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.train import step as step_lib

KEY = jax.random.key(7)


def test_inputs_are_standardised_by_channel():
  inputs = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
  constants = {"mean": jnp.array([1.0, 2.0]), "std": jnp.array([2.0, 4.0])}
  found = step_lib.prepare(jnp.asarray(inputs), constants, shape=(3, 2))
  expected = (inputs.astype(np.float32) - [1, 2]) / [2, 4]
  np.testing.assert_allclose(found, expected)


def test_a_mean_image_is_subtracted_before_the_centre_is_cut():
  rng = np.random.default_rng(0)
  inputs = rng.integers(256, size=(2, 6, 8, 3), dtype=np.uint8)
  image = rng.uniform(0, 255, size=(6, 8, 3)).astype(np.float32)
  constants = {"mean": jnp.asarray(image), "std": jnp.array([1.0, 2.0, 4.0])}
  prepare = functools.partial(step_lib.prepare, shape=(4, 4, 3))
  found = prepare(jnp.asarray(inputs), constants)
  expected = (inputs.astype(np.float32) - image)[:, 1:5, 2:6] / [1, 2, 4]
  np.testing.assert_allclose(found, expected, rtol=1e-6)

  # The image moves with the part that an augmentation takes.
  def corner(key, inputs, *, shape):
    del key
    return inputs[:, : shape[0], : shape[1]]

  found = prepare(jnp.asarray(inputs), constants, augment=corner, key=KEY)
  expected = (inputs.astype(np.float32) - image)[:, :4, :4] / [1, 2, 4]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_logits_are_divided_among_the_answers():
  logits = np.arange(10).reshape(2, 5)
  parts = step_lib.split_logits(logits, (("a", 2), ("b", 3)))
  np.testing.assert_array_equal(parts["a"], logits[:, :2])
  np.testing.assert_array_equal(parts["b"], logits[:, 2:])
