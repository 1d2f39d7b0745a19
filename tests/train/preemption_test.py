import signal
import threading

import pytest

from hybridpriv.train import preemption


def test_a_signal_stops_at_once_where_nothing_keeps_it_back():
  before = signal.getsignal(signal.SIGUSR2)
  with pytest.raises(preemption.Preempted, match="^SIGUSR2$"):
    with preemption.at_once():
      signal.raise_signal(signal.SIGUSR2)
  assert signal.getsignal(signal.SIGUSR2) == before


def test_being_told_to_stop_is_not_caught_as_a_fault():
  assert not issubclass(preemption.Preempted, Exception)


def test_a_signal_that_is_kept_back_waits_to_be_asked_for():
  with pytest.raises(preemption.Preempted, match="^SIGTERM; saved all$"):
    with preemption.kept_back():
      assert not preemption.told()
      signal.raise_signal(signal.SIGTERM)
      assert preemption.told()
      preemption.stop("all")
  assert not preemption.told()


def test_a_signal_that_nobody_asked_for_comes_at_the_end():
  done = []
  with pytest.raises(preemption.Preempted, match="^SIGTERM$"):
    with preemption.at_once():
      with preemption.kept_back():
        signal.raise_signal(signal.SIGTERM)
        done.append("inside")
      done.append("after")
  assert done == ["inside"]


def test_a_signal_between_two_trainings_is_heard_in_the_next():
  with pytest.raises(preemption.Preempted, match="saved the next"):
    with preemption.kept_back():
      with preemption.kept_back():
        signal.raise_signal(signal.SIGTERM)
      with preemption.kept_back():
        assert preemption.told()
        preemption.stop("the next")


def test_a_fault_is_not_hidden_by_a_signal():
  with pytest.raises(KeyError), preemption.at_once():
    with preemption.kept_back():
      signal.raise_signal(signal.SIGTERM)
      raise KeyError
  assert not preemption.told()


def test_a_thread_leaves_signals_to_the_main_one():
  before, seen = signal.getsignal(signal.SIGTERM), []

  def train():
    with preemption.kept_back():
      seen.append(signal.getsignal(signal.SIGTERM))

  thread = threading.Thread(target=train)
  thread.start()
  thread.join()
  assert seen == [before]
