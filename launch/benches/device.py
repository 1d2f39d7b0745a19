"""What the device pays, by cut: the client half against the whole network.

For every cut: parameters and operations, bytes of the file, seconds to load it
and the memory it takes, the time of one sample, on one thread and on all, by
JAX, ONNX Runtime and LiteRT, in float32 and int8, each in fresh processes that
take turns with those of the whole network; and the bytes that are sent against
those of the picture.  Weights are drawn: nothing here depends on them.  The
published VGG-16 is also held against PyTorch.  Needs the extra `deploy`, and
`tflite` for LiteRT.
"""

import functools
import importlib.util
import io
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import measure
import numpy as np
from PIL import Image
from references import device_half

from hybridpriv.deploy import export, wire
from hybridpriv.networks import dlib, frozen, sensor, staged, vgg

_ROUNDS, _PROCESSES = 15, 3
_WHOLE = "the whole network on the device"
_THREADS = {"": 0, ", one thread": 1}
_CALIBRATED = 8
_OPERATORS = ("Conv", "Gemm", "MatMul")  # of the whole network, too
_VALUES = 8  # of a code of one byte each, as the paper keeps behind conv5_1


class Model(NamedTuple):
  """A network and where it is cut.

  Attributes:
    name: for the rows.
    network: the network.
    shape: of its input.
    cuts: last stages on the device.
  """

  name: str
  network: Any
  shape: tuple[int, ...]
  cuts: tuple[str, ...]


_PUBLISHED = ("pool3", "pool4", "conv5_1", "conv5_2", "conv5_3")
MODELS = (
  Model("VGG-16", vgg.vgg16(num_classes=2), (224, 224, 3), _PUBLISHED),
  Model(
    "resnet29_dlib",
    dlib.resnet29_dlib(num_classes=2),
    (150, 150, 3),
    ("block3", "block7", "block10", "block11", "block12", "block13"),
  ),
  Model(
    "VGG-16 of a quarter of the width",
    vgg.vgg16(num_classes=2, width=0.25, norm="batch"),
    (64, 64, 3),
    _PUBLISHED,
  ),
  Model(
    "sensor network",
    sensor.sensor(num_classes=7),
    (128, 6),
    ("pool1", "pool2", "pool3"),
  ),
)


class Files(NamedTuple):
  """What stands for a network, or half of one, in every form.

  Attributes:
    paths: files, by name of the form.
    params: parameters.
    macs: multiply-accumulates for a sample.
  """

  paths: dict[str, pathlib.Path]
  params: int
  macs: int


def run(quick: bool) -> Iterator[measure.Part]:
  """Measure all networks, or with `quick` the small ones at one cut.

  Args:
    quick: whether to look only.
  """
  for model in MODELS[2:] if quick else MODELS:
    size = (1, 2) if quick else (len(model.cuts), _PROCESSES)
    yield measure.Part(model.name, functools.partial(measured, model, *size))
  if not quick:
    yield measure.Part(f"{MODELS[0].name} beside PyTorch", _torch)


def measured(model: Model, num_cuts: int, rounds: int) -> Iterator[measure.Row]:
  """Measure one network.

  Args:
    model: the network.
    num_cuts: at how many of its cuts.
    rounds: fresh processes of each form.
  """
  cuts = model.cuts[:num_cuts]
  (*_, last) = model.network.stage_names()
  with tempfile.TemporaryDirectory() as scratch:
    parts = {
      upto: _write(model, upto, pathlib.Path(scratch)) for upto in (*cuts, last)
    }
    for cut in cuts:
      yield from _sizes(f"{model.name} to {cut}", parts[cut], parts[last])
      yield _sent(model, cut)
    for form, (said, threads) in itertools.product(
      parts[last].paths, _THREADS.items()
    ):
      found = _asked(
        [parts[u].paths[form] for u in parts], model, threads, rounds
      )
      for number, cut in enumerate(cuts):
        what = f"{model.name} to {cut}, {form}{said}"
        yield from _rows(what, found[:, [number, -1]], not threads)
  if not has_tflite():
    what = f"{model.name}, LiteRT"
    why = "tensorflow is not installed: pip install 'hybridpriv[tflite]'"
    yield measure.skipped(what, _WHOLE, why)


def has_tflite() -> bool:
  """Tell whether the extra `tflite` is there, without loading it."""
  names = ("tensorflow", "ai_edge_litert")
  return all(importlib.util.find_spec(name) for name in names)


def _write(model: Model, upto: str, scratch: pathlib.Path) -> Files:
  """Write a half in every form that is measured."""
  x = jnp.zeros((1, *model.shape))
  variables = jax.jit(functools.partial(model.network.init, train=False))(
    jax.random.key(0), x
  )
  # As an export does.
  network, variables = frozen.fold(model.network, variables)
  client, _ = staged.split_variables(variables, network, upto)

  def run(given: Any, x: jax.Array) -> jax.Array:
    return network.apply(given, x, train=False, upto=upto)[0]

  half = export.Half(run, client, model.shape, jnp.float32)
  rng = np.random.default_rng(0)
  samples = rng.normal(size=(_CALIBRATED, *model.shape)).astype(np.float32)
  own = scratch / upto
  own.mkdir()
  paths = {
    "JAX": own / "half.stablehlo",
    "ONNX float32": own / "half.onnx",
    "ONNX int8": own / "half.int8.onnx",
  }
  paths["JAX"].write_bytes(export.to_stablehlo(half))
  (own / "half.npz").write_bytes(export.pack(half.parameters))
  export.to_onnx(half, paths["ONNX float32"])
  export.to_int8(
    paths["ONNX float32"], samples, paths["ONNX int8"], operators=_OPERATORS
  )
  if has_tflite():
    for form, int8 in (("LiteRT float32", False), ("LiteRT int8", True)):
      paths[form] = own / f"half.{form[7:]}.tflite"
      export.to_tflite(half, paths[form], int8=int8)
  table = staged.describe(model.network, model.shape)
  end = [stage.name for stage in table].index(upto) + 1
  return Files(
    paths,
    sum(stage.num_params for stage in table[:end]),
    sum(stage.macs for stage in table[:end]),
  )


def _sizes(what: str, own: Files, whole: Files) -> list[measure.Row]:
  """Compare what needs no running."""

  def row(name: str, unit: str, ours: float, other: float) -> measure.Row:
    pair = np.array([[ours, other]], float)
    return measure.row(f"{what}{name}", _WHOLE, unit, pair)

  rows = [
    row(": parameters", "", own.params, whole.params),
    row(": multiply-accumulates", "", own.macs, whole.macs),
  ]
  for form, path in own.paths.items():
    sizes = [_num_bytes(p) / 1e6 for p in (path, whole.paths[form])]
    rows.append(row(f", {form}: file", "MB", *sizes))
  return rows


def _num_bytes(path: pathlib.Path) -> int:
  """Add up a file and, of JAX, the parameters beside it."""
  beside = path.with_suffix(".npz")
  more = beside.stat().st_size if path.suffix == ".stablehlo" else 0
  return path.stat().st_size + more


def _asked(
  paths: Sequence[pathlib.Path], model: Model, threads: int, rounds: int
) -> np.ndarray:
  """Ask fresh processes, in turn: load_s, MiB, sample_s [rounds, files, 3]."""
  worker = pathlib.Path(__file__).parents[1] / "references" / "device_half.py"
  shape = ",".join(map(str, model.shape))
  found = np.zeros((rounds, len(paths), 3))
  for r, i in np.ndindex(rounds, len(paths)):
    done = subprocess.run(
      [sys.executable, str(worker), str(paths[i]), str(threads), shape],
      stdout=subprocess.PIPE,
      text=True,
    )
    if done.returncode:
      raise RuntimeError(f"{worker.name} failed on {paths[i].name}, see above")
    said = json.loads(done.stdout.splitlines()[-1])
    found[r, i] = said["load_s"], said["peak_bytes"] / 2**20, said["sample_s"]
  return found


def _rows(what: str, pairs: np.ndarray, all_threads: bool) -> list[measure.Row]:
  """Make rows of [rounds, 2, 3]; loading and memory once, on all threads."""
  kinds = (("loading", "s"), ("memory", "MiB"), ("a sample", "s"))
  return [
    measure.row(f"{what}: {kind}", _WHOLE, unit, pairs[..., i])
    for i, (kind, unit) in enumerate(kinds)
    if all_threads or kind == "a sample"
  ]


def _sent(model: Model, cut: str) -> measure.Row:
  """Compare the bytes of a frame with those of what it stands for."""
  frame = wire.num_bytes(k=_VALUES, bits=8)
  if len(model.shape) == 3:
    from hybridpriv.data.sources import synthetic_faces

    data = synthetic_faces.load(
      desired=("beard",),
      private=("person",),
      people=8,
      images_per_person=4,
      size=model.shape[0],
    )
    written = io.BytesIO()
    Image.fromarray(data.inputs[0]).save(written, format="jpeg", quality=75)
    size, against = len(written.getvalue()), "the picture as JPEG, a drawn face"
  else:
    size, against = 4 * int(np.prod(model.shape)), "the window in float32"
  return measure.row(
    f"{model.name} to {cut}: sent, {_VALUES} values of a byte",
    against,
    "bytes",
    np.array([[frame, size]]),
  )


def _torch() -> list[measure.Row]:
  """Hold the published client half in int8 against PyTorch in float32."""
  model, cut = MODELS[0], "conv5_1"
  what = f"{model.name} to {cut}, ONNX int8"
  try:
    from references import torch_vgg
  except ModuleNotFoundError as error:
    if error.name != "torch":
      raise
    why = "torch is not installed: pip install torch"
    other = measure.Side("PyTorch float32", lambda: None, skipped=why)
  else:
    other = measure.Side("PyTorch float32", torch_vgg.client(model.shape[0]))
  with tempfile.TemporaryDirectory() as scratch:
    path = _write(model, cut, pathlib.Path(scratch)).paths["ONNX int8"]
    load = device_half.onnx()
    return measure.compare(
      f"{what}: a sample",
      measure.Side("", load(str(path), 0, model.shape)),
      [other],
      rounds=_ROUNDS,
    )
