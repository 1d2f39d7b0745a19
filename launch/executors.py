"""Runs of a sweep on this machine: a process each, one or several at once."""

import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing import connection, process
from typing import Any, NamedTuple

import program
from absl import flags, logging

# Of the memory of a device that several runs share; JAX takes as much of one
# that it has for itself.
_MEMORY = 0.75


class Study(NamedTuple):
  """A study as plain values, which another process or machine can be sent."""

  config: Mapping[str, Any]
  folder: pathlib.Path
  command: str
  anew: bool = False

  @property
  def log(self) -> pathlib.Path:
    """Return the file of what it says where it is not shown."""
    return self.folder.with_name(f"{self.folder.name}.log")


def prepare(
  study: Study,
  log: pathlib.Path | None = None,
  variables: Mapping[str, str] | None = None,
) -> process.BaseProcess:
  """Make the process of a study, which may die alone; start it yourself.

  Args:
    study: what to run.
    log: file that what it says is added to; None shows it.
    variables: of its environment, over those that are set.
  """
  return multiprocessing.get_context("spawn").Process(
    target=_run, args=(study, log, dict(variables or {}))
  )


def _run(
  study: Study, log: pathlib.Path | None, variables: dict[str, str]
) -> None:
  """Run a study here."""
  os.environ.update(variables)
  if log:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
      for stream in (sys.stdout, sys.stderr):
        os.dup2(file.fileno(), stream.fileno())
  from hybridpriv import study as study_lib  # JAX: after the environment is set
  from hybridpriv.train import preemption

  flags.FLAGS(sys.argv[:1])
  flags.FLAGS.verbosity = logging.WARNING
  config, folder, command, anew = study

  def body(_: list[str]) -> None:
    with preemption.at_once():
      study_lib.run(config, folder, command=command, anew=anew)

  program.guarded(body, [])


def check_folder(folder: pathlib.Path) -> None:
  """Make a folder, or stop with one line where it cannot be written."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
  except OSError as error:
    program.fail(
      f"{folder} cannot be written ({error.strerror}): name a folder that can"
      " be written from wherever the runs are, --workdir=..."
    )


def slots(at_once: int | None) -> list[dict[str, str]]:
  """Divide the devices of this machine among runs that go on at once.

  Args:
    at_once: number of runs; None for one on every accelerator, or one in all.

  Returns:
    For each of them, the variables that show it its own accelerator.
  """
  devices = _accelerators()
  count = at_once or max(1, len(devices))
  if not devices:
    return [{}] * count
  shared: dict[str, str] = {}
  names = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
  if count > len(devices) and not any(name in os.environ for name in names):
    sharing = -(-count // len(devices))
    shared = {names[0]: f"{_MEMORY / sharing:.3f}"}
  return [
    {"CUDA_VISIBLE_DEVICES": devices[i % len(devices)], **shared}
    for i in range(count)
  ]


def _accelerators() -> list[str]:
  """Name the NVIDIA devices without taking one, as importing JAX might."""
  if os.environ.get("JAX_PLATFORMS") == "cpu":
    return []
  given = os.environ.get("CUDA_VISIBLE_DEVICES")
  if given is not None:
    return [name for name in given.split(",") if name not in ("", "-1")]
  if shutil.which("nvidia-smi") is None:
    return []
  done = subprocess.run(
    ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60
  )
  lines = done.stdout.splitlines() if done.returncode == 0 else []
  found = [line for line in lines if line.startswith("GPU ")]
  return [str(i) for i in range(len(found))]


def run(
  studies: Sequence[Study],
  places: Sequence[Mapping[str, str]],
  *,
  logged: bool = False,
) -> set[str]:
  """Run studies, at most one in a place at any time.

  Args:
    studies: what to run, in order.
    places: for each, variables of the environment.
    logged: whether what they say goes into the log of each.

  Returns:
    The names of those that failed.
  """
  failed, waiting, free = set(), list(studies), list(places)
  going: dict[process.BaseProcess, tuple[Study, Mapping[str, str], float]] = {}

  def stop(number: int, _: Any) -> None:
    for one in going:
      one.terminate()  # or it would go on alone
    sys.exit(128 + number)

  signal.signal(signal.SIGTERM, stop)
  try:
    while waiting or going:
      while waiting and free:
        study, place = waiting.pop(0), free.pop(0)
        print(f"== {study.folder.name}", flush=True)
        one = prepare(study, study.log if logged else None, place)
        one.start()
        going[one] = study, place, time.monotonic()
      connection.wait([one.sentinel for one in going])
      for one in [one for one in going if not one.is_alive()]:
        study, place, start = going.pop(one)
        free.append(place)
        status = one.exitcode or 0
        if status == 128 + signal.SIGINT:
          for other in going:
            other.terminate()
          raise KeyboardInterrupt
        if status:
          failed.add(study.folder.name)
        if status < 0 or (status and logged):
          say_why(study, status)
        elif logged:
          seconds = time.monotonic() - start
          print(f"{study.folder.name}: done in {seconds:.0f} s", flush=True)
  except KeyboardInterrupt:
    for one in going:
      one.join()  # it was told as well
    raise
  return failed


def say_why(study: Study, status: int | str) -> None:
  """Print one line on a run that failed.

  Args:
    study: which.
    status: its exit status, or what went wrong, in words.
  """
  text = str(status)
  if isinstance(status, int) and status < 0:
    text = f"ended by {signal.Signals(-status).name}"
  elif isinstance(status, int):
    there = study.log.exists()
    said = study.log.read_text(errors="replace") if there else ""
    last = said.rstrip().rpartition("\n")[2].removeprefix("error: ")
    text = f"{last or f'exit status {status}'} (all of it: {study.log})"
  print(f"error: {study.folder.name}: {text}", file=sys.stderr, flush=True)
