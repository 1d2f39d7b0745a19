import signal

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from hybridpriv import mesh
from hybridpriv.train import checkpoints, loop, preemption
from hybridpriv.train import step as step_lib
from tests.train.fits import (
  SCHEDULE,
  Killed,
  assert_close,
  assert_equal,
  evaluate,
  fit,
  lines,
  replica,
)


@pytest.fixture(scope="module")
def straight(made, step, tmp_path_factory):
  folder = tmp_path_factory.mktemp("straight")
  (state,) = fit(step, [replica(made, folder)], folder)
  return state, lines(folder), folder


def test_a_line_a_step_and_an_evaluation_now_and_at_the_end(straight):
  state, found, _ = straight
  assert [x["step"] for x in found] == [1, 2, 3, 4, 5, 6, 7]
  evaluated = [x["step"] for x in found if "validation/size" in x]
  assert evaluated == [3, 6, 7]
  assert {"train/loss", "train/task", "train/gradient_norm"} <= set(found[0])
  assert found[-1]["validation/size"] == evaluate(state)["validation/size"]
  assert state.step == 7


def test_the_loop_is_the_step_repeated(made, straight):
  state, key = made.state, jax.random.key(0)
  step = jax.jit(step_lib.make_step(made.spec))
  for number in range(7):
    state, _ = step(state, made.batch(number), key)
  assert_close(straight[0], state)


@pytest.mark.parametrize("killed_at", [1, 2, 3, 4, 5, 6, 7])
def test_a_resumed_training_is_the_straight_one(
  made, step, straight, tmp_path, killed_at
):
  with pytest.raises(Killed):
    fit(step, [replica(made, tmp_path, killed_at=killed_at)], tmp_path)
  start = checkpoints.latest_step(tmp_path / "a") or 0
  assert start == (killed_at - 1) // 2 * 2
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"run": "a", "step": 99, "train/lo')  # cut off
  (state,) = fit(step, [replica(made, tmp_path)], tmp_path)
  assert_equal(state, straight[0])
  assert lines(tmp_path) == straight[1]  # each step once, the same numbers


def signalled(made, folder, number, at):
  """A training that is sent a signal in the middle of step `at`."""

  def batch(step):
    if step == at:
      signal.raise_signal(number)
    return made.batch(step)

  return replica(made, folder)._replace(batch=batch)


@pytest.mark.parametrize("number", preemption.SIGNALS)
@pytest.mark.parametrize("at", [1, 3, 5])  # the batch of the step after it
def test_a_signal_to_stop_saves_the_step_and_loses_none(
  made, step, straight, tmp_path, number, at
):
  before = signal.getsignal(number)
  one = signalled(made, tmp_path, number, at)
  said = f"{number.name}; saved a at step {at}"
  with pytest.raises(preemption.Preempted, match=said), preemption.at_once():
    fit(step, [one], tmp_path)
  assert signal.getsignal(number) == before
  assert checkpoints.latest_step(one.folder) == at
  (state,) = fit(step, [replica(made, tmp_path)], tmp_path)
  assert_equal(state, straight[0])
  assert lines(tmp_path) == straight[1]


def test_a_stop_between_logs_leaves_no_line_of_its_own(
  made, step, straight, tmp_path
):
  rarely = SCHEDULE._replace(log_every=7, evaluate_every=7, checkpoint_every=7)
  one = signalled(made, tmp_path, signal.SIGTERM, 3)
  with pytest.raises(preemption.Preempted), preemption.at_once():
    fit(step, [one], tmp_path, rarely)
  assert checkpoints.latest_step(one.folder) == 3
  assert not (tmp_path / "metrics.jsonl").exists()
  (state,) = fit(step, [replica(made, tmp_path)], tmp_path, rarely)
  assert_equal(state, straight[0])
  assert lines(tmp_path) == straight[1][-1:]


def test_a_signal_at_the_last_step_is_answered_after_it(
  made, step, straight, tmp_path
):
  def judge(state):
    if state.step == 7:
      signal.raise_signal(signal.SIGTERM)
    return evaluate(state)

  one = replica(made, tmp_path)._replace(evaluate=judge)
  with pytest.raises(preemption.Preempted, match="^SIGTERM$"):
    with preemption.at_once():
      fit(step, [one], tmp_path)
  assert checkpoints.latest_step(one.folder) == 7
  assert lines(tmp_path) == straight[1]


def test_a_profile_is_closed_where_a_signal_stops_it(
  made, step, tmp_path, monkeypatch
):
  events = []
  for name in ("start_trace", "stop_trace"):
    monkeypatch.setattr(
      jax.profiler, name, lambda *_, name=name: events.append(name)
    )
  one = signalled(made, tmp_path, signal.SIGTERM, 3)
  with pytest.raises(preemption.Preempted), preemption.at_once():
    fit(step, [one], tmp_path, SCHEDULE._replace(profile=(2, 6)))
  assert events == ["start_trace", "stop_trace"]


def test_nothing_was_compiled_twice(step, straight):
  del straight  # trained before, and resumed from every checkpoint
  assert step._cache_size() == 1


def test_a_finished_training_is_read_and_not_repeated(made, straight):
  state, found, folder = straight

  def never(*_):
    raise AssertionError("trained again")

  (again,) = fit(never, [replica(made, folder)], folder)
  assert_equal(again, state)
  assert lines(folder) == found


def test_nobody_goes_on_from_another_step_than_process_0(
  made, step, straight, monkeypatch
):
  monkeypatch.setattr(loop.mesh_lib, "same_everywhere", lambda step: step - 1)
  with pytest.raises(ValueError, match="is of step 7, .* 0 is of step 6"):
    fit(step, [replica(made, straight[2])], straight[2])


def test_the_state_given_stays_the_callers(made, straight):
  del straight  # has given its copy away, step after step
  assert made.state.step == 0
  assert all(not x.is_deleted() for x in jax.tree.leaves(made.state))


def test_no_number_stops_with_run_and_step_and_keeps_the_last_whole_checkpoint(
  made, step, tmp_path
):
  def batch(number):
    found = made.batch(number)
    if number == 4:  # of the fifth step
      found["inputs"][0] = np.nan
    return found

  one = replica(made, tmp_path, run="fold0/siamese")._replace(batch=batch)
  rarely = SCHEDULE._replace(log_every=3, evaluate_every=3, checkpoint_every=3)
  with pytest.raises(loop.Diverged, match="fold0/siamese: .* at step 5"):
    fit(step, [one], tmp_path, rarely)
  assert checkpoints.latest_step(one.folder) == 3
  assert [x["step"] for x in lines(tmp_path, one.run)] == [3]
  saved = checkpoints.restore(one.folder, made.state)
  assert saved.nan_step == -1
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(saved.params))


def test_a_batch_that_cannot_be_read_loses_no_step(
  made, step, straight, tmp_path, monkeypatch
):
  events = []
  for name in ("start_trace", "stop_trace"):
    monkeypatch.setattr(
      jax.profiler, name, lambda *_, name=name: events.append(name)
    )

  def batch(number):
    if number == 3:
      raise ValueError("a.jpg is gone")
    return made.batch(number)

  one = replica(made, tmp_path)._replace(batch=batch)
  rarely = SCHEDULE._replace(checkpoint_every=7, profile=(2, 6))
  with pytest.raises(ValueError, match="a.jpg is gone"):
    fit(step, [one], tmp_path, rarely)
  assert events == ["start_trace", "stop_trace"]
  assert checkpoints.latest_step(one.folder) == 3
  (state,) = fit(step, [replica(made, tmp_path)], tmp_path, rarely)
  assert_equal(state, straight[0])


def test_one_device_trains_as_two_do(
  made, step, straight, tmp_path, monkeypatch
):
  assert jax.device_count() == 2
  alone = jax.sharding.Mesh(
    np.array(jax.devices()[:1]), ("data",), axis_types=(AxisType.Auto,)
  )
  monkeypatch.setattr(mesh, "data_mesh", lambda: alone)
  (state,) = fit(step, [replica(made, tmp_path)], tmp_path)
  assert len(state.step.sharding.device_set) == 1
  assert_close(jax.device_get(state), jax.device_get(straight[0]))


def test_a_batch_that_two_devices_cannot_share_is_one_clear_error(
  made, step, tmp_path
):
  one = replica(made, tmp_path)._replace(batch=lambda n: made.batch(n, 7))
  with pytest.raises(ValueError, match="multiple of 2"):
    fit(step, [one], tmp_path)


@pytest.mark.parametrize(
  "profile, resumed_at, profiled",
  [
    ((2, 3), 0, [2, 3]),
    ((2, 6), 4, [5, 6]),  # what is left of it
    ((2, 3), 4, []),
    ((6, 20), 0, [6, 7]),  # the training ends first
  ],
)
def test_the_profile_covers_its_steps_and_is_always_closed(
  made, step, tmp_path, monkeypatch, profile, resumed_at, profiled
):
  events = []
  for name in ("start_trace", "stop_trace"):
    monkeypatch.setattr(
      jax.profiler, name, lambda *_, name=name: events.append(name)
    )
  if resumed_at:
    with pytest.raises(Killed):
      fit(step, [replica(made, tmp_path, killed_at=resumed_at + 1)], tmp_path)

  def counted(state, batch, key):
    events.append(int(state.step) + 1)
    return step(state, batch, key)

  schedule = SCHEDULE._replace(profile=profile)
  fit(counted, [replica(made, tmp_path)], tmp_path, schedule)
  expected = list(range(resumed_at + 1, 8))
  if profiled:
    expected.insert(expected.index(profiled[0]), "start_trace")
    expected.insert(expected.index(profiled[-1]) + 1, "stop_trace")
  assert events == expected
