import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.attacks import descent, restoration, ridge
from hybridpriv.privatizers import noise, privatizer, quantize
from tests.attacks import made_up

IMAGES = made_up.of_six()


def _nearest(knowledge, sent, **knobs):
  options = {"weight": (0.1, 1.0, 10.0)} | knobs
  return made_up.restore(descent.pixels(**options), knowledge, sent)


def _rectified(client, images):
  return jax.nn.relu(client(images))


def test_a_few_pictures_of_its_own_are_enough():
  client = jax.tree_util.Partial(_rectified, made_up.linear(512))
  images = IMAGES[-100:]
  knowledge, sent = made_up.attacked(images, client, own=30, held_out=20)
  found = made_up.ssim(images, _nearest(knowledge, sent, weight=0.1))
  linear = made_up.restore(ridge.linear(), knowledge, sent)
  assert found > 0.95 and found > made_up.ssim(images, linear) + 0.01


def test_the_price_is_the_mean_length_of_differences():
  image = np.zeros((2, 4, 3, 1), "f4")
  image[0, :, 1:] = 0.5  # an edge across, at three of six places
  image[1] = np.arange(4)[:, None, None]  # and one down everywhere
  found = descent.total_variation(jnp.asarray(image))
  np.testing.assert_allclose(found, [0.5 * 3 / 6, 1.0], atol=2e-3)


def test_pictures_do_not_know_one_another():
  knowledge, sent = made_up.attacked(IMAGES, made_up.linear(20), sigma=0.3)
  attack = descent.pixels(iterations=40, tried_on=4)
  attacker = attack.fit(jax.random.key(0), knowledge)
  together = attack.restore(attacker, sent)
  np.testing.assert_allclose(
    attack.restore(attacker, sent[[7, 7]])[:1], together[7:8], atol=1e-4
  )


def test_steps_in_a_loop_are_those_one_by_one():
  knowledge, sent = made_up.attacked(IMAGES, made_up.linear(20), sigma=0.3)
  attacker = descent.pixels(iterations=8, tried_on=4).fit(
    jax.random.key(0), knowledge
  )
  latent = jnp.zeros((2, *attacker.start.shape))
  single = state = latent, descent._OPTIMIZER.init(latent)
  for number in range(4):
    single = descent._steps(attacker, sent[:2], single, np.array([number]))
  loop = descent._steps(attacker, sent[:2], state, np.arange(4))
  np.testing.assert_allclose(loop[0], single[0], atol=1e-5)
  assert np.any(loop[0] != latent)


def test_two_victims_of_one_shape_share_the_program():
  traced = []

  def client(matrix, images):
    traced.append(images.shape)
    return images.reshape(len(images), -1) @ matrix

  for scale in (1.0, 2.0):
    matrix = scale * made_up.linear(5).args[0]
    knowledge, sent = made_up.attacked(
      IMAGES, jax.tree_util.Partial(client, matrix)
    )
    traced.remove(IMAGES.shape)  # to see what is sent
    _nearest(knowledge, sent, iterations=8)
  # The variance of codes, and the descent itself.
  assert sorted(traced) == [(32, *IMAGES.shape[1:]), (256, *IMAGES.shape[1:])]


def test_codes_of_repeated_queries_restore_more():
  found = {}
  for num in (1, 100):
    knowledge, sent = made_up.attacked(
      IMAGES, made_up.orthogonal(), sigma=1.0, num_queries=num
    )
    found[num] = made_up.ssim(IMAGES, _nearest(knowledge, sent))
  assert found[100] > 0.9 > found[1] + 0.2


def test_draws_of_noise_serve_where_it_is_not_known_to_be_added():
  knowledge, sent = made_up.attacked(IMAGES, made_up.orthogonal(), sigma=0.3)
  of = noise.isotropic(sigma=1.0)._replace(name="my.noise")
  drawn = dataclasses.replace(knowledge, noise=privatizer.chain(of))
  knobs = {"weight": 1.0, "iterations": 100}
  direct = _nearest(knowledge, sent, **knobs)
  through = _nearest(drawn, sent, **knobs)
  assert made_up.ssim(IMAGES, direct) > 0.6
  # The mean of a hundred steps with four draws each is near the expectation.
  assert abs(made_up.ssim(IMAGES, direct) - made_up.ssim(IMAGES, through)) < 0.1


def test_rounding_hides_nothing_behind_a_gradient_of_zero(key):
  chain = privatizer.chain(quantize.toward_zero(levels=15))
  law = chain.fit(key, {"features": IMAGES})

  def rounded(own, client, images):
    return own.encode(law, key, client(images))

  found = {}
  for own in (chain, restoration.with_gradients(chain)):
    client = jax.tree_util.Partial(
      functools.partial(rounded, own), made_up.orthogonal()
    )
    knowledge, sent = made_up.attacked(IMAGES, client)
    found[own is not chain] = made_up.ssim(IMAGES, _nearest(knowledge, sent))
  assert found[True] > 0.8
  assert found[False] < made_up.of_mean(IMAGES, len(sent)) + 0.01
