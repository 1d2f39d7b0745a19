"""A sweep through a real Slurm: `make test-slurm`."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cluster import single_node

pytestmark = pytest.mark.slurm

_LIMIT_S = 300

# The first training is long enough to be stopped in its middle.
CONFIG = """
from tests.study import tiny


def get_config():
  c = tiny.signals()
  c.train.base.steps = 8000
  c.train.checkpoint_every = c.train.evaluate_every = 500
  c.sweep = {
    "first": {"seed": 0},
    "second": {"seed": 1},
    "third": {"seed": 2},
    "wrong": {"cut": "pool9"},
  }
  return c
"""


@pytest.fixture(scope="module")
def variables(environment):
  """The environment of programs that submit to the Slurm of these tests."""
  if reason := single_node.missing():
    pytest.skip(reason)
  with single_node.started() as own:
    yield environment | own


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with the configuration in it."""
  folder = tmp_path_factory.mktemp("place")
  (folder / "cuts.py").write_text(CONFIG)
  return folder


@pytest.fixture(scope="module")
def start(repository, variables, place):
  """Starts a sweep of some runs, and gives its process."""
  started = []

  def popen(*flags):
    command = [sys.executable, "launch/sweep.py"]
    command += [f"--config={place / 'cuts.py'}", f"--workdir={place / 'w'}"]
    process = subprocess.Popen(
      [*command, "--executor=slurm", *flags],
      cwd=repository,
      env=variables,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    started.append(process)
    return process

  yield popen
  for process in started:
    process.kill()  # one of a test that failed
    process.communicate()


def _until(holds, process):
  end = time.monotonic() + _LIMIT_S
  while not holds():
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < end, "nothing happened"
    time.sleep(0.05)


def _job(place, name):
  return json.loads((place / "w" / "slurm" / "jobs.json").read_text())[name]


def _steps(place, name):
  """The steps of which a checkpoint is there."""
  kept = place / "w" / name / "checkpoints" / "fold0" / "seed0" / "base"
  return {int(p.name) for p in kept.glob("*") if p.name.isdigit()}


@pytest.fixture(scope="module")
def preempted(start, variables, place):
  """A sweep of two runs, one of which was told to make room."""
  flags = ("--runs=first,second", "--slurm=time=30,cpus-per-task=1")
  sweep = start(*flags)
  _until(lambda: max(_steps(place, "first"), default=0) >= 1000, sweep)
  before, after = max(_steps(place, "first")), set()
  job = _job(place, "first")
  subprocess.run(["scancel", "--signal=USR2", job], env=variables, check=True)

  def trained():
    after.update(_steps(place, "first"))
    return (place / "w" / "first" / "trainings.json").exists()

  _until(trained, sweep)
  out, errors = sweep.communicate(timeout=_LIMIT_S)
  return flags, sweep.returncode, out, errors, before, after


def test_two_runs_are_one_array_and_are_compared(preempted, place):
  _, code, out, errors, *_ = preempted
  assert code == 0, errors
  numbers = [_job(place, name) for name in ("first", "second")]
  assert [number.partition("_")[2] for number in numbers] == ["0", "1"]
  assert len({number.partition("_")[0] for number in numbers}) == 1
  page = place / "w" / "report" / "index.html"
  assert out.splitlines()[-1] == str(page)
  assert "first" in page.read_text() and "second" in page.read_text()


def test_a_preempted_run_is_requeued_and_goes_on(preempted, place):
  *_, before, after = preempted
  log = place / "w" / "slurm" / f"{_job(place, 'first')}_0_log.out"
  said = log.read_text()
  assert "Caught signal SIGUSR2" in said and "Requeued job" in said
  own = (place / "w" / "first.log").read_text().splitlines()
  assert own.count("train ...") == 2
  assert 1000 <= before < 8000 and before <= min(after)
  other = (place / "w" / "second.log").read_text().splitlines()
  assert other.count("train ...") == 1


def test_a_run_makes_room_for_a_job_of_more_weight(start, variables, place):
  folder = place / "weight"
  options = f"--slurm=time=30,partition=low,cpus-per-task={os.cpu_count()}"
  sweep = start("--runs=first", options, f"--workdir={folder}")
  _until(lambda: (folder / "first" / "checkpoints").exists(), sweep)
  other = ["sbatch", "--partition=high", "--exclusive", "--wait"]
  other += ["--output=/dev/null", "--wrap=true"]
  subprocess.run(other, env=variables, check=True, timeout=_LIMIT_S)
  own = folder / "first.log"
  assert own.read_text().splitlines()[-1] == "train ..."
  _, errors = sweep.communicate(timeout=_LIMIT_S)
  assert sweep.returncode == 0 and not errors
  assert own.read_text().splitlines().count("train ...") == 2


def test_the_same_command_submits_nothing(preempted, start):
  flags, *_ = preempted
  out, errors = start(*flags).communicate(timeout=_LIMIT_S)
  assert out.count("report: done before") == 2 and "job" not in out
  assert not errors


def test_a_run_that_cannot_work_is_named(start, place):
  sweep = start("--runs=wrong", "--slurm=time=5")
  out, errors = sweep.communicate(timeout=_LIMIT_S)
  assert sweep.returncode == 1
  first, last = errors.splitlines()
  assert first.startswith("error: wrong: there is no stage 'pool9'")
  assert str(place / "w" / "wrong.log") in first
  assert last == "error: failed: wrong; the same command runs only these again"
  assert out.count("== wrong") == 1  # the same again would end the same


def test_jobs_outlive_the_command_and_are_found_again(start, place):
  flags = ("--runs=third", "--slurm=time=5")
  sweep = start(*flags)
  _until(lambda: (place / "w" / "third.log").exists(), sweep)
  job = _job(place, "third")
  sweep.send_signal(signal.SIGINT)
  _, errors = sweep.communicate(timeout=_LIMIT_S)
  assert sweep.returncode == 130
  assert errors.startswith(f"jobs that go on: {job}; the same command waits")
  again = start(*flags)
  out, errors = again.communicate(timeout=_LIMIT_S)
  assert again.returncode == 0, errors
  assert out.startswith(f"== third: under way as job {job}\n")
  assert _job(place, "third") == job


def test_a_job_that_is_cancelled_is_not_run_again(start, variables, place):
  flags = ("--runs=second", "--slurm=time=30")
  sweep = start(*flags, f"--workdir={place / 'other'}")
  _until(lambda: (place / "other" / "second.log").exists(), sweep)
  mine = ["scancel", "--me"]
  subprocess.run(mine, env=variables, check=True)
  out, errors = sweep.communicate(timeout=_LIMIT_S)
  assert sweep.returncode == 1
  assert "error: second: ended by Slurm, CANCELLED" in errors
  assert out.count("== second") == 1


def test_a_job_that_dies_runs_again(start, variables, place):
  folder = place / "dies"
  sweep = start("--runs=third", "--slurm=time=30", f"--workdir={folder}")
  _until(lambda: (folder / "third" / "checkpoints").exists(), sweep)
  numbers = json.loads((folder / "slurm" / "jobs.json").read_text())
  kill = ["scancel", "--signal=USR1", numbers["third"]]
  subprocess.run(kill, env=variables, check=True)
  out, errors = sweep.communicate(timeout=_LIMIT_S)
  assert sweep.returncode == 0, errors
  assert errors.startswith("error: third: ended by Slurm, FAILED (see ")
  assert errors.count("\n") == 1 and out.count("== third: job ") == 2


@pytest.mark.parametrize(
  "option, said",
  [
    ("partition=nope", "Invalid partition name"),
    ("colour=red", "unrecognized option '--colour=red'"),
    ("gres=gpu:9", "Invalid generic resource"),
  ],
)
def test_slurm_that_refuses_is_one_line(start, place, option, said):
  folder = place / f"refused-{option.partition('=')[0]}"
  sweep = start("--runs=third", f"--slurm={option}", f"--workdir={folder}")
  out, errors = sweep.communicate(timeout=_LIMIT_S)
  assert sweep.returncode == 2
  assert errors.startswith("error: Slurm did not take the job: ")
  assert said in errors and errors.count("\n") == 1 and not out


def test_a_controller_that_is_not_there_is_one_line(
  start, variables, place, tmp_path, monkeypatch
):
  conf = tmp_path / "slurm.conf"
  with open(variables["SLURM_CONF"]) as file:
    lines = file.read().splitlines()
  kept = [line for line in lines if not line.startswith("SlurmctldPort")]
  conf.write_text("\n".join([*kept, "SlurmctldPort=1"]) + "\n")
  monkeypatch.setitem(variables, "SLURM_CONF", str(conf))
  sweep = start("--runs=third", f"--workdir={place / 'silent'}")
  out, errors = sweep.communicate(timeout=100)
  assert sweep.returncode == 2
  assert errors.startswith("error: Slurm does not answer: ")
  assert errors.count("\n") == 1 and not out


def _lines(folder):
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_one_study_of_two_tasks_makes_room_and_goes_on(
  variables, repository, place
):
  folder = place / "together"
  log = place / "together.log"
  command = ["sbatch", "--parsable", "--nodes=1", "--ntasks-per-node=2"]
  command += ["--time=30", f"--output={log}", "docs/cluster/study.sbatch"]
  command += [f"--config={place / 'cuts.py'}", f"--workdir={folder}"]
  command += ["--config.train.base.steps=2000"]
  own = variables | {"PYTHON": sys.executable}
  done = subprocess.run(
    command, cwd=repository, env=own, check=True, capture_output=True, text=True
  )
  job = done.stdout.strip()

  def states():
    asked = ["squeue", "--noheader", f"--jobs={job}", "--format=%T"]
    return subprocess.run(
      asked, env=own, capture_output=True, text=True
    ).stdout.strip()

  def until(holds):
    end = time.monotonic() + _LIMIT_S
    while not holds():
      assert states(), log.read_text()
      assert time.monotonic() < end, log.read_text()
      time.sleep(0.1)

  kept = folder / "checkpoints" / "fold0" / "seed0" / "base"

  def reached():
    steps = [int(p.name) for p in kept.glob("*") if p.name.isdigit()]
    return max(steps, default=0)

  until(lambda: reached() >= 500)
  subprocess.run(["scancel", "--signal=USR2", job], env=own, check=True)
  until(lambda: (folder / "report" / "index.html").exists())
  said = log.read_text()
  assert said.count("stopped by SIGUSR2") == 2, said  # by each task
  assert said.count("train ...") >= 2
  # Nothing is trained twice, and nothing is left out.
  base = [line["step"] for line in _lines(folder) if "base" in line["run"]]
  assert base == sorted(set(base)) and base[-1] == 2000
