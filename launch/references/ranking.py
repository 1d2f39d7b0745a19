"""A fresh process that ranks codes in files: time and memory.

  python ranking.py observed.npy clean.npy

The first observed codes belong to the first candidates.  Prints JSON: seconds,
compiling among them, and bytes that the process grew by at most.
"""

import json
import pathlib
import sys
import time

import numpy as np

from hybridpriv.attacks import rank


def main(*paths: str) -> None:
  """Rank, and say what it took."""
  observed, clean = (np.load(path, mmap_mode="r") for path in paths)
  rank.by_distance(np.ones((1, 1)), np.zeros((1, 1)))  # loads all of JAX
  before = _memory("VmRSS")
  start = time.perf_counter()
  rank.by_distance(observed, clean, index=np.arange(len(observed)))
  seconds = time.perf_counter() - start
  print(json.dumps({"s": seconds, "bytes": _memory("VmHWM") - before}))


def _memory(name: str) -> int:
  """Read a number of the kernel's: VmRSS now, VmHWM the most so far."""
  for line in pathlib.Path("/proc/self/status").read_text().splitlines():
    if line.startswith(f"{name}:"):
      return 1024 * int(line.split()[1])
  raise RuntimeError(f"no {name}: memory is measured on Linux")


if __name__ == "__main__":
  main(*sys.argv[1:])
