"""Imported networks against plain arithmetic."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors
from scipy import signal

from hybridpriv.networks import pretrained, resnet, vgg

VGG = vgg.vgg16(num_classes=3, width=1 / 16)
SHAPE = (64, 96, 3)  # leaves fc6 an image of 2 x 3
CONVS = (
  "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv4_1 conv4_2"
  " conv4_3 conv5_1 conv5_2 conv5_3"
).split()
STAGES = [*CONVS, "fc6", "fc7", "fc8"]
# torchvision.models.vgg16
TORCH = dict(
  zip(
    STAGES,
    [f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
    + ["classifier.0", "classifier.3", "classifier.6"],
    strict=True,
  )
)
CAFFE = {stage: stage for stage in STAGES}
# keras.applications.VGG16
KERAS = {
  stage: stage.replace("conv", "block").replace("_", "_conv") for stage in CONVS
}
KERAS |= {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}


def drawn(network, shape) -> dict:
  """Variables none of which is 0 or 1, as drawn biases and scales would be."""
  x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  like = jax.eval_shape(
    lambda x: network.init(jax.random.key(0), x, train=False), x
  )
  rng = np.random.default_rng(0)

  def draw(leaf):
    if len(leaf.shape) == 1:
      return rng.uniform(0.5, 1.5, leaf.shape).astype("f4")
    scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
    return rng.normal(scale=scale, size=leaf.shape).astype("f4")

  return jax.tree.map(draw, like)


@functools.cache
def source() -> dict:
  return drawn(VGG, SHAPE)


@functools.cache
def pictures() -> np.ndarray:
  return np.random.default_rng(1).normal(size=(2, *SHAPE)).astype("f4")


@functools.cache
def runner(network):
  return jax.jit(
    lambda variables, x: network.apply(variables, x, train=False)[0]
  )


def outward(kernel, stage):
  """Lay a kernel out as torch does: (out, in, h, w), or (out, c h w)."""
  if kernel.ndim == 4:
    return kernel.transpose(3, 2, 0, 1)
  if stage == "fc6":
    image = kernel.reshape(2, 3, -1, kernel.shape[1])
    return image.transpose(3, 2, 0, 1).reshape(kernel.shape[1], -1)
  return kernel.T


def torch_like(names=TORCH) -> dict[str, np.ndarray]:
  tensors = {}
  for stage, modules in source()["params"].items():
    (layer,) = modules.values()
    tensors[f"{names[stage]}.weight"] = outward(layer["kernel"], stage)
    tensors[f"{names[stage]}.bias"] = layer["bias"]
  return tensors


def keras_like(kernel="{}/kernel", bias="{}/bias") -> dict[str, np.ndarray]:
  tensors = {}
  for stage, modules in source()["params"].items():
    (layer,) = modules.values()
    tensors[kernel.format(KERAS[stage])] = layer["kernel"]
    tensors[bias.format(KERAS[stage])] = layer["bias"]
  return tensors


def write(folder: pathlib.Path, tensors) -> str:
  path = folder / "weights.safetensors"
  safetensors.save_file(
    {name: np.ascontiguousarray(v) for name, v in tensors.items()}, path
  )
  return str(path)


def load(path, **settings):
  return pretrained.vgg16(VGG, SHAPE, path, **settings)


def assert_equal_trees(found, expected):
  jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(
  "tensors",
  [
    torch_like,
    lambda: {f"module.{name}": v for name, v in torch_like().items()},
    lambda: torch_like(CAFFE),
    lambda: torch_like({s: s.replace("conv", "conv_") for s in STAGES}),
    keras_like,
    lambda: keras_like("{0}/{0}/kernel:0", "{0}/{0}/bias:0"),
    lambda: keras_like("{0}/{0}_W_1:0", "{0}/{0}_b_1:0"),
    lambda: keras_like("layers/{}/vars/0", "layers/{}/vars/1"),
    lambda: keras_like("vgg16/{}/kernel:0", "vgg16/{}/bias:0"),
  ],
)
def test_a_network_read_back_is_the_one_written(tmp_path, tensors):
  variables, report = load(write(tmp_path, tensors()))
  assert_equal_trees(variables, source())
  assert len(report.matched) == 32
  assert (report.missing, report.unused, report.misshapen) == ((), (), ())


def test_a_network_read_back_answers_as_the_one_written(tmp_path):
  run = runner(VGG)
  expected = run(source(), pictures())
  assert np.ptp(expected) > 0.1
  for tensors in (torch_like(), torch_like(CAFFE), keras_like()):
    variables, _ = load(write(tmp_path, tensors))
    np.testing.assert_array_equal(run(variables, pictures()), expected)


def test_the_first_dense_layer_sees_the_image_in_the_order_of_torch(tmp_path):
  tensors = torch_like()
  rng = np.random.default_rng(2)
  weight = rng.normal(scale=0.1, size=(256, 32 * 2 * 3)).astype("f4")
  tensors["classifier.0.weight"] = weight
  variables, _ = load(write(tmp_path, tensors))
  _, stages = VGG.apply(
    variables, pictures(), train=False, capture=("pool5", "fc6")
  )
  flat = np.asarray(stages["pool5"]).transpose(0, 3, 1, 2).reshape(2, -1)
  expected = np.maximum(flat @ weight.T + tensors["classifier.0.bias"][None], 0)
  np.testing.assert_allclose(stages["fc6"], expected, rtol=1e-4, atol=1e-4)
  # In its own order the image would give something else.
  other = np.asarray(stages["pool5"]).reshape(2, -1) @ weight.T
  assert np.abs(np.maximum(other, 0) - expected).max() > 0.1


@pytest.mark.parametrize("tensors", [keras_like, lambda: torch_like(CAFFE)])
def test_a_file_for_bgr_answers_rgb_as_it_answers_bgr(tmp_path, tensors):
  path = write(tmp_path, tensors())
  as_is, _ = load(path)
  turned, _ = load(path, channels="bgr")
  run = runner(VGG)
  expected = run(as_is, np.ascontiguousarray(pictures()[..., ::-1]))
  np.testing.assert_allclose(run(turned, pictures()), expected, rtol=1e-4)
  assert np.abs(run(as_is, pictures()) - expected).max() > 0.01


@pytest.mark.parametrize(
  "tensors, own, layer",
  [
    (torch_like, "rgb", "features.0.weight"),
    (lambda: torch_like(CAFFE), "bgr", "conv1_1.weight"),
    (keras_like, "bgr", "block1_conv1/kernel"),
    (
      lambda: keras_like("vgg16/{0}/{0}/kernel:0", "vgg16/{0}/{0}/bias:0"),
      "bgr",
      "block1_conv1/kernel",
    ),
  ],
)
def test_channels_that_such_names_were_not_published_for_are_reported(
  tmp_path, tensors, own, layer
):
  path = write(tmp_path, tensors())
  other = {"rgb": "bgr", "bgr": "rgb"}[own]
  _, report = load(path, channels=own)
  assert report.caution == "" and str(report) == "32 tensors matched"
  _, report = load(path, channels=other)
  assert str(report) == (
    f"32 tensors matched; names such as {layer} were published for"
    f' {own.upper()}, and channels="{other}" was given: unless this file is'
    f' known to expect {other.upper()}, give channels="{own}"'
  )
  kernel = source()["params"]["conv1_1"]["conv"]["kernel"]
  for given in ("rgb", "bgr"):  # what was asked for is done all the same
    found, _ = load(path, channels=given)
    turned = kernel if given == "rgb" else kernel[:, :, ::-1]
    np.testing.assert_array_equal(
      found["params"]["conv1_1"]["conv"]["kernel"], turned
    )


def test_a_network_of_one_channel_has_no_order_to_be_wrong(tmp_path):
  names = keras_like()
  names["block1_conv1/kernel"] = names["block1_conv1/kernel"][:, :, :1]
  _, report = pretrained.vgg16(VGG, (*SHAPE[:2], 1), write(tmp_path, names))
  assert report.caution == ""


def correlated(x, weight, bias):
  """Convolve `x [b h w c]` by `weight [o i h w]` as torch defines it."""
  y = np.zeros((*x.shape[:3], len(weight)))
  for b, o, i in np.ndindex(len(x), *weight.shape[:2]):
    y[b, :, :, o] += signal.correlate2d(x[b, :, :, i], weight[o, i], "same")
  return y + bias[None, None, None]


NORMED = vgg.vgg16(num_classes=3, width=1 / 16, norm="batch")


@functools.cache
def normed_source() -> dict:
  return drawn(NORMED, SHAPE)


def normed_torch_like() -> dict[str, np.ndarray]:
  """Name and lay out as torchvision.models.vgg16_bn does."""
  variables = normed_source()
  places = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
  tensors = {n: v for n, v in torch_like().items() if "classifier" in n}
  rng = np.random.default_rng(3)
  for stage, place in zip(CONVS, places, strict=True):
    conv, norm = f"features.{place}", f"features.{place + 1}"
    params = variables["params"][stage]
    stats = variables["batch_stats"][stage]["norm"]
    tensors[f"{conv}.weight"] = outward(params["conv"]["kernel"], stage)
    tensors[f"{conv}.bias"] = rng.normal(size=stats["mean"].shape).astype("f4")
    tensors[f"{norm}.weight"] = params["norm"]["scale"]
    tensors[f"{norm}.bias"] = params["norm"]["bias"]
    tensors[f"{norm}.running_mean"] = stats["mean"]
    tensors[f"{norm}.running_var"] = stats["var"]
    tensors[f"{norm}.num_batches_tracked"] = np.asarray(7)
  return tensors


def test_biases_before_a_normalization_go_into_its_mean(tmp_path):
  tensors, variables = normed_torch_like(), normed_source()
  path = write(tmp_path, tensors)
  loaded, report = pretrained.vgg16(NORMED, SHAPE, path)
  assert len(report.matched) == 13 * 5 + 6
  assert len(report.unused) == 13  # the counters
  assert jax.tree.structure(loaded) == jax.tree.structure(variables)
  found, _ = NORMED.apply(loaded, pictures(), train=False, upto="conv1_1")
  weight, bias = (tensors[f"features.0.{n}"] for n in ("weight", "bias"))
  y = correlated(pictures(), weight, bias)
  mean, var, gain, offset = (
    tensors[f"features.1.{name}"][None, None, None]
    for name in ("running_mean", "running_var", "weight", "bias")
  )
  expected = (y - mean) / np.sqrt(var + 1e-5) * gain + offset
  np.testing.assert_allclose(found, np.maximum(expected, 0), atol=1e-4)
  del tensors["features.0.bias"]
  with pytest.raises(ValueError, match=r"conv1_1/norm/mean \(features.0.bias"):
    pretrained.vgg16(NORMED, SHAPE, write(tmp_path, tensors))


@pytest.mark.parametrize(
  "network, tensors, message",
  [
    (VGG, normed_torch_like, 'unused: features.1.bias.* has norm="none"'),
    (NORMED, torch_like, r"\(features.1.running_mean\).* has norm=\"batch\""),
    (NORMED, keras_like, 'block1_.* not known; .* has norm="batch"'),
  ],
)
def test_a_file_with_normalizations_fits_no_network_without_and_back(
  tmp_path, network, tensors, message
):
  path = write(tmp_path, tensors())
  with pytest.raises(ValueError, match=message) as error:
    pretrained.vgg16(network, SHAPE, path)
  assert 'vgg16_bn goes with norm="batch", any other' in str(error.value)
  assert path in str(error.value) and "\n" not in str(error.value)


def torch_resnet(network, variables) -> dict[str, np.ndarray]:
  """Name and lay out as torchvision.models.resnet does."""
  tensors = {}

  def conv(name, kernel):
    kernel = kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape)
    tensors[f"{name}.weight"] = kernel.transpose(3, 2, 0, 1)

  def norm(name, stage, module):
    params = variables["params"][stage][module]
    stats = variables["batch_stats"][stage][module]
    tensors[f"{name}.weight"] = params["scale"]
    tensors[f"{name}.bias"] = params["bias"]
    tensors[f"{name}.running_mean"] = stats["mean"]
    tensors[f"{name}.running_var"] = stats["var"]
    tensors[f"{name}.num_batches_tracked"] = np.asarray(7)

  conv("conv1", variables["params"]["stem"]["conv"]["kernel"])
  norm("bn1", "stem", "norm")
  for group, blocks in enumerate(network.blocks, start=1):
    for block in range(blocks):
      stage, name = f"block{group}_{block + 1}", f"layer{group}.{block}"
      params = variables["params"][stage]
      for number in (1, 2, 3) if network.is_bottleneck else (1, 2):
        conv(f"{name}.conv{number}", params[f"conv{number}"]["kernel"])
        norm(f"{name}.bn{number}", stage, f"norm{number}")
      if "shortcut" in params:
        conv(f"{name}.downsample.0", params["shortcut"]["kernel"])
        norm(f"{name}.downsample.1", stage, "shortcut_norm")
  dense = variables["params"]["fc"]["dense"]
  tensors["fc.weight"], tensors["fc.bias"] = dense["kernel"].T, dense["bias"]
  return tensors


@pytest.mark.parametrize(
  "network, number",
  [
    # Entries of the state_dict in circulation, counters included.
    (resnet.resnet18(num_classes=3, width=1 / 16), 122),
    (resnet.resnet50(num_classes=3, width=1 / 16), 320),
    (resnet.ResNet(num_classes=3, width=1 / 16, blocks=(3, 4, 6, 3)), 218),
  ],
)
def test_a_resnet_read_back_is_the_one_written(tmp_path, network, number):
  variables = drawn(network, (32, 32, 3))
  tensors = torch_resnet(network, variables)
  assert len(tensors) == number
  path = write(tmp_path, tensors)
  loaded, report = pretrained.resnet(network, (32, 32, 3), path)
  assert_equal_trees(loaded, variables)
  assert all(n.endswith("num_batches_tracked") for n in report.unused)
  assert report.caution == ""
  loaded, report = pretrained.resnet(
    network, (32, 32, 3), path, head="drop", channels="bgr"
  )
  assert len(report.missing) == 2 and "fc" not in loaded["params"]
  assert "conv1.weight were published for RGB" in report.caution
  np.testing.assert_array_equal(
    loaded["params"]["stem"]["conv"]["kernel"],
    variables["params"]["stem"]["conv"]["kernel"][:, :, [2, 1, 0]],
  )
