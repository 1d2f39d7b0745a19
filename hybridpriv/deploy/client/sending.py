"""From a photo or a window to a frame, and from the frame to an answer."""

import http.client
import json
import pathlib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hybridpriv.deploy import wire
from hybridpriv.deploy.client import ledger, manifest, noise

_TIMEOUT_S = 30.0
_MOST_ANSWER = 2**20  # bytes


class _Stay(urllib.request.HTTPRedirectHandler):
  """Follows no redirect: frame and token are for the service named."""

  def redirect_request(self, *_: Any, **__: Any) -> None:
    return None


_OPENER = urllib.request.build_opener(_Stay)

# From an input to its code before the noise: [1, ...] -> [1, k].
Model = Callable[[np.ndarray], np.ndarray]


class Prepared(NamedTuple):
  """A code of whole numbers before the noise; it must not leave the device.

  Attributes:
    values: int64 [k].
    is_unusual: whether it lies outside the range of the codes in training.
  """

  values: np.ndarray
  is_unusual: bool


class Failed(RuntimeError):
  """The service gave no answer; the frame is kept and can be sent again."""


def model(
  own: manifest.Manifest, *, int8: bool = False, runtime: str = "onnx"
) -> Model:
  """Load the client half of a bundle.

  Args:
    own: the manifest.
    int8: the smaller, faster and less exact one.
    runtime: a key of `RUNTIMES`.

  Raises:
    ValueError: a file is missing or damaged, or its runtime is not installed.
  """
  name = f"client.int8.{runtime}" if int8 else f"client.{runtime}"
  return load(manifest.file(own, name))


def load(path: pathlib.Path) -> Model:
  """Load a client half; the end of its name tells what runs it.

  Raises:
    ValueError: it cannot be run here.
  """
  package, start = RUNTIMES[path.suffix[1:]]
  try:
    return start(str(path))
  except ModuleNotFoundError as error:
    raise ValueError(
      f"{path.name} needs {package}: pip install {package}"
    ) from error
  except Exception as error:  # it has a type for each of many faults
    raise ValueError(
      f"{path} cannot be run here ({_first_line(error)}): update {package}, see"
      " requirements.txt"
    ) from error


def _first_line(error: Exception) -> str:
  first, *_ = [*str(error).splitlines(), type(error).__name__]
  return first


def _onnx(path: str) -> Model:
  import onnxruntime  # takes a second to load

  session = onnxruntime.InferenceSession(
    path, providers=["CPUExecutionProvider"]
  )
  (given,) = session.get_inputs()
  return lambda inputs: session.run(None, {given.name: inputs})[0]


def _litert(path: str) -> Model:
  from ai_edge_litert import interpreter

  graph = interpreter.Interpreter(model_path=path)
  graph.allocate_tensors()
  (given,), (found,) = graph.get_input_details(), graph.get_output_details()

  def run(inputs: np.ndarray) -> np.ndarray:
    graph.set_tensor(given["index"], inputs)
    graph.invoke()
    return graph.get_tensor(found["index"])

  return run


# By the end of a file's name: the package that runs it, and how.
RUNTIMES: Mapping[str, tuple[str, Callable[[str], Model]]] = {
  "onnx": ("onnxruntime", _onnx),
  "tflite": ("ai-edge-litert", _litert),
}


def prepare(
  own: manifest.Manifest, client: Model, inputs: np.ndarray
) -> Prepared:
  """Run the client half and hold its code against what is promised of it.

  Args:
    own: the manifest.
    client: see `model`.
    inputs: [h, w, c] or [t, c].

  Raises:
    ValueError: the code is not what the guarantee rests on: whole numbers
      within the radius.
  """
  code = own.values["code"]
  try:
    found = np.asarray(client(inputs[None]), np.float64).reshape(-1)
  except MemoryError:
    raise
  except Exception as error:  # it has a type for each of many faults
    raise ValueError(
      f"the client half could not be run ({_first_line(error)}), so nothing was"
      " sent: copy the bundle again"
    ) from error
  whole = np.round(found)
  length = float(np.linalg.norm(whole))
  if (
    len(found) != code["k"]
    or not np.array_equal(found, whole)
    or not length <= code["radius"] * (1 + 1e-9)
  ):
    raise ValueError(
      f"the client half made {len(found)} values of norm {length:g}; expected"
      f" {code['k']} whole numbers of norm {code['radius']:g} at most, so"
      " nothing was sent: copy the bundle again"
    )
  low, high = np.asarray(code["low"]), np.asarray(code["high"])
  unusual = bool(np.any((whole < low) | (whole > high)))
  return Prepared(whole.astype(np.int64), unusual)


def frame(own: manifest.Manifest, prepared: Prepared) -> bytes:
  """Draw the noise, saturate to the bits of the wire and lay out the frame."""
  code = own.values["code"]
  sent = noise.discrete_gaussian(prepared.values, sigma=code["sigma"])
  most = 2 ** (code["bits"] - 1)
  sent = np.clip(sent, -most, most - 1)
  return wire.encode(sent, bits=code["bits"], bundle=own.id)


def pay(
  own: manifest.Manifest,
  prepared: Prepared,
  inputs: np.ndarray,
  *,
  path: pathlib.Path,
  limit: float,
) -> ledger.Charged:
  """Give the frame of an input: its old one, or a new one that is paid for.

  Args:
    own: the manifest.
    prepared: see `prepare`.
    inputs: the decoded, resized input, by which it is recognised.
    path: the ledger of the device.
    limit: see `manifest.limit`.

  Raises:
    ledger.Exhausted, ledger.Broken: nothing may be sent.
  """
  content = f"{inputs.dtype} {inputs.shape} ".encode() + inputs.tobytes()
  return ledger.charge(
    path,
    lambda: frame(own, prepared),
    bundle=own.id,
    content=content,
    cost=own.values["budget"]["cost"],
    limit=limit,
  )


def check_server(
  own: manifest.Manifest, server: str, *, token: str = ""
) -> None:
  """Refuse a service that has another bundle.

  Raises:
    Failed: it cannot be reached, or its manifest is not this one.
  """
  # One more than there should be, so that a longer one differs.
  most = len(own.content) + 1
  theirs = _ask(f"{server}/v1/manifest", token=token, most=most)
  if theirs != own.content:
    raise Failed(
      f"the service at {server} has the bundle"
      f" {manifest.bundle_id(theirs).hex()}, this device {own.id.hex()}:"
      " nothing was sent; export once, and copy the same folder to both"
    )


def ask(
  own: manifest.Manifest, server: str, content: bytes, *, token: str = ""
) -> Mapping[str, Mapping[str, float]]:
  """Send a frame and return the answer.

  Args:
    own: the manifest, whose labels and classes the answer must have.
    server: its address, as in "https://example.org".
    content: the frame; nothing else goes out.
    token: of the bearer, "" for none.

  Returns:
    {desired label: {class: probability}}.

  Raises:
    Failed: no answer came; it says why.
  """
  body = _ask(f"{server}/v1/infer", content, token=token)
  try:
    answers = json.loads(body)["answers"]
    return {
      label: {name: float(answers[label][name]) for name in classes}
      for label, classes in own.values["answers"].items()
    }
  except (ValueError, KeyError, TypeError) as error:
    raise Failed(
      f"the service at {server} gave no answer that this program reads"
    ) from error


def _ask(
  url: str,
  content: bytes | None = None,
  *,
  token: str = "",
  most: int = _MOST_ANSWER,
) -> bytes:
  parts = urllib.parse.urlsplit(url)
  if parts.scheme not in ("http", "https") or not parts.netloc:
    raise Failed(f"{url} is no address: give --server=https://...")
  headers = {"Content-Type": "application/octet-stream"}
  if token:
    headers["Authorization"] = f"Bearer {token}"
  request = urllib.request.Request(url, data=content, headers=headers)
  try:
    with _OPENER.open(request, timeout=_TIMEOUT_S) as reply:
      return reply.read(most)
  except urllib.error.HTTPError as error:
    with error:
      said = _detail(error)
    raise Failed(
      f"the service at {url} refused with status {error.code}: {said}"
    ) from error
  except (OSError, http.client.HTTPException) as error:
    reason = getattr(error, "reason", error)
    raise Failed(f"no answer from {url} ({reason}): try again later") from error


def _detail(error: urllib.error.HTTPError) -> str:
  """Read why a service refused."""
  try:
    return str(json.loads(error.read(_MOST_ANSWER))["detail"])
  except (OSError, http.client.HTTPException):
    return "and hung up"
  except (ValueError, KeyError, TypeError):
    return str(error.reason)


def best(answers: Mapping[str, Mapping[str, float]]) -> Sequence[str]:
  """Write each answer as a line: label, most likely class, probability."""
  lines = []
  for label, classes in answers.items():
    name, value = max(classes.items(), key=lambda one: one[1])
    lines.append(f"{label}: {name} ({100 * value:.0f} %)")
  return lines
