"""Ranks by distance and by person, beside what one would write without us.

Codes of eight numbers lie in files.  A full ranking, each of 100,000 codes
among all, and galleries that grow at a fixed number of observed codes: time,
and memory in fresh processes.  PyTorch does the same by `torch.cdist` in
blocks, which does not see ties; NumPy by the definition of a distance.
Distances of whole features are compared by person.
"""

import functools
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import measure
import numpy as np

from hybridpriv.attacks import people, rank

_WIDTH = 8  # numbers of a code
_SMALLEST = 1000
_PAIRS = 2 * 10**7  # that the others are timed on: a second or so
_PROGRAM = pathlib.Path(__file__).parents[1] / "references" / "ranking.py"


class Size(NamedTuple):
  """How much work it is.

  Attributes:
    full: codes, each ranked among all.
    observed: codes that are ranked in galleries that grow.
    galleries: their lengths.
    features: whole features that are ranked by person.
    values: numbers of a feature.
    rounds: how often everything is timed, but for the largest.
    largest: codes, each ranked among all, once.
  """

  full: int = 100_000
  observed: int = 4096
  galleries: tuple[int, ...] = (10**4, 10**5, 10**6)
  features: int = 1500
  values: int = 4096
  rounds: int = 5
  largest: int = 10**6


FULL = Size()
QUICK = Size(
  full=20_000,
  galleries=(10**4, 10**5),
  features=500,
  rounds=3,
  largest=60_000,
)


def run(quick: bool) -> Iterator[measure.Part]:
  """Measure all, or with `quick` less.

  Args:
    quick: whether to look only.
  """
  size = QUICK if quick else FULL
  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)
    cases = [(size.full, size.full)]
    cases += [(size.observed, n) for n in size.galleries]
    for case in cases:
      rows = functools.partial(_speed, folder, *case, size.rounds)
      yield measure.Part(f"ranks of {_name(*case)}", rows)
    rows = functools.partial(_in_fresh_processes, folder, size)
    yield measure.Part("ranks in fresh processes", rows)
  rows = functools.partial(_by_person, size)
  yield measure.Part("ranks by person", rows)


def _in_fresh_processes(
  folder: pathlib.Path, size: Size
) -> Iterator[measure.Row]:
  """Measure the memory of rankings, and the time of the largest."""
  smallest = in_fresh_process(folder, _SMALLEST, _SMALLEST)
  cases = [(size.observed, n) for n in size.galleries]
  cases += [(n, n) for n in (size.full, size.largest)]
  seconds = {}
  for case in cases:
    of = in_fresh_process(folder, *case)
    seconds[case] = of["s"]
    yield measure.row(
      f"{_name(*case)}: memory that a process grows by",
      f"a gallery of {_SMALLEST:,}",
      "MiB",
      np.array([[of["bytes"], smallest["bytes"]]]) / 2**20,
    )
  whole, largest = (seconds[n, n] for n in (size.full, size.largest))
  times = (size.largest / size.full) ** 2
  yield measure.row(
    f"ranks of {_name(size.largest, size.largest)}: a fresh process",
    f"{size.full:,} among {size.full:,} in one, {times:g} times",
    "s",
    np.array([[largest, times * whole]]),
  )


def _name(observed: int, gallery: int) -> str:
  return f"{observed:,} codes among {gallery:,}, {_WIDTH} numbers a code"


def write_codes(
  folder: pathlib.Path, observed: int, gallery: int
) -> tuple[pathlib.Path, pathlib.Path]:
  """Make codes up, and write them to files."""
  rng = np.random.default_rng(0)
  clean = rng.normal(size=(gallery, _WIDTH)).astype(np.float32)
  sent = clean[:observed]
  sent = sent + rng.normal(size=sent.shape).astype(np.float32)
  paths = folder / "observed.npy", folder / "clean.npy"
  for path, codes in zip(paths, (sent, clean), strict=True):
    np.save(path, codes)
  return paths


def _speed(
  folder: pathlib.Path, observed: int, gallery: int, rounds: int
) -> list[measure.Row]:
  """Compare the time of a ranking."""
  paths = write_codes(folder, observed, gallery)
  sent, clean = (np.load(path, mmap_mode="r") for path in paths)
  index = np.arange(observed)
  part = min(max(_PAIRS // gallery, 1), observed)
  some, every = sent[:part].copy(), np.array(clean)

  def text(who: str) -> str:
    return f"{who}; {part:,} of {observed:,} timed"

  others = [
    measure.Side(
      text("NumPy"),
      lambda: _by_definition(some, every),
      observed / part,
    )
  ]
  who = text("PyTorch, torch.cdist in blocks, without ties")
  try:
    from references import torch_ranks
  except ModuleNotFoundError as error:
    if error.name != "torch":
      raise
    why = "torch is not installed: pip install torch"
    others.append(measure.Side(who, lambda: None, skipped=why))
  else:
    others.append(
      measure.Side(
        who, lambda: torch_ranks.by_distance(some, every), observed / part
      )
    )
  return measure.compare(
    f"ranks of {_name(observed, gallery)}",
    measure.Side("", lambda: rank.by_distance(sent, clean, index=index)),
    others,
    rounds=rounds,
  )


def _by_definition(observed: np.ndarray, clean: np.ndarray) -> np.ndarray:
  """Rank code by code, by direct differences."""
  ranks = []
  for i, code in enumerate(observed):
    d = np.sum((clean - code) ** 2, axis=1)
    ranks.append(np.sum(d < d[i]) + (np.sum(d == d[i]) + 1) / 2)
  return np.array(ranks)


def in_fresh_process(
  folder: pathlib.Path, observed: int, gallery: int
) -> dict[str, float]:
  """Rank in a process of its own."""
  paths = write_codes(folder, observed, gallery)
  command = [sys.executable, str(_PROGRAM), *map(str, paths)]
  done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
  return json.loads(done.stdout)


def _by_person(size: Size) -> list[measure.Row]:
  """Compare ranks of people by whole features."""
  rng = np.random.default_rng(0)
  shape = size.features, size.values
  clean = rng.normal(size=shape).astype(np.float32)
  sent = clean + rng.normal(size=shape).astype(np.float32)
  person = rng.permutation(size.features) // 3

  def directly() -> Any:
    codes = [clean[person == p].astype(np.float64) for p in np.unique(person)]
    wide = sent.astype(np.float64)
    return [people.log_likelihood(wide, own, 1.0) for own in codes]

  return measure.compare(
    f"ranks by person of {shape[0]:,} features of {shape[1]:,} numbers",
    measure.Side("", lambda: rank.by_person(sent, clean, person, std=1.0)),
    [measure.Side("SciPy's direct distances, all of them", directly)],
    rounds=size.rounds,
  )
