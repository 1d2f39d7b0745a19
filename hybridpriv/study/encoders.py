"""Encoders from elsewhere: a function of Python, or a file of ONNX."""

import importlib
import inspect
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

_TYPES = {
  "tensor(uint8)": np.uint8,
  "tensor(float16)": np.float16,
  "tensor(float)": np.float32,
  "tensor(double)": np.float64,
}

_TOGETHER = 256  # inputs at once, where a file takes any number

Encoder = Callable[[np.ndarray, int], Any]


def encoded(encoder: str, inputs: np.ndarray, draws: int) -> np.ndarray:
  """Make codes [n, draws, k] of inputs [n, d] with an encoder.

  Args:
    encoder: "module:function" of (inputs [n, d], seed) or of (inputs), or a
      file `.onnx` with one input [n, d], or [n, ...] of as many values, and one
      output; where it takes so many at once, it is run so often.
    inputs: what it encodes.
    draws: how often; each time with another seed, if it takes one.

  Raises:
    ValueError: there is no such encoder, or what it returns are no codes.
  """
  if draws < 1:
    raise ValueError(
      f"config.data.draws is {draws}: expected 1 or more codes of each input"
    )
  run = (_file if encoder.endswith(".onnx") else _function)(encoder)
  made = [np.asarray(run(inputs, seed), np.float32) for seed in range(draws)]
  for one in made:
    if len(one) != len(inputs) or one.ndim < 2:
      raise ValueError(
        f"{encoder} made {one.shape} of {inputs.shape}: expected codes"
        " [n, ...], one for each input"
      )
    finite = np.isfinite(one.reshape(len(one), -1)).all(axis=1)
    if not finite.all():
      raise ValueError(
        f"{encoder} made codes that are not finite of {np.sum(~finite)} of"
        f" {len(one)} inputs, the first is number {np.argmin(finite)}: leave"
        " these inputs out, or mend the encoder"
      )
  return np.stack([one.reshape(len(one), -1) for one in made], axis=1)


def _function(encoder: str) -> Encoder:
  module, _, name = encoder.partition(":")
  try:
    function = getattr(importlib.import_module(module), name)
  except (AttributeError, ModuleNotFoundError, ValueError) as error:
    raise ValueError(
      f"there is no encoder {encoder!r} ({error}): name a function on the"
      " Python path, my_package.my_module:my_function, or a file .onnx"
    ) from error
  takes = list(inspect.signature(function).parameters)
  if takes[1:2] == ["seed"]:
    return function
  return lambda inputs, seed: function(inputs)


def _file(encoder: str) -> Encoder:
  path = pathlib.Path(encoder).expanduser()
  if not path.is_file():
    raise ValueError(
      f"there is no file {encoder!r}, the encoder: name one that is there, or"
      " my_package.my_module:my_function"
    )
  try:
    onnxruntime = importlib.import_module("onnxruntime")
  except ModuleNotFoundError as error:
    raise ValueError(
      f"{encoder} needs onnxruntime: pip install onnxruntime"
    ) from error
  try:
    session = onnxruntime.InferenceSession(
      path, providers=["CPUExecutionProvider"]
    )
  # Its exceptions have no base of their own.
  except Exception as error:
    raise ValueError(
      f"{encoder} cannot be read as ONNX ({_line(error)}): export the encoder"
      " again"
    ) from error
  wanted, given = session.get_inputs(), session.get_outputs()
  if len(wanted) != 1 or len(given) != 1:
    raise ValueError(
      f"{encoder} has inputs {[x.name for x in wanted]} and outputs"
      f" {[x.name for x in given]}: expected one of each, the inputs [n, d] and"
      " their codes"
    )
  (wanted,) = wanted
  if wanted.type not in _TYPES:
    raise ValueError(
      f"{encoder} takes {wanted.type}: expected one of {', '.join(_TYPES)}"
    )

  def run(inputs: np.ndarray, seed: int) -> Any:
    del seed  # its noise, if it has any, is its own
    shape = _shape(encoder, wanted.shape, inputs)
    kind = _TYPES[wanted.type]
    pieces = []
    for start in range(0, len(inputs), shape[0]):
      # The last piece is filled up, and what comes of that is cut off.
      at = np.minimum(np.arange(start, start + shape[0]), len(inputs) - 1)
      piece = inputs[at]
      if kind == np.uint8 and not _are_bytes(piece):
        raise ValueError(
          f"{encoder} takes whole numbers from 0 to 255, and some inputs are"
          " none: give pixels as they are"
        )
      piece = piece.astype(kind).reshape(shape)
      try:
        made = session.run(None, {wanted.name: piece})[0]
      except Exception as error:
        raise ValueError(
          f"{encoder} fails on inputs {piece.shape} ({_line(error)}): run"
          " it alone on an input, and export it again"
        ) from error
      made = np.asarray(made)
      if made.ndim < 1 or len(made) != len(at):
        raise ValueError(
          f"{encoder} made {made.shape} of {piece.shape}: expected codes"
          " [n, ...], one for each input"
        )
      pieces.append(made[: len(inputs) - start])
    return np.concatenate(pieces)

  return run


def _are_bytes(values: np.ndarray) -> bool:
  return bool(np.all((values >= 0) & (values <= 255) & (values % 1 == 0)))


def _shape(
  encoder: str, wanted: list[Any], inputs: np.ndarray
) -> tuple[int, ...]:
  """Say how a file takes inputs [n, d]: how many at once, in which shape.

  A free axis is no number.

  Raises:
    ValueError: it takes other values each.
  """
  rows, *axes = wanted or [None]
  together = rows if isinstance(rows, int) else min(len(inputs), _TOGETHER)
  if axes and all(isinstance(size, int) for size in axes):
    if math.prod(axes) == inputs.shape[1]:
      return (together, *axes)
  elif len(axes) == 1:
    return (together, inputs.shape[1])
  raise ValueError(
    f"{encoder} takes {wanted}, and the inputs are {list(inputs.shape)}:"
    f" expected [n, {inputs.shape[1]}], or [n, ...] of as many values"
  )


def _line(error: Exception) -> str:
  return " ".join(str(error).split())[:200]
