"""Runs of a sweep as an array job: submit, wait, run again what failed."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import executors
import program
import slurm

_POLL_S = (1.0, 30.0)  # between two questions: at first, and at most
_LATE_S = 30  # that a result takes through a shared file system
_SILENT_S = 600  # that Slurm may leave questions unanswered


def run(
  cluster: slurm.Cluster, studies: Sequence[executors.Study], retries: int
) -> set[str]:
  """Submit what is not under way yet, and wait for all.

  Args:
    cluster: from `slurm.open_cluster`.
    studies: what is to run.
    retries: how often one that failed runs again.

  Returns:
    The names of those that failed.
  """
  by_name = {study.folder.name: study for study in studies}
  try:
    states = slurm.states() if studies else {}
    jobs = {
      name: job
      for name, job in slurm.recall(cluster).items()
      if name in by_name
      and slurm.goes_on(states.get(job.job_id, slurm.UNKNOWN))
    }
    for name, job in jobs.items():
      print(f"== {name}: under way as job {job.job_id}", flush=True)
    fresh = [study for name, study in by_name.items() if name not in jobs]
    jobs |= slurm.submit(cluster, fresh)
  except RuntimeError as error:
    program.fail(str(error))
  try:
    return _wait(cluster, by_name, jobs, retries)
  except KeyboardInterrupt:
    numbers = sorted({job.job_id.partition("_")[0] for job in jobs.values()})
    print(
      f"jobs that go on: {', '.join(numbers)}; the same command waits for them,"
      " scancel ends them",
      file=sys.stderr,
    )
    raise


def _wait(
  cluster: slurm.Cluster,
  by_name: Mapping[str, executors.Study],
  jobs: dict[str, Any],
  retries: int,
) -> set[str]:
  """Wait for jobs, which are taken out of `jobs` as they end."""
  failed: set[str] = set()
  left = dict.fromkeys(by_name, retries)
  shown: dict[str, str] = {}
  since: dict[str, float] = {}
  heard, pause = time.monotonic(), _POLL_S[0]
  while jobs:
    time.sleep(pause)
    pause = min(1.5 * pause, _POLL_S[1])
    try:
      states, heard = slurm.states(), time.monotonic()
    except RuntimeError as error:
      if time.monotonic() - heard < _SILENT_S:
        continue
      program.fail(f"{error}; jobs go on, the same command waits for them")
    again = []
    for name, job in list(jobs.items()):
      state = states.get(job.job_id, slurm.UNKNOWN)
      if shown.get(name) != state:
        print(f"{name}: {state}", flush=True)
        shown[name], pause = state, _POLL_S[0]
      status = _ended(job, state, since)
      if status is None:
        continue
      del jobs[name], shown[name]
      if status == 0:
        continue
      executors.say_why(by_name[name], status)
      # Status 2 has said what to change; the same again would end the same.
      if status != 2 and state != "CANCELLED" and left[name]:
        left[name] -= 1
        again.append(by_name[name])
      else:
        failed.add(name)
    try:
      jobs |= slurm.submit(cluster, again)
    except RuntimeError as error:
      print(f"error: {error}", file=sys.stderr, flush=True)
      failed |= {study.folder.name for study in again}
  return failed


def _ended(job: Any, state: str, since: dict[str, float]) -> int | str | None:
  """Tell how a job ended, None while that is not known.

  Args:
    job: which.
    state: of the job, as Slurm tells it.
    since: when each job was first seen to be over; added to.
  """
  if job.paths.result_pickle.exists():
    return slurm.result(job)
  if slurm.goes_on(state):
    since.pop(job.job_id, None)  # it was requeued
    return None
  now = time.monotonic()
  if now - since.setdefault(job.job_id, now) < _LATE_S:
    return None
  return f"ended by Slurm, {state} (see {job.paths.stdout})"
