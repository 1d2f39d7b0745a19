"""Requests that come one at a time, answered many at a time."""

import asyncio
import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Run = Callable[[np.ndarray], Sequence[Any]]  # codes [b, k] -> b answers

_TURN_S = 5e-4  # assumed, of a batch: to the function's thread and back


class Full(RuntimeError):
  """So many wait already that one more would wait too long."""


class Gone(RuntimeError):
  """Nobody waits for the answer any more."""


class _Waiting(NamedTuple):
  """A code, the promise of its answer, and whether anybody is there for it."""

  values: np.ndarray
  answer: asyncio.Future
  is_gone: Callable[[], bool]


class Batcher:
  """A bounded queue before a function that answers many codes at once.

  While a batch is computed the next one gathers: nobody waits for company.
  Batches are padded to one of a few sizes, so that nothing compiles while
  people wait.  Of these the one is taken whose answers cost least each: where
  the function is dear, 40 codes are 32 now and 8 in the next batch, and not 64.
  """

  def __init__(
    self,
    run: Run,
    *,
    seconds: Mapping[int, float],
    most_waiting: int,
    seen: Callable[[int], None] = lambda size: None,
  ):
    """Prepare; nothing runs yet.

    Args:
      run: the function.
      seconds: what the function takes, by the sizes of batch it has, rising.
      most_waiting: codes that may wait.
      seen: told the number of codes of each batch.
    """
    self._run, self._seconds, self._seen = run, dict(seconds), seen
    self._most_waiting = most_waiting
    self._waiting: list[_Waiting] = []
    self._some = asyncio.Event()
    # One thread: the function itself uses all cores.
    self._pool = concurrent.futures.ThreadPoolExecutor(1)

  @property
  def num_waiting(self) -> int:
    """Codes that wait now."""
    return len(self._waiting)

  async def ask(
    self, values: np.ndarray, is_gone: Callable[[], bool] = lambda: False
  ) -> Any:
    """Wait for the answer to a code [k].

    Args:
      values: the code.
      is_gone: asked before the code is put into a batch.

    Raises:
      Full: too many wait.
      Gone: `is_gone` said so; the code was not computed.
    """
    if len(self._waiting) >= self._most_waiting:
      raise Full(f"{self._most_waiting} codes wait already")
    answer = asyncio.get_running_loop().create_future()
    self._waiting.append(_Waiting(values, answer, is_gone))
    self._some.set()
    return await answer

  async def serve(self) -> None:
    """Answer until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
      size, batch = self._take()
      if not batch:
        self._some.clear()
        await self._some.wait()
        continue
      try:
        self._seen(len(batch))
        codes = [one.values for one in batch]
        padded = np.stack([*codes, *codes[:1] * (size - len(codes))])
        found = await loop.run_in_executor(self._pool, self._run, padded)
        if len(found) != len(padded):
          raise RuntimeError(
            f"{len(found)} answers to {len(padded)} codes; expected one each"
          )
      except Exception as error:  # of one batch; the next may be right
        for one in batch:
          if not one.answer.done():
            one.answer.set_exception(error)
        continue
      for one, answer in zip(batch, found, strict=False):
        if not one.answer.done():
          one.answer.set_result(answer)

  def _take(self) -> tuple[int, list[_Waiting]]:
    """Take the next batch off the queue, and say to which size it is padded."""
    waiting: list[_Waiting] = []
    looked = 0
    for one in self._waiting:
      if len(waiting) == max(self._seconds):
        break  # those behind are asked when it is their turn
      looked += 1
      if one.answer.done():
        continue  # one whose request was cancelled needs no answer
      try:
        is_gone = one.is_gone()
      except Exception as error:  # of this one; the others go on
        one.answer.set_exception(error)
        continue
      if is_gone:
        one.answer.set_exception(Gone("the client hung up"))
      else:
        waiting.append(one)

    def each(size: int) -> float:
      answered = max(min(size, len(waiting)), 1)
      return (self._seconds[size] + _TURN_S) / answered

    size = min(self._seconds, key=each)
    self._waiting = waiting[size:] + self._waiting[looked:]
    return size, waiting[:size]

  def close(self) -> None:
    """Give the thread back."""
    self._pool.shutdown(wait=False)
