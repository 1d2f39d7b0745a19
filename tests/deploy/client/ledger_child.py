"""Uses a ledger in a process of its own; see ledger_test.py."""

import json
import os
import pathlib
import resource
import signal
import sqlite3
import sys

from hybridpriv.deploy.client import ledger

GIVEN = json.loads(sys.argv[1])
PATH = pathlib.Path(GIVEN["path"])


def _charge(content, size=16):
  return ledger.charge(
    PATH,
    lambda: os.urandom(size),
    bundle=b"\0\1\2\3",
    content=content,
    cost=1.0,
    limit=GIVEN["limit"],
  )


def _send(content):
  found = _charge(content)
  with open(GIVEN["log"], "a") as out:
    out.write(f"{content.hex()} {found.frame.hex()}\n")


def die():
  """Send one code, and be killed before the step of a number."""
  steps = iter(range(1000))

  def step(_=None):
    if next(steps) == GIVEN["kill_at"]:
      os.kill(os.getpid(), signal.SIGKILL)

  connect, urandom = sqlite3.connect, os.urandom

  def watched(*args, **kwargs):
    found = connect(*args, **kwargs)
    found.set_trace_callback(step)  # before every statement
    return found

  def draw(size):
    step()
    return urandom(size)

  sqlite3.connect, os.urandom = watched, draw
  _send(bytes.fromhex(GIVEN["content"]))


def crowd():
  """Send many codes, some the same as other processes."""
  for i in range(10):
    try:
      _send(bytes([(i + GIVEN["number"]) % 7]))
    except ledger.Exhausted:
      continue


def full():
  """Find no room on the disk."""
  room = PATH.stat().st_size
  resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
  signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  try:
    _charge(b"b", size=20_000)
  except ledger.Broken as error:
    print(error)


if __name__ == "__main__":
  globals()[GIVEN["what"]]()
