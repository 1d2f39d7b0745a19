import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import ndimage

from hybridpriv.attacks import attack, inversion, similarity
from hybridpriv.networks import decoders
from hybridpriv.privatizers import noise, privatizer
from hybridpriv.train import loop

RNG = np.random.default_rng(0)
SIZE, OWN, HELD_OUT, ATTACKED = 12, 240, 40, 40
NUM = OWN + HELD_OUT + ATTACKED
INDEX = np.arange(OWN)
HELD = OWN + np.arange(HELD_OUT)
TEST = OWN + HELD_OUT + np.arange(ATTACKED)


def restored_by(attacker, codes):
  """Pictures cut to 0 .. 1, as the caller of an attack cuts them."""
  return np.clip(inversion.restore(attacker, np.asarray(codes)), 0, 1)


def _images():
  """Smooth pictures of six numbers each, [n, s, s, 1]."""
  base = RNG.normal(size=(6, SIZE, SIZE))
  base = ndimage.gaussian_filter(base, (0, 2, 2))
  base /= base.std(axis=(1, 2), keepdims=True)
  field = np.tensordot(RNG.normal(size=(NUM, 6)), base, 1) / 2
  return (1 / (1 + np.exp(-field)))[..., None].astype("f4")


IMAGES = _images()
MEAN = IMAGES[:OWN].mean(axis=0)[None]


class Linear(nn.Module):
  """A network that compiles at once."""

  @nn.compact
  def __call__(self, codes):
    image = nn.Dense(SIZE * SIZE, kernel_init=nn.initializers.zeros_init())
    return image(codes).reshape(-1, SIZE, SIZE, 1)


def noisy(codes, key, index):
  codes = codes[index]
  return codes + 0.02 * jax.random.normal(key, codes.shape)


def train(codes, *, sample=noisy, images=IMAGES, network=None, **options):
  options = {"index": INDEX, "held_out": HELD, "steps": 200} | options
  return inversion.train(
    jax.random.key(0),
    jax.tree_util.Partial(sample, jnp.asarray(codes, jnp.float32)),
    images,
    network=network or Linear(),
    **options,
  )


def gain(attacker, codes):
  """Decibels above the mean image, on average over attacked images."""
  restored = restored_by(attacker, jnp.asarray(codes)[TEST])
  found = similarity.psnr(restored, IMAGES[TEST])
  return float(np.mean(found - similarity.psnr(MEAN, IMAGES[TEST])))


def test_what_codes_tell_is_restored_and_nothing_else():
  network = decoders.up_convolutional(
    size=SIZE, channels=1, width=1 / 8, hidden=256
  )
  whole = IMAGES.reshape(NUM, -1)
  constant = np.full_like(whole, 0.3)
  empty = RNG.normal(size=whole.shape).astype("f4")
  options = {"network": network, "look_every": 25}
  assert gain(train(whole, **options), whole) > 8
  assert abs(gain(train(constant, **options), constant)) < 0.05
  # There is much to memorise, but the best look is before that.
  assert -0.3 < gain(train(empty, **options), empty) < 0.05


def test_a_linear_decoder_restores_what_least_squares_does():
  codes = RNG.normal(size=(NUM, 5)).astype("f4")
  factor = RNG.normal(size=(5, SIZE * SIZE)) / 10
  made = (codes @ factor + 0.5).reshape(IMAGES.shape)
  made = (made + 0.05 * RNG.normal(size=made.shape)).astype("f4")
  attacker = train(
    100 * codes + 7,
    sample=lambda codes, key, index: codes[index],
    images=made,
    steps=800,
    learning_rate=0.01,
  )
  design = np.column_stack([codes, np.ones(NUM)])
  flat = made.reshape(NUM, -1)
  solved = np.linalg.lstsq(design[:OWN], flat[:OWN])[0]
  expected = (design @ solved).clip(0, 1).reshape(made.shape)
  found = restored_by(attacker, jnp.asarray(100 * codes + 7))
  np.testing.assert_allclose(found, expected, atol=5e-3)
  assert found.min() == 0 and found.max() == 1


def test_components_that_are_all_but_silent_do_not_drown_the_others():
  main = np.linalg.svd(IMAGES.reshape(NUM, -1), full_matrices=False)[0][:, :9]
  silent = 0.01 * main.std() * RNG.normal(size=(NUM, 150))
  codes = np.concatenate([main, silent], axis=1).astype("f4")
  found = {}
  for whitening in (0.0, 0.5, 1.0):
    attacker = train(
      codes,
      sample=lambda codes, key, index: codes[index],
      whitening=whitening,
      learning_rate=0.01,
      look_every=20,
    )
    found[whitening] = gain(attacker, codes)
    spread = codes[INDEX].std(axis=0)
    expected = spread**whitening * spread.max() ** (1 - whitening)
    np.testing.assert_allclose(attacker.std, expected, rtol=1e-3)
  assert found[0.0] > found[1.0] + 3, found
  assert found[0.5] > found[1.0], found


def _told_nothing(images, **options):
  """Trains for codes that say nothing, and gives the one picture restored."""
  codes = np.full((NUM, 3), 0.3, "f4")
  options = {"learning_rate": 0.02, "steps": 400, "look_every": 400} | options
  attacker = train(codes, images=images, **options)
  return restored_by(attacker, jnp.asarray(codes[:1]))[0]


def test_the_absolute_error_asks_for_the_median():
  rng = np.random.default_rng(0)
  skewed = rng.exponential(0.2, size=IMAGES.shape).clip(0, 1).astype("f4")
  mean, median = (f(skewed[:OWN], axis=0) for f in (np.mean, np.median))
  found = _told_nothing(skewed, loss=similarity.absolute)
  assert np.mean(abs(found - median)) < 0.2 * np.mean(abs(mean - median))
  found = _told_nothing(skewed)
  assert np.mean(abs(found - mean)) < 0.2 * np.mean(abs(mean - median))


def test_each_loss_is_best_at_what_it_asks_for():
  main = np.linalg.svd(IMAGES.reshape(NUM, -1), full_matrices=False)[0][:, :4]
  codes = main / main.std(axis=0)
  drawn = np.random.default_rng(0).normal(size=codes.shape)
  codes = (codes + 0.5 * drawn).astype("f4")
  truth = jnp.asarray(IMAGES[TEST])
  similar, error = {}, {}
  for loss in (similarity.squared, similarity.dissimilar):
    attacker = train(codes, loss=loss, learning_rate=0.01, steps=600)
    restored = restored_by(attacker, jnp.asarray(codes[TEST]))
    similar[loss] = np.mean(similarity.ssim(restored, truth))
    error[loss] = np.mean(similarity.squared(restored, truth))
  assert similar[similarity.dissimilar] > similar[similarity.squared]
  assert error[similarity.squared] < error[similarity.dissimilar]


def test_a_discriminator_asks_for_pictures_that_could_be_true():
  stripes = 0.3 * np.sign(np.sin(np.arange(SIZE)))[:, None, None]
  side = np.random.default_rng(0).choice([-1, 1], size=NUM)
  images = (0.5 + side[:, None, None, None] * stripes[None]).astype("f4")
  images = np.broadcast_to(images, IMAGES.shape).copy()
  # Between two that are as likely the least squared error is grey.
  grey, sharp = (_told_nothing(images, adversarial=w) for w in (0.0, 10.0))
  assert np.std(grey) < 0.05 and np.std(sharp) > 2 * np.std(grey)


@pytest.mark.parametrize(
  "wrong, message",
  [
    ({"loss": "lpips"}, "loss='lpips'.*squared, absolute, ssim"),
    ({"adversarial": -1.0}, "adversarial=-1.0.*0 or more"),
  ],
)
def test_a_decoder_that_is_none_is_one_clear_error(wrong, message):
  with pytest.raises(ValueError, match=message):
    inversion.decoder(steps=1, width=1.0, **wrong)


def test_two_victims_of_one_shape_share_the_programs():
  traced = []

  def sample(codes, key, index):
    traced.append(index.shape)
    return noisy(codes, key, index)

  codes = RNG.normal(size=(NUM, 3))
  first = train(codes, sample=sample, steps=4, look_every=2)
  # The moments of the codes, batches, and looks.
  assert sorted(traced) == [(32,), (40,), (240,)]
  other = train(-codes, sample=sample, steps=4, look_every=2)
  assert len(traced) == 3
  np.testing.assert_allclose(first.mean, -other.mean, atol=0.01)


def test_it_attacks_a_victim_of_the_audit():
  codes = RNG.normal(size=(2, NUM, 3)).astype("f4")
  law = ({"std": jnp.asarray([0.0, 2.0])},)
  victim = attack.Victim(
    jnp.asarray(codes),
    law,
    jnp.int32(1),
    jnp.arange(NUM)[::-1],
    privatizer.chain(noise.isotropic(sigma=1.0)),
  )
  attacker = inversion.train(
    jax.random.key(0),
    jax.tree_util.Partial(attack.Victim.sample, victim),
    IMAGES,
    network=Linear(),
    index=INDEX,
    held_out=HELD,
    steps=1,
    whitening=1.0,
  )
  own = codes[1, ::-1][:OWN]
  np.testing.assert_allclose(attacker.mean, own.mean(axis=0), atol=0.5)
  spread = np.sqrt(own.var(axis=0) + 4)
  np.testing.assert_allclose(attacker.std, spread, rtol=0.15)
  np.testing.assert_allclose(attacker.image, MEAN[0], atol=1e-5)


def test_the_best_look_is_kept_and_patience_ends_the_training(monkeypatch):
  errors, seen = [3.0, 2.0, 4.0, 5.0, 1.0], []

  def look(attacker, *_):
    seen.append(jax.tree.map(np.array, attacker.params))
    return errors[len(seen) - 1]

  monkeypatch.setattr(inversion, "error", look)
  codes = IMAGES.reshape(NUM, -1)
  attacker = train(codes, steps=50, look_every=10, patience=2)
  assert len(seen) == 4
  jax.tree.map(np.testing.assert_array_equal, attacker.params, seen[1])
  kernels = [params["Dense_0"]["kernel"] for params in seen]
  assert np.any(kernels[1] != kernels[3])


def test_training_that_explodes_is_one_clear_error():
  with pytest.raises(loop.Diverged, match="nan at step 2; .*learning_rate=nan"):
    train(IMAGES.reshape(NUM, -1), steps=2, learning_rate=float("nan"))


@pytest.mark.parametrize(
  "wrong, message",
  [
    ({"images": (255 * IMAGES).astype(np.uint8)}, "uint8.*divide .* by 255"),
    ({"held_out": INDEX[:3]}, "3 images are both trained on and held out"),
    ({"index": INDEX[:0]}, "0 images to train on and 40 held out"),
  ],
)
def test_wrong_arguments_are_one_clear_error(wrong, message):
  with pytest.raises(ValueError, match=message):
    train(IMAGES.reshape(NUM, -1), **wrong)


def test_codes_that_would_be_part_of_the_program_are_refused():
  with pytest.raises(ValueError, match="sample is a function.*Partial"):
    inversion.train(
      jax.random.key(0),
      lambda key, index: jnp.zeros((len(index), 3)),
      IMAGES,
      network=Linear(),
      index=INDEX,
      held_out=HELD,
      steps=1,
    )
