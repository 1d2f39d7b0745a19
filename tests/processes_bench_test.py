"""The bench of two processes trains in both ways, in turns."""

import subprocess

import pytest
from benches import processes as bench


def _saying(text):
  return subprocess.Popen(["echo", text], stdout=subprocess.PIPE, text=True)


def test_what_gloo_says_is_not_a_time():
  with _saying("[Gloo] Rank 0 is connected\ntook 1.5") as process:
    assert bench._took(process) == 1.5
  with _saying("[Gloo] Rank 0 is connected") as process:
    with pytest.raises(RuntimeError, match="ended, see what it said"):
      bench._took(process)


def test_one_core_is_said_and_skipped(monkeypatch):
  monkeypatch.setattr(bench.os, "sched_getaffinity", lambda _: {0})
  rows = [row for part in bench.run(True) for row in part.rows()]
  assert [row.skipped for row in rows] == ["two cores are needed"]


@pytest.mark.slow
def test_two_processes_and_one_train_in_turns(monkeypatch):
  monkeypatch.setattr(bench, "WORK", (bench.Work("it", "vgg16", 32, 2, 1),))
  rows = [row for part in bench.run(True) for row in part.rows()]
  assert len(rows) == 2
  for row in rows:
    assert not row.skipped and row.rounds == 3 and row.ratio > 0
