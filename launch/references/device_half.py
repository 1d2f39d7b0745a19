"""A fresh process that loads half a network and runs it: time and memory.

  python device_half.py half.onnx [threads] [shape]

Takes ONNX, LiteRT, and StableHLO with its parameters beside it in NPZ; loading
the last compiles it, and its threads are the cores that the process may use, so
that one is asked for by being held to one core.  Prints JSON: seconds to load,
seconds of a sample, and bytes that the process grew by at most while it loaded
and answered once.
"""

import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_SELF = pathlib.Path("/proc/self")
_PAGE = 4096
_REPEATS = 7

# (path, threads, shape of a sample) -> what runs one.
Loader = Callable[[str, int, Sequence[int]], Callable[[], Any]]


def onnx() -> Loader:
  """Import ONNX Runtime; return what loads a file."""
  import onnxruntime

  def load(path: str, threads: int, shape: Sequence[int]) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _num_cores()
    session = onnxruntime.InferenceSession(
      path, options, providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    sample = _sample(shape)
    return lambda: session.run(None, {given.name: sample})

  return load


def tflite() -> Loader:
  """Import LiteRT; return what loads a file."""
  from ai_edge_litert import interpreter

  def load(path: str, threads: int, shape: Sequence[int]) -> Callable[[], Any]:
    graph = interpreter.Interpreter(
      model_path=path, num_threads=threads or _num_cores()
    )
    graph.allocate_tensors()
    (given,), (found,) = graph.get_input_details(), graph.get_output_details()
    sample = _sample(shape)

    def run() -> np.ndarray:
      graph.set_tensor(given["index"], sample)
      graph.invoke()
      return graph.get_tensor(found["index"])

    return run

  return load


def stablehlo() -> Loader:
  """Import JAX; return what loads a file."""
  import jax

  from hybridpriv.deploy import export

  jax.devices()  # starts it

  def load(path: str, threads: int, shape: Sequence[int]) -> Callable[[], Any]:
    del threads  # those of the process
    file = pathlib.Path(path)
    run = export.from_stablehlo(file.read_bytes())
    parameters = export.unpack(file.with_suffix(".npz"))
    parameters, sample = jax.device_put(parameters), _sample(shape)
    compiled = jax.jit(run).lower(parameters, sample).compile()
    return lambda: np.asarray(compiled(parameters, sample))

  return load


def _num_cores() -> int:
  return len(os.sched_getaffinity(0))


def _sample(shape: Sequence[int]) -> np.ndarray:
  """Draw a sample: from zeros all layers would be given zeros."""
  x = np.random.default_rng(0).normal(size=(1, *shape))
  return x.astype(np.float32)


LOADERS = {".onnx": onnx, ".tflite": tflite, ".stablehlo": stablehlo}


def _peak() -> int:
  """Return the most memory since the mark was reset, in bytes (Linux)."""
  for line in (_SELF / "status").read_text().splitlines():
    if line.startswith("VmHWM:"):
      return 1024 * int(line.split()[1])
  raise RuntimeError("/proc/self/status has no VmHWM")


def main(path: str, threads: int, shape: Sequence[int]) -> None:
  """Load, run, print."""
  if threads:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
  load = LOADERS[pathlib.Path(path).suffix]()
  # Imports took more than what stays of them: the mark starts here.
  (_SELF / "clear_refs").write_text("5")
  before, start = _peak(), time.perf_counter()
  run = load(path, threads, shape)
  load_s = time.perf_counter() - start
  run()
  grown = max(_peak() - before, _PAGE)
  times = []
  for _ in range(_REPEATS):
    start = time.perf_counter()
    run()
    times.append(time.perf_counter() - start)
  sample_s = statistics.median(times)
  print(
    json.dumps({"load_s": load_s, "peak_bytes": grown, "sample_s": sample_s})
  )


if __name__ == "__main__":
  main(sys.argv[1], int(sys.argv[2]), [int(n) for n in sys.argv[3].split(",")])
