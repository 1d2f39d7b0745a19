"""Audited workdirs that are compared, and the scores behind their numbers."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from hybridpriv.audit import results as results_lib
from hybridpriv.audit import statistics
from hybridpriv.audit.results import Results, Row


@dataclasses.dataclass(frozen=True)
class Study:
  """One workdir, under the shortest name that tells it from the others."""

  name: str
  workdir: pathlib.Path
  results: Results


def read(workdirs: Sequence[pathlib.Path]) -> list[Study]:
  """Read audited workdirs.

  Args:
    workdirs: studies' folders.

  Raises:
    ValueError: for one given twice.
    FileNotFoundError: when one has not been audited.
  """
  paths = [pathlib.Path(w).resolve() for w in workdirs]
  if len(set(paths)) < len(paths):
    raise ValueError(
      f"got workdirs {[str(w) for w in workdirs]}; expected each once"
    )
  depth = 1
  while len({path.parts[-depth:] for path in paths}) < len(paths):
    depth += 1
  return [
    Study("/".join(path.parts[-depth:]), path, results_lib.read(path))
    for path in paths
  ]


def table(
  study: Study, row: Row, kind: str, name: str, place: int | None = None
) -> statistics.Table | None:
  """Return the scores behind a number of a row, if they were kept.

  Args:
    study: whose row.
    row: one of its rows.
    kind: "utility" or "leakage".
    name: the desired label or the target; of leakage, the worst attack.
    place: of the measurement in the row, where it is another one.
  """
  path = study.workdir / "audit" / "values.npz"
  if not path.is_file():
    return None
  if place is None:
    wanted = row.utility_of(name) if kind == "utility" else row.leakage_of(name)
    if wanted is None:
      return None
    place = next(i for i, m in enumerate(getattr(row, kind)) if m is wanted)
  number = next(i for i, r in enumerate(study.results.rows) if r is row)
  with np.load(path) as values:
    return results_lib.table(values, f"rows/{number}/{kind}/{place}")


def of_same_people(
  studies: Sequence[Study], tables: Sequence[statistics.Table]
) -> bool:
  """Tell whether scores can be paired: the same data, and the same people.

  People may be numbers from 0 in either of two files of codes: these also say
  by `study.data.people` who is who.
  """
  data = [s.results.study["data"] for s in studies]
  named = {(d["name"], d.get("people", "")) for d in data}
  people = {frozenset(table.people.tolist()) for table in tables}
  return len(named) == len(people) == 1
