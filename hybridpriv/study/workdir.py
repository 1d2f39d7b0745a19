"""The folder a study lives in: lock, configuration, small files."""

import contextlib
import datetime
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

import hybridpriv
from hybridpriv import mesh

_LISTED = 8  # differences of two configurations that are named
# How many train at once, and what reads pictures: neither changes a result.
_SAME = (("train", "replicas"), ("data", "engine"))
# Keys of `audit` by which privatizers are fitted and chosen.
_FITTED = ("audit.draws", "audit.max_cost")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Conflict(RuntimeError):
  """The workdir cannot be used as asked; the message is one line."""


@contextlib.contextmanager
def claim(folder: pathlib.Path) -> Iterator[None]:
  """Hold the workdir for this process.

  Raises:
    Conflict: if another process holds it, or it cannot be written.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / ".lock").open("w")
  except OSError as error:
    raise Conflict(
      f"{folder} cannot be a workdir ({error.strerror}): name a folder that can"
      " be written, --workdir=..."
    ) from error
  with lock as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      raise Conflict(
        f"another process works on {folder}: wait for it, or use another"
        " --workdir"
      ) from None
    yield


def plain(value: Any) -> Any:
  """Turn a configuration into what JSON gives back: tuples become lists."""
  return json.loads(json.dumps(value))


def study_of(config: Mapping[str, Any]) -> dict[str, Any]:
  """Leave out what makes no other study, such as where features are kept."""
  found = {k: v for k, v in plain(config).items() if k != "features"}
  for section, key in _SAME:
    if section in found:
      own = {k: v for k, v in found[section].items() if k != key}
      found[section] = own
  return found


def check(folder: pathlib.Path, config: Mapping[str, Any]) -> str:
  """Check that the study of the workdir, if there is one, is this one.

  Returns:
    What differs, where that is how it is attacked and nothing else; "" for
    nothing.

  Raises:
    Conflict: if it has another configuration.
  """
  path = folder / "config.json"
  if not path.exists():
    return ""
  there = json.loads(path.read_text())["config"]
  changed = differences(study_of(there), study_of(config))
  listed = [f"{k}: {a!r} there, {b!r} now" for k, (a, b) in changed.items()]
  if len(listed) > _LISTED:
    listed = [*listed[:_LISTED], f"and {len(listed) - _LISTED} more"]
  text = "; ".join(listed)
  if all(k.startswith("audit.") and k not in _FITTED for k in changed):
    return text
  raise Conflict(
    f"{folder} holds a study with another configuration ({text}): use another"
    " --workdir, or remove this one"
  )


def set_aside(
  folder: pathlib.Path, config: Mapping[str, Any]
) -> pathlib.Path | None:
  """Make room for another audit of what was trained, and keep the one there.

  Wherever it is stopped nothing is lost, and either configuration goes on: what
  there is lies in both places before it leaves the first, and the new
  configuration is written last.

  Args:
    folder: the workdir.
    config: of the audit to come.

  Returns:
    A folder with the configuration, the results and the report there were; None
    where no audit was over.
  """
  record = json.loads((folder / "config.json").read_text())
  spent, aside = seconds(folder), None
  # Outcomes of attacks stay: one that is as it was is not run again.
  files = [p for p in (folder / "audit").glob("*") if p.is_file()]
  report, old = folder / "report", folder / ".report.old"
  if (folder / "audit" / "results.json").exists():
    fresh = folder / "earlier" / ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    write_json(fresh / "config.json", record)
    write_json(fresh / "seconds.json", spent)
    (fresh / "audit").mkdir()
    for path in files:
      _link(path, fresh / "audit" / path.name)
    if report.exists():
      shutil.copytree(report, fresh / "report", copy_function=_link)
    aside = _unused(folder / "earlier")
    fresh.rename(aside)
  if report.exists():
    shutil.rmtree(old, ignore_errors=True)
    report.rename(old)
    shutil.rmtree(old)
  # Results first: of what is left without them an audit makes new ones.
  for path in sorted(files, key=lambda path: path.name != "results.json"):
    path.unlink()
  spent = {k: v for k, v in spent.items() if k not in ("audit", "report")}
  write_json(folder / "seconds.json", spent)
  write_json(folder / "config.json", {**record, "config": plain(config)})
  return aside


def num_earlier(folder: pathlib.Path) -> int:
  """Count the audits that were set aside."""
  return len(list((folder / "earlier").glob("[!.]*")))


def _link(source: Any, target: Any) -> None:
  """Give a file a second name, or copy it: none is ever written into."""
  try:
    os.link(source, target)
  except OSError:  # not every file system can
    shutil.copy2(source, target)


def _unused(folder: pathlib.Path) -> pathlib.Path:
  """Name a folder in `folder` by the time; two audits may share a second."""
  now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S")
  names = (now, *(f"{now}-{i}" for i in range(2, 100)))
  return next(folder / n for n in names if not (folder / n).exists())


def record(folder: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Write `config.json`, once for a workdir: whose study this is."""
  path = folder / "config.json"
  if not path.exists():
    write_json(path, {"config": plain(config), **environment()})


def differences(
  a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[Any, Any]]:
  """List the keys in which two configurations differ, with both values."""
  found: dict[str, tuple[Any, Any]] = {}
  for key in sorted({*a, *b}):
    left, right = a.get(key), b.get(key)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
      found |= differences(left, right, f"{prefix}{key}.")
    elif left != right:
      found[prefix + key] = (left, right)
  return found


def environment() -> dict[str, Any]:
  """Describe versions, machine and source revision."""
  revision = ""
  with contextlib.suppress(OSError, subprocess.CalledProcessError):
    revision = subprocess.run(
      ["git", "describe", "--always", "--dirty", "--abbrev=12"],
      cwd=pathlib.Path(__file__).parent,
      capture_output=True,
      text=True,
      check=True,
    ).stdout.strip()
  devices = jax.devices()
  return {
    "versions": {
      "hybridpriv": hybridpriv.__version__,
      "python": platform.python_version(),
      **{p: importlib.metadata.version(p) for p in _PACKAGES},
    },
    "machine": {
      "platform": platform.platform(terse=True),
      "processor": platform.machine(),
      "cores": os.cpu_count(),
      "devices": [f"{d.platform}:{d.device_kind}" for d in devices],
    },
    "revision": revision,
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
  }


def write_json(path: pathlib.Path, value: Any) -> None:
  """Write a JSON file whole or not at all; of a job, process 0 does."""
  if not mesh.is_first():
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  fresh = path.with_suffix(".tmp")
  fresh.write_text(json.dumps(value, indent=1) + "\n")
  fresh.replace(path)


def write_arrays(path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
  """Write an NPZ file whole or not at all, also from several processes."""
  path.parent.mkdir(parents=True, exist_ok=True)
  fresh = path.with_suffix(f".tmp{mesh.process_id() or ''}.npz")
  np.savez_compressed(fresh, **arrays)
  fresh.replace(path)


def seconds(folder: pathlib.Path) -> dict[str, float]:
  """Read the time that each stage has taken so far."""
  path = folder / "seconds.json"
  return json.loads(path.read_text()) if path.exists() else {}


def add_seconds(folder: pathlib.Path, stage: str, more: float) -> None:
  """Add to the time a stage has taken, over all its starts."""
  spent = seconds(folder)
  spent[stage] = round(spent.get(stage, 0.0) + more, 1)
  write_json(folder / "seconds.json", spent)
