"""Outcomes of attacks, kept in small files, so that none is made twice."""

import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import hybridpriv
from hybridpriv.audit import engine
from hybridpriv.study import workdir

Outcomes = Mapping[tuple[int, int], engine.Outcome]


def digest(values: Any, arrays: Any) -> str:
  """Name a part by everything that its outcomes depend on."""
  own = hashlib.sha256(_code())
  own.update(repr(values).encode())
  for array in jax.tree.leaves(arrays):
    own.update(np.ascontiguousarray(array).tobytes())
  return own.hexdigest()[:16]


@functools.cache
def _code() -> bytes:
  """Name the code of attacks, so that outcomes of another are made anew."""
  own = hashlib.sha256()
  root = pathlib.Path(hybridpriv.__file__).parent
  for folder in ("attacks", "audit/engine.py", "privatizers", "study"):
    place = root / folder
    for file in sorted(place.glob("*.py")) if place.is_dir() else [place]:
      if folder != "study" or file.stem in ("inverting", "transfer"):
        own.update(file.read_bytes())
  return own.digest()


def save(path: pathlib.Path, title: str, found: Outcomes) -> None:
  """Write outcomes by (victim, problem)."""
  arrays = {"title": np.asarray(title)}
  for numbers, outcome in found.items():
    name = ",".join(map(str, numbers))
    for field in ("right", "rank", "log_rank", "validation"):
      arrays[f"{name}/{field}"] = np.asarray(getattr(outcome, field))
    arrays[f"{name}/knobs"] = np.asarray(json.dumps(outcome.knobs))
  workdir.write_arrays(path, arrays)


def read(path: pathlib.Path) -> dict[tuple[int, int], engine.Outcome]:
  """Read what `save` wrote."""
  with np.load(path) as saved:
    arrays = dict(saved)
  found = {}
  for name in arrays:
    if name.endswith("/right"):
      own = name.removesuffix("/right")
      first, second = map(int, own.split(","))
      found[first, second] = engine.Outcome(
        right=arrays[f"{own}/right"],
        rank=arrays[f"{own}/rank"],
        log_rank=arrays[f"{own}/log_rank"],
        validation=float(arrays[f"{own}/validation"]),
        knobs=json.loads(str(arrays[f"{own}/knobs"])),
      )
  return found
