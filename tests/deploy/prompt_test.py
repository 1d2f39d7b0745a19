import asyncio
import socket
import threading
import time

import pytest

uvicorn = pytest.importorskip("uvicorn")
prompt = pytest.importorskip("hybridpriv.deploy.prompt")

LIMIT_S = 0.5
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def _app(scope, receive, send):
  """Answers, to /slow after more than the limit."""
  if scope["path"] == "/slow":
    await asyncio.sleep(2 * LIMIT_S)
  headers = [(b"content-length", b"2")]
  await send({"type": "http.response.start", "status": 200, "headers": headers})
  await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port(monkeypatch):
  monkeypatch.setattr(prompt, "HEAD_S", LIMIT_S)
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
