"""How many codes a service answers: beside an empty one, and beside no service.

Sixty-four clients ask at once, on the cores that the service has as well: the
service with batches, the same with batches of one, and the same stack with an
empty handler.  The cloud half called directly, in full batches, is the other
thing that a service could be as fast as.  Then ten minutes of load, beside
clients that never finish, in which the service is killed and started again.
Weights are drawn.  Needs the extra `deploy`.
"""

import contextlib
import functools
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import measure
import numpy as np

from hybridpriv.deploy import bundle, export, server, wire
from hybridpriv.deploy.client import manifest
from hybridpriv.networks import dlib, sensor, staged

_LAUNCH = pathlib.Path(__file__).parents[1]
_CLIENTS, _SLOW = 64, 50
_BATCH, _K, _BITS = 64, 8, 8
_RADIUS, _SIGMA = 32.0, 16.0
_QUESTIONS = 64
_START_S = 120.0

# Name, network, shape of its input, last stage on the device.
_FACES = dlib.resnet29_dlib(num_classes=2), (150, 150, 3)
MODELS = (
  ("sensor network behind pool3", sensor.sensor(num_classes=7), (128, 6)),
  ("resnet29_dlib behind block13", *_FACES),
  ("resnet29_dlib behind block11", *_FACES),
)


def run(quick: bool) -> Iterator[measure.Part]:
  """Measure all networks, or with `quick` the small one for moments.

  Args:
    quick: whether to look only.
  """
  for what, network, shape in MODELS[:1] if quick else MODELS:
    rows = functools.partial(_rows, what, network, shape, quick)
    yield measure.Part(what, rows)


def _rows(
  what: str, network: Any, shape: Sequence[int], quick: bool
) -> Iterator[measure.Row]:
  """Measure one service."""
  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)
    own = _bundle(folder / "bundle", network, shape, what.split()[-1])
    cloud = server.load(own, max_batch=_BATCH)
    questions = folder / "questions.json"
    _ask(questions, own, cloud)
    size = (2, 1) if quick else (10, 3)
    yield from _speed(what, own, cloud, questions, *size)
    if what == MODELS[0][0]:
      seconds = 15.0 if quick else 600.0
      yield from _steadiness(what, own, questions, seconds)


def _bundle(
  out: pathlib.Path, network: Any, shape: Sequence[int], cut: str
) -> manifest.Manifest:
  """Write what a service reads of a bundle, for weights that are drawn."""
  variables = network.init(
    jax.random.key(0), jnp.zeros((1, *shape)), train=False
  )
  _, rest = staged.split_variables(variables, network, cut)
  table = staged.describe(network, tuple(shape))
  size = next(stage.shape for stage in table if stage.name == cut)
  components = jax.random.normal(jax.random.key(1), (_K, int(np.prod(size))))

  def answer(given: Any, code: jax.Array) -> jax.Array:
    x = code.astype(jnp.float32) @ given["components"] / _RADIUS
    x = x.reshape(-1, *size)
    return network.apply(given["variables"], x, train=False, after=cut)[0]

  given = {"variables": rest, "components": components}
  half = export.Half(answer, given, (_K,), np.int8)
  files: dict[str, bytes | pathlib.Path] = {
    "cloud.stablehlo": export.to_stablehlo(half),
    "cloud.npz": export.pack(given),
  }
  classes = [str(n) for n in range(network.num_classes)]
  values = {
    "input": {"kind": "none", "shape": shape, "dtype": "", "framing": ""},
    "answers": {"desired": classes},
    "code": {
      "k": _K,
      "bits": _BITS,
      "radius": _RADIUS,
      "sigma": _SIGMA,
      "low": [-_RADIUS] * _K,
      "high": [_RADIUS] * _K,
    },
    "utility": {"validation": 0.0},
    "guarantee": {"assumes": ""},
    "budget": {
      "cost": (_RADIUS / _SIGMA) ** 2,
      "max_queries": 1,
      "table": [{}],
    },
  }
  return bundle.write(out, files, values)


def _ask(
  path: pathlib.Path, own: manifest.Manifest, cloud: server.Cloud
) -> None:
  """Write questions, and what is answered without a service."""
  rng = np.random.default_rng(0)
  codes = rng.integers(-100, 100, size=(_QUESTIONS, _K))
  answers = server.answers(cloud.run(codes), own.values["answers"])
  found = [
    (wire.encode(code, bits=_BITS, bundle=own.id).hex(), answer)
    for code, answer in zip(codes, answers, strict=True)
  ]
  path.write_text(json.dumps(found))


def _speed(
  what: str,
  own: manifest.Manifest,
  cloud: server.Cloud,
  questions: pathlib.Path,
  seconds: float,
  rounds: int,
) -> list[measure.Row]:
  """Compare throughput and the time of an answer."""
  found = []
  anything = questions.with_name("anything.json")
  frames = [frame for frame, _ in json.loads(questions.read_text())]
  anything.write_text(json.dumps([(frame, None) for frame in frames]))
  with (
    _service(own, _BATCH) as batched,
    _service(own, 1) as single,
    _started(["references/empty_service.py"]) as empty,
  ):
    for port in (batched, single, empty):
      _load(port, anything, seconds / 4)
    for _ in range(rounds):
      found.append(
        [
          _load(batched, questions, seconds),
          _load(single, questions, seconds),
          _load(empty, anything, seconds),
          _direct(cloud, seconds / 2),
        ]
      )
  each = np.array(
    [[s["seconds"] / max(s["answered"], 1) for s in r] for r in found]
  )
  late = np.array([[r[0]["p99_s"], r[1]["p99_s"]] for r in found])
  name = f"{what}, {_CLIENTS} clients"
  slower = np.maximum(each[:, 2], each[:, 3])

  def row(text: str, against: str, pairs: np.ndarray) -> measure.Row:
    return measure.row(f"{name}: {text}", against, "s", pairs)

  code = "a code"
  return [
    row(code, "the slower of the next two", np.stack([each[:, 0], slower], 1)),
    row(code, "the same stack with an empty handler", each[:, [0, 2]]),
    row(code, f"the cloud half, {_BATCH} at once", each[:, [0, 3]]),
    row(code, "the service, one at a time", each[:, [0, 1]]),
    row("99 % of answers within", "the service, one at a time", late),
  ]


def _direct(cloud: server.Cloud, seconds: float) -> dict[str, float]:
  """Call the cloud half in full batches."""
  codes = np.zeros((_BATCH, _K), np.int64)
  cloud.run(codes)
  start, answered = time.monotonic(), 0
  while time.monotonic() < start + seconds:
    cloud.run(codes)
    answered += _BATCH
  return {"answered": answered, "seconds": time.monotonic() - start}


def _steadiness(
  what: str, own: manifest.Manifest, questions: pathlib.Path, seconds: float
) -> list[measure.Row]:
  """Load a service for long, kill it on the way, count what is lost."""
  port = _free_port()
  slow = [
    sys.executable,
    str(_LAUNCH / "references/slow_clients.py"),
    *map(str, (port, _SLOW, seconds)),
  ]
  with contextlib.ExitStack() as stack:
    first = stack.enter_context(contextlib.ExitStack())
    first.enter_context(_service(own, _BATCH, port=port, how=signal.SIGKILL))
    holding = stack.enter_context(_process(slow))
    asking = stack.enter_context(
      _process(_command(port, questions, seconds, "stubborn"))
    )
    time.sleep(seconds / 3)
    if asking.poll() is not None or not _is_there(port):
      raise RuntimeError("the service or its clients ended before the kill")
    first.close()
    stack.enter_context(_service(own, _BATCH, port=port))
    said, _ = asking.communicate(timeout=seconds + 2 * _START_S)
    holding.wait()
  found = json.loads(said)
  if found["refused"]:
    raise RuntimeError(f"a service that refuses nobody was expected: {found}")
  asked, right = found["asked"], found["answered"] - found["wrong"]
  return [
    measure.row(
      f"{what}, {seconds:g} s of load, {_SLOW} slow clients, killed once"
      f" ({found['again']} questions asked again): questions",
      "answered, and rightly",
      "",
      np.array([[asked, right]], float),
    )
  ]


def _is_there(port: int) -> bool:
  try:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30):
      return True
  except OSError:
    return False


def _command(
  port: int, questions: pathlib.Path, seconds: float, *more: str
) -> list[str]:
  own = (port, seconds, _CLIENTS, questions)
  path = _LAUNCH / "references/load.py"
  return [sys.executable, str(path), *map(str, own), *more]


def _load(port: int, questions: pathlib.Path, seconds: float) -> dict[str, Any]:
  """Ask for some seconds.

  Raises:
    RuntimeError: answers are wrong, or missing.
  """
  done = subprocess.run(
    _command(port, questions, seconds), check=True, stdout=subprocess.PIPE
  )
  found = json.loads(done.stdout)
  if found["wrong"] or found["answered"] != found["asked"]:
    raise RuntimeError(f"a service that answers all was expected: {found}")
  return found


@contextlib.contextmanager
def _service(
  own: manifest.Manifest,
  max_batch: int,
  *,
  port: int = 0,
  how: signal.Signals = signal.SIGTERM,
) -> Iterator[int]:
  """Run launch/serve.py."""
  flags = [f"--bundle={own.folder}", f"--max_batch={max_batch}"]
  with _started(["serve.py", *flags], port=port, how=how) as port:
    yield port


@contextlib.contextmanager
def _started(
  program: Sequence[str],
  *,
  port: int = 0,
  how: signal.Signals = signal.SIGTERM,
) -> Iterator[int]:
  """Run a program of launch/ that serves; give its port once it is ready."""
  port = port or _free_port()
  name, *flags = program
  own = [f"--port={port}"] if name == "serve.py" else [str(port)]
  command = [sys.executable, str(_LAUNCH / name), *flags, *own]
  with _process(command, how=how) as process:
    end = time.monotonic() + _START_S
    while not _is_there(port):
      if process.poll() is not None or time.monotonic() > end:
        raise RuntimeError(f"{name} did not start")
      time.sleep(0.2)
    yield port


@contextlib.contextmanager
def _process(
  command: Sequence[str], *, how: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen]:
  """Run a program, and end it."""
  with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
    try:
      yield process
    finally:
      if process.poll() is None:
        process.send_signal(how)
      process.wait()


def _free_port() -> int:
  with socket.create_server(("127.0.0.1", 0)) as found:
    return found.getsockname()[1]
