"""A fresh process that loads a model and runs it: how long, how much memory.

  python onnx_device.py model.onnx

Prints JSON: seconds to load, and bytes that the process grew by at most while
it loaded and answered once.
"""

import json
import pathlib
import sys
import time

import numpy as np
import onnxruntime

_SELF = pathlib.Path("/proc/self")
_PAGE = 4096


def _peak() -> int:
  """Return the most memory since the mark was reset, in bytes (Linux)."""
  for line in (_SELF / "status").read_text().splitlines():
    if line.startswith("VmHWM:"):
      return 1024 * int(line.split()[1])
  raise RuntimeError("/proc/self/status has no VmHWM")


def main(path: str) -> None:
  """Load, run once, print."""
  # Imports took more than what stays of them: the mark starts here.
  (_SELF / "clear_refs").write_text("5")
  before, start = _peak(), time.perf_counter()
  session = onnxruntime.InferenceSession(
    path, providers=["CPUExecutionProvider"]
  )
  load_s = time.perf_counter() - start
  (given,) = session.get_inputs()
  session.run(None, {given.name: np.zeros(given.shape, np.float32)})
  print(
    json.dumps({"load_s": load_s, "peak_bytes": max(_peak() - before, _PAGE)})
  )


if __name__ == "__main__":
  main(sys.argv[1])
