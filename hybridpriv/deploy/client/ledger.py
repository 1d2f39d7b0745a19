"""The budget of a device: what has left it, and what may still leave.

Every code that leaves tells a little more.  The ledger is a file (SQLite) that
holds one row for each code that may have left: its frame, and its cost, the
square of C / sigma, which is what adds up over codes (docs/guarantees.md).
The rules:

- A row is written, and is durable, before its frame is handed out.  Whatever
  dies in between, a query was paid for and not made, never the other way round.
- An input that was sent before gets its old frame again, which tells no more of
  it; that it is the same is seen.  Sameness is by a keyed hash of the decoded,
  resized input, never of the code before the noise, and the key never leaves
  the file.
- Noise is drawn while the file is locked, once for each row.

Who deletes the file or puts an older copy in its place starts a new budget; no
file can prevent that.
"""

import contextlib
import hashlib
import hmac
import os
import pathlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from typing import NamedTuple

_WAIT_S = 60.0  # for another process that holds the lock
_ROUNDING = 1e-9  # of sums of costs, relative
_TABLES = """
CREATE TABLE device (secret BLOB NOT NULL);
CREATE TABLE codes (
  bundle BLOB NOT NULL,
  input BLOB NOT NULL,
  cost REAL NOT NULL,
  frame BLOB NOT NULL,
  PRIMARY KEY (bundle, input)
);
"""


class Exhausted(RuntimeError):
  """The budget does not allow another code."""


class Broken(RuntimeError):
  """The ledger cannot be read or written; nothing may be sent."""


class Charged(NamedTuple):
  """A frame that may be sent.

  Attributes:
    frame: the bytes.
    is_new: False where this input was sent before, with the same bytes.
    spent: cost of all codes so far.
  """

  frame: bytes
  is_new: bool
  spent: float


def charge(
  path: pathlib.Path,
  make_frame: Callable[[], bytes],
  *,
  bundle: bytes,
  content: bytes,
  cost: float,
  limit: float,
) -> Charged:
  """Pay for a code and return its frame, durable before it is returned.

  Codes of all bundles draw on the same budget.

  Args:
    path: the ledger; made if it is not there.
    make_frame: draws the noise and lays out the frame; called at most once,
      and not at all for an input that was sent before.
    bundle: id of the bundle.
    content: the decoded, resized input; only a keyed hash of it is kept.
    cost: (C / sigma)^2 of this code, above 0.
    limit: the largest sum of costs.

  Raises:
    Exhausted: the sum would exceed the limit.
    Broken: the file is no ledger, damaged, locked for too long, or the disk is
      full.  Nothing was charged then.
  """
  if not 0 < cost < float("inf"):
    raise ValueError(f"cost={cost}; expected a number above 0")
  with _locked(path) as connection:
    (secret,) = connection.execute("SELECT secret FROM device").fetchone() or (
      None,
    )
    if secret is None:
      raise _broken(path, sqlite3.DataError("its key is gone"))
    own = hmac.digest(secret, content, hashlib.sha256)
    spent = _spent(connection)
    row = connection.execute(
      "SELECT frame FROM codes WHERE bundle = ? AND input = ?", (bundle, own)
    ).fetchone()
    if row is not None:
      return Charged(row[0], False, spent)
    if spent + cost > limit * (1 + _ROUNDING):
      raise Exhausted(
        f"the budget is spent: {spent:g} of {limit:g}, and a code costs"
        f" {cost:g}; inputs that were sent before can be sent again"
      )
    frame = make_frame()
    connection.execute(
      "INSERT INTO codes VALUES (?, ?, ?, ?)", (bundle, own, cost, frame)
    )
  # Here, and no earlier, the row is on the disk.
  return Charged(frame, True, spent + cost)


def spent(path: pathlib.Path) -> float:
  """Return the cost of all codes so far; 0 where there is no ledger.

  Raises:
    Broken: the file cannot be read.
  """
  if not path.exists():
    return 0.0
  with _locked(path) as connection:
    return _spent(connection)


def _spent(connection: sqlite3.Connection) -> float:
  (total,) = connection.execute("SELECT TOTAL(cost) FROM codes").fetchone()
  return float(total)


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[sqlite3.Connection]:
  """Open a ledger for one transaction that no other process can share."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Nobody else on the device reads it.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
  except (OSError, sqlite3.Error) as error:
    raise _broken(path, error) from error
  with contextlib.closing(connection):
    try:
      connection.execute("PRAGMA synchronous = EXTRA")
      connection.execute("BEGIN EXCLUSIVE")
      if not connection.execute("SELECT name FROM sqlite_master").fetchone():
        for statement in _TABLES.split(";")[:-1]:
          connection.execute(statement)
        key = secrets.token_bytes(32)
        connection.execute("INSERT INTO device VALUES (?)", (key,))
      yield connection
      connection.execute("COMMIT")
    except sqlite3.Error as error:
      raise _broken(path, error) from error
    # What was not committed is undone by closing.


def _broken(path: pathlib.Path, error: Exception) -> Broken:
  return Broken(
    f"the ledger {path} cannot be used ({error}), so nothing was sent; free"
    " some space, or close what holds it"
  )
