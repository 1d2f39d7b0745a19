"""Clients that never finish: they hold a service's connections.

  python slow_clients.py port number seconds

Half send the head of a request a byte a second, half a head and then no body;
who is hung up on comes again.
"""

import asyncio
import sys
import time

_HEAD = b"POST /v1/infer HTTP/1.1\r\nHost: here\r\nContent-Length: 22\r\n\r\n"


async def _client(port: int, until: float, *, is_slow: bool) -> None:
  while time.monotonic() < until:
    try:
      reader, writer = await asyncio.open_connection("127.0.0.1", port)
      if not is_slow:
        writer.write(_HEAD)
      for byte in _HEAD:
        if is_slow:
          writer.write(bytes([byte]))
        try:
          await asyncio.wait_for(reader.read(1024), 1)
          break  # told to go, or hung up on
        except TimeoutError:
          if time.monotonic() > until:
            break
      writer.close()
    except OSError:
      await asyncio.sleep(1)


async def main(port: int, number: int, seconds: float) -> None:
  """Run them all."""
  until = time.monotonic() + seconds
  await asyncio.gather(
    *(_client(port, until, is_slow=i % 2 == 0) for i in range(number))
  )


if __name__ == "__main__":
  asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
