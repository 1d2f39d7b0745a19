import hashlib
import json
import os
import pathlib
import signal
import sqlite3
import stat
import subprocess
import sys

import pytest

from hybridpriv.deploy.client import ledger

BUNDLE = b"\0\1\2\3"
CHILD = str(pathlib.Path(__file__).parent / "ledger_child.py")


def charge(path, content, *, cost=1.0, limit=3.0, frame=None, bundle=BUNDLE):
  make = (lambda: frame) if frame else (lambda: os.urandom(16))
  return ledger.charge(
    path, make, bundle=bundle, content=content, cost=cost, limit=limit
  )


def test_the_same_input_gets_the_same_bytes_and_costs_nothing(tmp_path):
  path = tmp_path / "new" / "ledger"
  first = charge(path, b"photo")
  again = charge(path, b"photo")
  assert (first.is_new, again.is_new) == (True, False)
  assert first.frame == again.frame
  assert first.spent == again.spent == ledger.spent(path) == 1
  assert charge(path, b"another").frame != first.frame


def test_past_the_limit_only_old_inputs_are_sent(tmp_path):
  path = tmp_path / "ledger"
  frames = [charge(path, bytes([i])).frame for i in range(3)]
  calls = []
  with pytest.raises(ledger.Exhausted, match="3 of 3"):
    ledger.charge(
      path,
      lambda: calls.append(1) or b"",
      bundle=BUNDLE,
      content=b"x",
      cost=1.0,
      limit=3.0,
    )
  assert not calls  # no noise is drawn for what is not sent
  assert ledger.spent(path) == 3
  assert [charge(path, bytes([i])).frame for i in range(3)] == frames


def test_costs_add_up_over_bundles_and_rounding_costs_no_query(tmp_path):
  path = tmp_path / "ledger"
  for i in range(10):
    charge(path, b"photo", bundle=bytes(3) + bytes([i]), cost=0.1, limit=1.0)
  assert ledger.spent(path) == pytest.approx(1.0)
  with pytest.raises(ledger.Exhausted):
    charge(path, b"photo", cost=0.1, limit=1.0)


def test_neither_input_nor_its_plain_hash_is_kept(tmp_path):
  path = tmp_path / "ledger"
  content = bytes(range(200))
  charge(path, content)
  kept = path.read_bytes()
  assert content not in kept
  for name in ("sha256", "sha1", "md5"):
    assert hashlib.new(name, content).digest() not in kept
  # The key is this file's own: the same input has another name elsewhere.
  charge(tmp_path / "other", content)
  names = []
  for file in (path, tmp_path / "other"):
    with sqlite3.connect(file) as own:
      names.append(own.execute("SELECT input FROM codes").fetchone()[0])
    own.close()
  assert names[0] != names[1]
  assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _start(what, folder, **more):
  given = {
    "what": what,
    "path": str(folder / "ledger"),
    "log": str(folder / "log"),
    "limit": 3.0,
    **more,
  }
  return subprocess.Popen(
    [sys.executable, CHILD, json.dumps(given)],
    stdout=subprocess.PIPE,
    text=True,
  )


def _left(folder):
  """What left the device: pairs of input and frame."""
  log = folder / "log"
  lines = log.read_text().splitlines() if log.exists() else []
  return {tuple(line.split()) for line in lines}


def _rows(path):
  with sqlite3.connect(path) as own:
    found = own.execute("SELECT frame FROM codes").fetchall()
  own.close()
  return [row[0].hex() for row in found]


def test_a_kill_at_any_step_is_never_a_free_query(tmp_path):
  for kill_at in range(1000):
    folder = tmp_path / str(kill_at)
    folder.mkdir()
    path, ends = folder / "ledger", []
    for content in (b"a", b"b", b"a"):
      child = _start("die", folder, kill_at=kill_at, content=content.hex())
      child.communicate()
      ends.append(child.returncode)
    left = _left(folder)
    # One code for an input, and none that was not paid for.
    assert len({content for content, _ in left}) == len(left)
    rows = _rows(path) if path.exists() and path.stat().st_size else []
    assert {frame for _, frame in left} <= set(rows)
    # What is there afterwards works.
    assert ledger.spent(path) == len(rows)
    charge(path, b"c")
    if ends == [0, 0, 0]:
      break
    assert -signal.SIGKILL in ends
  assert kill_at > 8  # opening, lock, tables, look, draw, row, commit


def test_processes_at_once_share_one_budget(tmp_path):
  crowd = [_start("crowd", tmp_path, limit=5.0, number=i) for i in range(4)]
  for one in crowd:
    one.communicate()
    assert one.returncode == 0
  left, path = _left(tmp_path), tmp_path / "ledger"
  assert len({content for content, _ in left}) == len(left) == 5
  assert {frame for _, frame in left} == set(_rows(path))
  assert ledger.spent(path) == 5


def test_a_full_disk_is_one_clear_error_and_costs_nothing(tmp_path):
  path = tmp_path / "ledger"
  first = charge(path, b"a")
  said, _ = _start("full", tmp_path).communicate()
  assert "nothing was sent" in said
  assert ledger.spent(path) == 1
  assert charge(path, b"a").frame == first.frame
  assert charge(path, b"b").is_new


def test_what_is_no_ledger_is_one_clear_error(tmp_path):
  path = tmp_path / "ledger"
  path.write_bytes(b"something else" * 100)
  with pytest.raises(ledger.Broken, match="nothing was sent"):
    charge(path, b"a")
  assert path.read_bytes() == b"something else" * 100
  with pytest.raises(ledger.Broken):
    charge(pathlib.Path("/proc/nowhere/ledger"), b"a")


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf")])
def test_a_code_has_a_price(tmp_path, cost):
  with pytest.raises(ValueError, match="cost"):
    charge(tmp_path / "ledger", b"a", cost=cost)
