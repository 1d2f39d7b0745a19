import errno
import hashlib
import json
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import sys
import tomllib

import pytest

from hybridpriv.deploy import bundle
from hybridpriv.deploy.client import manifest
from tests.deploy import alone


@pytest.fixture
def values(made_values, monkeypatch):
  """What is given of a manifest; needs no package of the device."""
  monkeypatch.setattr(bundle, "_NEEDS", ("numpy", "pillow"))
  return {
    k: v for k, v in made_values.items() if k not in ("schema", "wire", "files")
  }


def test_a_bundle_holds_what_it_was_given_and_lists_it(tmp_path, values):
  graph = tmp_path / "graph"
  graph.write_bytes(b"of a file")
  out = tmp_path / "new" / "bundle"
  files = {"client.onnx": graph, "demo/cloud.npz": b"of bytes"}
  own = bundle.write(out, files, values)
  assert (out / "client.onnx").read_bytes() == b"of a file"
  assert (out / "demo" / "cloud.npz").read_bytes() == b"of bytes"
  listed = own.values["files"]
  there = {
    str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
    for p in out.rglob("*")
    if p.is_file() and p.name != "manifest.json"
  }
  assert listed == there and {"client.py", "requirements.txt"} < set(there)
  assert own.values == json.loads((out / "manifest.json").read_text())
  assert own == manifest.read(out)
  # Others may read it: a service runs as somebody else.
  assert stat.S_IMODE(out.stat().st_mode) == 0o755
  assert [p.name for p in out.parent.iterdir()] == ["bundle"]


def test_another_manifest_is_another_bundle(tmp_path, values):
  ids = {
    bundle.write(tmp_path / str(i), {}, values | {"name": str(i)}).id
    for i in range(2)
  }
  assert len(ids) == 2


@pytest.mark.parametrize("kind", ["folder", "full folder", "file", "link"])
def test_what_is_there_is_not_replaced(tmp_path, values, kind):
  out = tmp_path / "bundle"
  if kind == "file":
    out.write_text("good")
  elif kind == "link":
    out.symlink_to(tmp_path / "nowhere")
  else:
    out.mkdir()
    if kind == "full folder":
      (out / "manifest.json").write_text("good")
  before = sorted(p.name for p in tmp_path.rglob("*"))
  with pytest.raises(ValueError, match="is there: remove it, or name another"):
    bundle.write(out, {"a": b""}, values)
  assert sorted(p.name for p in tmp_path.rglob("*")) == before
  if kind == "full folder":
    assert (out / "manifest.json").read_text() == "good"


def _nothing_left(folder):
  return [p.name for p in folder.iterdir()] == []


@pytest.mark.parametrize("after", range(4))
def test_a_full_disk_leaves_nothing(tmp_path, values, monkeypatch, after):
  writes = []
  write = pathlib.Path.write_bytes

  def full(self, content):
    writes.append(self)
    if len(writes) > after:
      write(self, content[: len(content) // 2])
      raise OSError(errno.ENOSPC, "No space left on device")
    return write(self, content)

  monkeypatch.setattr(pathlib.Path, "write_bytes", full)
  files = {"client.onnx": b"long" * 100, "cloud.npz": b"longer" * 100}
  with pytest.raises(
    ValueError, match="No space left .* nothing of it is left"
  ):
    bundle.write(tmp_path / "bundle", files, values)
  assert len(writes) == after + 1 and _nothing_left(tmp_path)


def test_no_room_for_the_manifest_leaves_nothing(tmp_path, values, monkeypatch):
  def full(self, content):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(pathlib.Path, "write_text", full)
  with pytest.raises(ValueError, match="nothing of it is left"):
    bundle.write(tmp_path / "bundle", {"client.onnx": b"x"}, values)
  assert _nothing_left(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_stop_midway_leaves_nothing(tmp_path, values, monkeypatch, error):
  copied = []

  def stop(*_):
    copied.append(1)
    raise error

  (tmp_path / "graph").write_bytes(b"x")
  monkeypatch.setattr(shutil, "copyfile", stop)
  with pytest.raises(error):
    files = {"a": b"x", "client.onnx": tmp_path / "graph"}
    bundle.write(tmp_path / "bundle", files, values)
  assert copied and [p.name for p in tmp_path.iterdir()] == ["graph"]


# Exports to the folder given, and kills itself while files are copied.
_KILLED = """
import os, pathlib, signal, shutil, sys
from hybridpriv.deploy import bundle
bundle._NEEDS = ("numpy",)
shutil.copyfile = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
out = pathlib.Path(sys.argv[1])
bundle.write(out, {"large": b"x" * 10**6, "graph": pathlib.Path("graph")}, {})
"""


def test_what_a_killed_export_left_is_gone_with_the_next(tmp_path, values):
  # Of the same name only; and what has such a name but is no folder of ours.
  (tmp_path / ".bundle.unfinished-link").symlink_to(tmp_path)
  out, other = tmp_path / "bundle", tmp_path / "bundle-2"
  for place in (out, out, other):
    done = subprocess.run([sys.executable, "-c", _KILLED, str(place)])
    assert done.returncode == -signal.SIGKILL
  left = {p.name for p in tmp_path.iterdir() if (p / "large").exists()}
  # One that is killed has removed what the one before it left.
  assert len(left) == 2
  bundle.write(out, {}, values)
  now = {p.name for p in tmp_path.iterdir()} - {"bundle"}
  assert now == {n for n in left if "-2" in n} | {".bundle.unfinished-link"}
  bundle.write(other, {}, values)
  assert (out / "manifest.json").exists() and (other / "manifest.json").exists()
  assert not any((p / "large").exists() for p in tmp_path.iterdir())


def test_an_export_that_lives_keeps_its_folder(tmp_path, values, monkeypatch):
  out, copy = tmp_path / "bundle", shutil.copyfile
  (tmp_path / "graph").write_bytes(b"of a file")

  def meanwhile(source, target):
    monkeypatch.setattr(shutil, "copyfile", copy)
    bundle.write(out, {}, values)
    assert target.parent.is_dir()  # of the first, which still writes
    copy(source, target)

  monkeypatch.setattr(shutil, "copyfile", meanwhile)
  with pytest.raises(ValueError, match="nothing of it is left"):
    bundle.write(out, {"graph": tmp_path / "graph"}, values)
  # The second was there first, and is whole.
  assert manifest.read(out).values["files"]
  assert {p.name for p in tmp_path.iterdir()} == {"graph", "bundle"}


def test_a_folder_that_is_gone_before_it_is_opened_is_made_anew(
  tmp_path, values, monkeypatch
):
  make, made = bundle.tempfile.mkdtemp, []

  def gone(**given):
    made.append(pathlib.Path(make(**given)))
    if len(made) == 1:
      made[0].rmdir()
    return str(made[-1])

  monkeypatch.setattr(bundle.tempfile, "mkdtemp", gone)
  bundle.write(tmp_path / "bundle", {}, values)
  assert len(made) == 2
  assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_that_is_taken_for_a_dead_one_is_made_anew(
  tmp_path, values, monkeypatch
):
  lock, taken = bundle.fcntl.flock, []

  def late(*given):
    if not taken:
      (own,) = tmp_path.iterdir()
      taken.append(own)
      own.rmdir()
    lock(*given)

  rename, written = pathlib.Path.rename, []

  def note(self, target):
    written.append(self)
    return rename(self, target)

  monkeypatch.setattr(bundle.fcntl, "flock", late)
  monkeypatch.setattr(pathlib.Path, "rename", note)
  bundle.write(tmp_path / "bundle", {}, values)
  assert taken and written and taken != written
  assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_manifest_that_is_no_json_leaves_nothing(tmp_path, values):
  values["code"]["sigma"] = float("nan")  # JavaScript cannot read it
  with pytest.raises(ValueError):
    bundle.write(tmp_path / "bundle", {"client.onnx": b"x"}, values)
  assert _nothing_left(tmp_path)


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path, values):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="--out=.* cannot be written"):
    bundle.write(tmp_path / "file" / "bundle", {}, values)


def test_the_device_needs_the_packages_that_the_project_names(
  tmp_path, made_values, repository
):
  text = (repository / "pyproject.toml").read_text()
  project = tomllib.loads(text)["project"]
  known = (
    *project["dependencies"],
    *project["optional-dependencies"]["deploy"],
  )
  values = {k: made_values[k] for k in made_values if k != "files"}
  bundle.write(tmp_path / "bundle", {}, values)
  lines = (tmp_path / "bundle" / "requirements.txt").read_text().splitlines()
  names = {re.split("[<>=]", line)[0] for line in lines}
  assert names == {"numpy", "onnxruntime", "opendp", "pillow"}
  assert set(lines) <= set(known)


def test_the_program_of_the_device_is_whole_and_needs_none_of_the_rest(
  tmp_path, values
):
  bundle.write(tmp_path / "bundle", {}, values)
  lib = tmp_path / "bundle" / "lib"
  done = subprocess.run(
    [sys.executable, "-c", alone.IMPORT, str(lib)],
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr


def test_the_program_starts_from_any_folder(tmp_path, values):
  bundle.write(tmp_path / "bundle", {}, values)
  done = subprocess.run(
    [sys.executable, "bundle/client.py", "--budget", "--ledger=new"],
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.stdout == "budget: 3 codes left\n", done.stderr
