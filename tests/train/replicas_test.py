"""Several trainings as one program."""

import shutil

import pytest

from hybridpriv.train import checkpoints
from tests.train.fits import (
  SCHEDULE,
  Killed,
  assert_close,
  assert_equal,
  fit,
  lines,
  replica,
)


@pytest.fixture(scope="module")
def together(made, vmapped, tmp_path_factory):
  folder = tmp_path_factory.mktemp("together")
  group = [replica(made, folder, run, i) for i, run in enumerate("ab")]
  return fit(vmapped, group, folder, together=2), folder


def test_vmapped_replicas_are_separate_trainings(made, step, together):
  states, folder = together
  apart = folder / "apart"
  apart.mkdir()
  group = [replica(made, apart, run, i) for i, run in enumerate("ab")]
  separate = fit(step, group, apart)
  for run, state, own in zip("ab", states, separate, strict=True):
    assert_close(state, own)
    for a, b in zip(lines(folder, run), lines(apart, run), strict=True):
      assert a.pop("run") == b.pop("run")
      assert_close(a, b)


def test_vmapped_replicas_have_checkpoints_of_their_own(made, together):
  states, folder = together
  for run, state in zip("ab", states, strict=True):
    assert_equal(checkpoints.restore(folder / run, made.state), state)


def test_trials_with_the_same_batches_read_each_once(
  made, vmapped, together, tmp_path
):
  read = []

  def batch(number):
    read.append(number)
    return made.batch(number)

  group = [
    replica(made, tmp_path, run, i)._replace(batch=batch)
    for i, run in enumerate("ab")
  ]
  states = fit(vmapped, group, tmp_path, together=2)
  assert read == list(range(SCHEDULE.num_steps))
  assert_equal(states[0], together[0][0])


def test_no_more_train_at_once_than_are_asked_for(
  made, vmapped, together, tmp_path
):
  sizes = []

  def step(state, batch, key):
    sizes.append(len(state.step))
    return vmapped(state, batch, key)

  group = [replica(made, tmp_path, run, i) for i, run in enumerate("abc")]
  states = fit(step, group, tmp_path, together=2)
  steps = SCHEDULE.num_steps
  assert sizes == [2] * steps + [1] * steps
  for state, expected in zip(states, together[0], strict=False):
    assert_equal(state, expected)
  assert checkpoints.latest_step(tmp_path / "c") == steps


def test_vmapped_replicas_go_on_where_they_stopped(
  made, vmapped, together, tmp_path
):
  def group(killed_at=None):
    return [
      replica(made, tmp_path, run, i, killed_at) for i, run in enumerate("ab")
    ]

  with pytest.raises(Killed):
    fit(vmapped, group(3), tmp_path, together=2)
  # A second kill, between the saving of one and of the other.
  shutil.copytree(tmp_path / "b", tmp_path / "old")
  with pytest.raises(Killed):
    fit(vmapped, group(5), tmp_path, together=2)
  shutil.rmtree(tmp_path / "b")
  (tmp_path / "old").rename(tmp_path / "b")
  steps = [checkpoints.latest_step(tmp_path / run) for run in "ab"]
  assert steps == [4, 2]
  states = fit(vmapped, group(), tmp_path, together=2)
  for state, expected in zip(states, together[0], strict=True):
    assert_close(state, expected)
  for run in "ab":
    assert [x["step"] for x in lines(tmp_path, run)] == [1, 2, 3, 4, 5, 6, 7]
