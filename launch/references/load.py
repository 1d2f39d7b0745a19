"""Clients that ask a service at once, each over a connection of its own.

  python load.py port seconds clients questions.json [stubborn]

The file holds a list of [frame in hexadecimal, answers, null for any].  Every
fiftieth answer is compared, and with `stubborn` every one; then a question is
also asked again until it has an answer, over a new connection where one is cut.
Prints JSON: questions `asked` and `answered`, `wrong` answers, questions asked
`again`, `seconds`, and those of an answer: `median_s`, `p99_s`.
"""

import asyncio
import itertools
import json
import pathlib
import sys
import time
from typing import Any, NamedTuple

_COMPARED = 50
_NEAR = 1e-4  # batches of different sizes round differently
_PAUSE_S = 0.2  # before a service that is not there is asked again
_PATIENCE_S = 60.0  # for a stubborn client's answer


class Found(NamedTuple):
  """What clients saw, all together."""

  seconds: list[float]
  counts: dict[str, int]


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
  """Read a response whose head tells its length."""
  head = await reader.readuntil(b"\r\n\r\n")
  fields = head.lower().split(b"\r\n")
  (length,) = [f for f in fields if f.startswith(b"content-length:")]
  body = await reader.readexactly(int(length.split(b":")[1]))
  return int(head[9:12]), body


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
) -> None:
  """Ask one question after the other."""
  streams: Any = None
  for turn in itertools.count(number):
    if time.monotonic() >= until:
      break
    frame, expected = questions[turn % len(questions)]
    request = (
      f"POST /v1/infer HTTP/1.1\r\nHost: here\r\nContent-Length: {len(frame)}"
      "\r\n\r\n"
    ).encode() + frame
    start = time.perf_counter()
    found.counts["asked"] += 1
    last = time.monotonic() + _PATIENCE_S
    while True:
      try:
        streams = streams or await asyncio.open_connection("127.0.0.1", port)
        streams[1].write(request)
        status, body = await _answer(streams[0])
      except (OSError, asyncio.IncompleteReadError):
        streams, status, body = None, 0, b""
      if status == 200 or not is_stubborn or time.monotonic() > last:
        break
      found.counts["again"] += 1
      await asyncio.sleep(_PAUSE_S)
    if status == 200:
      found.seconds.append(time.perf_counter() - start)
      found.counts["answered"] += 1
      if is_stubborn or turn % _COMPARED == 0:
        found.counts["wrong"] += not _is_right(body, expected)
  if streams:
    streams[1].close()


async def main(
  port: int, seconds: float, clients: int, path: str, is_stubborn: bool
) -> None:
  """Run all clients, print what they saw."""
  questions = [
    (bytes.fromhex(frame), answers)
    for frame, answers in json.loads(pathlib.Path(path).read_text())
  ]
  found = Found([], dict.fromkeys(("asked", "answered", "wrong", "again"), 0))
  start = time.monotonic()
  until = start + seconds
  await asyncio.gather(
    *(
      client(n, port, until, questions, found, is_stubborn)
      for n in range(clients)
    )
  )
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
