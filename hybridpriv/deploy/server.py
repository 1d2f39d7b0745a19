"""The service: frames in, answers out.

It keeps nothing of what it is sent and logs no payload.  Many of them may stand
behind a load balancer: they share nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import math
import time
import timeit
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import fastapi
import jax
import numpy as np
import prometheus_client
from fastapi import responses
from starlette import requests

from hybridpriv.deploy import access, batcher, export, pages, wire
from hybridpriv.deploy.client import manifest

_BODY_S = 10.0  # for a body to arrive
_TRIALS = 3  # of a batch of each size, of which the fastest counts
_RETRY_S = 1  # after which a full service may be asked again
_HUNG_UP = 499  # as nginx counts it; nobody is there to be told
_STATUS = {"bundle": 409, "version": 426}  # of refused frames; others 400
# Made once: json.dumps with these makes one for each answer.
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_LOG = logging.getLogger(__name__)


class Limits(NamedTuple):
  """How much a service takes on.

  Attributes:
    max_waiting: codes that may wait; more are sent away.
    rate: requests a second of one asker; 0 for any.
    burst: requests of one asker at once.
  """

  max_waiting: int = 256
  rate: float = 0.0
  burst: int = 20


DEFAULTS = Limits()


class Cloud(NamedTuple):
  """The cloud half, compiled for a few sizes of batch.

  Attributes:
    run: codes [b, k] of one of the sizes -> logits [b, n].
    seconds: what a batch takes, by its size, rising.
  """

  run: Callable[[np.ndarray], np.ndarray]
  seconds: Mapping[int, float]


def load(own: manifest.Manifest, *, max_batch: int) -> Cloud:
  """Load the cloud half, compile it for all sizes of batch and time these.

  Raises:
    ValueError: a file is missing or damaged.
  """
  program = manifest.file(own, "cloud.stablehlo").read_bytes()
  call = export.from_stablehlo(program)
  parameters = jax.device_put(export.unpack(manifest.file(own, "cloud.npz")))
  code = own.values["code"]
  dtype = np.dtype(f"int{code['bits']}")
  sizes = tuple(
    sorted({2**i for i in range(int(math.log2(max_batch)) + 1)} | {max_batch})
  )
  compiled = {
    size: jax.jit(call)
    .lower(parameters, jax.ShapeDtypeStruct((size, code["k"]), dtype))
    .compile()
    for size in sizes
  }

  def run(codes: np.ndarray) -> np.ndarray:
    codes = codes.astype(dtype)
    return np.asarray(compiled[len(codes)](parameters, codes))

  def seconds(size: int) -> float:
    codes = np.zeros((size, code["k"]), dtype)
    return min(timeit.repeat(lambda: run(codes), number=1, repeat=_TRIALS))

  return Cloud(run, {size: seconds(size) for size in sizes})


def app(
  own: manifest.Manifest,
  cloud: Cloud,
  *,
  tokens: Sequence[bytes] = (),
  limits: Limits = DEFAULTS,
) -> fastapi.FastAPI:
  """Make the service.

  Args:
    own: the bundle's manifest.
    cloud: its cloud half.
    tokens: of bearers who may ask; () lets everybody ask.
    limits: how much it takes on.
  """
  measured = _Measured()
  classes, name = own.values["answers"], own.id  # a hash, once
  queue = batcher.Batcher(
    lambda codes: answers(cloud.run(codes), classes),
    seconds=cloud.seconds,
    most_waiting=limits.max_waiting,
    seen=measured.batch.observe,
  )
  measured.waiting.set_function(lambda: queue.num_waiting)
  limiter = access.Limiter(limits.rate, limits.burst) if limits.rate else None
  code = own.values["code"]
  most = wire.num_bytes(k=code["k"], bits=code["bits"])
  state = {"is_ready": False}

  @contextlib.asynccontextmanager
  async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.serve())
    state["is_ready"] = True
    yield
    # Requests under way are done when it comes to this.
    state["is_ready"] = False
    task.cancel()
    queue.close()

  made = fastapi.FastAPI(
    title="hybridpriv",
    lifespan=lifespan,
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
  )

  def asker(request: fastapi.Request) -> Any:
    """Say who asks, or why that is nobody who may."""
    if tokens:
      place = access.who(request.headers.get("authorization", ""), tokens)
      if place is None:
        raise _Away(
          401,
          "token",
          "a bearer token is needed",
          {"WWW-Authenticate": "Bearer"},
        )
      return place
    return request.client.host if request.client else ""

  def admit(request: fastapi.Request) -> None:
    """Take what is asked from the rate of who asks."""
    asking = asker(request)
    if limiter and (late := limiter.wait(asking)):
      raise _Away(429, "rate", "too many requests", _after(late))

  async def infer(request: fastapi.Request) -> dict[str, Any]:
    admit(request)
    body = await _body(request, most)
    try:
      frame = wire.decode(body, bundle=name)
    except wire.Refused as error:
      raise _Away(
        _STATUS.get(error.code, 400), error.code, str(error)
      ) from error
    if frame.bits != code["bits"] or len(frame.values) != code["k"]:
      raise _Away(
        400,
        "length",
        f"{len(frame.values)} values of {frame.bits} bits; the bundle has"
        f" {code['k']} of {code['bits']}",
      )
    try:
      found = await queue.ask(
        frame.values, functools.partial(_has_hung_up, request)
      )
    except batcher.Gone as error:
      raise _Away(_HUNG_UP, "gone", str(error)) from error
    except batcher.Full as error:
      raise _Away(503, "full", str(error), _after(_RETRY_S)) from error
    return {"answers": found}

  async def ask(request: fastapi.Request) -> fastapi.Response:
    start = time.monotonic()
    try:
      content = _ENCODER.encode(await infer(request))
      reply = fastapi.Response(content, media_type="application/json")
    except _Away as error:
      reply = error.reply()
    except Exception as error:
      # By its type alone: a message may quote what was sent.
      _LOG.error("a request failed: %s", type(error).__name__)
      reply = _Away(500, "failed", "the service failed").reply()
    measured.count(reply.status_code, time.monotonic() - start)
    return reply

  # Without FastAPI's arguments by name, of which it has none: they take time.
  made.add_route("/v1/infer", ask, methods=["POST"])

  def refusal(request: fastapi.Request) -> fastapi.Response | None:
    try:
      admit(request)
    except _Away as error:
      return error.reply()
    return None

  @made.get("/v1/manifest")
  async def describe(request: fastapi.Request) -> fastapi.Response:
    try:
      asker(request)  # before every question: not one of its own
    except _Away as error:
      return error.reply()
    return fastapi.Response(own.content, media_type="application/json")

  made.include_router(pages.router(own, refusal))

  @made.get("/healthz")
  async def alive() -> dict[str, str]:
    return {"status": "alive"}

  @made.get("/readyz")
  async def ready() -> responses.JSONResponse:
    status = 200 if state["is_ready"] else 503
    return responses.JSONResponse({"bundle": own.id.hex()}, status)

  @made.get("/metrics")
  async def metrics() -> fastapi.Response:
    text = prometheus_client.generate_latest(measured.registry)
    return fastapi.Response(
      text, media_type=prometheus_client.CONTENT_TYPE_LATEST
    )

  return made


def answers(
  logits: np.ndarray, classes: Mapping[str, Sequence[str]]
) -> list[dict[str, dict[str, float]]]:
  """Turn logits [b, n] into the probability of each class, by desired label."""
  found: list[dict[str, dict[str, float]]] = [{} for _ in logits]
  at = 0
  for label, names in classes.items():
    own = logits[:, at : at + len(names)].astype(np.float64)
    at += len(names)
    share = np.exp(own - own.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    for one, scores in zip(found, share.round(6).tolist(), strict=True):
      one[label] = dict(zip(names, scores, strict=True))
  return found


class _Away(Exception):
  """A request that gets no answer, and why."""

  def __init__(
    self,
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
  ):
    super().__init__(message)
    self.status, self.code, self.headers = status, code, headers

  def reply(self) -> responses.JSONResponse:
    content = {"detail": str(self), "code": self.code}
    return responses.JSONResponse(content, self.status, self.headers)


def _after(seconds: float) -> dict[str, str]:
  return {"Retry-After": str(max(math.ceil(seconds), 1))}


async def _body(request: fastapi.Request, most: int) -> bytes:
  """Read a body that is no longer than a frame."""
  long = _Away(413, "length", f"more than {most} bytes; no frame has")
  if int(request.headers.get("content-length", 0)) > most:
    raise long
  body = bytearray()
  try:
    async with asyncio.timeout(_BODY_S):
      async for chunk in request.stream():
        body.extend(chunk)
        if len(body) > most:
          raise long
  except TimeoutError:
    raise _Away(408, "short", "the body did not arrive") from None
  except requests.ClientDisconnect:
    raise _Away(400, "short", "the body was cut off") from None
  return bytes(body)


def _has_hung_up(request: fastapi.Request) -> bool:
  """Ask the server below, which knows, without waiting for anything.

  `request.is_disconnected` does the same by a scope that is cancelled, which
  takes as long as other work that a request is.
  """
  asked: Any = request.receive()
  try:
    asked.send(None)
  except StopIteration as told:
    return told.value["type"] == "http.disconnect"
  finally:
    asked.close()
  return False  # it would have waited: the client may still say something


class _Measured:
  """What /metrics shows: numbers, nothing of what was sent."""

  def __init__(self):
    self.registry = prometheus_client.CollectorRegistry()
    own = {"registry": self.registry}
    self._requests = prometheus_client.Counter(
      "hybridpriv_requests", "Requests by status", ["status"], **own
    )
    self._by_status = functools.cache(self._requests.labels)
    self._seconds = prometheus_client.Histogram(
      "hybridpriv_request_seconds", "From request to answer", **own
    )
    self.batch = prometheus_client.Histogram(
      "hybridpriv_batch_codes",
      "Codes answered at once",
      buckets=(1, 2, 4, 8, 16, 32, 64, 128),
      **own,
    )
    self.waiting = prometheus_client.Gauge(
      "hybridpriv_waiting_codes", "Codes that wait", **own
    )

  def count(self, status: int, seconds: float) -> None:
    """Count a request."""
    self._by_status(str(status)).inc()
    self._seconds.observe(seconds)
