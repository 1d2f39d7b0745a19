"""A server that hangs up on who never says what they want."""

import asyncio
from typing import Any

from uvicorn.protocols.http import h11_impl

HEAD_S = 10.0  # for the head of a request to arrive


class Prompt(h11_impl.H11Protocol):
  """HTTP, with a time limit for heads.

  Uvicorn waits for ever for the first one, and for the rest of a next one: a
  thousand connections that send a word and no more would keep all others out.
  """

  _watch: asyncio.TimerHandle | None = None

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

  def connection_lost(self, exc: Exception | None) -> None:
    """Forget the time."""
    self._disarm()
    super().connection_lost(exc)

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
