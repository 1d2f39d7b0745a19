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


def digest(values: Any, arrays: Any, *, code: str = "") -> str:
  """Name a part by everything that its outcomes depend on.

  Args:
    values: whatever `repr` tells apart.
    arrays: a pytree of arrays.
    code: a source file, beside those of all attacks: outcomes of other code
      are made anew.
  """
  own = hashlib.sha256(_code(code))
  own.update(repr(values).encode())
  for array in jax.tree.leaves(arrays):
    own.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
  return own.hexdigest()[:16]


@functools.cache
def _code(more: str) -> bytes:
  own = hashlib.sha256()
  root = pathlib.Path(hybridpriv.__file__).parent
  files = [
    *sorted((root / "attacks").glob("*.py")),
    *sorted((root / "privatizers").glob("*.py")),
    root / "audit" / "engine.py",
    root / "audit" / "job.py",
  ]
  for file in [*files, pathlib.Path(more)] if more else files:
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
