"""What the device pays, by cut: the client half against the whole network.

For every cut: bytes of the file, seconds to load it and the memory it takes in
a process of its own, the time of one sample, on one thread and on all, by JAX
and by ONNX Runtime in float32 and int8; and the bytes that are sent against
those of the picture.  Weights are drawn: nothing here depends on them.  The
published VGG-16 is also held against PyTorch.  Needs the extra `deploy`.
"""

import functools
import io
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import measure
import numpy as np
from PIL import Image

from hybridpriv.deploy import export, wire
from hybridpriv.networks import dlib, sensor, staged, vgg

_ROUNDS, _PROCESSES = 15, 5
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


_PUBLISHED = ("conv5_1", "conv5_2", "conv5_3")
MODELS = (
  Model("VGG-16", vgg.vgg16(num_classes=2), (224, 224, 3), _PUBLISHED),
  Model(
    "resnet29_dlib",
    dlib.resnet29_dlib(num_classes=2),
    (150, 150, 3),
    ("block11", "block12", "block13"),
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
    ("pool2", "pool3"),
  ),
)


class Form(NamedTuple):
  """A half in one form, ready to run.

  Attributes:
    run: one sample.
    path: its file, None where it has none.
  """

  run: Callable[[], Any]
  path: pathlib.Path | None


def run(quick: bool) -> list[measure.Row]:
  """Measure all networks, or with `quick` the small ones at one cut.

  Args:
    quick: whether to look only.
  """
  rows: list[measure.Row] = []
  for model in MODELS[2:] if quick else MODELS:
    with tempfile.TemporaryDirectory() as scratch:
      rows += _model(model, pathlib.Path(scratch), 1 if quick else 3)
  if not quick:
    rows += _torch()
  return rows


def _model(
  model: Model, scratch: pathlib.Path, num_cuts: int
) -> list[measure.Row]:
  """Measure one network at its cuts."""
  x = jnp.zeros((1, *model.shape))
  variables = jax.jit(functools.partial(model.network.init, train=False))(
    jax.random.key(0), x
  )
  rows: list[measure.Row] = []
  last = model.network.stage_names()[-1]
  whole = dict(_forms(model, variables, last, scratch))
  for cut in model.cuts[:num_cuts]:
    own = dict(_forms(model, variables, cut, scratch))
    for name, form in own.items():
      what = f"{model.name} to {cut}, {name}"
      rows += measure.compare(
        f"{what}: a sample",
        measure.Side("", form.run),
        [measure.Side("the whole network on the device", whole[name].run)],
        rounds=_ROUNDS,
      )
      if form.path is not None and "one thread" not in name:
        rows += _files(what, form.path, whole[name].path)
    rows.append(_sent(model, cut))
  return rows


def _forms(
  model: Model, variables: Any, upto: str, scratch: pathlib.Path
) -> Iterator[tuple[str, Form]]:
  """Make a half in every form that is measured."""
  client, _ = staged.split_variables(variables, model.network, upto)

  def run(given: Any, x: jax.Array) -> jax.Array:
    return model.network.apply(given, x, train=False, upto=upto)[0]

  half = export.Half(run, client, model.shape, jnp.float32)
  rng = np.random.default_rng(0)
  samples = rng.normal(size=(_CALIBRATED, *model.shape)).astype(np.float32)
  compiled = jax.jit(run).lower(client, samples[:1]).compile()
  given = jax.device_put((client, samples[:1]))
  yield "JAX", Form(lambda: jax.block_until_ready(compiled(*given)), None)
  path = scratch / f"{upto}.onnx"
  small = scratch / f"{upto}.int8.onnx"
  export.to_onnx(half, path)
  export.to_int8(path, samples, small, operators=_OPERATORS)
  for name, file in (("ONNX float32", path), ("ONNX int8", small)):
    for threads, said in ((0, ""), (1, ", one thread")):
      yield f"{name}{said}", Form(_session(file, threads, samples[:1]), file)


def _session(
  path: pathlib.Path, threads: int, sample: np.ndarray
) -> Callable[[], Any]:
  import onnxruntime

  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = threads
  session = onnxruntime.InferenceSession(
    str(path), options, providers=["CPUExecutionProvider"]
  )
  return lambda: session.run(None, {export.INPUT: sample})


def _files(
  what: str, path: pathlib.Path, whole: pathlib.Path | None
) -> list[measure.Row]:
  """Compare sizes, and what fresh processes say of loading."""
  assert whole is not None  # a half in this form has a file, and so has this
  worker = pathlib.Path(__file__).parents[1] / "references" / "onnx_device.py"

  def ask(file: pathlib.Path) -> dict[str, float]:
    done = subprocess.run(
      [sys.executable, str(worker), str(file)],
      check=True,
      capture_output=True,
      text=True,
    )
    return json.loads(done.stdout)

  pairs = [(ask(path), ask(whole)) for _ in range(_PROCESSES)]
  rows = []
  for name, unit, scale in (
    ("load_s", "s", 1.0),
    ("peak_bytes", "MiB", 2.0**-20),
  ):
    times = np.array([[a[name], b[name]] for a, b in pairs]) * scale
    text = "loading" if name == "load_s" else "memory"
    rows.append(measure.row(f"{what}: {text}", _AGAINST, unit, times))
  sizes = np.array([[path.stat().st_size, whole.stat().st_size]]) / 1e6
  return [*rows, measure.row(f"{what}: file", _AGAINST, "MB", sizes)]


_AGAINST = "the whole network on the device"


def _sent(model: Model, cut: str) -> measure.Row:
  """Compare the bytes of a frame with those of what it stands for."""
  frame = wire.num_bytes(k=_VALUES, bits=8)
  if len(model.shape) == 3:
    from hybridpriv.data.sources import synthetic_faces

    data = synthetic_faces.load(
      desired=("beard",),
      private=("person",),
      people=2,
      images_per_person=1,
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
  model = MODELS[0]
  cut, what = model.cuts[0], f"{model.name} to {model.cuts[0]}, ONNX int8"
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
    variables = model.network.init(
      jax.random.key(0), jnp.zeros((1, *model.shape)), train=False
    )
    forms = dict(_forms(model, variables, cut, pathlib.Path(scratch)))
    return measure.compare(
      f"{what}: a sample",
      measure.Side("", forms["ONNX int8"].run),
      [other],
      rounds=_ROUNDS,
    )
