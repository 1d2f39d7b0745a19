"""Halves of a network as files of other programs: StableHLO, ONNX, LiteRT."""

import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

PLATFORMS = ("cpu", "cuda", "tpu")
INPUT, OUTPUT = "input", "output"


class Half(NamedTuple):
  """One side of a cut.

  Attributes:
    function: pure, of (parameters, inputs [b, ...]) -> outputs [b, ...], one
      or several.
    parameters: nested dictionaries of arrays.
    shape: of one input.
    dtype: of the inputs.
  """

  function: Callable[[Any, jax.Array], Any]
  parameters: Mapping[str, Any]
  shape: tuple[int, ...]
  dtype: Any


def to_stablehlo(half: Half) -> bytes:
  """Serialise a half for all platforms, of any number of inputs.

  Its parameters stay an argument: they are a file of their own.
  """
  (batch,) = jax.export.symbolic_shape("b")
  parameters = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype),
    half.parameters,
  )
  inputs = jax.ShapeDtypeStruct((batch, *half.shape), half.dtype)
  exported = jax.export.export(jax.jit(half.function), platforms=PLATFORMS)(
    parameters, inputs
  )
  return bytes(exported.serialize())


def from_stablehlo(program: bytes) -> Callable[[Any, jax.Array], jax.Array]:
  """Read what `to_stablehlo` wrote."""
  return jax.export.deserialize(bytearray(program)).call


def pack(parameters: Mapping[str, Any]) -> bytes:
  """Write nested dictionaries of arrays as NPZ; names are joined by "/"."""
  arrays: dict[str, Any] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
    arrays["/".join(str(part.key) for part in path)] = np.asarray(leaf)
  written = io.BytesIO()
  np.savez(written, **arrays)
  return written.getvalue()


def unpack(file: pathlib.Path) -> dict[str, Any]:
  """Read what `pack` wrote."""
  found: dict[str, Any] = {}
  with np.load(file) as saved:
    for name in saved.files:
      *path, last = name.split("/")
      place = found
      for part in path:
        place = place.setdefault(part, {})
      place[last] = saved[name]
  return found


def to_onnx(
  half: Half, path: pathlib.Path, outputs: Sequence[str] = (OUTPUT,)
) -> None:
  """Write a half as ONNX, of one input at a time.

  Args:
    half: what to write.
    path: of the file.
    outputs: names of what it gives.

  Raises:
    ValueError: the extra `deploy` is not installed.
  """
  try:
    import jax2onnx
    import onnx
  except ModuleNotFoundError as error:
    raise _missing(error) from error
  # What it puts in the place of Flax's layers adds vectors to images.
  with jax.numpy_rank_promotion("allow"):
    model = jax2onnx.to_onnx(
      lambda x: half.function(half.parameters, x),
      [jax.ShapeDtypeStruct((1, *half.shape), half.dtype)],
      model_name="half",
      opset=18,  # of later ones the quantiser makes files that do not load
      input_names=[INPUT],
      output_names=list(outputs),
    )
  # Shapes of what is between, which the converter gets wrong.
  del model.graph.value_info[:]
  onnx.save(model, path)


def to_int8(
  onnx_path: pathlib.Path,
  samples: np.ndarray,
  path: pathlib.Path,
  *,
  operators: Sequence[str] = ("Conv",),
) -> None:
  """Quantise operators of an ONNX file, weights by channel.

  With the convolutions alone, what follows the network (projection, clipping,
  grid) stays in float32, and dense layers with it, from which a projection
  cannot be told.

  Args:
    onnx_path: of the float one.
    samples: inputs to calibrate ranges with [n, ...].
    path: of the new one.
    operators: which ones, as ONNX names them.

  Raises:
    ValueError: the extra `deploy` is not installed.
  """
  try:
    from onnxruntime import quantization
  except ModuleNotFoundError as error:
    raise _missing(error) from error
  rest = iter(samples)

  class Reader(quantization.CalibrationDataReader):
    def get_next(self) -> dict[str, np.ndarray] | None:
      one = next(rest, None)
      return None if one is None else {INPUT: one[None]}

  quantization.quantize_static(
    onnx_path,
    path,
    Reader(),
    op_types_to_quantize=list(operators),
    per_channel=True,
    # Weights in 7 bits: processors without 8-bit dot products add two products
    # in 16 bits, which overflow otherwise. Nothing says so; a network lost
    # three points of utility by it.
    reduce_range=True,
  )


def to_tflite(half: Half, path: pathlib.Path, *, int8: bool = False) -> None:
  """Write a half for LiteRT, of one input at a time.

  In int8 weights are stored so, by channel, and layers find the range of what
  they are given as they run: nothing is calibrated, and what has no weights
  (clipping, grid) stays in float32.

  Args:
    half: what to write.
    path: of the file.
    int8: whether weights are in 8 bits.

  Raises:
    ValueError: the extra `tflite` is not installed.
  """
  try:
    import tensorflow as tf
    from jax.experimental import jax2tf
  except ModuleNotFoundError as error:
    raise _missing(error, "tflite") from error
  given = tf.TensorSpec((1, *half.shape), tf.as_dtype(half.dtype), name=INPUT)
  graph = tf.function(
    jax2tf.convert(lambda x: half.function(half.parameters, x)),
    input_signature=[given],
    autograph=False,
  )
  converter = tf.lite.TFLiteConverter.from_concrete_functions(
    [graph.get_concrete_function()], graph
  )
  if int8:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
  path.write_bytes(converter.convert())


def _missing(error: ModuleNotFoundError, extra: str = "deploy") -> ValueError:
  return ValueError(
    f"{error.name} is not installed: pip install 'hybridpriv[{extra}]'"
  )
