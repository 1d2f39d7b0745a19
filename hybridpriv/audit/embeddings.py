"""Which rows of a study are which: the paper's embeddings, and their names.

The paper compares simple, reduced simple, siamese, reduced siamese and noisy
reduced siamese embeddings: two trainings times identity, project and project +
noise. The noisy one stands in tables at its operating point.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from hybridpriv.audit.results import Measurement, Results, Row

_PREFIX = {"identity": "", "project": "reduced ", "noise": "noisy reduced "}
_NOISE = ("sigma", "scale", "noise_multiplier", "weight", "budget")


def title(row: Row, *, noise: bool = True) -> str:
  """Name a row as the paper does, with its noise where `noise` is asked for."""
  if row.embedding not in _PREFIX:
    return row.name
  name = _PREFIX[row.embedding] + row.training
  knob = noise_knob(row)
  return f"{name}, {knob[0]} {knob[1]:g}" if noise and knob else name


def noise_knob(row: Row) -> tuple[str, float] | None:
  """Return name and value of the strength of a row's noise, if it has any."""
  for stage in row.privatizer:
    if str(stage["name"]).startswith("noise."):
      for name in _NOISE:
        if name in stage:
          return name, float(stage[name])
  return None


def trainings(results: Results) -> tuple[str, ...]:
  """Return the trainings in the order of the rows, the undefended first."""
  return tuple(dict.fromkeys(row.training for row in results.rows))


def grid(
  results: Results, training: str, embedding: str = "noise"
) -> tuple[Row, ...]:
  """Return a training's rows along a grid, weak to strong.

  The projection alone is the weak end of the noise grid.
  """
  names = ("project", "noise") if embedding == "noise" else (embedding,)
  rows = [
    row
    for row in results.rows
    if row.training == training and row.embedding in names
  ]
  return tuple(sorted(rows, key=lambda row: (noise_knob(row) or ("", 0.0))[1]))


def curve(results: Results, training: str, embedding: str) -> tuple[Row, ...]:
  """Return a training's rows along a grid, and the weak ends of it.

  A weak end is a row whose chain is the beginning of one of the grid's, such as
  the projection before noise.
  """
  rows = [row for row in results.rows if row.training == training]
  own = [row for row in rows if row.embedding == embedding]
  weak = [
    row
    for row in rows
    if row.embedding != embedding
    and row.privatizer
    and any(begins(row.privatizer, other.privatizer) for other in own)
  ]
  return (*weak, *own)


def begins(
  weak: Sequence[Mapping[str, Any]], strong: Sequence[Mapping[str, Any]]
) -> bool:
  """Tell whether a chain is the beginning of another and not all of it."""
  chain, whole = [dict(s) for s in weak], [dict(s) for s in strong]
  return len(chain) < len(whole) and whole[: len(chain)] == chain


def grids(results: Results, training: str) -> tuple[str, ...]:
  """Return a training's embeddings that were audited at several strengths."""
  names = [
    row.embedding
    for row in results.rows
    if row.training == training and row.embedding not in ("", "project")
  ]
  return tuple(n for n in dict.fromkeys(names) if names.count(n) > 1)


def find(results: Results, training: str, embedding: str) -> Row | None:
  """Return the row of an embedding; of the noisy ones the operating point.

  Where a training has no operating point of its own, its row at the noise of
  another training's operating point stands in.
  """
  rows = [row for row in results.rows if row.embedding == embedding]
  own = [row for row in rows if row.training == training]
  chosen = [row for row in own if row.selected]
  if embedding != "noise":
    return next(iter(chosen + own), None)
  knobs = [noise_knob(row) for row in rows if row.selected]
  same = [row for row in own if noise_knob(row) in knobs]
  return next(iter(chosen + same), None)


def main_rows(results: Results) -> tuple[Row, ...]:
  """Return a row for each embedding, the paper's first; all if none has one."""
  others = dict.fromkeys(row.embedding for row in results.rows)
  names = [*_PREFIX, *(n for n in others if n and n not in _PREFIX)]
  rows = [
    find(results, training, embedding)
    for training in trainings(results)
    for embedding in names
  ]
  return tuple(row for row in rows if row is not None) or results.rows


def undefended(results: Results) -> Row | None:
  """Return the feature of the first training as it is, if it was audited."""
  names = trainings(results)
  return find(results, names[0], "identity") if names else None


def operating_point(results: Results) -> Row | None:
  """Return the chosen noisy row of the last training that has one.

  The last training is the most defended one; the others' operating points are
  there to compare with.
  """
  chosen = [row for row in results.rows if row.selected]
  noisy = [row for row in chosen if noise_knob(row)]
  return (noisy or chosen or [None])[-1]


def utility(row: Row, desired: Sequence[str]):
  """Return the first desired label's utility, balanced where measured."""
  for name in desired:
    for metric in ("balanced_accuracy", "accuracy"):
      if found := row.utility_of(name, metric):
        return found
  return row.utility[0] if row.utility else None


def reached(row: Row, *, attack: str, target: str) -> Measurement | None:
  """Return what one attack reaches with one code, balanced where measured."""
  found = {
    m.metric: m
    for m in row.leakage
    if (m.attack, m.target, m.num_queries) == (attack, target, 1)
  }
  return found.get("balanced_accuracy") or found.get("accuracy")


def rank_privacy(row: Row) -> Measurement | None:
  """Return the mean rank of the true record over the number of records.

  Higher is more private, and the floor is a ceiling.
  """
  return privacy(row, attack="rank.image", metric="rank")


def privacy(
  row: Row, *, attack: str, metric: str, target: str | None = None
) -> Measurement | None:
  """Return what an attack leaves with one code: one minus what it reaches.

  Higher is more private, and the floor is a ceiling.

  Args:
    row: the defence.
    attack: "family.name".
    metric: one that is a share.
    target: what is attacked; None for the first one.
  """
  for m in row.leakage:
    if (m.attack, m.metric, m.num_queries) == (attack, metric, 1) and (
      target in (None, m.target)
    ):
      return dataclasses.replace(
        m,
        value=1 - m.value,
        low=1 - m.high,
        high=1 - m.low,
        chance=1 - m.chance,
        floor=None if m.floor is None else 1 - m.floor,
      )
  return None
