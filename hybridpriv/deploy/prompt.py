"""A server that hangs up on who never says what they want, or never listens."""

import asyncio
from typing import Any

from uvicorn.protocols.http import h11_impl

HEAD_S = 10.0  # for the head of a request to arrive
READ_S = 60.0  # for a reader to take what is ready for it (tens of KB)


class Prompt(h11_impl.H11Protocol):
  """HTTP, with a time limit for heads, and for readers.

  Uvicorn waits for ever for the first head, and for the rest of a next one: a
  thousand connections that send a word and no more would keep all others out.
  So would those who ask for a file and read none of it.
  """

  _watch: asyncio.TimerHandle | None = None
  _reading: asyncio.TimerHandle | None = None

  def connection_made(self, transport: Any) -> None:
    """Give a new connection its time."""
    super().connection_made(transport)
    self._arm()

  def data_received(self, data: bytes) -> None:
    """Read on; what is no whole head yet has until its time is up."""
    super().data_received(data)
    if self._is_busy():
      self._disarm()
    else:
      self._arm()

  def pause_writing(self) -> None:
    """Give a reader its time: more waits for it than is kept ready."""
    super().pause_writing()
    self._reading = self.loop.call_later(READ_S, self.transport.abort)

  def resume_writing(self) -> None:
    """Write on: it has read."""
    self._stop_reading()
    super().resume_writing()

  def connection_lost(self, exc: Exception | None) -> None:
    """Forget the time."""
    self._disarm()
    self._stop_reading()
    super().connection_lost(exc)

  def _stop_reading(self) -> None:
    if self._reading is not None:
      self._reading.cancel()
      self._reading = None

  def _is_busy(self) -> bool:
    return self.cycle is not None and not self.cycle.response_complete

  def _arm(self) -> None:
    if self._watch is None:
      self._watch = self.loop.call_later(HEAD_S, self._hang_up)

  def _disarm(self) -> None:
    if self._watch is not None:
      self._watch.cancel()
      self._watch = None

  def _hang_up(self) -> None:
    self._watch = None
    if not self._is_busy():
      self.transport.close()
