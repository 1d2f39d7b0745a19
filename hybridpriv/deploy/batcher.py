"""Requests that come one at a time, answered many at a time."""

import asyncio
import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Run = Callable[[np.ndarray], Sequence[Any]]  # codes [b, k] -> b answers


class Full(RuntimeError):
  """So many wait already that one more would wait too long."""


class _Waiting(NamedTuple):
  """A code and the promise of its answer."""

  values: np.ndarray
  answer: asyncio.Future


class Batcher:
  """A bounded queue before a function that answers many codes at once.

  While a batch is computed the next one gathers: nobody waits for company.
  Batches are padded to one of a few sizes, so that nothing compiles while
  people wait.
  """

  def __init__(
    self,
    run: Run,
    *,
    sizes: Sequence[int],
    most_waiting: int,
    seen: Callable[[int], None] = lambda size: None,
  ):
    """Prepare; nothing runs yet.

    Args:
      run: the function.
      sizes: of batches that it takes, rising.
      most_waiting: codes that may wait.
      seen: told the number of codes of each batch.
    """
    self._run, self._sizes, self._seen = run, tuple(sizes), seen
    self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(most_waiting)
    # One thread: the function itself uses all cores.
    self._pool = concurrent.futures.ThreadPoolExecutor(1)

  @property
  def num_waiting(self) -> int:
    """Codes that wait now."""
    return self._queue.qsize()

  async def ask(self, values: np.ndarray) -> Any:
    """Wait for the answer to a code [k].

    Raises:
      Full: too many wait.
    """
    answer = asyncio.get_running_loop().create_future()
    try:
      self._queue.put_nowait(_Waiting(values, answer))
    except asyncio.QueueFull:
      raise Full(f"{self._queue.maxsize} codes wait already") from None
    return await answer

  async def serve(self) -> None:
    """Answer until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
      batch = [await self._queue.get()]
      while len(batch) < self._sizes[-1] and not self._queue.empty():
        batch.append(self._queue.get_nowait())
      # One whose request was cancelled needs no answer.
      batch = [one for one in batch if not one.answer.done()]
      if not batch:
        continue
      try:
        self._seen(len(batch))
        padded = self._pad([one.values for one in batch])
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

  def _pad(self, codes: Sequence[np.ndarray]) -> np.ndarray:
    """Stack codes, the first one repeated up to the next size."""
    size = next(s for s in self._sizes if s >= len(codes))
    return np.stack([*codes, *[codes[0]] * (size - len(codes))])

  def close(self) -> None:
    """Give the thread back."""
    self._pool.shutdown(wait=False)
