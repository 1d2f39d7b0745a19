"""A service in a thread, with a made-up cloud half, and ways to ask it."""

import contextlib
import http.client
import importlib
import json
import re
import socket
import threading
import time

import numpy as np
import pytest
from scipy import special

from hybridpriv.deploy import wire

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
uvicorn = pytest.importorskip("uvicorn")
server = importlib.import_module("hybridpriv.deploy.server")

DEADLINE_S = 60
TOKENS = (b"first-token-of-somebody", b"another-token-of-another")


def logits(codes):
  """What the made-up cloud answers: of two labels, two and three classes."""
  x = codes.astype(np.float32)
  return np.stack([0 * x[:, 0], x[:, 0], x[:, 1], x[:, 2], -x[:, 0]], 1) / 20


def expected(code):
  """What a service must make of that."""
  own = logits(np.asarray(code)[None])[0]
  beard, age = special.softmax(own[:2]), special.softmax(own[2:])
  return {
    "beard": dict(zip(("no", "yes"), beard, strict=True)),
    "age": dict(zip(("young", "old", "older"), age, strict=True)),
  }


def same(found, expected):
  assert set(found) == set(expected)
  for label, classes in expected.items():
    assert found[label] == pytest.approx(classes, abs=1e-6)


class Held:
  """A cloud half that waits until it is let go."""

  def __init__(self):
    self.go, self.sizes = threading.Event(), []

  def __call__(self, codes):
    self.sizes.append(len(codes))
    assert self.go.wait(DEADLINE_S)
    return logits(codes)


def until(true):
  end = time.monotonic() + DEADLINE_S
  while not true():
    assert time.monotonic() < end
    time.sleep(0.002)


@contextlib.contextmanager
def served(app, **options):
  """Serves on a free port and gives it."""
  config = uvicorn.Config(
    app, port=0, log_config=None, ws="none", access_log=False, **options
  )
  running = uvicorn.Server(config)
  thread = threading.Thread(target=running.run)
  thread.start()
  try:
    until(lambda: running.started or not thread.is_alive())
    yield running.servers[0].sockets[0].getsockname()[1]
  finally:
    running.should_exit = True
    thread.join(DEADLINE_S)


@contextlib.contextmanager
def service(own, run=logits, sizes=(1, 2, 4, 8), **options):
  cloud = server.Cloud(run, dict.fromkeys(sizes, 1.0))
  app = server.app(own, cloud, **options)
  with served(app) as port:
    yield port


def ask(port, method, path, body=None, headers=None):
  """Returns status, headers and body."""
  connection = http.client.HTTPConnection("127.0.0.1", port, DEADLINE_S)
  with contextlib.closing(connection):
    connection.request(method, path, body, headers or {})
    reply = connection.getresponse()
    return reply.status, reply.headers, reply.read()


def infer(port, body, **headers):
  status, sent, content = ask(port, "POST", "/v1/infer", body, headers)
  return status, sent, json.loads(content)


def frame(own, code):
  return wire.encode(np.asarray(code), bits=8, bundle=own.id)


def counts(port):
  """Requests by status, as /metrics has them."""
  text = ask(port, "GET", "/metrics")[2].decode()
  found = re.findall(
    r'^hybridpriv_requests_total{status="(\d+)"} (\S+)', text, re.MULTILINE
  )
  return {int(status): float(count) for status, count in found}


def raw(port, content):
  """Sends bytes and returns an open connection."""
  connection = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
  connection.sendall(content)
  return connection


def head(**headers):
  lines = ["POST /v1/infer HTTP/1.1", "Host: here"]
  lines += [f"{k.replace('_', '-')}: {v}" for k, v in headers.items()]
  return ("\r\n".join(lines) + "\r\n\r\n").encode()
