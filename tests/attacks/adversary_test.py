import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import adversary
from hybridpriv.attacks import attack as attack_lib

GOAL = jnp.asarray([4.0, -4.0])
RATE, DECAY = 0.05, 0.1


def loss(params, key, index):
  """A bowl whose bottom moves with the noise and with what is drawn."""
  noise = 0.1 * jax.random.normal(key, (2,))
  return jnp.sum((params - GOAL - noise) ** 2) + 0.01 * jnp.mean(index)


def draw(key):
  return jax.random.randint(key, (adversary.CHUNK, 4), 0, 9)


def descend(judge, **options):
  return adversary.descend(
    jax.random.key(0),
    jnp.zeros(2),
    draw=draw,
    loss=loss,
    judge=judge,
    learning_rate=jnp.float32(RATE),
    weight_decay=DECAY,
    **{"max_steps": 1000, "patience": 3, **options},
  )


def by_hand(judge, *, max_steps=1000, patience=3):
  """The same training written out: Adam, and a loop that may stop."""
  params, best, lowest, since = np.zeros(2), np.zeros(2), np.inf, 0
  first, second = np.zeros(2), np.zeros(2)
  step = 0
  for number in range(max_steps // adversary.CHUNK):
    own = jax.random.fold_in(jax.random.key(0), number)
    noise, _, chunk = jax.random.split(own, 3)
    for key in jax.random.split(chunk, adversary.CHUNK):
      step += 1
      moved = 0.1 * np.asarray(jax.random.normal(key, (2,)))
      gradient = 2 * (params - np.asarray(GOAL) - moved)
      first = 0.9 * first + 0.1 * gradient
      second = 0.999 * second + 0.001 * gradient**2
      ratio = first / (1 - 0.9**step)
      ratio /= np.sqrt(second / (1 - 0.999**step)) + 1e-8
      params = params - RATE * (ratio + DECAY * params)
    now = float(judge(jnp.asarray(params, jnp.float32), noise))
    since = 0 if now < lowest else since + 1
    if not since:
      best, lowest = params, now
    if since == patience:
      break
  return best, step


def validation(params, key):
  """Lowest halfway: going on to the bottom of the loss makes it worse."""
  noise = 0.1 * jax.random.normal(key, ())
  return jnp.sum((params - GOAL / 2) ** 2) + 0.1 * noise


@pytest.mark.parametrize("options", [{}, {"patience": 1}, {"max_steps": 25}])
def test_the_training_is_adam_until_validation_stalls(options):
  expected, steps = by_hand(validation, **options)
  np.testing.assert_allclose(
    descend(validation, **options), expected, rtol=1e-4, atol=1e-5
  )
  # It stops for this reason, and not at the last step.
  assert steps < 1000
  assert np.all(np.abs(expected) < 0.75 * np.abs(GOAL))


def test_without_a_stall_it_goes_on_to_the_bottom():
  def judge(params, key):
    return jnp.sum((params - GOAL) ** 2)

  found = descend(judge, patience=40)
  expected, steps = by_hand(judge, patience=40)
  assert steps == 1000
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  # The decay holds it back a little.
  np.testing.assert_allclose(found, GOAL, rtol=0.1)


def test_samples_are_drawn_as_often_as_they_weigh():
  weights = jnp.asarray([0.5, 0.0, 0.3, 0.2, 0.0])
  index = adversary.choose(jax.random.key(0), weights, 800)
  assert index.shape == (adversary.CHUNK, 800)
  share = np.bincount(np.ravel(index), minlength=5) / index.size
  # Four standard deviations of 20,000 draws; what weighs nothing never comes.
  np.testing.assert_allclose(share, weights, atol=4 * np.sqrt(0.25 / 20_000))
  assert share[1] == share[4] == 0


def test_a_huge_value_leaves_the_rest_among_the_components():
  rng = np.random.default_rng(0)
  number = rng.normal(size=400)
  codes = number[:, None] * rng.choice([-1, 1], size=1100)
  codes += 0.2 * rng.normal(size=codes.shape)
  # Now and then, as a mark of what is missing.
  codes[:, 0] = np.where(rng.uniform(size=400) < 0.05, 1e30, 0.0)
  codes, weights = jnp.asarray(codes, jnp.float32), jnp.full(300, 1 / 300)
  mean, std = attack_lib.moments(codes[:300], weights)
  scale = {"mean": mean, "std": std}
  scale["turn"] = adversary.to_components(scale, codes[:300], weights, 32)
  seen = np.asarray(adversary.scaled(scale, codes))
  # A line through a few components, of which none is small.
  own = seen[:300].T @ seen[:300] + 3 * np.eye(32)
  line = np.linalg.solve(own, seen[:300].T @ number[:300])
  assert np.corrcoef(seen[300:] @ line, number[300:])[0, 1] > 0.95
