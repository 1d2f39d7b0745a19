"""The page /demo, and those files of a bundle that it runs.

The page is built from web/ (`make web`) and is part of this package.  It is let
do nothing but talk to the server that it came from.
"""

from __future__ import annotations

import functools
import gzip
import pathlib
import re
from collections.abc import AsyncIterator, Callable, Mapping

import fastapi
from fastapi import responses

from hybridpriv.deploy.client import manifest

PAGE = pathlib.Path(__file__).parent / "page"
_INDEX = "index.html"
_PIECE = 2**16

# Files of a bundle that a page may have: what runs on the device, and what
# shows there how a cloud could pry.  The cloud half itself stays here.
_BUNDLE = re.compile(r"client\.onnx|demo/[\w-]+\.onnx")

_POLICY = (
  "default-src 'self'; script-src 'self' 'wasm-unsafe-eval';"
  " object-src 'none'; base-uri 'none'; form-action 'none';"
  " frame-ancestors 'none'"
)
_HEADERS = {
  "Content-Security-Policy": _POLICY,
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
# Not those of the system, which may not know what a browser insists on.
_TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
}


def router(
  own: manifest.Manifest,
  refusal: Callable[[fastapi.Request], fastapi.Response | None],
) -> fastapi.APIRouter:
  """Make the routes of the page.

  Args:
    own: the bundle's manifest.
    refusal: says no to who may not have files of the bundle; None to others.
      The page itself is for everybody: it asks for the token.
  """
  made = fastapi.APIRouter()
  known = {
    str(path.relative_to(PAGE)): path
    for path in PAGE.rglob("*")
    if path.suffix in _TYPES
  }

  @made.get("/demo")
  def enter() -> responses.RedirectResponse:
    # Relative, as all in the page: a proxy may put something before it.
    return responses.RedirectResponse("demo/", 308, _HEADERS)

  @made.get("/demo/{name:path}")
  def page(name: str, request: fastapi.Request) -> fastapi.Response:
    name = name or _INDEX
    if name not in known:
      return _missing(name)
    # The names of assets have the hash of what is in them.
    is_fixed = name.startswith("assets/")
    zipped = "gzip" in request.headers.get("accept-encoding", "")
    headers = {
      **_HEADERS,
      "Cache-Control": "public, max-age=31536000, immutable"
      if is_fixed
      else "no-cache",
      "Vary": "Accept-Encoding",
      **({"Content-Encoding": "gzip"} if zipped else {}),
    }
    return _sent(
      _content(known[name], zipped), headers, _TYPES[known[name].suffix]
    )

  @functools.cache
  def checked(name: str) -> bytes:
    return manifest.file(own, name).read_bytes()

  @made.get("/v1/bundle/{name:path}")
  def bundle(name: str, request: fastapi.Request) -> fastapi.Response:
    if said := refusal(request):
      return said
    files = own.values.get("files", {})
    if not _BUNDLE.fullmatch(name) or name not in files:
      return _missing(name)
    tag = f'"{files[name]}"'
    headers = {**_HEADERS, "Cache-Control": "private, no-cache", "ETag": tag}
    if request.headers.get("if-none-match") == tag:
      return fastapi.Response(status_code=304, headers=headers)
    try:
      content = checked(name)
    except ValueError:
      # Why is a matter of the folder here, not of who asks.
      return responses.JSONResponse(
        {"detail": f"{name} is damaged on the server", "code": "bundle"}, 500
      )
    return _sent(content, headers, "application/octet-stream")

  return made


def _sent(
  content: bytes, headers: Mapping[str, str], kind: str
) -> fastapi.Response:
  """Send a file in pieces: the next one when a reader has taken the last.

  As a whole every slow reader would have a copy of its own.
  """

  async def pieces() -> AsyncIterator[memoryview]:
    view = memoryview(content)
    for start in range(0, len(view), _PIECE):
      yield view[start : start + _PIECE]

  return responses.StreamingResponse(
    pieces(),
    headers={**headers, "Content-Length": str(len(content))},
    media_type=kind,
  )


@functools.cache
def _content(path: pathlib.Path, zipped: bool) -> bytes:
  """Read a file of the page; zipped, the runtime takes a quarter of the way."""
  content = path.read_bytes()
  return gzip.compress(content, 6, mtime=0) if zipped else content


def _missing(name: str) -> responses.JSONResponse:
  return responses.JSONResponse(
    {"detail": f"there is no {name} here", "code": "name"}, 404, _HEADERS
  )
