"""Checked records of the public results format, hybridpriv.results/1.

A measurement without chance, floor and interval is an error. Unknown fields
are kept in `extra`, so that files of later versions pass through unharmed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jsonschema
import numpy as np

from hybridpriv.audit import statistics

SCHEMA = "hybridpriv.results/1"
_SCHEMA_FILE = pathlib.Path(__file__).parent / "results.schema.json"
_LONG = 200  # characters of a message
# Not every control is a trained network with a privatizer.
_CONTROL = {"training": "", "cut": "", "num_bytes": 0}
_CONTROL |= {"train_seeds": 1, "attack_seeds": 1}


@dataclasses.dataclass(frozen=True)
class Measurement:
  """One number with all that is needed to read it; higher = more.

  Attributes:
    target: the label or goal.
    attack: "family.function"; empty for utility.
    metric: "balanced_accuracy", "accuracy", "rank", "log_rank".
    value: the number.
    low: lower limit.
    high: upper limit.
    interval: what the limits are, in words.
    unit: what the interval counts as one, such as "person".
    chance: value of an attacker that sees nothing.
    floor: value of an attacker that sees only what the service must learn;
      None for utility and controls.
    num_units: how many units there are.
    num_queries: codes of one input, or of one person, that are joined.
    auxiliary: the attacker's own data, in words.
    floor_of: what the attacker of the floor sees.
    validation: value on the attacker's validation, by which it is chosen.
    knobs: what was tuned on validation.
    extra: fields of later versions.
  """

  target: str
  attack: str
  metric: str
  value: float
  low: float
  high: float
  interval: str
  unit: str
  chance: float
  floor: float | None
  num_units: int
  num_queries: int
  auxiliary: str
  floor_of: str = ""
  validation: float | None = None
  knobs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    for name in ("value", "low", "high", "chance"):
      number = getattr(self, name)
      if not isinstance(number, int | float) or not math.isfinite(number):
        raise ValueError(
          f"{self.target}: {name} is {number!r}; expected a finite number"
        )
    if not self.interval or not self.unit:
      raise ValueError(
        f"{self.target}: interval {self.interval!r} over unit {self.unit!r}; "
        "expected both in words, such as '95 % bootstrap over people' and "
        "'person'"
      )
    if not self.low - 1e-6 <= self.value <= self.high + 1e-6:
      raise ValueError(
        f"{self.target}: value {self.value} lies outside its interval "
        f"{self.low} to {self.high}"
      )

  @property
  def excess(self) -> float | None:
    """How far the value lies above the floor, or above chance if higher."""
    if self.floor is None:
      return None
    return self.value - max(self.floor, self.chance)

  @property
  def is_rank(self) -> bool:
    """Whether this is one of the rank measures."""
    return self.metric.endswith("rank")


@dataclasses.dataclass(frozen=True)
class Row:
  """One defence (or control) and all that was measured on it.

  Attributes:
    name: unique in the study.
    training: which training, such as "simple" or "siamese".
    cut: last stage on the device.
    privatizer: the chain, each stage with its knobs.
    num_bytes: bytes of one code.
    train_seeds: number of trainings averaged.
    attack_seeds: number of attackers averaged for each.
    utility: measurements of the desired questions.
    leakage: measurements of the attacks.
    worst: for each target the index of the attack that is worst on the
      attacker's validation.
    guarantees: what can be proved.
    estimates: what holds on average, under its assumptions.
    groups: utility, and the headline attack, on groups of the samples.
    saturation: what attackers with less data, or of other sizes, reached.
    embedding: "identity", "project", "noise".
    selected: the operating point, chosen on validation.
    expected: of a control: "chance", "high", or another word where nothing is
      judged; empty for a defence.
    passed: of a control: whether it came out as expected.
    extra: fields of later versions.
  """

  name: str
  training: str
  cut: str
  privatizer: tuple[Mapping[str, Any], ...]
  num_bytes: int
  train_seeds: int
  attack_seeds: int
  utility: tuple[Measurement, ...]
  leakage: tuple[Measurement, ...]
  worst: Mapping[str, int]
  guarantees: tuple[Mapping[str, Any], ...] = ()
  estimates: tuple[Mapping[str, Any], ...] = ()
  groups: tuple[Mapping[str, Any], ...] = ()
  saturation: tuple[Mapping[str, Any], ...] = ()
  embedding: str = ""
  selected: bool = False
  expected: str = ""
  passed: bool | None = None
  extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    for target, index in self.worst.items():
      if not 0 <= index < len(self.leakage):
        raise ValueError(
          f"row {self.name!r}: worst[{target!r}] is {index}; expected an index "
          f"into its {len(self.leakage)} leakage measurements"
        )
      if self.leakage[index].target != target:
        raise ValueError(
          f"row {self.name!r}: worst[{target!r}] points at a measurement of "
          f"{self.leakage[index].target!r}"
        )
    if self.expected:
      return
    for measurement in self.leakage:
      if measurement.floor is None:
        raise ValueError(
          f"row {self.name!r}: leakage of {measurement.target!r} by "
          f"{measurement.attack!r} has no floor; measure the best attacker "
          "that sees only the desired label"
        )

  def leakage_of(self, target: str) -> Measurement | None:
    """Return the headline attack on a target, if the target was attacked."""
    index = self.worst.get(target)
    return None if index is None else self.leakage[index]

  def attacks_on(self, target: str) -> tuple[Measurement, ...]:
    """Return all attacks comparable with the headline attack on a target."""
    worst = self.leakage_of(target)
    return tuple(
      m
      for m in self.leakage
      if worst is not None
      and (m.target, m.metric, m.num_queries)
      == (target, worst.metric, worst.num_queries)
    )

  def utility_of(
    self, target: str, metric: str = "balanced_accuracy"
  ) -> Measurement | None:
    """Return the utility for a desired label in one metric."""
    found = [m for m in self.utility if m.target == target]
    return next((m for m in found if m.metric == metric), None)


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A paired difference, a minus b."""

  what: str
  a: str
  b: str
  difference: float
  low: float
  high: float
  tie: bool
  extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Results:
  """A whole results file."""

  study: Mapping[str, Any]
  rows: tuple[Row, ...]
  controls: tuple[Row, ...] = ()
  comparisons: tuple[Comparison, ...] = ()
  rankings: tuple[Mapping[str, Any], ...] = ()

  def __post_init__(self):
    names = [row.name for row in (*self.rows, *self.controls)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
      raise ValueError(f"row names must differ; given twice: {twice}")

  @property
  def targets(self) -> tuple[str, ...]:
    """Attacked targets: in the order of the roles, then as they come."""
    roles = self.study["roles"]
    seen = dict.fromkeys(t for row in self.rows for t in row.worst)
    roots = [*roles["private"], *roles["unforeseen"]]

    def place(target: str) -> int:
      root = target.split(" (")[0]
      return roots.index(root) if root in roots else len(roots)

    return tuple(sorted(seen, key=place))


def read(workdir: pathlib.Path) -> Results:
  """Read and check `audit/results.json` of a workdir.

  Args:
    workdir: a study's folder, or such a file that was kept of one.

  Raises:
    FileNotFoundError: when the audit has not been run.
    ValueError: when the file breaks the format, `results.schema.json`; the
      message names the file and the row.
  """
  path = pathlib.Path(workdir)
  if path.suffix != ".json":
    path = path / "audit" / "results.json"
  if not path.is_file():
    raise FileNotFoundError(
      f"{path} is not there: run the audit of this workdir first "
      "(launch/audit.py or launch/run.py)"
    )
  try:
    value = json.loads(path.read_text())
    _follows_schema(value)
    return from_json(value)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def _follows_schema(value: Any) -> None:
  """Refuse what breaks the public format, by its nearest fault."""
  schema = json.loads(_SCHEMA_FILE.read_text())
  found = jsonschema.Draft202012Validator(schema).iter_errors(value)
  error = jsonschema.exceptions.best_match(found)
  if error is None:
    return
  place = list(error.absolute_path)
  if len(place) > 1 and place[0] in ("rows", "controls"):
    name = value[place[0]][place[1]]
    if isinstance(name, Mapping):
      place[1] = str(name.get("name", place[1]))
  message = error.message
  if len(message) > _LONG:  # it repeats the value
    message = f"...{message[-_LONG:]}"
  where = " / ".join(map(str, place)) or "the file"
  raise ValueError(f"{where}: {message} (docs/results_format.md)")


def from_json(value: Mapping[str, Any]) -> Results:
  """Build checked records from parsed JSON."""
  if value.get("schema") != SCHEMA:
    raise ValueError(f"schema is {value.get('schema')!r}; expected {SCHEMA!r}")
  return Results(
    study=value["study"],
    rows=tuple(_row(r, control=False) for r in value["rows"]),
    controls=tuple(_row(r, control=True) for r in value["controls"]),
    comparisons=tuple(
      _build(Comparison, c, f"comparison {c.get('what')!r}")
      for c in value.get("comparisons", ())
    ),
    rankings=tuple(value.get("rankings", ())),
  )


def to_json(results: Results) -> dict[str, Any]:
  """Turn records into plain JSON values; `from_json` is the inverse."""
  rows, controls, comparisons = (
    [_plain(record) for record in records]
    for records in (results.rows, results.controls, results.comparisons)
  )
  for row in rows:
    del row["expected"], row["passed"]
  return {
    "schema": SCHEMA,
    "study": dict(results.study),
    "rows": rows,
    "controls": controls,
    "comparisons": comparisons,
    "rankings": [dict(ranking) for ranking in results.rankings],
  }


def folds(training: Any) -> tuple[Mapping[str, Any], ...]:
  """Return the entries of one of `study.trainings`, one for each fold."""
  return (training,) if isinstance(training, Mapping) else tuple(training)


def table(values: Mapping[str, np.ndarray], name: str) -> statistics.Table:
  """Take one measurement's table out of `values.npz`.

  Args:
    values: the opened file.
    name: such as "rows/0/leakage/1".

  Raises:
    KeyError: when the measurement has no table.
  """
  return statistics.Table(
    *(values[f"{name}/{field}"] for field in statistics.Table._fields)
  )


def arrays(table: statistics.Table, name: str) -> dict[str, np.ndarray]:
  """Return a table as entries of `values.npz`; `table` is the inverse."""
  return {f"{name}/{k}": v for k, v in table._asdict().items()}


def _row(value: Mapping[str, Any], *, control: bool) -> Row:
  where = f"{'control' if control else 'row'} {value.get('name')!r}"
  value = dict(value)
  for kind in ("utility", "leakage"):
    value[kind] = tuple(
      _build(Measurement, m, f"{where}: {kind}[{i}]")
      for i, m in enumerate(value.get(kind, ()))
    )
  lists = ("privatizer", "guarantees", "estimates", "groups", "saturation")
  for kind in lists:
    value[kind] = tuple(value.get(kind, ()))
  if control:
    if not {"passed", "expected"} <= value.keys():
      raise ValueError(f"{where} lacks passed and expected")
    value = _CONTROL | value
  return _build(Row, value, where)


def _build(kind, value: Mapping[str, Any], where: str):
  fields = {f.name: f for f in dataclasses.fields(kind)}
  needed = {
    name
    for name, f in fields.items()
    if f.default is dataclasses.MISSING
    and f.default_factory is dataclasses.MISSING
  }
  lacking = sorted(needed - value.keys())
  if lacking:
    raise ValueError(f"{where} lacks {', '.join(lacking)}")
  known = {k: v for k, v in value.items() if k in fields}
  extra = {k: v for k, v in value.items() if k not in fields}
  try:
    return kind(**known, extra=extra)
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from error


def _plain(record) -> Any:
  """Turn records into dicts, their extra fields among the others."""
  if dataclasses.is_dataclass(record):
    value = {
      f.name: _plain(getattr(record, f.name))
      for f in dataclasses.fields(record)
    }
    extra = value.pop("extra")
    return {**value, **extra}
  if isinstance(record, Mapping):
    return {k: _plain(v) for k, v in record.items()}
  if isinstance(record, list | tuple):
    return [_plain(v) for v in record]
  return record
