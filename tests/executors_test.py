"""Where the runs of a sweep are run: on this machine, several at once."""

import importlib
import multiprocessing
import os
import pathlib
import signal
import time

import pytest
from absl.testing import flagsaver

from hybridpriv import study
from hybridpriv.study import workdir

ROOT = pathlib.Path(__file__).resolve().parents[1]

CONFIG = """
from configs import default
from tests.study import tiny


def get_config():
  c = tiny.signals()
  c.sweep = default.in_order(
    {"near": {"cut": "pool8"}, "far": {"cut": "pool9"}}
  )
  return c
"""


@pytest.fixture
def executors(monkeypatch):
  """The module, which programs of `launch/` find beside them."""
  monkeypatch.syspath_prepend(str(ROOT / "launch"))
  return importlib.import_module("executors")


def _program(folder, name, text):
  path = folder / name
  path.write_text(f"#!/bin/sh\n{text}\n")
  path.chmod(0o755)


@pytest.fixture
def machine(monkeypatch, tmp_path):
  """Makes a machine with accelerators, as far as one can see."""
  for name in (
    "CUDA_VISIBLE_DEVICES",
    "JAX_PLATFORMS",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
  ):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv("PATH", str(tmp_path))

  def make(*lines):
    said = "\n".join(lines)
    _program(tmp_path, "nvidia-smi", f"echo '{said}'")

  return make


def test_without_an_accelerator_runs_go_one_at_a_time(executors, machine):
  assert executors.slots(None) == [{}]
  assert executors.slots(3) == [{}] * 3


def test_each_run_sees_an_accelerator_of_its_own(executors, machine):
  machine("GPU 0: A (UUID: GPU-a)", "GPU 1: A (UUID: GPU-b)", "  MIG 1g: (U)")
  each = [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
  assert executors.slots(None) == each
  assert executors.slots(1) == each[:1]


def test_runs_that_share_an_accelerator_share_its_memory(
  executors, machine, monkeypatch
):
  machine("GPU 0: A (UUID: GPU-a)", "GPU 1: A (UUID: GPU-b)")
  found = executors.slots(4)
  assert [s["CUDA_VISIBLE_DEVICES"] for s in found] == ["0", "1", "0", "1"]
  assert {s["XLA_CLIENT_MEM_FRACTION"] for s in found} == {"0.375"}
  monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.2")
  assert all(len(variables) == 1 for variables in executors.slots(4))


@pytest.mark.parametrize(
  "name, value, count",
  [
    ("CUDA_VISIBLE_DEVICES", "3,GPU-b", 2),
    ("CUDA_VISIBLE_DEVICES", "", 0),
    ("CUDA_VISIBLE_DEVICES", "-1", 0),
    ("JAX_PLATFORMS", "cpu", 0),
  ],
)
def test_only_what_may_be_used_is_divided(
  executors, machine, monkeypatch, name, value, count
):
  machine("GPU 0: A (UUID: GPU-a)")
  monkeypatch.setenv(name, value)
  found = executors.slots(None)
  shown = [s["CUDA_VISIBLE_DEVICES"] for s in found if s]
  assert shown == (value.split(",") if count else [])


def test_runs_at_once_each_have_a_log_and_are_named(launch, tmp_path):
  config = tmp_path / "two.py"
  config.write_text(CONFIG)
  folder = tmp_path / "w"
  flags = (f"--config={config}", f"--workdir={folder}")
  done = launch("sweep", *flags, "--executor=local", "--at_once=2", check=False)
  assert done.returncode == 1
  assert done.stdout.splitlines() == ["== near", "== far"]
  *each, last = done.stderr.splitlines()
  assert last.startswith("error: failed: near, far; the same command runs only")
  for name, stage in (("near", "pool8"), ("far", "pool9")):
    log = folder / f"{name}.log"
    said = log.read_text().splitlines()[-1].removeprefix("error: ")
    assert said.startswith(f"there is no stage '{stage}'")
    assert f"error: {name}: {said} (all of it: {log})" in each


def test_a_folder_that_cannot_be_written_is_one_line(launch, tmp_path):
  config = tmp_path / "two.py"
  config.write_text(CONFIG)
  config_and_folder = (f"--config={config}", f"--workdir={config / 'w'}")
  done = launch("sweep", *config_and_folder, "--executor=local", check=False)
  assert done.returncode == 2 and not done.stdout
  assert "cannot be written (Not a directory)" in done.stderr
  assert done.stderr.count("\n") == 1


def test_a_run_without_a_log_is_named_all_the_same(executors, tmp_path, capsys):
  executors.say_why(executors.Study({}, tmp_path / "a", ""), 3)
  assert capsys.readouterr().err.startswith("error: a: exit status 3 (all of")


@pytest.fixture
def start(executors, monkeypatch, tmp_path):
  """Runs studies that only end: with a status, or when they are stopped."""
  begun = []

  def prepare(study, log, variables):
    begun.append((study.folder.name, variables))
    study.log.write_text("error: what was said\n")
    spawn = multiprocessing.get_context("spawn")
    status = study.config["status"]
    if status is None:
      return spawn.Process(target=time.sleep, args=(60,))
    return spawn.Process(target=os._exit, args=(status,))

  monkeypatch.setattr(executors, "prepare", prepare)

  def run(statuses, places):
    studies = [
      executors.Study({"status": status}, tmp_path / name, "")
      for name, status in statuses.items()
    ]
    before = signal.getsignal(signal.SIGTERM)
    try:
      return executors.run(studies, places, logged=True), begun
    finally:
      signal.signal(signal.SIGTERM, before)

  return run


def test_a_place_is_taken_again_when_a_run_has_ended(start, capsys):
  places = [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
  failed, begun = start({"a": 0, "b": 1, "c": 0}, places)
  assert failed == {"b"}
  assert [name for name, _ in begun] == ["a", "b", "c"]
  assert [where for _, where in begun[:2]] == places
  assert begun[2][1] in places
  out, err = capsys.readouterr()
  assert "a: done in 0 s" in out and "c: done in 0 s" in out
  assert err.startswith("error: b: what was said (all of it: ")


def test_a_signal_to_stop_stops_all_that_go_on(start):
  def answer(*_):
    os.kill(os.getpid(), signal.SIGTERM)

  before = signal.signal(signal.SIGALRM, answer)
  try:
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    with pytest.raises(SystemExit) as stopped:
      start({"a": None, "b": None, "c": None}, [{}, {}])
  finally:
    signal.signal(signal.SIGALRM, before)
  assert stopped.value.code == 128 + signal.SIGTERM
  for process in multiprocessing.active_children():
    process.join(10)
  assert not multiprocessing.active_children()


def test_a_run_that_is_told_to_stop_has_a_status_of_its_own(
  executors, monkeypatch, tmp_path, capsys
):
  def told(*_, **__):
    signal.raise_signal(signal.SIGTERM)

  ends = []
  monkeypatch.setattr(study, "run", told)
  monkeypatch.setattr(executors.program, "end", ends.append)
  with flagsaver.flagsaver():
    executors._run(executors.Study({}, tmp_path / "a", "typed"), None, {})
  assert ends == [75]
  said = "stopped by SIGTERM; the same command goes on from here\n"
  assert capsys.readouterr().err == said


@pytest.mark.parametrize(
  "flag, needed",
  [
    ("--at_once=2", "--executor=local or slurm"),
    ("--slurm=time=5", "--executor=slurm"),
    ("--retries=2", "--executor=slurm"),
    ("--executor=local --retries=2", "--executor=slurm"),
  ],
)
def test_a_flag_that_would_do_nothing_is_refused(
  launch, tmp_path, flag, needed
):
  config = tmp_path / "two.py"
  config.write_text(CONFIG)
  flags = (f"--config={config}", f"--workdir={tmp_path / 'w'}")
  done = launch("sweep", *flags, *flag.split(), check=False)
  assert done.returncode == 2
  name = flag.split()[-1].partition("=")[0]
  assert done.stderr == f"error: {name} does nothing without {needed}\n"


def test_a_run_that_is_to_be_audited_anew_is_not_over(executors, tmp_path):
  sweep = importlib.import_module("sweep")
  folder = tmp_path / "run"
  config = {"cut": "pool8", "audit": {"attack_seeds": 3}}

  def is_over(anew=True, **changes):
    one = executors.Study({**config, **changes}, folder, "", anew)
    return sweep._has_nothing_to_do(one)

  assert not is_over()
  workdir.record(folder, config)
  assert not is_over()
  (folder / "report").mkdir()
  (folder / "report" / "index.html").touch()
  assert is_over()
  assert not is_over(audit={"attack_seeds": 5})  # hours, not for a login node
  assert is_over(anew=False, audit={"attack_seeds": 5})  # one line says so
  assert is_over(cut="pool9")  # likewise
