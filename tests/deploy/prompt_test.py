import asyncio
import socket
import threading
import time

import pytest

uvicorn = pytest.importorskip("uvicorn")
prompt = pytest.importorskip("hybridpriv.deploy.prompt")

LIMIT_S = 0.5
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
LARGE = 2**25  # more than what the system keeps ready for a reader
PIECE = 2**16


async def _app(scope, receive, send):
  """Answers, to /slow after more than the limit, to /large with much."""
  if scope["path"] == "/slow":
    await asyncio.sleep(2 * LIMIT_S)
  is_large = scope["path"] == "/large"
  size = LARGE if is_large else 2
  headers = [(b"content-length", str(size).encode())]
  await send({"type": "http.response.start", "status": 200, "headers": headers})
  if is_large:
    for _ in range(LARGE // PIECE):
      part = {"body": bytes(PIECE), "more_body": True}
      await send({"type": "http.response.body", **part})
  last = b"" if is_large else b"ok"
  await send({"type": "http.response.body", "body": last})


@pytest.fixture
def port(monkeypatch):
  monkeypatch.setattr(prompt, "HEAD_S", LIMIT_S)
  monkeypatch.setattr(prompt, "READ_S", LIMIT_S)
  listening = socket.create_server(("127.0.0.1", 0))
  server = uvicorn.Server(
    uvicorn.Config(_app, http=prompt.Prompt, log_level="error", lifespan="off")
  )
  thread = threading.Thread(
    target=lambda: asyncio.run(server.serve(sockets=[listening]))
  )
  thread.start()
  deadline = time.monotonic() + 30
  while not server.started and time.monotonic() < deadline:
    time.sleep(0.01)
  yield listening.getsockname()[1]
  server.should_exit = True
  thread.join()
  listening.close()


def _connect(port):
  return socket.create_connection(("127.0.0.1", port), timeout=30)


def _read(own, text=b"ok"):
  """Reads until the text, or what is there when the other side hangs up."""
  found = b""
  while not found.endswith(text):
    part = own.recv(1000)
    if not part:
      break
    found += part
  return found


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: he"])
def test_who_sends_no_whole_head_is_hung_up_on(port, said):
  crowd = [_connect(port) for _ in range(50)]
  for own in crowd:
    own.sendall(said)
  with _connect(port) as other:  # who does is answered meanwhile
    other.sendall(REQUEST)
    assert _read(other).endswith(b"ok")
  for own in crowd:
    with own:
      assert own.recv(1000) == b""


def test_a_second_head_has_a_limit_as_well(port):
  with _connect(port) as own:
    own.sendall(REQUEST)
    assert _read(own).endswith(b"ok")
    own.sendall(REQUEST[:10])
    assert own.recv(1000) == b""


def test_who_waits_for_an_answer_or_between_requests_is_left_alone(port):
  with _connect(port) as own:
    own.sendall(REQUEST.replace(b"/ ", b"/slow "))
    assert _read(own).endswith(b"ok")
    time.sleep(1.5 * LIMIT_S)
    own.sendall(REQUEST)
    assert _read(own).endswith(b"ok")


def _count(own):
  """Counts bytes until the other side hangs up, in whichever way."""
  found = 0
  try:
    while part := own.recv(PIECE):
      found += len(part)
  except ConnectionResetError:
    pass
  return found


def test_who_asks_for_much_and_reads_nothing_is_hung_up_on(port):
  with _connect(port) as own:
    own.sendall(REQUEST.replace(b"/ ", b"/large "))
    time.sleep(3 * LIMIT_S)
    assert _count(own) < LARGE


def test_who_reads_slowly_gets_all(port):
  with _connect(port) as own:
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
    asked = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    own.sendall(asked.replace(b"/ ", b"/large "))
    start, found = time.monotonic(), 0
    while part := own.recv(PIECE):
      found += len(part)
      if time.monotonic() - start < 3 * LIMIT_S:
        time.sleep(LIMIT_S / 50)
    assert found > LARGE
