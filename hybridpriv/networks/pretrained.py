"""Published weights, read from their files into the variables of a network."""

import importlib.metadata
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hybridpriv.networks import dlib

_PACKAGE = "face_recognition_models"
_FILE = "dlib_face_recognition_resnet_model_v1.dat"
_OUTPUTS = 128
_GAP = 1024  # bytes at most between two tensors: names and numbers of layers


def resnet29_dlib(path: str = "") -> dict[str, Any]:
  """Read the weights of the dlib face recognizer.

  Args:
    path: the file `dlib_face_recognition_resnet_model_v1.dat`; "" for the one
      in the installed package `face_recognition_models`, which is not imported.

  Returns:
    Variables of `dlib.resnet29_dlib(num_classes=128)`.

  Raises:
    ValueError: if the file is missing, cut short or another one.
  """
  file = pathlib.Path(path).expanduser() if path else _shipped()
  try:
    content = file.read_bytes()
  except OSError as error:
    raise ValueError(f"cannot read the weights {file}: {error}") from error
  return {"params": dict(_dlib_stages(content, str(file)))}


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
  yield "fc", {"dense": {"kernel": kernel}}


def _dlib_integer(value: int) -> bytes:
  """Write an integer as dlib does: how many bytes, then these, low first."""
  size = max((value.bit_length() + 7) // 8, 1)
  return bytes([size]) + value.to_bytes(size, "little")
