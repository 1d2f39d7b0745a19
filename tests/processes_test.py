"""Several processes, and other numbers of devices, train what one trains."""

import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

# Stages stored and read again, noise between the halves; of plain SGD, as Adam
# makes a difference of rounding a large one.
CONFIG = """
from tests.study import tiny


def get_config():
  c = tiny.signals()
  c.train.batch_size = 16
  c.train.base.steps = 24
  c.train.base.optimizer.name = "sgd"
  c.train.finetune.steps = 4
  c.train.finetune.start = "inner"
  c.train.finetune.optimizer.name = "sgd"
  c.train.privatizer = "noise sigma=0.5"
  c.train.log_every = 1
  c.train.checkpoint_every = 8
  c.train.evaluate_every = 12
  return c
"""
BASE = "checkpoints/fold0/seed0/base"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp("configs") / "together.py"
  path.write_text(CONFIG)
  return f"--config={path}"


@pytest.fixture(scope="module")
def start(repository, environment):
  """Starts a command with a number of devices, without waiting for it."""

  def run(command, devices=1, **variables):
    count = f" --xla_force_host_platform_device_count={devices}"
    variables["XLA_FLAGS"] = environment["XLA_FLAGS"] + count
    return subprocess.Popen(
      command,
      cwd=repository,
      env=environment | variables,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  return run


def _job():
  """Gives the flags of both processes of a job."""
  flags = (f"--coordinator=127.0.0.1:{_free()}", "--num_processes=2")
  return [(*flags, f"--process_id={i}") for i in range(2)]


def _free(port=0):
  """Finds a port that nobody has; port 0 asks for any."""
  with socket.socket() as own:
    own.bind(("127.0.0.1", port))
    return own.getsockname()[1]


def _step(tasks):
  """Gives the variables of each process that Slurm starts in one step.

  The job has more tasks than the step.  JAX derives the port from its number.
  """
  while True:
    job = random.randrange(4096)
    with contextlib.suppress(OSError):
      _free(2**16 - 2**12 + job)
      break
  shared = {
    "SLURM_JOB_ID": str(job),
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_STEP_NUM_TASKS": str(tasks),
  }
  return [
    shared | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)}
    for i in range(tasks)
  ]


def _ends(*processes):
  """Waits for processes: (status, stdout, stderr) of each."""
  try:
    said = [process.communicate(timeout=120) for process in processes]
  finally:
    for process in processes:
      process.kill()
  return [(p.returncode, *s) for p, s in zip(processes, said, strict=True)]


def _plain(program, *flags):
  return [sys.executable, f"launch/{program}.py", *map(str, flags)]


def _losses(workdir):
  """Reads the loss of every step of every run; each is there once."""
  text = (workdir / "metrics.jsonl").read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  found = {(line["run"], line["step"]): line["train/loss"] for line in lines}
  assert len(found) == len(lines)
  return found


def _assert_same_curve(workdir, other):
  found, expected = _losses(workdir), _losses(other)
  assert found.keys() == expected.keys() and len(found) == 24 + 4
  values = [[curve[key] for key in expected] for curve in (found, expected)]
  np.testing.assert_allclose(*values, rtol=1e-4)


def _saved(workdir):
  """Reads the step of the newest checkpoint of the base training."""
  steps = [int(p.name) for p in (workdir / BASE).iterdir() if p.name.isdigit()]
  return max(steps)


@pytest.fixture(scope="module")
def alone(start, file, tmp_path_factory):
  """The workdir of a training on one device, alone in its Slurm step."""
  workdir = tmp_path_factory.mktemp("alone")
  command = _plain("train", file, f"--workdir={workdir}")
  ((code, _, errors),) = _ends(start(command, **_step(1)[0]))
  assert code == 0, errors
  return workdir


@pytest.fixture(scope="module")
def killed(start, file, stopping, tmp_path_factory):
  """The workdir of two processes of which one is killed, and their ends."""
  workdir = tmp_path_factory.mktemp("killed")
  first, second = _job()
  began = time.monotonic()
  ends = _ends(
    start(_plain("audit", file, f"--workdir={workdir}", *first)),
    start(
      stopping(workdir, f"{BASE}/8", signal.SIGKILL, "audit", file, *second)
    ),
  )
  return workdir, ends, time.monotonic() - began, _saved(workdir)


def test_a_worker_that_dies_is_one_line_and_loses_nothing_finished(killed):
  _, (first, second), seconds, saved = killed
  assert second[0] == -signal.SIGKILL
  code, _, errors = first
  assert code == 2, errors
  (line,) = [x for x in errors.splitlines() if x.startswith("error: ")]
  assert "another process of this job is gone" in line
  assert "Traceback" not in errors
  assert seconds < 60 and 8 <= saved < 24


def test_a_coordinator_that_dies_ends_the_others_and_loses_nothing_finished(
  start, file, stopping, tmp_path, alone
):
  first, second = _job()
  began = time.monotonic()
  (code, *_), (other, _, errors) = _ends(
    start(
      stopping(tmp_path, f"{BASE}/8", signal.SIGKILL, "train", file, *first)
    ),
    start(_plain("train", file, f"--workdir={tmp_path}", *second)),
  )
  assert time.monotonic() - began < 60
  assert code == -signal.SIGKILL
  # JAX's own thread, which hears of it as well, ends the process where it is
  # sooner; both say that it is another one.
  assert other in (2, -signal.SIGABRT), errors
  gone = "another process of this job is gone", "another task died"
  assert any(text in errors for text in gone) and "Traceback" not in errors
  assert 8 <= _saved(tmp_path) < 24
  ((code, _, errors),) = _ends(
    start(_plain("train", file, f"--workdir={tmp_path}"))
  )
  assert code == 0, errors
  _assert_same_curve(tmp_path, alone)


@pytest.fixture(scope="module")
def together(killed, start, file):
  """The same workdir after a second start, and the ends of that.

  What follows the training is there already: it belongs to other tests.
  """
  workdir = killed[0]
  (workdir / "audit").mkdir()
  (workdir / "audit" / "results.json").write_text('{"controls": []}')
  commands = [_plain("audit", file, f"--workdir={workdir}", *j) for j in _job()]
  return workdir, _ends(*map(start, commands))


def test_two_processes_train_what_one_device_trains(together, alone):
  workdir, ends = together
  assert [code for code, *_ in ends] == [0, 0], ends
  _assert_same_curve(workdir, alone)
  for name in ("partition.json", "trainings.json"):
    assert (workdir / name).exists()


def test_one_process_goes_on_alone_and_the_other_says_nothing(together):
  workdir, ((_, said, _), (_, other, _)) = together
  results = str(workdir / "audit" / "results.json")
  lines = said.splitlines()
  assert lines[-2:] == [f"audit: done before, see {results}", results]
  assert lines[0] == "train ..." and lines[-3].startswith("train: done in")
  assert not [x for x in other.splitlines() if not x.startswith("[Gloo]")]


@pytest.fixture(scope="module")
def stopped(start, file, stopping, tmp_path_factory):
  """The workdir of a Slurm step of two tasks, of which one is told to stop."""
  workdir = tmp_path_factory.mktemp("stopped")
  first, second = _step(2)
  told = stopping(workdir, f"{BASE}/8", signal.SIGUSR2, "train", file)
  ends = _ends(
    start(_plain("train", file, f"--workdir={workdir}"), **first),
    start(told, **second),
  )
  return workdir, ends, _saved(workdir)


def test_a_signal_to_one_process_stops_all_at_one_step_and_saves(stopped):
  _, ends, saved = stopped
  assert [code for code, *_ in ends] == [75, 75], ends
  assert 8 < saved < 24
  for (_, _, errors), name in zip(
    ends, ("a signal to another process", "SIGUSR2"), strict=True
  ):
    assert errors.splitlines()[-1] == (
      f"stopped by {name}; saved fold0/seed0/base at step {saved}; the same"
      " command goes on from here"
    )


def test_one_process_with_eight_devices_goes_on_where_two_stopped(
  stopped, start, file, alone
):
  workdir, _, _ = stopped
  command = _plain("train", file, f"--workdir={workdir}")
  ((code, _, errors),) = _ends(start(command, devices=8))
  assert code == 0, errors
  _assert_same_curve(workdir, alone)
  machine = json.loads((workdir / "config.json").read_text())["machine"]
  assert len(machine["devices"]) == 2  # of the job that began it


def test_a_coordinator_of_no_known_host_is_one_line_within_the_bound(
  start, file, tmp_path
):
  flags = (
    "--coordinator=nowhere.invalid:8476",
    "--num_processes=2",
    "--process_id=1",
    "--join_timeout_s=2",
    f"--workdir={tmp_path}",
  )
  began = time.monotonic()
  ((code, said, errors),) = _ends(start(_plain("train", file, *flags)))
  assert time.monotonic() - began < 30
  assert code == 2 and not said and errors.count("\n") == 1
  assert errors.startswith("error: process 0 (nowhere.invalid:8476) did not")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("process", [0, 1])
def test_others_that_are_not_there_are_one_line_within_the_bound(
  start, file, tmp_path, process
):
  flags = (*_job()[process], "--join_timeout_s=2", f"--workdir={tmp_path}")
  began = time.monotonic()
  ((code, said, errors),) = _ends(start(_plain("train", file, *flags)))
  assert time.monotonic() - began < 30
  assert code == 2 and not said
  assert errors.startswith("error: ") and errors.count("\n") == 1
  assert "did not answer within 2 s" in errors
  assert ("process 0 (127.0.0.1" in errors) == bool(process)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "flags, message",
  [
    ("--num_processes=2", "go with --coordinator=host:port"),
    ("--coordinator=here", "--coordinator is 'here': give host:port"),
    ("--coordinator=a:1 --num_processes=2", "--process_id is None"),
    ("--coordinator=a:1 --num_processes=2 --process_id=2", "from 0"),
  ],
)
def test_flags_that_name_no_job_are_one_line(launch, file, flags, message):
  flags = (file, "--workdir=w", *flags.split(" "))
  done = launch("train", *flags, check=False)
  assert done.returncode == 2 and done.stderr.count("\n") == 1
  assert message in done.stderr
