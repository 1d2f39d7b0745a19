"""Being told to stop: SIGTERM and SIGUSR2, as a scheduler sends them."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


class Preempted(BaseException):
  """The process was told to stop; what is done is kept, and can go on.

  Like KeyboardInterrupt no fault of the program, and not to be caught as one.
  """


# Of the process, as its signals are: those that came and were kept back.
_told: list[int] = []


def told() -> bool:
  """Say whether a signal to stop came while they were kept back."""
  return bool(_told)


@contextlib.contextmanager
def kept_back() -> Iterator[None]:
  """Let a signal to stop wait for a good moment, see `told`.

  One that nobody answered comes at the end, to whom it would have come.
  """
  with _answered(lambda number, _: _told.append(number)):
    try:
      yield
    except BaseException:
      _told.clear()  # it ends anyway
      raise
  late = _told.copy()
  _told.clear()
  for number in late:
    signal.raise_signal(number)


def stop(saved: str) -> NoReturn:
  """Answer the signal: stop, when what is done has been saved.

  Args:
    saved: what it was, "fold0/seed0/base at step 10".

  Raises:
    Preempted: always.
  """
  # Processes of one job stop together; not all of them need have been told.
  reason = _names(_told) or "a signal to another process"
  raise Preempted(f"{reason}; saved {saved}")


@contextlib.contextmanager
def at_once() -> Iterator[None]:
  """Stop at a signal wherever the program is, but for what keeps it back.

  Files are written whole or not at all, so nothing has to be saved.

  Raises:
    Preempted: at a signal.
  """

  def answer(number: int, _: object) -> None:
    raise Preempted(_names([number]))

  with _answered(answer):
    yield


def _names(numbers: list[int]) -> str:
  return ", ".join(sorted({signal.Signals(n).name for n in numbers}))


@contextlib.contextmanager
def _answered(handler: Callable[[int, object], object]) -> Iterator[None]:
  if threading.current_thread() is not threading.main_thread():
    yield  # signals come to the main thread only
    return
  before = {number: signal.signal(number, handler) for number in SIGNALS}
  try:
    yield
  finally:
    for number, own in before.items():
      signal.signal(number, own)
