"""Two bundles that nobody trained, for the page to run, and what it must find.

  python web/e2e/made.py OUT [BUNDLE]

writes OUT/image and OUT/signal, unless a BUNDLE of pictures is given to be used
for the first; OUT/face.jpg, which lies on its side and says so (EXIF);
OUT/clear.png, partly transparent; OUT/window.csv; and OUT/expected.json: the
codes before the noise that the Python client makes of them.
"""

import json
import pathlib
import shutil
import sys
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from hybridpriv.data.sources import synthetic_faces
from hybridpriv.deploy import bundle, export
from hybridpriv.deploy.client import inputs, manifest, sending

SIZE = 320  # of the face, which has something beside it
BOX = (30, 20, 200, 200)
_TURNED = 6  # EXIF: the top of the picture is on its right
_OUTPUTS = ("picture", "scores")
_K, _RADIUS, _MOST_CODES = 6, 24.0, 5


def main(out: pathlib.Path, given: pathlib.Path | None = None) -> None:
  """Write all."""
  if given:
    shutil.copytree(given, out / "image")
  else:
    _bundle(out / "image", "image", (24, 24, 3), np.dtype("uint8"))
  _bundle(out / "signal", "signal", (32, 3), np.dtype("float32"))
  _pictures(out)
  steps = np.arange(32)[:, None] / 5 + np.arange(3)
  rows = [",".join(f"{v:.6f}" for v in row) for row in np.sin(steps)]
  (out / "window.csv").write_text("\n".join(["x,y,z", *rows]) + "\n")
  codes, pixels = {}, []
  for name, kind, file, box in (
    ("face", "image", "face.jpg", None),
    ("clear", "image", "clear.png", None),
    ("framed", "image", "face.jpg", BOX),
    ("window", "signal", "window.csv", None),
  ):
    own = manifest.read(out / kind)
    array = inputs.read(out / file, own.values["input"], box=box)
    prepared = sending.prepare(own, sending.model(own), array)
    codes[name] = prepared.values.tolist()
    if name == "face":
      pixels = array.reshape(-1).tolist()
  found = {"codes": codes, "box": BOX, "pixels": pixels}
  (out / "expected.json").write_text(json.dumps(found))


def _pictures(out: pathlib.Path) -> None:
  faces = synthetic_faces.load(
    people=4, images_per_person=1, size=SIZE, seed=3
  ).inputs
  face = np.pad(faces[3], ((0, 0), (40, 41), (0, 0)), "edge")
  exif = Image.Exif()
  exif[0x0112] = _TURNED
  Image.fromarray(face).rotate(90, expand=True).save(
    out / "face.jpg", quality=92, exif=exif
  )
  opacity = np.full((*face.shape[:2], 1), 255, np.uint8)
  opacity[: SIZE // 3] = 0
  Image.fromarray(np.concatenate([face, opacity], -1)).save(out / "clear.png")


def _bundle(
  out: pathlib.Path, kind: str, shape: tuple[int, ...], dtype: np.dtype
) -> None:
  """Write a bundle whose halves are drawn at random."""
  rng = np.random.default_rng(7)
  scale = 255.0 if kind == "image" else 1.0
  classes = {"beard": ["no beard", "beard"], "age": ["young", "old", "older"]}
  channels = shape[-1]

  def encode(parameters: Any, x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32) / scale - 0.5
    x = jnp.maximum(jnp.tanh(x) @ parameters["mix"], 0)
    x = x.reshape(x.shape[0], -1) @ parameters["project"]
    length = jnp.sqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-12)
    # Toward zero, so that it stays within the radius.
    return jnp.trunc(x * jnp.minimum(_RADIUS / length, 1.0))

  def answer(parameters: Any, code: jax.Array) -> jax.Array:
    return code.astype(jnp.float32) @ parameters["out"]

  def draw(*size: int) -> np.ndarray:
    return rng.normal(size=size).astype(np.float32)

  def from_sample(parameters: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    picture = x.astype(jnp.float32) / 255
    return picture, picture.mean((1, 2)) @ parameters["people"]

  def from_code(parameters: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    picture = jnp.tanh(x @ parameters["picture"]) / 2 + 0.5
    return picture.reshape(-1, 8, 8, 3), x @ parameters["people"]

  people = ("Ada", "Bo", "Cy", "Di")
  inner = int(np.prod(shape[:-1])) * 8
  client = export.Half(
    encode,
    {"mix": draw(channels, 8), "project": draw(inner, _K)},
    shape,
    dtype,
  )
  num = sum(map(len, classes.values()))
  cloud = export.Half(
    answer, {"out": draw(_K, num) / 20}, (_K,), np.dtype("int8")
  )
  table = [
    {
      "num_queries": n,
      "epsilon": 1.5 * n,
      "delta": 1e-5,
      "success": {"person": {"blind": 0.25, "success": 0.3 + n / 10}},
    }
    for n in range(1, _MOST_CODES + 1)
  ]
  graphs = {}
  if kind == "image":
    own = {"people": draw(channels, len(people))}
    graphs["sample"] = export.Half(from_sample, own, shape, dtype)
    own = {"people": draw(_K, len(people)), "picture": draw(_K, 8 * 8 * 3)}
    single = np.dtype("float32")
    graphs["code"] = export.Half(from_code, own, (_K,), single)
  with tempfile.TemporaryDirectory() as scratch:
    onnx = pathlib.Path(scratch) / "client.onnx"
    export.to_onnx(client, onnx)
    shown = {}
    for name, half in graphs.items():
      file = f"demo/{name}.onnx"
      shown[file] = pathlib.Path(scratch) / f"{name}.onnx"
      export.to_onnx(half, shown[file], _OUTPUTS)
    bundle.write(
      out,
      {
        "client.onnx": onnx,
        **shown,
        "cloud.stablehlo": export.to_stablehlo(cloud),
        "cloud.npz": export.pack(cloud.parameters),
      },
      {
        "name": "Halves that nobody trained",
        "synthetic": True,
        "row": "drawn at random",
        "input": {
          "kind": kind,
          "shape": list(shape),
          "dtype": str(dtype),
          "framing": "nothing",
        },
        "answers": classes,
        "code": {
          "k": _K,
          "bits": 8,
          "radius": _RADIUS,
          "sigma": 12.0,
          "low": [-1.0] * _K,
          "high": [1.0] * _K,
        },
        "utility": {"validation": 0.5},
        "guarantee": {
          "law": "discrete gaussian",
          "unit": "one input",
          "case": "worst case over inputs and attackers",
          "assumes": "the device clips, and its noise is secret and fresh",
        },
        "budget": {
          "cost": (_RADIUS / 12.0) ** 2,
          "max_queries": _MOST_CODES,
          "table": table,
        },
        "demo": [
          {
            "file": f"demo/{name}.onnx",
            "title": f"from a {name}",
            "takes": name,
            "outputs": list(_OUTPUTS),
            "people": list(people),
          }
          for name in graphs
        ],
      },
    )


if __name__ == "__main__":
  main(*map(pathlib.Path, sys.argv[1:3]))
