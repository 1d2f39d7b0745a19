"""Clients that ask a service at once, each over a connection of its own.

  python load.py port seconds clients questions.json [stubborn]

The file holds a list of [frame in hexadecimal, answers, null for any].  Every
fiftieth answer is compared, and with `stubborn` every one; then a question
whose connection is refused or cut is also asked again, over a new one, until
there is an answer.  Prints JSON: questions `asked` and `answered`, `refused`
ones (another status than 200), `wrong` answers, questions that were asked
`again`, `seconds`, and those of an answer: `median_s`, `p99_s`.
"""

import asyncio
import itertools
import json
import pathlib
import sys
import time
from typing import Any, NamedTuple

_COUNTED = ("asked", "answered", "refused", "wrong", "again")
_COMPARED = 50
_NEAR = 1e-4  # batches of different sizes round differently
_PAUSE_S = 0.2  # before a service that is not there is asked again
_PATIENCE_S = 240.0  # for a stubborn client's answer, over all tries
_ANSWER_S = 60.0  # for one answer


class Found(NamedTuple):
  """What clients saw, all together."""

  seconds: list[float]
  counts: dict[str, int]


class Connection(asyncio.Protocol):
  """Asks and waits for a response; as little work as Python allows."""

  def __init__(self):
    self._data = b""
    self._transport: Any = None
    self._answer: asyncio.Future[tuple[int, bytes]] | None = None
    self.since = float("inf")  # when the last question was asked

  def connection_made(self, transport: Any) -> None:
    """Keep the way to the service."""
    self._transport = transport

  def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
    """Send a request; the future has status and body of its response."""
    self._data, self.since = b"", time.monotonic()
    self._answer = asyncio.get_running_loop().create_future()
    if self._transport.is_closing():
      self._answer.set_exception(ConnectionError())
    else:
      self._transport.write(request)
    return self._answer

  def data_received(self, data: bytes) -> None:
    """Look for a whole response, one whose head tells its length."""
    self._data += data
    head, _, body = self._data.partition(b"\r\n\r\n")
    _, found, rest = head.lower().partition(b"content-length: ")
    if found and len(body) == int(rest.partition(b"\r")[0]):
      self._done((int(head[9:12]), body))

  def connection_lost(self, exc: Exception | None) -> None:
    """Take what came as the response: one without a length ends here."""
    head, end, body = self._data.partition(b"\r\n\r\n")
    if end and b"content-length" not in head.lower():
      self._done((int(head[9:12]), body))
    else:
      self._done(None)

  def _done(self, answer: tuple[int, bytes] | None) -> None:
    self.since = float("inf")
    if self._answer and not self._answer.done():
      if answer:
        self._answer.set_result(answer)
      else:
        self._answer.set_exception(ConnectionError())

  def close(self) -> None:
    """Hang up."""
    self._transport.abort()


def _is_right(body: bytes, expected: Any) -> bool:
  if expected is None:
    return True
  found = json.loads(body)["answers"]
  return all(
    abs(found[label][name] - score) < _NEAR
    for label, scores in expected.items()
    for name, score in scores.items()
  )


async def client(
  number: int,
  port: int,
  until: float,
  questions: list[tuple[bytes, Any]],
  found: Found,
  is_stubborn: bool,
  open_ones: dict[int, Connection],
) -> None:
  """Ask one question after the other."""
  loop = asyncio.get_running_loop()
  for turn in itertools.count(number):
    if time.monotonic() >= until:
      break
    frame, expected = questions[turn % len(questions)]
    request = (
      f"POST /v1/infer HTTP/1.1\r\nHost: here\r\nContent-Length: {len(frame)}"
      "\r\n\r\n"
    ).encode() + frame
    start, tries = time.perf_counter(), 0
    found.counts["asked"] += 1
    last = time.monotonic() + _PATIENCE_S
    while True:
      tries += 1
      try:
        if number not in open_ones:
          _, open_ones[number] = await loop.create_connection(
            Connection, "127.0.0.1", port
          )
        status, body = await open_ones[number].ask(request)
      except OSError:
        status, body = 0, b""
        open_ones.pop(number, None)
      if status or not is_stubborn or time.monotonic() > last:
        break
      await asyncio.sleep(_PAUSE_S)
    found.counts["again"] += tries > 1
    found.counts["refused"] += status not in (0, 200)
    if status == 200:
      found.seconds.append(time.perf_counter() - start)
      found.counts["answered"] += 1
      if is_stubborn or turn % _COMPARED == 0:
        found.counts["wrong"] += not _is_right(body, expected)


async def _watch(open_ones: dict[int, Connection]) -> None:
  """Hang up where an answer takes for ever."""
  while True:
    await asyncio.sleep(1)
    for connection in list(open_ones.values()):
      if time.monotonic() > connection.since + _ANSWER_S:
        connection.close()


async def main(
  port: int, seconds: float, clients: int, path: str, is_stubborn: bool
) -> None:
  """Run all clients, print what they saw."""
  questions = [
    (bytes.fromhex(frame), answers)
    for frame, answers in json.loads(pathlib.Path(path).read_text())
  ]
  found = Found([], dict.fromkeys(_COUNTED, 0))
  start = time.monotonic()
  until, open_ones = start + seconds, {}
  watching = asyncio.create_task(_watch(open_ones))
  await asyncio.gather(
    *(
      client(n, port, until, questions, found, is_stubborn, open_ones)
      for n in range(clients)
    )
  )
  watching.cancel()
  times = sorted(found.seconds) or [float("inf")]
  spent = {
    "seconds": time.monotonic() - start,
    "median_s": times[len(times) // 2],
    "p99_s": times[int(0.99 * len(times))],
  }
  print(json.dumps({**found.counts, **spent}))


if __name__ == "__main__":
  asyncio.run(
    main(
      int(sys.argv[1]),
      float(sys.argv[2]),
      int(sys.argv[3]),
      sys.argv[4],
      "stubborn" in sys.argv[5:],
    )
  )
