"""Arrays of two processes: who holds what, and who decides."""

import dataclasses
import io
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv import mesh
from hybridpriv.train import checkpoints, loop, metrics, preemption

# Of two devices in each process; ends with nothing said where all is right.
SCRIPT = """
import sys
import jax
import numpy as np
from hybridpriv import mesh
from hybridpriv.train import loop

place, number = sys.argv[1], int(sys.argv[2])
mesh.join(place, 2, number, timeout_s=60)
assert (mesh.num_processes(), mesh.process_id()) == (2, number)
assert mesh.is_first() == (number == 0)
own = mesh.data_mesh()
assert [d.process_index for d in own.devices] == [0, 0, 1, 1]

# Where they differ, process 0 is right.
key = jax.random.key(7)
given = {"x": np.full(3, number, np.float32), "key": key}
whole = mesh.replicate(given, own)
assert not whole["x"].is_fully_addressable
np.testing.assert_array_equal(whole["x"], np.zeros(3))
same = jax.random.key_data(mesh.local(whole["key"]))
np.testing.assert_array_equal(same, jax.random.key_data(key))
assert mesh.local(whole["x"]).is_fully_addressable
assert mesh.same_everywhere(5 + number) == 5

# Each gives half of a batch, and all of it is in the order of one process.
rows = np.arange(24.0).reshape(8, 3)
half = mesh.own_part(rows)
np.testing.assert_array_equal(half, rows[4 * number : 4 * number + 4])
step = loop.compile_step(lambda *given: given[:2], vmapped=False)
for axis in (0, 1):
  part = half if axis == 0 else half.T
  batch = mesh.shard({"x": part}, own, axis=axis)
  assert {s.data.shape[axis] for s in batch["x"].addressable_shards} == {2}
  _, seen = step(mesh.replicate(np.zeros(1), own), batch, key)
  np.testing.assert_array_equal(seen["x"], rows if axis == 0 else rows.T)
for call in ("mesh.own_part(rows[:6])", "mesh.shard(rows[:3], own)"):
  try:
    eval(call)
  except ValueError as error:
    assert "a batch of 6 cannot be divided over 4 devices" in str(error)
  else:
    raise AssertionError("was divided")

# What one wants, both hear, one step later.
vote = mesh.vote(own)
wanted = [False, number == 1, False, False, number == 0, True, False]
heard = [vote(now) for now in wanted]
assert heard == [False, False, True, False, False, True, True], heard
mesh.leave()
"""


def test_two_processes_hold_and_agree_on_the_same(repository, environment):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    place = f"127.0.0.1:{free.getsockname()[1]}"
  both = [
    subprocess.Popen(
      [sys.executable, "-c", SCRIPT, place, str(number)],
      cwd=repository,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for number in range(2)
  ]
  try:
    said = [process.communicate(timeout=120)[0] for process in both]
  finally:
    for process in both:
      process.kill()
  assert [process.returncode for process in both] == [0, 0], said


# --- What a training asks the other processes, which are made up.


def _step(state, batch, key):
  state = dataclasses.replace(state, step=state.step + 1)
  return state, {"loss": jnp.mean(batch["mask"])}


@pytest.fixture
def train(make, tmp_path):
  """Trains for two steps in which nothing is learned."""
  made = make()

  def run(batch=made.batch, evaluate=None):
    one = loop.Replica(
      "a", made.state, jax.random.key(0), batch, evaluate, tmp_path / "a"
    )
    schedule = loop.Schedule(num_steps=2, evaluate_every=1)
    writer = metrics.Writer(tmp_path / "metrics.jsonl")
    return loop.fit(_step, [one], schedule, writer)

  run.state = made.state
  return run


def test_who_evaluates_has_a_copy_of_its_own(train, monkeypatch):
  seen = []

  def evaluate(state):
    seen.append(state)
    return {}

  monkeypatch.setattr(mesh, "local", jax.device_get)
  seen += train(evaluate=evaluate)
  assert [int(state.step) for state in seen] == [1, 2, 2]
  for leaf in jax.tree.leaves(seen):
    assert isinstance(leaf, np.ndarray | np.generic)


class Asked(Exception):
  """Stops a training at its first batch."""


def test_all_go_on_from_where_process_0_does(train, tmp_path, monkeypatch):
  asked = []

  def batch(number):
    asked.append(number)
    raise Asked

  checkpoints.save(tmp_path / "a", 1, train.state)
  for first in (1, 0):  # to process 0 the file has not come yet
    monkeypatch.setattr(mesh, "same_everywhere", lambda _, n=first: n)
    with pytest.raises(Asked):
      train(batch)
  assert asked == [1, 0]


def test_what_others_want_stops_it_but_not_after_the_last_step(
  train, tmp_path, monkeypatch
):
  monkeypatch.setattr(mesh, "vote", lambda _: lambda own: True)
  said = "^a signal to another process; saved a at step 1$"
  with pytest.raises(preemption.Preempted, match=said):
    train()
  assert checkpoints.latest_step(tmp_path / "a") == 1
  (state,) = train()
  assert state.step == 2


class Terminal(io.StringIO):
  """What is not a file, so that progress is shown."""

  def isatty(self):
    return True


@pytest.mark.parametrize("is_first", [True, False])
def test_one_process_shows_how_far_it_is(train, monkeypatch, is_first):
  monkeypatch.setattr(sys, "stderr", Terminal())
  monkeypatch.setattr(mesh, "is_first", lambda: is_first)
  train()
  assert ("a:" in sys.stderr.getvalue()) == is_first
