"""A sweep as an array job, with a Slurm that is made up."""

import collections
import importlib
import multiprocessing
import os
import pathlib
import signal
import time
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def modules(monkeypatch):
  """The modules, which programs of `launch/` find beside them."""
  monkeypatch.syspath_prepend(str(ROOT / "launch"))
  names = ("executors", "slurm", "array_job")
  found = [importlib.import_module(name) for name in names]
  return types.SimpleNamespace(**dict(zip(names, found, strict=True)))


class Job:
  """A job whose end is known beforehand."""

  def __init__(self, folder, job_id, end):
    self.job_id, self._end = job_id, end
    self.paths = types.SimpleNamespace(
      stdout=folder / f"{job_id}.out", result_pickle=folder / f"{job_id}.pkl"
    )
    if end is not None:
      self.paths.result_pickle.touch()

  def result(self):
    if isinstance(self._end, Exception):
      raise self._end
    return self._end


@pytest.fixture
def sweep(modules, monkeypatch, tmp_path):
  """Runs studies through jobs that end as told; gives what was submitted."""
  submitted, waited = [], []
  clock = types.SimpleNamespace(
    monotonic=lambda: sum(waited), sleep=waited.append
  )
  monkeypatch.setattr(modules.array_job, "time", clock)

  def run(ends, retries=1, states=lambda: {}, under_way=None):
    ends = {name: collections.deque(own) for name, own in ends.items()}
    studies = []
    for name in ends:
      study = modules.executors.Study({}, tmp_path / name, "")
      study.log.write_text("error: what was said\n")
      studies.append(study)

    def submit(_, own):
      if "refused" in [ends[study.folder.name][0] for study in own]:
        raise RuntimeError("Slurm did not take the job: sbatch: no account")
      jobs = {}
      for study in own:
        name = study.folder.name
        number = f"{len(submitted)}_{name}"
        jobs[name] = Job(tmp_path, number, ends[name].popleft())
      if jobs:
        submitted.append(list(jobs))
      return jobs

    slurm = modules.slurm
    monkeypatch.setattr(slurm, "submit", submit)
    monkeypatch.setattr(slurm, "states", states)
    monkeypatch.setattr(slurm, "recall", lambda _: under_way or {})
    cluster = slurm.Cluster(tmp_path, {})
    return modules.array_job.run(cluster, studies, retries)

  run.submitted, run.waited = submitted, waited
  return run


def test_all_runs_are_one_submission(sweep):
  assert sweep({"a": [0], "b": [0], "c": [0]}) == set()
  assert sweep.submitted == [["a", "b", "c"]]


def test_what_failed_runs_again_as_often_as_asked(sweep, capsys):
  assert sweep({"a": [1, -9, 0], "b": [0], "c": [1, 1, 1]}, retries=2) == {"c"}
  assert sweep.submitted == [["a", "b", "c"], ["a", "c"], ["a", "c"]]
  said = capsys.readouterr().err.splitlines()
  assert "error: a: ended by SIGKILL" in said
  assert said[0].startswith("error: a: what was said (all of it: ")


def test_a_run_that_said_what_to_change_is_not_run_again(sweep):
  assert sweep({"a": [2], "b": [1, 0]}) == {"a"}
  assert sweep.submitted == [["a", "b"], ["b"]]


def test_slurm_that_refuses_a_second_time_is_one_line_and_loses_no_other(
  sweep, capsys
):
  # It took the jobs first; the account has been closed since.
  assert sweep({"a": [1, "refused"], "b": [0], "c": [0]}, retries=3) == {"a"}
  assert sweep.submitted == [["a", "b", "c"]]
  *_, last = capsys.readouterr().err.splitlines()
  assert last == "error: Slurm did not take the job: sbatch: no account"
  assert sum(sweep.waited) < 100


def test_a_job_that_dies_without_a_result_runs_again(sweep, capsys):
  assert (
    sweep({"a": [None, 0]}, states=lambda: {"0_a": "OUT_OF_MEMORY"}) == set()
  )
  assert "error: a: ended by Slurm, OUT_OF_MEMORY (see " in (
    capsys.readouterr().err
  )
  assert sum(sweep.waited) < 100


def test_a_job_that_is_gone_ends_the_wait(sweep, capsys):
  assert sweep({"a": [None]}, retries=0) == {"a"}
  assert "ended by Slurm, not known to Slurm" in capsys.readouterr().err


def test_a_job_that_waits_or_is_requeued_is_waited_for(sweep, capsys):
  told = iter(
    ["RUNNING"] + 5 * ["PREEMPTED"] + 40 * ["PENDING (Priority)"] + ["FAILED"]
  )
  last = ["RUNNING"]

  def states():
    last[0] = next(told, last[0])
    return {"0_a": last[0]}

  assert sweep({"a": [None]}, retries=0, states=states) == {"a"}
  out, err = capsys.readouterr()
  assert out.splitlines() == [
    "a: PREEMPTED",
    "a: PENDING (Priority)",
    "a: FAILED",
  ]
  assert "ended by Slurm, FAILED" in err
  assert max(sweep.waited) == 30


def test_a_fault_of_the_job_itself_is_one_line(sweep, capsys):
  trace = 'trace:\n  File "x"\npickle.UnpicklingError: bad\n----\nsee logs'
  assert sweep({"a": [RuntimeError(trace)]}, retries=0) == {"a"}
  assert capsys.readouterr().err.startswith("error: a: bad (see ")


def test_a_slurm_that_falls_silent_ends_the_wait(sweep, capsys):
  answers = iter([{}, {"0_a": "RUNNING"}])

  def states():
    for answer in answers:
      return answer
    raise RuntimeError("Slurm does not answer: no route")

  with pytest.raises(SystemExit) as stopped:
    sweep({"a": [None]}, states=states)
  assert stopped.value.code == 2
  assert capsys.readouterr().err == (
    "error: Slurm does not answer: no route; jobs go on, the same command waits"
    " for them\n"
  )
  assert 600 < sum(sweep.waited) < 700


def test_a_job_that_is_under_way_is_not_submitted_again(
  sweep, capsys, tmp_path
):
  there = {"a": Job(tmp_path, "7_0", 0), "b": Job(tmp_path, "7_1", 0)}
  states = {"7_0": "RUNNING", "7_1": "FAILED"}
  assert (
    sweep({"a": [], "b": [0]}, under_way=there, states=lambda: states) == set()
  )
  assert sweep.submitted == [["b"]]
  assert "== a: under way as job 7_0" in capsys.readouterr().out


# --- What a node runs.


@pytest.fixture
def task(modules, monkeypatch, tmp_path):
  """A task whose study sleeps."""
  monkeypatch.setattr(
    modules.executors,
    "prepare",
    lambda *_: multiprocessing.get_context("spawn").Process(
      target=time.sleep, args=(60,)
    ),
  )
  study = modules.executors.Study({"seed": 1}, tmp_path / "a", "typed")
  return modules.slurm.Task(study)


def test_a_task_that_is_preempted_stops_its_study_and_is_sent_again(task):
  class Requeued(Exception):
    pass

  def answer(*_):
    sent.append(task.checkpoint())
    raise Requeued  # as the process is ended when Slurm has been asked

  sent = []
  before = signal.signal(signal.SIGALRM, answer)
  try:
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    start = time.monotonic()
    with pytest.raises(Requeued):
      task()
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
  assert time.monotonic() - start < 10
  assert sent[0].function.study == task.study
  assert not multiprocessing.active_children()


@pytest.mark.parametrize(
  "status, waits",
  [(0, False), (2, False), (75, True), (-signal.SIGTERM, True)],
)
def test_a_task_whose_study_was_told_to_stop_waits_for_slurm(
  modules, task, monkeypatch, status, waits
):
  study = types.SimpleNamespace(
    start=lambda: None, join=lambda: None, exitcode=status
  )
  slept = []
  clock = types.SimpleNamespace(sleep=slept.append)
  monkeypatch.setattr(modules.executors, "prepare", lambda *_: study)
  monkeypatch.setattr(modules.slurm, "time", clock)
  assert task() == status
  assert bool(slept) == waits


# --- What keeps a sweep from being submitted.


QUIET = {"sbatch": "exit 0", "squeue": "exit 0", "srun": "exit 0"}


def _program(path, text):
  path.write_text(f"#!/bin/sh\n{text}\n")
  path.chmod(0o755)


@pytest.fixture
def refused(launch, tmp_path):
  """Starts a sweep where there are only the given commands."""
  config = tmp_path / "one.py"
  config.write_text(
    "from configs import default\n\n\ndef get_config():\n"
    "  c = default.get_config()\n  c.sweep = {'a': {'seed': 1}}\n  return c\n"
  )
  commands = tmp_path / "bin"
  commands.mkdir()

  def run(*flags, workdir=tmp_path / "w", commands_are=(), **variables):
    for name, text in dict(commands_are).items():
      _program(commands / name, text)
    given = (f"--config={config}", f"--workdir={workdir}", "--executor=slurm")
    variables["PATH"] = str(commands)
    done = launch("sweep", *given, *flags, check=False, **variables)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "==" not in done.stdout
    return done.stderr

  return run


def test_submitit_that_is_missing_is_one_line(refused, tmp_path):
  hidden = tmp_path / "hidden"
  hidden.mkdir()
  (hidden / "sitecustomize.py").write_text(
    "import sys\nsys.modules['submitit'] = None\n"
  )
  said = refused(commands_are=QUIET, PYTHONPATH=str(hidden))
  assert "pip install -e '.[cluster]'" in said


def test_a_machine_without_slurm_is_one_line(refused):
  assert "there is no sbatch on the PATH" in refused()


def test_a_folder_that_cannot_be_written_is_one_line(refused, tmp_path):
  (tmp_path / "file").touch()
  said = refused(workdir=tmp_path / "file" / "w", commands_are=QUIET)
  assert "cannot be written" in said and "--workdir=" in said


def test_slurm_that_refuses_is_one_line(refused):
  own = {**QUIET, "sbatch": "echo 'sbatch: error: no such account' >&2; exit 1"}
  said = refused(commands_are=own)
  assert said == (
    "error: Slurm did not take the job: sbatch: error: no such account\n"
  )


def test_a_controller_that_is_not_there_is_one_line(refused):
  own = {**QUIET, "squeue": "echo 'Unable to contact' >&2; exit 1"}
  assert "Slurm does not answer: Unable to contact" in refused(commands_are=own)


@pytest.mark.parametrize(
  "option, said",
  [
    ("array=0-5", "array=0-5 cannot be"),
    ("partition", "partition= cannot be"),
    ("time=2:00:00", "time=2:00:00 is no whole number of minutes"),
  ],
)
def test_an_option_that_cannot_be_is_one_line(refused, option, said):
  assert said in refused(f"--slurm={option}")


@pytest.fixture
def submitted(modules, tmp_path, monkeypatch):
  """Submits runs named a, b, ... to an sbatch that keeps the script."""
  script = tmp_path / "script.sh"
  for name, text in {
    **QUIET,
    "sbatch": f'cp "$1" {script}; echo Submitted batch job 7',
  }.items():
    _program(tmp_path / name, text)
  monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

  def submit(names, options=(), at_once=None):
    cluster = modules.slurm.open_cluster(
      tmp_path / "w" / "slurm", options, at_once
    )
    studies = [
      modules.executors.Study({"seed": 0}, tmp_path / "w" / name, "typed")
      for name in names
    ]
    jobs = modules.slurm.submit(cluster, studies)
    return cluster, jobs, script.read_text().splitlines()

  return submit


def test_options_reach_sbatch_under_their_own_names(submitted):
  options = ("partition=gpu", "time=90", "cpus-per-task=8", "mem=32G")
  _, _, lines = submitted("abc", options, at_once=2)
  for line in ("partition=gpu", "time=90", "mem=32G", "array=0-2%2", "requeue"):
    assert f"#SBATCH --{line}" in lines
  (srun,) = (line for line in lines if line.startswith("srun "))
  assert "--cpus-per-task=8" in srun  # which does not take it over
  assert f"export PYTHONPATH={ROOT / 'launch'}" in "\n".join(lines)


def test_jobs_are_found_again_by_name(modules, submitted):
  cluster, jobs, _ = submitted("ab")
  assert {n: job.job_id for n, job in jobs.items()} == {"a": "7_0", "b": "7_1"}
  submitted("c")
  found = {n: job.job_id for n, job in modules.slurm.recall(cluster).items()}
  assert found == {"a": "7_0", "b": "7_1", "c": "7"}


def test_jobs_that_nobody_would_find_again_are_cancelled(
  modules, submitted, tmp_path
):
  cancelled = tmp_path / "cancelled"
  _program(tmp_path / "scancel", f"echo $@ >> {cancelled}")
  (tmp_path / "w" / "slurm" / "jobs.tmp").mkdir(parents=True)  # cannot be
  with pytest.raises(RuntimeError, match="the jobs were cancelled"):
    submitted("ab")
  assert cancelled.read_text().split() == ["7_0", "7_1"]


def test_a_job_is_sent_its_study_and_may_be_requeued(modules, submitted):
  _, jobs, _ = submitted("ab")
  sent = jobs["b"].submission()
  assert sent.function.study.folder.name == "b"
  assert sent.function.study.config == {"seed": 0}
  assert callable(sent.function.checkpoint)
