import json
import pathlib
import socketserver
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.deploy import served

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOAD = ROOT / "launch" / "references" / "load.py"


def _load(tmp_path, port, seconds, questions, *more):
  """Asks with three clients; returns what they saw."""
  path = tmp_path / "questions.json"
  path.write_text(json.dumps(questions, default=float))
  done = subprocess.run(
    [sys.executable, LOAD, str(port), str(seconds), "3", path, *more],
    check=True,
    capture_output=True,
    text=True,
    timeout=120,
  )
  return json.loads(done.stdout)


def _questions(own, wrong=()):
  codes = np.arange(12).reshape(4, 3)
  return [
    (
      served.frame(own, code).hex(),
      served.expected(code[::-1] if i in wrong else code),
    )
    for i, code in enumerate(codes)
  ]


def test_clients_count_what_is_answered_and_how_long_it_takes(own, tmp_path):
  with served.service(own) as port:
    found = _load(tmp_path, port, 0.5, _questions(own))
    seen = served.counts(port)
  assert seen == {200: found["asked"]} and found["answered"] == found["asked"]
  assert found["asked"] > 10
  assert found["wrong"] == found["again"] == found["refused"] == 0
  assert 0 < found["median_s"] <= found["p99_s"] < 0.5
  assert 0.5 <= found["seconds"] < 5


def test_stubborn_clients_see_every_wrong_answer(own, tmp_path):
  with served.service(own) as port:
    found = _load(tmp_path, port, 0.5, _questions(own, {1}), "stubborn")
  # One question of four, which three clients ask in turn.
  assert 0.15 < found["wrong"] / found["answered"] < 0.35


@pytest.mark.parametrize("more", [[], ["stubborn"]])
def test_what_is_refused_is_not_asked_until_it_is_answered(own, tmp_path, more):
  failing, lock = [], threading.Lock()

  def unsteady(codes):
    with lock:
      failing.append(len(codes))
      if len(failing) % 3 == 0:
        raise ValueError("now and then")
    return served.logits(codes)

  with served.service(own, unsteady) as port:
    found = _load(tmp_path, port, 0.5, _questions(own), *more)
  assert found["refused"] > 0 and not found["wrong"] and not found["again"]
  assert found["answered"] + found["refused"] == found["asked"]


def test_stubborn_clients_ask_again_where_a_connection_is_cut(tmp_path):
  left = [5]  # connections to cut
  reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

  class Cutting(socketserver.BaseRequestHandler):
    def handle(self):
      while self.request.recv(1024):
        left[0] -= 1
        if left[0] >= 0:
          return
        self.request.sendall(reply)

  with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Cutting) as cutting:
    cutting.daemon_threads = True
    threading.Thread(target=cutting.serve_forever, daemon=True).start()
    port = cutting.server_address[1]
    found = _load(tmp_path, port, 1, [("00", None)], "stubborn")
    cutting.shutdown()
  assert found["answered"] == found["asked"] > 10
  # Questions, not tries: three clients are cut off five times.
  assert 1 <= found["again"] <= 5 and not found["refused"]


def test_what_it_serves_is_a_bundle_that_a_service_takes(tmp_path):
  from benches import serve

  what, network, shape = serve.MODELS[0]
  cut = what.split()[-1]
  own = serve._bundle(tmp_path / "bundle", network, shape, cut)
  found = served.server.load(own, max_batch=2).run(np.zeros((2, 8), np.int8))
  assert found.shape == (2, network.num_classes)


@pytest.mark.slow
def test_a_service_is_as_fast_as_its_stack_allows_and_loses_nothing():
  from benches import serve

  rows = [row for part in serve.run(True) for row in part.rows()]
  assert len(rows) == 6 and not any(row.skipped for row in rows)
  *_, steady = rows
  assert "killed once" in steady.what
  assert steady.ours == steady.reference > 100  # asked, and answered rightly
