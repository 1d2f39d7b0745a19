"""Who is one of several processes, and how each of them ends.

The other processes are made up: what a process would do is noted, in order.
"""

import concurrent.futures
import json
import os
import signal
import sys
import threading
import time

import processes
import program
import pytest
from absl.testing import flagsaver

from hybridpriv import mesh, study
from hybridpriv.train import preemption

ALONE = None


@pytest.fixture
def begin(monkeypatch, tmp_path):
  """Starts a program as a process of a job; gives what it did, in order."""
  did = []
  monkeypatch.setattr(program, "config", dict)
  monkeypatch.setattr(program, "workdir", lambda: tmp_path)
  monkeypatch.setattr(program, "command", lambda: "typed")
  for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "TPU_WORKER_HOSTNAMES"):
    monkeypatch.delenv(name, raising=False)

  def end(status):
    did.append(("ends", status))
    sys.exit(status)

  def join(*place, timeout_s):
    did.append(("joins", *place))

  def is_first(process):
    # Once it has left, a process takes itself for the first.
    return process == 0 or ("leaves",) in did

  def start(
    upto="train", process=0, trains=lambda: "where", variables=None, **given
  ):
    def run(config, folder, last, **_):
      did.append(("runs", last))
      return trains()

    monkeypatch.setattr(study, "run", run)
    monkeypatch.setattr(mesh, "is_first", lambda: is_first(process))
    for name, value in (variables or {}).items():
      monkeypatch.setenv(name, value)
    with flagsaver.flagsaver(**given):
      processes.run(upto)
    return did

  monkeypatch.setattr(program, "end", end)
  monkeypatch.setattr(mesh, "join", join)
  monkeypatch.setattr(mesh, "leave", lambda: did.append(("leaves",)))
  monkeypatch.setattr(
    os, "execv", lambda path, argv: did.append(("becomes", *argv))
  )
  start.did = did
  return start


TWO = {"coordinator": "here:1", "num_processes": 2, "process_id": 0}


# --- Who is one of several.


@pytest.mark.parametrize(
  "variables, flags, place",
  [
    ({}, {}, ALONE),
    ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4"}, {}, ALONE),
    ({"SLURM_NTASKS": "4"}, {}, ALONE),
    ({"SLURM_STEP_NUM_TASKS": "2"}, {}, (None, 2, None)),
    ({"SLURM_STEP_NUM_TASKS": "2"}, {"coordinator": "none"}, ALONE),
    ({"SLURM_STEP_NUM_TASKS": "4"}, TWO, ("here:1", 2, 0)),
    (
      {"SLURM_STEP_NUM_TASKS": "4"},
      {"coordinator": "auto", "num_processes": 3},
      (None, 3, None),
    ),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, {}, (None, None, None)),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, {"coordinator": "none"}, ALONE),
    ({"TPU_WORKER_HOSTNAMES": "a"}, {}, ALONE),
    ({}, TWO | {"coordinator": "none"}, ALONE),
  ],
)
def test_flags_go_before_what_slurm_and_tpus_say(
  begin, variables, flags, place
):
  did = begin(variables=variables, **flags)
  joined = [tuple(where) for what, *where in did if what == "joins"]
  assert joined == ([] if place is ALONE else [place])


@pytest.mark.parametrize("place", ["a:0", "a:65536", ":1", "a:b"])
def test_a_port_that_cannot_be_is_one_line(begin, capsys, place):
  with pytest.raises(SystemExit, match="2"):
    begin(**(TWO | {"coordinator": place}))
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(f"error: --coordinator is {place!r}: give host:port")
  assert not begin.did


def test_who_has_found_the_others_is_no_longer_timed(begin):
  # It trains for longer than it would have waited.
  begin(**TWO, join_timeout_s=1, trains=lambda: time.sleep(1.2))
  assert begin.did == [
    ("joins", "here:1", 2, 0),
    ("runs", "train"),
    ("leaves",),
  ]


def test_jax_does_not_give_up_before_the_line_is_said(begin, monkeypatch):
  waits = []
  monkeypatch.setattr(
    mesh, "join", lambda *_, timeout_s: waits.append(timeout_s)
  )
  begin(**TWO, join_timeout_s=600)
  assert waits[0] > 600


def test_a_job_that_jax_refuses_is_one_line(begin, capsys, monkeypatch):
  def refuse(*_, timeout_s):
    raise RuntimeError("no such\nplace")

  monkeypatch.setattr(mesh, "join", refuse)
  with pytest.raises(SystemExit):
    begin(**TWO)
  said = "error: cannot join a job, here:1: no such place\n"
  assert capsys.readouterr().err == said
  # Nothing is left that would end this process some minutes later.
  waiting = [t for t in threading.enumerate() if type(t) is threading.Timer]
  assert not [t for t in waiting if not t.finished.is_set()]
  assert begin.did == [("ends", 2)]


# --- How they end.


def test_one_that_is_alone_does_all_itself(begin, capsys):
  assert begin("report") == [("runs", "report")]
  assert capsys.readouterr().out == "where\n"


def test_a_training_alone_is_all_that_was_asked_for(begin, capsys):
  assert begin("train", **TWO)[1:] == [("runs", "train"), ("leaves",)]
  assert capsys.readouterr().out == "where\n"


def test_process_0_starts_again_alone_as_it_was_started(begin, monkeypatch):
  typed = ["-X", "dev", "launch/run.py", "--num_processes=2", "--config=c"]
  monkeypatch.setattr(sys, "orig_argv", ["python", *typed])
  did = begin("report", **TWO)
  assert did[1:3] == [("runs", "train"), ("leaves",)]
  assert did[3:] == [("becomes", sys.executable, *typed, "--coordinator=none")]


def test_others_leave_and_are_done(begin, capsys):
  with pytest.raises(SystemExit):
    begin("report", process=1, **TWO)
  assert begin.did[1:] == [("runs", "train"), ("leaves",), ("ends", 0)]
  assert not capsys.readouterr().out


def test_a_pod_stops_after_the_training(begin, capsys):
  did = begin("report", variables={"TPU_WORKER_HOSTNAMES": "a,b"})
  assert did[1:] == [("runs", "train"), ("leaves",)]
  assert "on one machine that is not of a pod" in capsys.readouterr().out


def _told():
  signal.raise_signal(signal.SIGUSR2)
  raise AssertionError("it went on")


def test_a_signal_is_answered_at_once_where_nothing_keeps_it_back(begin):
  with pytest.raises(preemption.Preempted, match="SIGUSR2"):
    begin("report", trains=_told)
  assert begin.did == [("runs", "report")]


def test_who_is_told_to_stop_leaves_before_it_ends(begin):
  with pytest.raises(preemption.Preempted):
    begin(**TWO, process=1, trains=_told)
  assert begin.did[1:] == [("runs", "train"), ("leaves",)]


def _raised_elsewhere(error):
  future = concurrent.futures.Future()
  future.set_exception(error)
  return future.result


def _ours():
  raise ValueError("a batch of 3\ncannot be divided")


@pytest.mark.parametrize(
  "trains, said",
  [
    (_ours, "a batch of 3 cannot be divided"),
    (
      lambda: json.loads("{"),
      "JSONDecodeError in a process of the job, see above",
    ),
    (
      _raised_elsewhere(RuntimeError("Gloo: closed\nby peer")),
      "another process of this job is gone, see what it said; the same command"
      " goes on from the last checkpoint (Gloo: closed by peer)",
    ),
  ],
)
def test_a_fault_ends_a_process_at_once_and_the_last_line_says_why(
  begin, capsys, trains, said
):
  with pytest.raises(SystemExit):
    begin(**TWO, trains=trains)
  assert begin.did[1:] == [("runs", "train"), ("ends", 2)]  # waits for nobody
  *before, last = capsys.readouterr().err.splitlines()
  assert last == f"error: {said}"
  assert bool(before) == ("see above" in said)
  assert before[:1] in ([], ["Traceback (most recent call last):"])
