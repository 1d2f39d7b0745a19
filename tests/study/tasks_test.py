"""Attacks run two at a time, but for those that would wait for each other."""

import threading
import time
import types

import numpy as np
import pytest

from hybridpriv.attacks import density, neighbour
from hybridpriv.study import attacking

CORRELATED = ({"factor": np.eye(2)},)
PLAIN = ({"std": np.zeros(())},)


def _task(number, attack, law):
  group = types.SimpleNamespace(
    law=law,
    codes=np.zeros((1, 1, 2)),
    names=[number],
    noise=types.SimpleNamespace(stages=()),
  )
  return attacking.Task("rows", attack, group, [(0, 0)], 1, number)


@pytest.fixture
def most(monkeypatch, tmp_path):
  """Runs tasks and says how many were under way at once."""
  lock, now, seen = threading.Lock(), [0], [0]

  def attack_all(*_, **__):
    with lock:
      now[0] += 1
      seen[0] = max(seen[0], now[0])
    time.sleep(0.2)
    with lock:
      now[0] -= 1
    return {}

  monkeypatch.setattr(attacking.engine, "attack_all", attack_all)
  monkeypatch.setattr(
    attacking, "_digest", lambda task, *_: str(task.num_queries)
  )
  setup = types.SimpleNamespace(
    folder=tmp_path, config={"seed": 0, "audit": {"draws": 1}}
  )

  def run(tasks):
    attacking.run_all(setup, tasks, [])
    return seen[0]

  return run


def test_one_computes_while_another_compiles(most):
  nearest = neighbour.nearest()
  assert most([_task(i, nearest, PLAIN) for i in range(4)]) == 2


@pytest.mark.parametrize(
  ("attack", "law"),
  [(neighbour.nearest(), CORRELATED), (density.kde(), PLAIN)],
)
def test_those_that_factorise_matrices_run_alone(most, attack, law):
  assert most([_task(i, attack, law) for i in range(4)]) == 1
