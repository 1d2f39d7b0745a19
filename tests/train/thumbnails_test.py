import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.train import objective, thumbnails


def reading(*names):
  return objective.Term("own", lambda **x: x, tuple((n, n) for n in names))


def test_terms_ask_for_sizes_by_name():
  terms = [reading("feature", "inputs/16"), reading("inputs", "inputs/8")]
  assert thumbnails.asked(terms) == {"inputs/16": 16, "inputs/8": 8}


@pytest.mark.parametrize("name", ["inputs/", "inputs/small", "inputs/0"])
def test_a_name_without_a_size_is_one_clear_error(name):
  with pytest.raises(ValueError, match=f"term 'own' reads '{name}'.*inputs/16"):
    thumbnails.asked([reading(name)])


@pytest.mark.parametrize("shape", [(32, 32, 3), (24, 32, 3), (50, 2)])
def test_shapes_are_as_said_and_a_constant_stays(shape):
  x = jnp.full((2, *shape), 3.0)
  small = thumbnails.make(x, 8)
  assert small.shape == (2, *thumbnails.shape(shape, 8))
  assert small.shape[-1] == shape[-1]
  np.testing.assert_allclose(small, 3.0, rtol=1e-5)


def test_what_is_finer_than_the_size_is_gone_and_the_rest_stays():
  rows = np.arange(32)
  fine = np.where((rows[:, None] + rows[None]) % 2, 1.0, -1.0)
  coarse = np.sin(2 * np.pi * (rows + 0.5) / 32)[:, None] * np.ones((1, 32))
  x = jnp.asarray(np.stack([fine, coarse])[..., None], jnp.float32)
  small = np.asarray(thumbnails.make(x, 8))[..., 0]
  # At the border the window is cut off, and a checkerboard does not cancel.
  assert np.abs(small[0, 1:-1, 1:-1]).max() < 1e-5
  blocks = coarse.reshape(8, 4, 8, 4).mean((1, 3))
  np.testing.assert_allclose(small[1], blocks, atol=0.1)


def test_inputs_smaller_than_asked_are_refused():
  with pytest.raises(ValueError, match=r"'inputs/16' .*\(8, 8, 3\).*8 at most"):
    thumbnails.make(jnp.zeros((1, 8, 8, 3)), 16)
