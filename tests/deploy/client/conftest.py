"""A service that notes all it receives, and a bundle with a made-up half."""

import http.server
import json
import threading
from typing import NamedTuple

import numpy as np
import pytest

from hybridpriv.deploy.client import manifest


class Received(NamedTuple):
  """A request."""

  method: str
  path: str
  headers: dict[str, str]
  body: bytes


class Service:
  """Answers as it is told, and notes what it receives."""

  def __init__(self, content):
    self.manifest = content
    self.received, self.is_down = [], False
    answers = {
      "beard": {"no": 0.25, "yes": 0.75},
      "age": {"young": 0.5, "old": 0.2, "older": 0.3},
    }
    self.status, self.headers = 200, {}
    self.answer = json.dumps({"answers": answers}).encode()
    self.url = ""

  @property
  def frames(self):
    """Bodies of all requests that had one."""
    return [one.body for one in self.received if one.body]


@pytest.fixture
def own(tmp_path, made_values):
  """The manifest of a bundle."""
  folder = tmp_path / "bundle"
  folder.mkdir()
  (folder / "manifest.json").write_text(json.dumps(made_values))
  return manifest.read(folder)


@pytest.fixture
def service(own):
  """A service of this bundle, until the end of a test."""
  told = Service(own.content)

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      self._note(b"")
      self._reply(200, told.manifest)

    def do_POST(self):
      size = int(self.headers.get("Content-Length", 0))
      self._note(self.rfile.read(size))
      if told.is_down:  # it dies before it answers
        self.close_connection = True
        return
      self._reply(told.status, told.answer)

    def _note(self, body):
      headers = {k.lower(): v for k, v in self.headers.items()}
      told.received.append(Received(self.command, self.path, headers, body))

    def _reply(self, status, content):
      self.send_response(status)
      sent = {"Content-Length": str(len(content))} | told.headers
      for name, value in sent.items():
        self.send_header(name, value)
      self.end_headers()
      self.wfile.write(content)

    def log_message(self, *_):
      pass

  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  thread = threading.Thread(target=server.serve_forever, args=(0.01,))
  thread.start()
  told.url = f"http://127.0.0.1:{server.server_port}"
  yield told
  server.shutdown()
  thread.join()
  server.server_close()


@pytest.fixture
def half():
  """A client half: the mean colour, less the middle, cut off at whole."""
  return lambda x: np.trunc(x.mean((1, 2)) / 16 - 8).astype(np.float32)
