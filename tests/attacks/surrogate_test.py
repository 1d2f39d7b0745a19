import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

from hybridpriv.attacks import surrogate
from tests.attacks import made_up

RNG = np.random.default_rng(0)
OWN, HELD_OUT, ATTACKED = 500, 100, 300
VALUES, CLASSES = 8, 20
STEPS, WIDTH = 600, 1 / 32


def _task():
  """Pictures of four skewed numbers, a linear client, and a rich question."""
  numbers = RNG.exponential(size=(OWN + HELD_OUT + ATTACKED, 4)) - 1
  images = made_up.pictures(numbers * np.geomspace(1, 0.4, 4)[None])
  flat = images.reshape(len(images), -1)
  main = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[2]
  turn = np.linalg.qr(RNG.normal(size=(VALUES, VALUES)))[0]
  matrix = jnp.asarray(main[:VALUES].T @ turn, "f4")
  client = jax.tree_util.Partial(
    lambda matrix, x: (x.reshape(len(x), -1) - 0.5) @ matrix, matrix
  )
  codes = np.asarray(client(jnp.asarray(images)))
  weights = RNG.normal(size=(VALUES, CLASSES))
  weights *= 3 / (codes @ weights).std(axis=0)
  bias = -codes.mean(axis=0) @ weights
  cloud = jax.tree_util.Partial(
    lambda w, b, codes: {"class": codes @ w + b[None]},
    jnp.asarray(weights, "f4"),
    jnp.asarray(bias, "f4"),
  )
  labels = np.argmax(codes @ weights + bias, axis=1)
  labels[::7] = -1  # some are unknown
  return images, client, cloud, {"class": labels}


@pytest.fixture(scope="module")
def task():
  images, client, cloud, labels = _task()
  knowledge, sent = made_up.attacked(
    images, client, own=OWN, held_out=HELD_OUT, cloud=cloud, labels=labels
  )
  nothing = made_up.of_mean(images, ATTACKED, OWN)
  return images, knowledge, sent, nothing


def _ssim(task, attack):
  images, knowledge, sent, _ = task
  return made_up.ssim(images, made_up.restore(attack, knowledge, sent))


def test_a_client_is_found_by_how_its_codes_are_distributed(task):
  nothing = task[-1]
  # With longer training nearly all; the orientation is what takes long.
  found = _ssim(task, surrogate.aligned(steps=STEPS, width=WIDTH))
  assert nothing < 0.2 and found > nothing + 0.1


def test_a_client_is_found_by_the_answers_of_the_cloud(task):
  nothing = task[-1]
  both = _ssim(task, surrogate.shadow(steps=STEPS, width=WIDTH))
  # Answers alone tell on which side of some borders a code is.
  alone = _ssim(task, surrogate.shadow(steps=STEPS, width=WIDTH, alignment=0.0))
  assert both > 0.8 and alone > nothing + 0.2


def test_discrepancy_is_that_of_the_kernels():
  a, b = RNG.normal(size=(7, 3)), RNG.normal(size=(5, 3)) + 1
  unit = np.median(distance.cdist(a, b) ** 2)

  def mean(x, y):
    squares = distance.cdist(x, y) ** 2
    widths = unit * np.array([0.25, 0.5, 1, 2, 4])
    return np.mean(np.exp(-squares[..., None] / widths))

  want = mean(a, a) + mean(b, b) - 2 * mean(a, b)
  found = surrogate.discrepancy(jnp.asarray(a, "f4"), jnp.asarray(b, "f4"))
  np.testing.assert_allclose(found, want, atol=1e-5)
  same = surrogate.discrepancy(jnp.asarray(a, "f4"), jnp.asarray(a, "f4"))
  np.testing.assert_allclose(same, 0, atol=1e-6)


def test_codes_have_mean_spread_and_shape_of_those_received(task):
  _, knowledge, sent, _ = task
  granted = knowledge.granting(("received",))
  shaped = dataclasses.replace(granted, received=sent.reshape(-1, 2, 2, 2))
  encode = surrogate.train(
    jax.random.key(0),
    shaped,
    width=WIDTH,
    alignment=1.0,
    steps=200,
    learning_rate=3e-3,
  )
  codes = np.asarray(encode(jnp.asarray(knowledge.images)))
  assert codes.shape == (len(knowledge.images), 2, 2, 2)
  codes = codes.reshape(-1, VALUES)
  spread = sent.std(axis=0)
  np.testing.assert_array_less(
    abs(codes.mean(axis=0) - sent.mean(axis=0)) / spread, 0.4
  )
  np.testing.assert_array_less(abs(np.log(codes.std(axis=0) / spread)), 0.7)


@pytest.mark.parametrize("make", [surrogate.shadow, surrogate.aligned])
def test_a_client_made_up_for_constant_codes_restores_nothing(make, task):
  images, knowledge, _, nothing = task
  silent, sent = made_up.attacked(
    images,
    made_up.constant(),
    own=OWN,
    held_out=HELD_OUT,
    cloud=jax.tree_util.Partial(lambda codes: {"class": codes[:, :CLASSES]}),
    labels=knowledge.labels,
  )
  restored = made_up.restore(make(steps=20, width=WIDTH), silent, sent)
  assert made_up.ssim(images, restored) < nothing + 0.01
