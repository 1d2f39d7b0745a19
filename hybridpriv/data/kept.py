"""Arrays kept in files: computed once, written whole, read as memory maps.

A file is what `numpy.save` writes, and behind it 36 bytes: the key, a SHA-256
of all that the array depends on, and the CRC-32 of everything before. It is
written beside its place, forced to the disk and renamed, so that under its name
it is whole or not there. Who writes it holds the unfinished file, and others
wait; one that was left by a killed process is taken over and emptied.
"""

import contextlib
import fcntl
import io
import os
import pathlib
import shutil
import sys
import uuid
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np

_BLOCK = 1 << 20  # bytes read at a time
_LONG = 1 << 30  # bytes that take seconds to check
# Files that this process has checked or written, as they were then, and for
# which key.
_sound: set[tuple[int | bytes, ...]] = set()


def array(
  folder: pathlib.Path,
  name: str,
  key: bytes,
  shape: tuple[int, ...],
  dtype: Any,
  parts: Callable[[], Generator[np.ndarray]],
) -> np.ndarray:
  """Read a kept array, or compute it in parts and keep it.

  A process reads a file through before it trusts it. One that is damaged or has
  another key is computed again, and a line on stderr says so.

  Args:
    folder: where it is kept; made if it is not there.
    name: what the file is called, before a part of the key.
    key: SHA-256 of all that the array depends on.
    shape: of the array.
    dtype: of the array.
    parts: gives it in order, in pieces along the first axis; called only where
      there is no such file.

  Returns:
    A read-only memory map.

  Raises:
    ValueError: it cannot be written; the message names bytes and folder.
  """
  path = folder / f"{name}-{key.hex()[:16]}.npy"
  if (why := _look(path, key)) is not None:
    if why:
      print(f"{path} {why}: computed again", file=sys.stderr)
    head = _head(shape, np.dtype(dtype))
    size = len(head) + int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
    with _named(path, size):
      folder.mkdir(parents=True, exist_ok=True)
    with _held(path, size) as file:
      if _look(path, key) is not None:  # nobody wrote it while we waited
        _write(file, path, key, head, size, dtype, parts)
  return np.load(path, mmap_mode="r")


def _write(
  file: io.FileIO,
  path: pathlib.Path,
  key: bytes,
  head: bytes,
  size: int,
  dtype: Any,
  parts: Callable[[], Generator[np.ndarray]],
) -> None:
  """Fill the unfinished file and give it its name."""
  with _named(path, size):
    file.truncate(0)  # before the look at what is free
    free = shutil.disk_usage(path.parent).free
  if free < size:
    raise ValueError(_refusal(path, size, f"{free} bytes are free"))
  check = 0

  def put(content: Any) -> None:
    nonlocal check
    check = zlib.crc32(content, check)
    rest = memoryview(content).cast("B")
    # Not through a map: where the disk is full, that would kill the process.
    while rest:
      rest = rest[file.write(rest) :]

  with _named(path, size):
    put(head)
  with contextlib.closing(parts()) as pieces:
    for piece in pieces:
      with _named(path, size):
        put(np.ascontiguousarray(piece, dtype))
  if file.tell() != size:
    raise RuntimeError(f"{path}: parts of {file.tell()} bytes, expected {size}")
  with _named(path, size):
    put(key)
    put(check.to_bytes(4, "big"))
    os.fsync(file.fileno())
    os.replace(file.name, path)
  # The entry of the folder as well, where that is possible.
  with contextlib.suppress(OSError):
    entry = os.open(path.parent, os.O_RDONLY)
    try:
      os.fsync(entry)
    finally:
      os.close(entry)
  _sound.add(_state(file, key))


def _head(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
  """Give what stands before the values."""
  stream = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    stream,
    {
      "descr": np.lib.format.dtype_to_descr(dtype),
      "fortran_order": False,
      "shape": shape,
    },
  )
  return stream.getvalue()


@contextlib.contextmanager
def _named(path: pathlib.Path, size: int) -> Iterator[None]:
  """Say in one line what could not be written where."""
  try:
    yield
  except OSError as error:
    raise ValueError(_refusal(path, size, error.strerror)) from error


def _refusal(path: pathlib.Path, size: int, why: str | None) -> str:
  return (
    f"{path.name} needs {size} bytes in {path.parent}, and cannot be written"
    f" ({why}): make room, or name another folder, config.features"
  )


@contextlib.contextmanager
def _held(path: pathlib.Path, size: int) -> Iterator[io.FileIO]:
  """Hold the unfinished file of `path`, once nobody else does."""
  with _named(path, size):
    file = _hold(path)
  try:
    yield file
  finally:
    if _is_at(file, pathlib.Path(file.name)):  # not renamed
      os.unlink(file.name)
    file.close()


def _hold(path: pathlib.Path) -> io.FileIO:
  """Open and lock the unfinished file."""
  name = path.with_name(f".{path.name}.tmp")
  while True:
    file = _open(name)
    try:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        print(f"{path}: another process writes it, waiting", file=sys.stderr)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
      # A file system without locks: everybody writes, the last one stays.
      file.close()
      return _open(path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp"))
    except BaseException:
      file.close()
      raise
    if _is_at(file, name):
      return file
    file.close()  # whom we waited for has renamed or removed it


def _open(name: pathlib.Path) -> io.FileIO:
  return io.FileIO(
    name, "r+", opener=lambda p, flags: os.open(p, flags | os.O_CREAT, 0o666)
  )


def _is_at(file: io.FileIO, name: pathlib.Path) -> bool:
  try:
    return os.path.samestat(os.fstat(file.fileno()), name.stat())
  except FileNotFoundError:
    return False


def _look(path: pathlib.Path, key: bytes) -> str | None:
  """Say why a file cannot be trusted, "" if there is none; None if it can."""
  try:
    with path.open("rb") as file:
      state = _state(file, key)
      if state in _sound:
        return None
      fault = _fault(file, key, path)
  except (FileNotFoundError, NotADirectoryError):
    return ""
  except OSError as error:
    raise ValueError(
      f"{path} cannot be read ({error.strerror}): remove it, or name another"
      " folder, config.features"
    ) from error
  if fault is None:
    _sound.add(state)
  return fault


def _state(file: Any, key: bytes) -> tuple[int | bytes, ...]:
  found = os.fstat(file.fileno())
  return key, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _fault(file: Any, key: bytes, path: pathlib.Path) -> str | None:
  """Say what is wrong with a file, None if nothing is."""
  end = len(key) + 4
  total = os.fstat(file.fileno()).st_size
  try:
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
  except (ValueError, EOFError):
    return "is no array"
  size = file.tell() + int(np.prod(shape, dtype=int)) * dtype.itemsize
  if total != size + end:
    return f"has {total} bytes and should have {size + end}"
  file.seek(size)
  if file.read(len(key)) != key:
    return "holds other data"
  if size >= _LONG:
    print(f"checking {path}, {size / 1e9:.1f} GB", file=sys.stderr)
  file.seek(0)
  check, left = 0, size + len(key)
  while left and (content := file.read(min(_BLOCK, left))):
    check, left = zlib.crc32(content, check), left - len(content)
  return None if file.read(4) == check.to_bytes(4, "big") else "is damaged"
