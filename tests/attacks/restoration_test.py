"""Every attack restores what a client keeps, and nothing from nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import (
  descent,
  inversion,
  prior,
  restoration,
  ridge,
)
from hybridpriv.privatizers import noise, privatizer, project, quantize
from tests.attacks import made_up

WIDTH = 1 / 32
IMAGES = made_up.of_six()
NOTHING = made_up.of_mean(IMAGES, made_up.ATTACKED)


def _decoder(steps, **knobs):
  return inversion.decoder(
    steps=steps, width=WIDTH, batch_size=16, learning_rate=3e-3, **knobs
  )


# What networks are trained for so many steps.
ATTACKS = {
  "decoder": _decoder,
  "absolute": lambda steps: _decoder(steps, loss="absolute"),
  "ssim": lambda steps: _decoder(steps, loss="ssim"),
  "adversarial": lambda steps: _decoder(steps, adversarial=1e-3),
  "ridge": lambda steps: ridge.linear(),
  "pixels": lambda steps: descent.pixels(weight=0.1),
  "eigenfaces": lambda steps: prior.eigenfaces(),
  "vae": lambda steps: prior.vae(steps=steps, width=WIDTH, latents=8),
}


@pytest.fixture(scope="module")
def whole():
  return made_up.attacked(IMAGES, made_up.orthogonal())


@pytest.fixture(scope="module")
def silent():
  return made_up.attacked(IMAGES, made_up.constant())


@pytest.mark.parametrize("name", ATTACKS)
def test_what_a_client_keeps_is_restored(name, whole):
  restored = made_up.restore(ATTACKS[name](300), *whole)
  assert restored.shape == IMAGES[made_up.TEST].shape
  assert NOTHING < 0.2 and made_up.ssim(IMAGES, restored) > 0.9


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_restored_from_nothing(name, silent):
  restored = made_up.restore(ATTACKS[name](40), *silent)
  assert made_up.ssim(IMAGES, restored) < NOTHING + 0.01


def test_an_attacker_has_what_it_needs_and_no_more(whole):
  knowledge, _ = whole
  granted = knowledge.granting(("client", "received"))
  assert granted.client is knowledge.client
  assert granted.received is knowledge.received
  assert granted.sample is granted.cloud is granted.labels is None
  assert granted.images is knowledge.images
  with pytest.raises(ValueError, match="needs 'cloud'.*there are sample, cli"):
    knowledge.granting(("cloud",))
  with pytest.raises(ValueError, match="needs 'law'"):
    knowledge.granting(("law",))


def test_only_noise_that_is_added_is_additive():
  gauss, whole = noise.isotropic(sigma=1.0), quantize.saturate(bits=8)
  for chain, want in (
    ((), True),
    ((gauss,), True),
    ((noise.discrete(sigma=2.0), whole), True),
    ((gauss, project.pca(k=2)), False),
  ):
    assert restoration.is_additive(privatizer.chain(*chain)) is want


def test_roundings_have_the_gradient_of_what_they_round(key):
  chain = privatizer.chain(
    quantize.toward_zero(levels=7), quantize.saturate(bits=8)
  )
  law = chain.fit(key, {"features": jnp.zeros((4, 3))})
  smooth = restoration.with_gradients(chain)
  code = jax.random.uniform(key, (5, 3), minval=-1, maxval=1)
  sent = smooth.encode(law, key, code)
  np.testing.assert_array_equal(sent, chain.encode(law, key, code))

  def total(chain, code):
    return jnp.sum(chain.encode(law, key, code).astype(jnp.float32))

  slope = jax.grad(total, argnums=1)(smooth, code)
  np.testing.assert_allclose(slope, 7.0, rtol=1e-5)
  assert not np.any(jax.grad(total, argnums=1)(chain, code))
  # One for equal chains, so that programs are shared.
  assert restoration.with_gradients(chain) is smooth
