"""Residual networks under the names of keras.applications."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from hybridpriv.networks import pretrained, resnet

SHAPE = (32, 32, 3)
NETWORK = resnet.resnet50(num_classes=3, width=1 / 16, halves_first=True)
FORMS = {
  "kernel": "{0}/kernel",
  "bias": "{0}/bias",
  "gamma": "{0}/gamma",
  "beta": "{0}/beta",
  "moving_mean": "{0}/moving_mean",
  "moving_variance": "{0}/moving_variance",
}
REPEATED = {leaf: f"{{0}}/{{0}}/{leaf}:0" for leaf in FORMS}
NUMBERED = {
  leaf: f"layers/{{0}}/vars/{number}"
  for leaf, number in zip(FORMS, (0, 1, 0, 1, 2, 3), strict=True)
}


def _shapes(network):
  x = jax.ShapeDtypeStruct((1, *SHAPE), jnp.float32)
  return jax.eval_shape(
    lambda x: network.init(jax.random.key(0), x, train=False), x
  )


@pytest.fixture(scope="module")
def drawn():
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype("f4"),
    _shapes(NETWORK),
  )


def _of_keras(variables, forms):
  """Name and lay out as keras.applications does; biases are all 0.25."""
  tensors = {}
  for stage, modules in variables["params"].items():
    for module, own in modules.items():
      if stage == "fc":
        name = "predictions"
        tensors[forms["bias"].format(name)] = own["bias"]
      else:
        name = "conv1"
        if stage != "stem":
          group, block = stage.removeprefix("block").split("_")
          number = "0" if module.startswith("shortcut") else module[-1]
          name = f"conv{int(group) + 1}_block{block}_{number}"
      if "norm" in module:
        seen = variables["batch_stats"][stage][module]
        for leaf, value in (
          ("gamma", own["scale"]),
          ("beta", own["bias"]),
          ("moving_mean", seen["mean"] + 0.25),
          ("moving_variance", seen["var"]),
        ):
          tensors[forms[leaf].format(f"{name}_bn")] = value
        continue
      kernel = own["kernel"]
      if stage != "fc":
        name = f"{name}_conv"
        kernel = kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape)
        bias = np.full(kernel.shape[-1], 0.25, "f4")
        tensors[forms["bias"].format(name)] = bias
      tensors[forms["kernel"].format(name)] = kernel
  return tensors


def _write(folder, tensors):
  path = folder / "weights.safetensors"
  packed = {name: np.ascontiguousarray(v) for name, v in tensors.items()}
  safetensors.save_file(packed, path)
  return str(path)


@pytest.mark.parametrize("forms", [FORMS, REPEATED, NUMBERED])
def test_a_network_read_back_is_the_one_written(tmp_path, drawn, forms):
  tensors = _of_keras(drawn, forms)
  # Of keras.applications.ResNet50: 53 convolutions with theirs, and the end.
  assert len(tensors) == 53 * 6 + 2
  loaded, report = pretrained.resnet(NETWORK, SHAPE, _write(tmp_path, tensors))
  assert (report.missing, report.misshapen) == ((), ())
  assert all("conv" in name for name in report.unused)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), loaded, drawn
  )


def test_such_names_were_published_for_bgr(tmp_path, drawn):
  path = _write(tmp_path, _of_keras(drawn, FORMS))
  _, report = pretrained.resnet(NETWORK, SHAPE, path, channels="bgr")
  assert report.caution == ""
  _, report = pretrained.resnet(NETWORK, SHAPE, path)
  assert report.caution.startswith(
    'names such as conv1_conv/kernel were published for BGR, and channels="rgb"'
  )


def test_another_kind_of_network_is_refused(tmp_path, drawn):
  path = _write(tmp_path, _of_keras(drawn, FORMS))
  other = resnet.resnet50(num_classes=3, width=1 / 16)
  with pytest.raises(ValueError, match="halves_first=True"):
    pretrained.resnet(other, SHAPE, path)


def test_what_is_missing_is_named(tmp_path, drawn):
  tensors = _of_keras(drawn, FORMS)
  del tensors["conv3_block2_1_bn/gamma"]
  with pytest.raises(ValueError, match=r"conv3_block2_1_bn/gamma"):
    pretrained.resnet(NETWORK, SHAPE, _write(tmp_path, tensors))


def test_the_first_convolution_of_a_block_halves_the_image(key):
  x = jax.random.normal(key, (2, 6, 6, 16))
  run = {"train": False, "after": "block1_3", "upto": "block2_1"}
  variables = NETWORK.init(key, x, **run)
  kept = x.at[:, 1::2].set(9).at[:, :, 1::2].set(9)  # nobody looks there
  found = [NETWORK.apply(variables, image, **run)[0] for image in (x, kept)]
  assert found[0].shape == (2, 3, 3, 32)
  np.testing.assert_array_equal(*found)


def test_it_answers_as_keras_does(tmp_path):
  keras = pytest.importorskip("keras", reason="TensorFlow is not installed")
  theirs = keras.applications.ResNet50(
    weights=None, input_shape=(64, 64, 3), classes=5, classifier_activation=None
  )
  rng = np.random.default_rng(0)
  tensors = {}
  for layer in theirs.layers:
    for variable in layer.weights:
      value = np.asarray(variable)
      if variable.name in ("bias", "beta", "moving_mean"):
        value = rng.normal(scale=0.1, size=value.shape).astype("f4")
      elif value.ndim == 1:
        value = rng.uniform(0.5, 1, value.shape).astype("f4")
      variable.assign(value)
      tensors[f"{layer.name}/{variable.name}"] = value
  network = resnet.resnet50(num_classes=5, halves_first=True)
  path = _write(tmp_path, tensors)
  variables, _ = pretrained.resnet(network, (64, 64, 3), path, channels="bgr")
  images = rng.normal(size=(2, 64, 64, 3)).astype("f4")
  expected = theirs.predict(images, verbose=0)
  found, _ = network.apply(variables, images[..., ::-1], train=False)
  assert np.ptp(expected) > 0.1
  largest = np.abs(expected).max()
  np.testing.assert_allclose(found, expected, atol=1e-4 * largest)
