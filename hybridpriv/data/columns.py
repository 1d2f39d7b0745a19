"""Columns of text: class ids, names of bins, subsets of rows by person."""

import re
from collections.abc import Sequence

import numpy as np

from hybridpriv.data.dataset import UNKNOWN

# No person makes up more of a subset than one of this many would.
_MIN_PEOPLE = 10


def _natural(text: str) -> list[tuple[int, float, str]]:
  """Sort key under which "10" comes after "9" and "a10" after "a9"."""
  parts = re.split(r"(\d+)", text)
  return [
    (0, float(part), "") if i % 2 else (1, 0.0, part)
    for i, part in enumerate(parts)
    if part
  ]


def encode(
  values: Sequence[str] | np.ndarray, classes: Sequence[str] = ()
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Turn text into class ids.

  Args:
    values: `n` texts, empty where not known.
    classes: class names in the order wanted; by default the values found, in
      natural order ("9" before "10").

  Returns:
    int32 `[n]` ids with -1 for an empty text, and the class names.

  >>> encode(["walk", "", "jog", "walk"])
  (array([ 1, -1,  0,  1], dtype=int32), ('jog', 'walk'))
  """
  names = tuple(classes) or tuple(
    sorted({v for v in values if v}, key=_natural)
  )
  ids = {name: i for i, name in enumerate(names)} | {"": UNKNOWN}
  return np.array([ids[v] for v in values], np.int32), names


def bin_names(edges: Sequence[float]) -> tuple[str, ...]:
  """Name the intervals that rising edges cut the numbers into.

  >>> bin_names((30, 50))
  ('below 30', '30 to 50', '50 or more')
  """
  if not edges or any(b <= a for a, b in zip(edges, edges[1:], strict=False)):
    raise ValueError(
      f"bin edges are {tuple(edges)}, expected numbers that rise, such as "
      "(30, 50)"
    )
  inner = zip(edges, edges[1:], strict=False)
  return (
    f"below {edges[0]:g}",
    *(f"{a:g} to {b:g}" for a, b in inner),
    f"{edges[-1]:g} or more",
  )


def subset(
  person: Sequence[str] | np.ndarray | None,
  size: np.ndarray,
  *,
  max_samples: int,
  seed: int,
) -> np.ndarray:
  """Choose rows at random so that they make at most `max_samples` samples.

  People are taken in random order, with all their rows, until the number is
  reached. Two people may be cut short all the same: the last one, and anyone
  who would make more than a tenth of `max_samples` (with fewer than ten people,
  more than an equal share), so that a small subset still has many people. A
  person keeps at least one row, whatever its size.
  Where no person is known, rows are taken at random.

  Args:
    person: who each of the `n` rows is of, or None.
    size: int `[n]`, how many samples a row makes (an image 1, a recording its
      windows).
    max_samples: the most samples to keep; 0 keeps all.
    seed: seed of the choice.

  Returns:
    int64 sorted row numbers.
  """
  size = np.asarray(size)
  if max_samples < 0:
    raise ValueError(f"max_samples is {max_samples}, expected 0 (all) or more")
  if not max_samples or size.sum() <= max_samples:
    return np.arange(len(size))
  generator = np.random.default_rng(seed)
  order = generator.permutation(len(size))
  if person is not None:
    _, unit = np.unique(np.asarray(person), return_inverse=True)
    num = unit.max() + 1
    rank = generator.permutation(num)[unit]
    order = order[np.argsort(rank[order], kind="stable")]
    total = np.cumsum(size[order])
    first = np.searchsorted(rank[order], rank[order])
    before = total - size[order]
    before -= before[first]
    share = max_samples // min(num, _MIN_PEOPLE)
    order = order[(before == 0) | (before + size[order] <= share)]
  return np.sort(order[np.cumsum(size[order]) <= max_samples])
