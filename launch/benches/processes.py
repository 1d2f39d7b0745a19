"""A training in two processes of one core each, and in one with both.

The same step on the same batch, `train.loop.compile_step`, on one machine: what
two processes lose to one is the price of gradients that travel (gloo, over the
loopback) and of waiting for the slower.  Beside them, two processes with half
the batch each that send nothing.  All are started first, each held to its
cores, and take turns.
"""

import contextlib
import functools
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import measure
import numpy as np

_PROGRAM = pathlib.Path(__file__).parents[1] / "references" / "together.py"


class Work(NamedTuple):
  """What is trained.

  Attributes:
    what: for the row.
    network: as `references/together.py` names it.
    side: of the images, in pixels.
    size: samples of the whole batch.
    steps: in a turn.
  """

  what: str
  network: str
  side: int
  size: int
  steps: int


WORK = (
  Work("VGG-16 of a quarter of the width", "vgg16", 64, 64, 4),
  Work("ResNet-18", "resnet18", 64, 16, 3),
  Work("ResNet-18", "resnet18", 64, 64, 2),
)


def run(quick: bool) -> Iterator[measure.Part]:
  """Measure all networks, or with `quick` the small one for few rounds."""
  why, cores = "", []
  if not hasattr(os, "sched_setaffinity"):
    why = "this system holds no process to a core"
  elif len(cores := sorted(os.sched_getaffinity(0))[:2]) < 2:
    why = "two cores are needed"
  rounds = 3 if quick else 7
  for work in WORK[:1] if quick else WORK:
    rows = functools.partial(_rows, work, cores, rounds)
    if why:
      none = measure.skipped(work.what, "one process", why)
      rows = functools.partial(list, [none])
    yield measure.Part(f"{work.what}, {work.size} images a step", rows)


def _rows(work: Work, cores: Sequence[int], rounds: int) -> list[measure.Row]:
  """Train in turns; seconds of a step."""
  job = [f"127.0.0.1:{_free_port()}", "2"]
  with contextlib.ExitStack() as stack:
    alone = stack.enter_context(_started(work, cores, []))
    both = [
      stack.enter_context(_started(work, [core], [*job, str(number)]))
      for number, core in enumerate(cores)
    ]
    half = work._replace(size=work.size // 2)
    apart = [stack.enter_context(_started(half, [c], [])) for c in cores]
    sides = both, [alone], apart
    for side in sides:
      _turn(side, 2)  # compiles
    found = [[_turn(side, work.steps) for side in sides] for _ in range(rounds)]
  times = np.array(found) / work.steps
  what = (
    f"{work.what}, {work.side} px, batch {work.size}: a step in two processes"
    " of a core each"
  )
  return [
    measure.row(what, "one process with both cores", "s", times[:, [0, 1]]),
    measure.row(what, "two that send nothing", "s", times[:, [0, 2]]),
  ]


def _turn(side: Sequence[subprocess.Popen], steps: int) -> float:
  """Let the processes of one side train; the seconds of the slowest."""
  for process in side:
    assert process.stdin
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
  return max(_took(process) for process in side)


def _took(process: subprocess.Popen) -> float:
  """Read how long it trained; gloo says something as well."""
  assert process.stdout
  for line in process.stdout:
    if line.startswith("took "):
      return float(line.split()[1])
  raise RuntimeError("a process of the training ended, see what it said")


@contextlib.contextmanager
def _started(
  work: Work, cores: Sequence[int], job: Sequence[str]
) -> Iterator[subprocess.Popen]:
  """Start a process that is held to cores, before it counts them."""
  command = [work.network, str(work.side), str(work.size), *job]
  with subprocess.Popen(
    [sys.executable, str(_PROGRAM), *command],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    preexec_fn=lambda: os.sched_setaffinity(0, cores),
  ) as process:
    try:
      yield process
    finally:
      process.kill()


def _free_port() -> int:
  with socket.create_server(("127.0.0.1", 0)) as found:
    return found.getsockname()[1]
