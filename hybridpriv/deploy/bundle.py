"""The folder that ships: both halves, a manifest, a client."""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import hybridpriv
from hybridpriv.deploy import wire
from hybridpriv.deploy.client import manifest

# What the device needs of this package, and of others.
_SOURCES = (
  "__init__.py",
  "data/__init__.py",
  "data/images.py",
  "deploy/__init__.py",
  "deploy/wire.py",
  *(
    f"deploy/client/{name}.py"
    for name in (
      "__init__",
      "inputs",
      "ledger",
      "main",
      "manifest",
      "noise",
      "sending",
    )
  ),
)
_NEEDS = (
  "numpy>=2.0,<3",
  "onnxruntime>=1.20,<2",
  "opendp>=0.12,<1",
  "pillow>=11,<14",
)


def write(
  out: pathlib.Path,
  files: Mapping[str, bytes | pathlib.Path],
  values: Mapping[str, Any],
) -> manifest.Manifest:
  """Write a bundle whole or not at all.

  What exporters of the same folder left that were killed is removed first.

  Args:
    out: the folder, which must not be there.
    files: contents, or files to copy, by name; their hashes are listed.
    values: of the manifest, but for schema, wire and files.

  Returns:
    The manifest.

  Raises:
    ValueError: the folder is there, or cannot be written.
  """
  check(out)
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh, lock = _begin(out)
  except OSError as error:
    raise ValueError(f"--out={out} cannot be written ({error})") from error
  try:
    for name, content in {**files, **_client()}.items():
      path = fresh / name
      path.parent.mkdir(parents=True, exist_ok=True)
      if isinstance(content, bytes):
        path.write_bytes(content)
      else:
        shutil.copyfile(content, path)
    listed = sorted(p for p in fresh.rglob("*") if p.is_file())
    whole = {
      "schema": manifest.SCHEMA,
      "wire": wire.VERSION,
      **values,
      "files": {str(p.relative_to(fresh)): manifest.digest(p) for p in listed},
    }
    # JavaScript reads it as well, which knows no NaN.
    text = json.dumps(whole, indent=1, allow_nan=False) + "\n"
    (fresh / manifest.FILE).write_text(text)
    fresh.chmod(0o755)
    # On the disk before it has its name: a name alone is no bundle.
    for path in (*fresh.rglob("*"), fresh):
      _flush(path)
    fresh.rename(out)
    _flush(out.parent)
  except OSError as error:
    raise ValueError(
      f"the bundle could not be written ({error}); nothing of it is left"
    ) from error
  finally:
    shutil.rmtree(fresh, ignore_errors=True)
    os.close(lock)
  return manifest.read(out)


def _begin(out: pathlib.Path) -> tuple[pathlib.Path, int]:
  """Make a folder to write to, locked as long as this process lives.

  Returns:
    The folder, beside `out`, and the descriptor that locks it.
  """
  prefix = f".{out.name}.unfinished-"
  for left in out.parent.iterdir():
    if left.name.startswith(prefix):
      _remove_unlocked(left)
  while True:
    fresh = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
    try:
      lock = os.open(fresh, os.O_RDONLY)
    except FileNotFoundError:
      continue  # as below, but sooner
    with contextlib.suppress(OSError):  # a file system without locks
      fcntl.flock(lock, fcntl.LOCK_EX)
    if fresh.exists():
      return fresh, lock
    os.close(lock)  # another exporter found it before it was locked


def _remove_unlocked(left: pathlib.Path) -> None:
  """Remove the folder of an exporter, unless that lives or cannot be told."""
  with contextlib.suppress(OSError):
    lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      shutil.rmtree(left, ignore_errors=True)
    finally:
      os.close(lock)


def _flush(path: pathlib.Path) -> None:
  """Have what a file or folder holds written to the disk."""
  opened = os.open(path, os.O_RDONLY)
  try:
    os.fsync(opened)
  finally:
    os.close(opened)


def check(out: pathlib.Path) -> None:
  """Refuse a folder that is there already.

  Raises:
    ValueError: it is.
  """
  if out.exists() or out.is_symlink():
    raise ValueError(f"--out={out} is there: remove it, or name another folder")


def _client() -> dict[str, bytes]:
  """Gather the program of the device."""
  root = pathlib.Path(hybridpriv.__file__).parent
  return {
    **{f"lib/hybridpriv/{s}": (root / s).read_bytes() for s in _SOURCES},
    "client.py": (root / "deploy/client/start.py").read_bytes(),
    "requirements.txt": ("\n".join(_NEEDS) + "\n").encode(),
  }
