"""A kept array is whole or not there, whoever writes, dies or damages it."""

import hashlib
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from hybridpriv.data import kept

WANT = np.arange(60, dtype=np.float32).reshape(20, 3)
KEY = hashlib.sha256(b"one").digest()


def pieces(want=WANT):
  for start in range(0, len(want), 6):
    yield want[start : start + 6]


def get(folder, parts=pieces, key=KEY, shape=WANT.shape):
  return kept.array(folder, "x", key, shape, np.float32, parts)


def refuse():
  raise AssertionError("it was computed again")
  yield


@pytest.fixture
def fresh(monkeypatch):
  """Forgets what was checked, as a new process does."""

  def forget():
    monkeypatch.setattr(kept, "_sound", set())

  forget()
  return forget


@pytest.fixture
def path(tmp_path):
  get(tmp_path)
  (file,) = tmp_path.iterdir()
  return file


def test_it_is_computed_once_and_is_what_numpy_reads(tmp_path, fresh):
  found = get(tmp_path / "new" / "folder")
  fresh()
  again = get(tmp_path / "new" / "folder", refuse)
  (file,) = (tmp_path / "new" / "folder").iterdir()
  assert file.name == f"x-{KEY.hex()[:16]}.npy"
  for values in (found, again, np.load(file)):
    np.testing.assert_array_equal(values, WANT)
    assert values.dtype == np.float32
  assert isinstance(again, np.memmap) and not again.flags.writeable


def _cut(path):
  with path.open("r+b") as file:
    file.truncate(path.stat().st_size - 50)


def _flip(path):
  content = bytearray(path.read_bytes())
  content[-50] ^= 1
  path.write_bytes(content)


def _other(path):
  content = path.read_bytes()
  got = path.with_name("other")
  kept.array(got, "x", KEY[::-1], WANT.shape, np.float32, lambda: pieces(-WANT))
  (file,) = got.iterdir()
  assert len(file.read_bytes()) == len(content)
  file.replace(path)
  got.rmdir()


@pytest.mark.parametrize(
  "harm, said",
  [
    (_cut, "has 354 bytes and should have 404: computed again"),
    (lambda path: np.save(path, WANT), "has 368 bytes and should have 404"),
    (_flip, "is damaged: computed again"),
    (_other, "holds other data: computed again"),
    (lambda path: path.write_bytes(b""), "is no array: computed again"),
    (lambda path: path.write_bytes(b"x" * 404), "is no array: computed again"),
  ],
)
def test_what_cannot_be_trusted_is_computed_again_and_said(
  path, harm, said, fresh, capfd
):
  harm(path)
  found = get(path.parent)
  np.testing.assert_array_equal(found, WANT)
  (line,) = capfd.readouterr().err.splitlines()
  assert line.startswith(f"{path} {said}")
  fresh()
  np.testing.assert_array_equal(get(path.parent, refuse), WANT)
  assert list(path.parent.iterdir()) == [path]
  assert not capfd.readouterr().err


def test_a_file_damaged_after_it_was_checked_is_found_out(path, capfd):
  get(path.parent, refuse)
  os.utime(path, ns=(0, 0))
  get(path.parent, refuse)
  _flip(path)
  np.testing.assert_array_equal(get(path.parent), WANT)
  assert "is damaged" in capfd.readouterr().err


def test_a_failure_in_the_middle_leaves_nothing(tmp_path):
  def failing():
    yield WANT[:6]
    raise ValueError("no more")

  with pytest.raises(ValueError, match="no more"):
    get(tmp_path, failing)
  assert not list(tmp_path.iterdir())
  np.testing.assert_array_equal(get(tmp_path), WANT)


def test_parts_that_are_too_few_are_a_fault_and_leave_nothing(tmp_path):
  with pytest.raises(RuntimeError, match="parts of 32. bytes, expected 368"):
    get(tmp_path, lambda: pieces(WANT[:16]))
  assert not list(tmp_path.iterdir())


def test_a_full_disk_is_known_before_anything_is_computed(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(
    shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0)
  )
  with pytest.raises(ValueError) as found:
    get(tmp_path, refuse)
  for part in ("368 bytes", str(tmp_path), "0 bytes are free", "features"):
    assert part in str(found.value)
  assert "\n" not in str(found.value) and not list(tmp_path.iterdir())


# In a process of its own, whose files may have so many bytes and no more.
_LIMITED = """
import pathlib, resource, sys
from tests.data import kept_test
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
kept_test.get(pathlib.Path(sys.argv[1]))
"""


def test_a_disk_that_fills_up_meanwhile_is_one_line(tmp_path, repository):
  done = subprocess.run(
    [sys.executable, "-c", _LIMITED, str(tmp_path)],
    cwd=repository,
    capture_output=True,
    text=True,
  )
  *_, last = done.stderr.splitlines()
  assert done.returncode == 1
  assert last.startswith("ValueError: x-") and "(File too large)" in last
  assert f"needs 368 bytes in {tmp_path}" in last
  assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match=r"in .*/file/x, and cannot .*config.fe"):
    get(tmp_path / "file" / "x", refuse)


# Kills itself with SIGKILL before the file gets its name.
_KILLED = """
import os, pathlib, signal, sys
from tests.data import kept_test
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
kept_test.get(pathlib.Path(sys.argv[1]))
"""


def test_a_writer_killed_before_the_end_is_not_believed(tmp_path, repository):
  done = subprocess.run(
    [sys.executable, "-c", _KILLED, str(tmp_path)], cwd=repository
  )
  assert done.returncode == -signal.SIGKILL
  (left,) = tmp_path.iterdir()
  assert left.name.endswith(".tmp")
  np.testing.assert_array_equal(
    get(tmp_path, lambda: pieces(2 * WANT)), 2 * WANT
  )
  (file,) = tmp_path.iterdir()
  assert file.suffix == ".npy"


def test_threads_that_need_it_at_once_compute_it_once(tmp_path, capfd):
  started, go, calls, found = threading.Event(), threading.Event(), [], []

  def slow():
    calls.append(1)
    started.set()
    assert go.wait(30)
    yield from pieces()

  writers = [
    threading.Thread(target=lambda: found.append(get(tmp_path, slow)))
    for _ in range(4)
  ]
  for writer in writers:
    writer.start()
  assert started.wait(30)
  go.set()
  for writer in writers:
    writer.join(30)
  assert len(calls) == 1 and len(found) == 4
  for values in found:
    np.testing.assert_array_equal(values, WANT)
  assert [file.suffix for file in tmp_path.iterdir()] == [".npy"]


def test_who_waits_goes_on_when_the_writer_fails(tmp_path, capfd):
  started, waits = threading.Event(), threading.Event()

  def failing():
    started.set()
    assert waits.wait(30)
    raise ValueError("no more")
    yield

  def fail():
    with pytest.raises(ValueError, match="no more"):
      get(tmp_path, failing)

  def take():
    found.append(get(tmp_path))

  found = []
  first, second = threading.Thread(target=fail), threading.Thread(target=take)
  first.start()
  assert started.wait(30)
  second.start()
  said = ""
  while "another process writes it, waiting" not in said and second.is_alive():
    said += capfd.readouterr().err
  waits.set()
  first.join(30)
  second.join(30)
  np.testing.assert_array_equal(found[0], WANT)
  assert "waiting" in said
  assert [file.suffix for file in tmp_path.iterdir()] == [".npy"]


def _in_process(folder, calls, barrier):
  def counted():
    with calls.get_lock():
      calls.value += 1
    yield from pieces()

  barrier.wait(60)
  np.testing.assert_array_equal(get(pathlib.Path(folder), counted), WANT)


def test_processes_that_need_it_at_once_compute_it_once(tmp_path):
  context = multiprocessing.get_context("spawn")
  calls, barrier = context.Value("i", 0), context.Barrier(3)
  processes = [
    context.Process(target=_in_process, args=(str(tmp_path), calls, barrier))
    for _ in range(3)
  ]
  for process in processes:
    process.start()
  for process in processes:
    process.join(60)
  assert [process.exitcode for process in processes] == [0, 0, 0]
  assert calls.value == 1
  assert [file.suffix for file in tmp_path.iterdir()] == [".npy"]


def test_without_locks_everybody_writes_and_one_stays(tmp_path, monkeypatch):
  def unable(*_):
    raise OSError(95, "Operation not supported")

  monkeypatch.setattr("fcntl.flock", unable)

  def meanwhile():
    np.testing.assert_array_equal(get(tmp_path), WANT)
    yield from pieces(WANT)

  np.testing.assert_array_equal(get(tmp_path, meanwhile), WANT)
  assert [p.suffix for p in tmp_path.iterdir() if p.name[0] != "."] == [".npy"]
  (file,) = [p for p in tmp_path.iterdir() if p.name[0] != "."]
  np.testing.assert_array_equal(np.load(file), WANT)
