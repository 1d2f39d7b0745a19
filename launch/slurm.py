"""Slurm through submitit: what a job does, submitting it, asking after it."""

import contextlib
import importlib.util
import io
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from multiprocessing import process
from typing import Any, NamedTuple

import executors
import program

_TIME_MIN = 240  # of one job; a study that takes longer is requeued
_TIMES_OUT = 30  # how often it may be
_SAVING_S = 60  # for a study that is told to stop
_ENDING_S = 120  # that Slurm takes to end a job whose study was told to stop
_ANSWER_S = 60  # that an answer may take
_MEMORY = "jobs.json"
UNKNOWN = "not known to Slurm"

# What a study that was stopped, and did not fail, ends with.
_STOPPED = {os.EX_TEMPFAIL, *(-n for n in (signal.SIGTERM, signal.SIGUSR2))}
_OVER = {
  "BOOT_FAIL",
  "CANCELLED",
  "COMPLETED",
  "DEADLINE",
  "FAILED",
  "NODE_FAIL",
  "OUT_OF_MEMORY",
  "PREEMPTED",
  "TIMEOUT",
  UNKNOWN,
}
# A run is one task, and submitit has to find what it wrote.
_RESERVED = ("array", "error", "nodes", "ntasks", "output", "signal")


class Cluster(NamedTuple):
  """How jobs are submitted."""

  folder: pathlib.Path  # of submitit's files, which all nodes see
  parameters: Mapping[str, Any]


class Task:
  """What a node runs: a study in a process of its own, which can be stopped."""

  def __init__(self, study: executors.Study):
    self.study = study
    self._process: process.BaseProcess | None = None

  def __call__(self) -> int:
    """Run the study and return its exit status."""
    self._process = executors.prepare(self.study, self.study.log)
    self._process.start()
    self._process.join()
    status = self._process.exitcode or 0
    if status in _STOPPED:
      # Slurm told all processes of the job, and is about to requeue or end it.
      time.sleep(_ENDING_S)
    return status

  def checkpoint(self) -> Any:
    """Stop the study; the job that follows goes on from what it has saved."""
    from submitit import helpers

    if self._process is not None:
      self._process.terminate()
      self._process.join(_SAVING_S)
      self._process.kill()
    return helpers.DelayedSubmission(Task(self.study))


def open_cluster(
  folder: pathlib.Path, options: Sequence[str], at_once: int | None
) -> Cluster:
  """Check that jobs can be submitted from here, or stop with one line.

  Args:
    folder: for submitit's files.
    options: of sbatch, as in "partition=gpu".
    at_once: most jobs that run at any time; None for no limit.
  """
  pairs = (option.partition("=") for option in options)
  given = {name: value for name, _, value in pairs}
  for name, value in given.items():
    if name in _RESERVED or not value:
      program.fail(
        f"--slurm: {name}={value} cannot be: a run is one task with files of"
        " its own; give options of sbatch, as in partition=gpu,time=240,gpus=1"
      )
  if not given.get("time", "1").isdigit():
    program.fail(f"--slurm: time={given['time']} is no whole number of minutes")
  if importlib.util.find_spec("submitit") is None:
    program.fail(
      "--executor=slurm needs submitit, which is not installed:"
      " pip install -e '.[cluster]'"
    )
  for command in ("sbatch", "squeue", "srun"):
    if shutil.which(command) is None:
      program.fail(
        f"--executor=slurm: there is no {command} on the PATH: start this where"
        " jobs are submitted, or leave --executor out"
      )
  executors.check_folder(folder)
  cpus = given.get("cpus-per-task")
  launch = shlex.quote(str(pathlib.Path(__file__).parent))
  return Cluster(
    folder,
    {
      "job_name": folder.absolute().parent.name,
      "time": int(given.pop("time", _TIME_MIN)),
      "array_parallelism": at_once or 1000,
      "setup": [f"export PYTHONPATH={launch}${{PYTHONPATH:+:$PYTHONPATH}}"],
      # srun does not take it over from the job.
      "srun_args": [f"--cpus-per-task={cpus}"] if cpus else [],
      "stderr_to_stdout": True,
      "additional_parameters": {"requeue": True, **given},
    },
  )


def submit(
  cluster: Cluster, studies: Sequence[executors.Study]
) -> dict[str, Any]:
  """Submit studies, several as one array job.

  Returns:
    The job of each, by name.

  Raises:
    RuntimeError: if Slurm refuses, or nobody could find the jobs again; the
      message is one line.
  """
  if not studies:
    return {}
  import submitit

  try:
    executor = submitit.SlurmExecutor(cluster.folder, _TIMES_OUT)
    executor.update_parameters(**cluster.parameters)
    with contextlib.redirect_stderr(io.StringIO()):  # it is in the error
      submitted = executor.submit_array([Task(study) for study in studies])
  except (RuntimeError, OSError) as error:
    said = " ".join(str(error).split())
    raise RuntimeError(f"Slurm did not take the job: {said}") from error
  jobs = {s.folder.name: job for s, job in zip(studies, submitted, strict=True)}
  for name, job in jobs.items():
    print(f"== {name}: job {job.job_id}", flush=True)
  # They outlive this process, so that the next one is to find them.
  memory = cluster.folder / _MEMORY
  fresh = memory.with_suffix(".tmp")
  try:
    numbers = json.loads(memory.read_text()) if memory.exists() else {}
    numbers |= {name: job.job_id for name, job in jobs.items()}
    fresh.write_text(json.dumps(numbers))
    fresh.replace(memory)
  except OSError as error:
    for job in submitted:
      job.cancel()
    raise RuntimeError(
      f"{memory} cannot be written ({error}); the jobs were cancelled, as the"
      " next start would submit them again"
    ) from error
  return jobs


def recall(cluster: Cluster) -> dict[str, Any]:
  """Find the jobs that were submitted before, by name."""
  import submitit

  memory = cluster.folder / _MEMORY
  numbers = json.loads(memory.read_text()) if memory.exists() else {}
  return {n: submitit.SlurmJob(cluster.folder, i) for n, i in numbers.items()}


def states() -> dict[str, str]:
  """Ask for the state of every job of ours, by its number.

  `squeue`, since `sacct` needs a database that small clusters do without.

  Raises:
    RuntimeError: if there is no answer; the message is one line.
  """
  command = ["squeue", "--me", "--array", "--noheader", "--states=all"]
  try:
    done = subprocess.run(
      [*command, "--format=%i %T %r"],
      capture_output=True,
      text=True,
      timeout=_ANSWER_S,
    )
  except subprocess.TimeoutExpired as error:
    raise RuntimeError(
      f"Slurm does not answer: squeue took more than {_ANSWER_S} s"
    ) from error
  if done.returncode:
    said = " ".join(done.stderr.split())
    raise RuntimeError(f"Slurm does not answer: {said}")
  found = {}
  for line in done.stdout.splitlines():
    number, state, reason = line.split(maxsplit=2)
    waits = state == "PENDING" and reason != "None"
    found[number] = f"{state} ({reason})" if waits else state
  return found


def goes_on(state: str) -> bool:
  """Tell whether a job of this state may still give a result."""
  return state not in _OVER


def result(job: Any) -> int | str:
  """Read how a job ended: the status of the study, or what went wrong."""
  try:
    return job.result()
  except RuntimeError as error:
    said = [line for line in str(error).splitlines() if "Error: " in line]
    text = said[-1].partition("Error: ")[2] if said else "a fault of the job"
    return f"{text} (see {job.paths.stdout})"
