"""Who may ask a service, and how often."""

import hmac
import pathlib
import re
import threading
import time
from collections.abc import Callable, Sequence

_SHORTEST = 16  # characters of a token
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1
_MOST_KNOWN = 10_000  # askers whose rate is remembered


def read_tokens(path: pathlib.Path) -> tuple[bytes, ...]:
  """Read bearer tokens, one a line; lines that start with # are comments.

  Raises:
    ValueError: the file cannot be read, holds none, or one that can be guessed
      or that no request can carry.
  """
  try:
    lines = [line.strip() for line in path.read_text().splitlines()]
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"--token_file={path} cannot be read ({error})") from error
  tokens = [line for line in lines if line and not line.startswith("#")]
  if not tokens:
    raise ValueError(f"--token_file={path} holds no token: write one a line")
  if short := [t for t in tokens if len(t) < _SHORTEST]:
    raise ValueError(
      f"--token_file={path}: {len(short)} tokens have fewer than {_SHORTEST}"
      ' characters; make one with python -c "import secrets;'
      ' print(secrets.token_urlsafe())"'
    )
  if odd := [t for t in tokens if not _TOKEN.fullmatch(t)]:
    raise ValueError(
      f"--token_file={path}: {len(odd)} tokens have characters other than"
      " letters, digits and . _ ~ + / - (= at the end): make new ones"
    )
  return tuple(t.encode() for t in tokens)


def who(header: str, tokens: Sequence[bytes]) -> int | None:
  """Say whose token a request carries.

  All tokens are compared, each in a time that does not depend on where it
  differs.

  Args:
    header: the field `Authorization` of the request.
    tokens: those that are known.

  Returns:
    The place of the token; None if it is none of them.
  """
  scheme, _, given = header.partition(" ")
  sent = given.strip().encode()
  found = None
  for place, token in enumerate(tokens):
    if hmac.compare_digest(sent, token):
      found = place
  return found if scheme.lower() == "bearer" else None


class Limiter:
  """A bucket of requests for each asker, refilled at a rate."""

  def __init__(
    self,
    rate: float,
    burst: int,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Start with full buckets.

    Args:
      rate: requests a second, above 0.
      burst: requests at once.
      clock: gives seconds.
    """
    self._rate, self._burst, self._clock = rate, burst, clock
    self._known: dict[object, tuple[float, float]] = {}
    self._lock = threading.Lock()  # files are served by threads

  def wait(self, asker: object) -> float:
    """Take a request of an asker.

    Returns:
      0 if it may be answered, or the seconds until the next one may.
    """
    with self._lock:
      now = self._clock()
      left, last = self._known.pop(asker, (float(self._burst), now))
      left = min(left + (now - last) * self._rate, float(self._burst))
      late = 0.0 if left >= 1 else (1 - left) / self._rate
      # The latest comes last, so that the first one was heard of longest ago.
      self._known[asker] = (left if late else left - 1, now)
      if len(self._known) > _MOST_KNOWN:
        self._known.pop(next(iter(self._known)))
    return late
