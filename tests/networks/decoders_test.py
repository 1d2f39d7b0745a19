import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from hybridpriv.networks import decoders


def test_a_doubling_is_the_transposed_convolution(key):
  x = jax.random.normal(key, (2, 3, 5, 4))
  layer = nn.ConvTranspose(6, (4, 4), strides=(2, 2), padding="SAME")
  variables = layer.init(key, x)
  kernel = variables["params"]["kernel"]
  bias = jax.random.normal(key, (6,))
  variables = {"params": {"kernel": kernel, "bias": bias}}
  expected = layer.apply(variables, x)
  found = decoders.Doubling(6).apply(variables, x)
  assert found.shape == (2, 6, 10, 6)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_published_decoder_has_the_published_layers():
  network = decoders.up_convolutional(size=224)
  code = jax.ShapeDtypeStruct((1, 8), jnp.float32)
  params = jax.eval_shape(network.init, jax.random.key(0), code)["params"]
  dense = [(8, 4096), (4096, 4096), (4096, 4096)]
  double = [(256, 256), (512, 256), (256, 128), (128, 64), (64, 32), (32, 3)]
  between = [(256, 512), (256, 256), (128, 128)]
  expected = sum(
    taps * i * o + o
    for taps, layers in ((1, dense), (16, double), (9, between))
    for i, o in layers
  )
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected
  assert expected == 39_353_443
  assert len(params) == 12


@pytest.mark.parametrize(
  "size, doubled",
  [
    (5, [8]),
    (8, [8]),
    (32, [8, 16, 32]),
    (64, [8, 16, 32, 64]),
    (150, [8, 16, 32, 64, 128, 256]),
    (224, [8, 16, 32, 64, 128, 256]),
  ],
)
def test_images_have_the_size_asked_for(key, size, doubled):
  network = decoders.up_convolutional(size=size, channels=2, width=1 / 16)
  code = jnp.ones((3, 2, 2, 4))
  variables = jax.eval_shape(network.init, key, code)
  names = {name for name in variables["params"] if name.startswith("up")}
  assert names == {f"up{side}" for side in doubled}
  image = jax.eval_shape(network.apply, variables, code)
  assert image.shape == (3, size, size, 2)


def test_the_width_and_the_layers_scale_the_network(key):
  network = decoders.up_convolutional(size=64, width=0.25, hidden=400, layers=4)
  code = jnp.ones((1, 10))
  params = jax.eval_shape(network.init, key, code)["params"]
  shapes = {name: layer["kernel"].shape for name, layer in params.items()}
  assert shapes == {
    "fc1": (10, 100),
    "fc2": (100, 100),
    "fc3": (100, 100),
    "fc4": (100, 16 * 64),
    "up8": (4, 4, 64, 32),
    "conv8": (3, 3, 32, 32),
    "up16": (4, 4, 32, 16),
    "up32": (4, 4, 16, 8),
    "up64": (4, 4, 8, 3),
  }


def test_the_image_is_cut_from_the_middle(key):
  whole = decoders.up_convolutional(size=16, width=1 / 16)
  part = decoders.up_convolutional(size=10, width=1 / 16)
  code = jax.random.normal(key, (2, 5))
  variables = whole.init(key, code)
  np.testing.assert_array_equal(
    part.apply(variables, code), whole.apply(variables, code)[:, 3:13, 3:13]
  )


def test_numbers_keep_their_scale_and_all_layers_learn(key):
  network = decoders.up_convolutional(size=16, width=1 / 4, hidden=256)
  code = jax.random.normal(key, (16, 64))
  params = network.init(key, code)["params"]

  def error(params):
    image = network.apply({"params": params}, code)
    return jnp.mean((image - 0.5) ** 2), jnp.mean(image**2)

  grads, square = jax.jit(jax.grad(error, has_aux=True))(params)
  # ConvTranspose's own initialization would lose a factor of 4 a doubling.
  assert 0.3 < square / decoders._START**2 < 10
  for leaf in jax.tree.leaves(grads):
    assert jnp.isfinite(leaf).all() and jnp.any(leaf != 0)


@pytest.mark.parametrize(
  "wrong, message",
  [
    ({"size": 4}, "size=4.* expected 5 to 256 pixels"),
    ({"size": 257}, "size=257.* expected 5 to 256 pixels"),
    ({"size": 32, "layers": 0}, "layers=0.* 1 or more layers"),
    ({"size": 32, "width": 0.0}, "width=0.0.* positive width"),
  ],
)
def test_an_impossible_decoder_is_one_clear_error(wrong, message):
  with pytest.raises(ValueError, match=message):
    decoders.up_convolutional(**wrong)


def test_an_encoder_starts_near_a_line(key):
  network = decoders.Encoder(outputs=5, width=1 / 16)
  image = jax.random.uniform(key, (3, 12, 12, 2))
  variables = network.init(key, image)
  half = 0.5 + (image - 0.5) / 2
  whole, part = (network.apply(variables, x) for x in (image, half))
  assert whole.shape == (3, 5)
  # Brought to the middle half way, most of the code is half.
  assert np.std(part - whole / 2) < 0.2 * np.std(whole)


@pytest.mark.parametrize("size", [5, 16, 33])
def test_an_encoder_takes_images_of_any_size(key, size):
  network = decoders.Encoder(outputs=7, width=1 / 16)
  image = jnp.zeros((2, size, size, 3))
  variables = jax.eval_shape(network.init, key, image)
  assert jax.eval_shape(network.apply, variables, image).shape == (2, 7)


def test_a_discriminator_judges_patches(key):
  network = decoders.Discriminator(channels=(4, 8))
  image = jax.random.uniform(key, (1, 32, 32, 3))
  variables = network.init(key, image)
  before = network.apply(variables, image)
  after = network.apply(variables, image.at[:, :4, :4].set(0.0))
  assert before.shape == (1, 8, 8, 1)
  assert before[0, 0, 0] != after[0, 0, 0]
  np.testing.assert_array_equal(before[0, 4:, 4:], after[0, 4:, 4:])
