import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hybridpriv.train import optim

PARAMS = {
  "conv1": {"kernel": jnp.ones(2), "bias": jnp.ones(2)},
  "fc6": {"kernel": jnp.ones(2), "bias": jnp.ones(2)},
}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)


def updates(optimizer, num=1):
  """The last of `num` updates of PARAMS for constant gradients."""
  state = optimizer.init(PARAMS)
  for _ in range(num):
    found, state = optimizer.update(GRADS, state, PARAMS)
  return found


def sgd(**knobs):
  knobs = {"learning_rate": 0.5, "schedule": "constant", **knobs}
  return optim.make(name="sgd", num_steps=10, momentum=0.0, **knobs)


def test_learning_rates_by_group_of_parameters():
  found = updates(
    sgd(multipliers={"fc6/bias": 20.0, "fc6/.*": 10.0, "conv1/kern": 3.0})
  )
  factors = jax.tree.map(lambda u: float(u[0]) / -0.5, found)
  # The first pattern that matches the whole path counts.
  assert factors == {
    "conv1": {"kernel": 1.0, "bias": 1.0},
    "fc6": {"kernel": 10.0, "bias": 20.0},
  }


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_multiplier_of_zero_freezes(name):
  optimizer = optim.make(
    name=name,
    learning_rate=0.1,
    num_steps=10,
    weight_decay=0.5,
    multipliers={"conv1/.*": 0.0},
  )
  after = optax.apply_updates(PARAMS, updates(optimizer, num=3))
  for leaf in jax.tree.leaves(after["conv1"]):
    np.testing.assert_array_equal(leaf, 1.0)
  for leaf in jax.tree.leaves(after["fc6"]):
    assert np.all(leaf < 1.0)


def test_rates_warm_up_and_fall_along_a_cosine():
  def rate(num):
    found = updates(sgd(schedule="cosine", warmup_steps=4), num)
    return -float(found["fc6"]["bias"][0])

  falling = 0.5 * (1 + np.cos(np.pi * np.arange(7) / 6)) / 2
  expected = [0, 0.125, 0.25, 0.375, *falling]
  found = [rate(num) for num in range(1, 12)]
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_constant_rate_warms_up_and_stays():
  def rate(num):
    return -float(updates(sgd(warmup_steps=2), num)["fc6"]["bias"][0])

  assert [rate(n) for n in range(1, 6)] == [0.0, 0.25, 0.5, 0.5, 0.5]


def test_the_gradient_is_clipped_as_a_whole():
  found = updates(sgd(clip_norm=1.0))
  np.testing.assert_allclose(optax.tree.norm(found), 0.5, rtol=1e-6)


def test_weight_decay_of_sgd_joins_the_gradient_and_of_adamw_does_not():
  found = updates(sgd(weight_decay=0.2))
  np.testing.assert_allclose(found["fc6"]["bias"], -0.5 * 1.2, rtol=1e-6)
  knobs = {"learning_rate": 0.5, "num_steps": 10, "schedule": "constant"}
  adamw = updates(optim.make(name="adamw", weight_decay=0.2, **knobs))
  # Adam's first update is the sign of the gradient.
  np.testing.assert_allclose(adamw["fc6"]["bias"], -0.5 * 1.2, rtol=1e-4)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"name": "lion"}, "optimizer 'lion' is not one of adam, adamw, sgd"),
    ({"schedule": "step"}, "schedule 'step' is not one of cosine, constant"),
  ],
)
def test_unknown_names_are_answered_with_the_known_ones(changes, message):
  knobs = {"name": "adam", "learning_rate": 0.1, "num_steps": 3, **changes}
  with pytest.raises(ValueError, match=message):
    optim.make(**knobs)
