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


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
  """Read a response whose head tells its length."""
  head = await reader.readuntil(b"\r\n\r\n")
  fields = head.lower().split(b"\r\n")
  length = [f for f in fields if f.startswith(b"content-length:")]
  # Without one it ends where the connection does.
  body = await (
    reader.readexactly(int(length[0].split(b":")[1]))
    if length
    else reader.read()
  )
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
    tries = 0
    request = (
      f"POST /v1/infer HTTP/1.1\r\nHost: here\r\nContent-Length: {len(frame)}"
      "\r\n\r\n"
    ).encode() + frame
    start = time.perf_counter()
    found.counts["asked"] += 1
    last = time.monotonic() + _PATIENCE_S
    while True:
      tries += 1
      try:
        streams = streams or await asyncio.open_connection("127.0.0.1", port)
        streams[1].write(request)
        status, body = await asyncio.wait_for(_answer(streams[0]), _ANSWER_S)
      except (OSError, TimeoutError, asyncio.IncompleteReadError):
        status, body = 0, b""
        if streams:
          streams[1].close()
        streams = None
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
  found = Found([], dict.fromkeys(_COUNTED, 0))
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
