import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import descent, prior
from tests.attacks import made_up

IMAGES = made_up.of_six()
FEW = made_up.linear(8)


@pytest.mark.parametrize("num", [40, 300])
def test_components_are_those_of_the_singular_values(num):
  own = IMAGES[:num]
  mean, found = prior.components(own, 5)
  np.testing.assert_allclose(mean, own.mean(axis=0), atol=1e-6)
  flat = (own - own.mean(axis=0)).reshape(num, -1)
  _, values, rows = np.linalg.svd(flat, full_matrices=False)
  want = values[:5, None] / np.sqrt(num) * rows[:5]
  found = np.asarray(found).reshape(5, -1)
  sign = np.sign(np.sum(want * found, axis=1, keepdims=True))
  np.testing.assert_allclose(found, sign * want, atol=2e-4)


def test_components_that_there_are_not_are_nothing():
  _, found = prior.components(IMAGES[:3], 6)
  assert found.shape == (6, *IMAGES.shape[1:])
  assert not np.any(found[3:]) and np.any(found[0])


@pytest.mark.parametrize(
  "attack",
  [
    prior.eigenfaces(latents=16),
    prior.vae(steps=600, width=1 / 16, latents=8),
  ],
)
def test_a_prior_restores_from_few_values_what_pixels_do_not(attack):
  knowledge, sent = made_up.attacked(IMAGES, FEW)
  found = made_up.ssim(IMAGES, made_up.restore(attack, knowledge, sent))
  plain = made_up.restore(descent.pixels(), knowledge, sent)
  assert found > 0.6 and found > made_up.ssim(IMAGES, plain) + 0.3


def test_the_price_of_a_latent_is_minus_its_log_density():
  latent = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
  law = jax.scipy.stats.norm.logpdf
  want = -np.sum(law(latent) - law(jnp.zeros(3))[None], axis=1)
  np.testing.assert_allclose(prior._normal(jnp.asarray(latent)), want, 1e-5)


def test_an_autoencoder_gives_what_it_is_given_and_nothing_without_latents():
  knowledge, _ = made_up.attacked(IMAGES, FEW)
  mean = jnp.asarray(IMAGES[: made_up.OWN].mean(axis=0))
  network = prior.Autoencoder(made_up.SIZE, 1, 8, 1 / 16)
  params = prior.train(jax.random.key(0), network, mean, knowledge, steps=600)
  seen = jnp.asarray(IMAGES[made_up.TEST])
  change, centre, log = network.apply(
    {"params": params}, seen, jnp.zeros((len(seen), 8))
  )
  assert made_up.ssim(IMAGES, np.asarray(mean[None] + change)) > 0.9
  # Six numbers are in a picture: some latents are of use, some are the prior.
  used = np.var(centre, axis=0) > 0.5
  assert 3 <= used.sum() <= 8
  drawn = prior._generated(
    network, params, mean, jax.random.normal(jax.random.key(1), (200, 8))
  )
  # What it dreams up varies as pictures do.
  ratio = np.var(drawn, axis=0).mean() / np.var(IMAGES, axis=0).mean()
  assert 0.25 < ratio < 2
