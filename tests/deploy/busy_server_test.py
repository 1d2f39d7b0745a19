"""A service that is full, fails, is left, starts and stops."""

import asyncio
import concurrent.futures
import json
import logging

import numpy as np

from tests.deploy import served
from tests.deploy.served import server


def test_a_full_service_sends_away_and_answers_the_others(own):
  held, codes = served.Held(), [[i, 2, 3] for i in range(3)]
  limits = server.Limits(max_waiting=2)
  with (
    served.service(own, held, (1,), limits=limits) as port,
    concurrent.futures.ThreadPoolExecutor(3) as pool,
  ):
    tasks = [pool.submit(served.infer, port, served.frame(own, codes[0]))]
    served.until(lambda: held.sizes)
    tasks += [
      pool.submit(served.infer, port, served.frame(own, c)) for c in codes[1:]
    ]
    waiting = "\nhybridpriv_waiting_codes 2.0\n"
    served.until(
      lambda: waiting in served.ask(port, "GET", "/metrics")[2].decode()
    )
    status, headers, found = served.infer(port, served.frame(own, [9, 9, 9]))
    assert (status, found["code"]) == (503, "full")
    assert int(headers["retry-after"]) >= 1
    held.go.set()
    for code, task in zip(codes, tasks, strict=True):
      status, _, found = task.result(served.DEADLINE_S)
      assert status == 200
      served.same(found["answers"], served.expected(code))


def test_who_hangs_up_does_not_disturb_the_others(own):
  held, code = served.Held(), [1, 2, 3]
  head = served.head(Content_Length=17)
  with (
    served.service(own, held) as port,
    concurrent.futures.ThreadPoolExecutor(2) as pool,
  ):
    gone = served.raw(port, head + served.frame(own, [9, 9, 9]))
    served.until(lambda: held.sizes)
    waits = pool.submit(served.infer, port, served.frame(own, code))
    late = served.raw(port, head + served.frame(own, [8, 8, 8]))
    text = "\nhybridpriv_waiting_codes 2.0\n"
    served.until(
      lambda: text in served.ask(port, "GET", "/metrics")[2].decode()
    )
    gone.close()
    late.close()
    held.go.set()
    status, _, found = waits.result(served.DEADLINE_S)
    assert status == 200
    served.same(found["answers"], served.expected(code))
    assert served.infer(port, served.frame(own, code))[0] == 200


def test_who_hung_up_before_the_batch_is_not_computed(own):
  held, code = served.Held(), [1, 2, 3]
  head = served.head(Content_Length=17)
  with (
    served.service(own, held, (1,)) as port,
    concurrent.futures.ThreadPoolExecutor(2) as pool,
  ):
    first = pool.submit(served.infer, port, served.frame(own, code))
    served.until(lambda: held.sizes)
    left = [
      served.raw(port, head + served.frame(own, [i, 8, 8])) for i in range(5)
    ]
    last = pool.submit(served.infer, port, served.frame(own, code))
    text = "\nhybridpriv_waiting_codes 6.0\n"
    served.until(
      lambda: text in served.ask(port, "GET", "/metrics")[2].decode()
    )
    for connection in left:
      connection.close()
    # Questions later than the ends of the connections, which the loop has
    # therefore seen once they are answered.
    for _ in range(3):
      assert served.ask(port, "GET", "/healthz")[0] == 200
    held.go.set()
    for task in (first, last):
      status, _, found = task.result(served.DEADLINE_S)
      assert status == 200
      served.same(found["answers"], served.expected(code))
    served.until(lambda: sum(served.counts(port).values()) == 7)
    assert served.counts(port) == {200: 2, 499: 5}
  assert held.sizes == [1, 1]


def _failing(codes):
  if np.any(codes[:, 0] == 66):
    raise ValueError(f"cannot answer {codes.tolist()}")
  return served.logits(codes)


def test_an_error_fails_its_batch_only_and_says_nothing_of_it(own, caplog):
  caplog.set_level(logging.DEBUG)
  with served.service(own, _failing) as port:
    status, _, found = served.infer(port, served.frame(own, [66, 77, 88]))
    assert (status, found["code"]) == (500, "failed")
    assert found["detail"] == "the service failed"
    assert served.infer(port, served.frame(own, [1, 2, 3]))[0] == 200
    assert served.counts(port) == {500: 1, 200: 1}
  assert "a request failed: ValueError" in caplog.text
  # Not "77": the log of a start has numbers of its own, as of the process.
  assert "cannot answer" not in caplog.text
  assert "Traceback" not in caplog.text


def test_nothing_of_what_is_sent_is_logged(own, caplog, capfd):
  caplog.set_level(logging.DEBUG)
  code = [101, -102, 103]
  frame = served.frame(own, code)
  token = served.TOKENS[0].decode()
  with served.service(own, tokens=served.TOKENS[:1]) as port:
    for body in (frame, frame[:-1] + b"\0", frame[:-3], b"JUNKJUNKJUNKJUNK"):
      served.infer(port, body, Authorization=f"Bearer {token}")
    served.infer(port, frame, Authorization="Bearer another-secret-of-mine")
    assert served.counts(port) == {200: 1, 400: 3, 401: 1}
  captured = capfd.readouterr()
  said = caplog.text + captured.out + captured.err
  assert "Started server" in said  # logs are looked at
  # With its sign: a log of a start has numbers of its own, as of the process.
  for secret in (token, "another-secret", "JUNK", frame[10:13].hex(), "-102"):
    assert secret not in said, secret


def test_metrics_count_requests_batches_and_time(own):
  with served.service(own) as port:
    for i in range(5):
      served.infer(port, served.frame(own, [i, 2, 3]))
    served.infer(port, b"")
    status, headers, content = served.ask(port, "GET", "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    lines = content.decode().splitlines()
    assert served.counts(port) == {200: 5, 400: 1}
  assert "hybridpriv_request_seconds_count 6.0" in lines
  assert "hybridpriv_batch_codes_sum 5.0" in lines
  assert "hybridpriv_waiting_codes 0.0" in lines


def test_a_service_is_ready_once_it_has_started(own):
  made = server.app(own, server.Cloud(served.logits, {1: 1.0}))
  with served.served(made, lifespan="off") as port:
    assert served.ask(port, "GET", "/healthz")[0] == 200
    assert served.ask(port, "GET", "/readyz")[0] == 503
  with served.service(own) as port:
    status, _, content = served.ask(port, "GET", "/readyz")
    assert (status, json.loads(content)) == (200, {"bundle": own.id.hex()})


async def _status(app, path):
  """Asks an application without a server around it."""
  sent = []

  async def receive():
    return {"type": "http.request"}

  async def send(message):
    sent.append(message)

  scope = {"type": "http", "method": "GET", "path": path, "headers": []}
  await app(scope | {"query_string": b""}, receive, send)
  return sent[0]["status"]


def test_a_service_that_stops_is_no_longer_ready(own):
  async def body():
    made = server.app(own, server.Cloud(served.logits, {1: 1.0}))
    found = [await _status(made, "/readyz")]
    async with made.router.lifespan_context(made):
      found.append(await _status(made, "/readyz"))
    return [*found, await _status(made, "/readyz")]

  assert asyncio.run(body()) == [503, 200, 503]
