"""Who trains, who chooses, who is tested, who is audited.

People are divided, never samples: no person trains anything and is tested or
audited too. Where no person is known every sample counts as one person.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from hybridpriv.data.dataset import UNKNOWN, DataSet
from hybridpriv.data.roles import closed_set, rotations

__all__ = [
  "PARTS",
  "Fold",
  "closed_set",
  "counts",
  "from_json",
  "make",
  "rotations",
  "to_json",
]

PARTS = ("train", "validation", "test", "audit")


@dataclasses.dataclass(frozen=True, eq=False)
class Fold:
  """One division of the samples; each part is sorted int64 sample numbers.

  Attributes:
    train: fits the network and the privatizer.
    validation: chooses margin, weight, checkpoint, noise.
    test: gives the utility, scored once.
    audit: people whose codes are attacked. With `folds` in `make` the audit
      people are the test people too.
  """

  train: np.ndarray
  validation: np.ndarray
  test: np.ndarray
  audit: np.ndarray


def make(
  data: DataSet,
  *,
  desired: tuple[str, ...],
  seed: int = 0,
  folds: int = 0,
  fractions: tuple[float, ...] = (0.5, 0.1, 0.15, 0.25),
  min_audit: int = 0,
  cap: int = 0,
  split: str = "",
) -> tuple[Fold, ...]:
  """Divide the people of a data set.

  Four ways, of which one is chosen:

  - by default people are divided at random by `fractions`;
  - `min_audit=m`: everyone with `m` or more samples is audited, and the others
    are divided in the ratio of the first three fractions;
  - `folds=F`: people are divided into F parts. Fold f audits and tests part f
    (strangers to its training and to the choice of its weights); of the others
    one in five, at least one, validates and the rest train. Every person is
    audited once;
  - `split`: a label whose classes are among train, validation, test, audit. A
    missing validation takes a tenth of the train people; where one of test and
    audit is missing, the people of the other are halved.

  Args:
    data: the data set.
    desired: labels that need two classes in train.
    seed: seed of every random choice.
    folds: number of folds, 0 for one fixed division.
    fractions: shares of train, validation, test and audit.
    min_audit: least samples of a person to be audited, 0 for off.
    cap: most samples of a person among audit (a seeded choice), 0 for all.
    split: label that says the part, '' for none.

  Returns:
    One fold, or `folds` of them.

  Raises:
    ValueError: two ways at once, a person on two sides of `split`, a part
      without people, a desired label with one class only in train.
  """
  ways = {"folds": folds, "min_audit": min_audit, "split": split}
  chosen = [f"{name}={value!r}" for name, value in ways.items() if value]
  if len(chosen) > 1:
    raise ValueError(
      f"{' and '.join(chosen)} are two ways to divide people; choose one"
    )
  fractions = tuple(fractions)
  if len(fractions) != len(PARTS) or min(fractions) <= 0:
    raise ValueError(
      f"fractions are {fractions}, expected four positive shares of {PARTS}"
    )
  person = data.person
  generator = np.random.default_rng(seed)
  people, number = np.unique(person, return_counts=True)
  order = generator.permutation(people)
  if folds:
    divisions = _rotate(order, folds)
  elif min_audit:
    audit = people[number >= min_audit]
    if not len(audit):
      raise ValueError(
        f"no person of {data.name} has min_audit={min_audit} samples, the most "
        f"is {number.max()}; lower min_audit or raise max_samples"
      )
    others = order[~np.isin(order, audit)]
    divisions = [(*_divide(others, fractions[:3]), audit)]
  elif split:
    divisions = [_by_column(data, split, generator)]
  else:
    divisions = [_divide(order, fractions)]
  result = []
  for division in divisions:
    index = [np.flatnonzero(np.isin(person, part)) for part in division]
    if cap:
      index[3] = _cap(index[3], person, cap, generator)
    if folds:
      index[2] = index[3]
    result.append(Fold(*index))
  for fold in result:
    _check(fold, data, desired)
  return tuple(result)


def counts(fold: Fold, data: DataSet) -> dict[str, dict[str, int]]:
  """Count samples and people by part; people are 0 where none are known."""
  return {
    name: {
      "samples": len(index),
      "people": 0
      if data.identity is None
      else len(np.unique(data.person[index])),
    }
    for name, index in _parts(fold)
  }


def _parts(fold: Fold) -> list[tuple[str, np.ndarray]]:
  """Pair the names of the parts with their samples."""
  return [(name, getattr(fold, name)) for name in PARTS]


def _divide(
  order: np.ndarray, fractions: Sequence[float]
) -> tuple[np.ndarray, ...]:
  """Cut people in random order into shares, each of at least one person."""
  if len(order) < len(fractions):
    raise ValueError(
      f"{len(order)} people cannot be divided into {len(fractions)} parts with "
      "one each; use more people, folds or a split column"
    )
  share = np.asarray(fractions, float) / sum(fractions)
  ends = np.round(np.cumsum(share) * len(order)).astype(int)
  for i in range(len(ends)):
    least = ends[i - 1] + 1 if i else 1
    most = len(order) - (len(ends) - 1 - i)
    ends[i] = min(max(ends[i], least), most)
  return tuple(np.split(order, ends[:-1]))


def _rotate(order: np.ndarray, folds: int) -> list[tuple[np.ndarray, ...]]:
  """Let each of `folds` parts of the people be audited in its turn."""
  if not 2 <= folds <= len(order):
    raise ValueError(
      f"folds is {folds}, expected 2 .. {len(order)}, the number of people"
    )
  parts = np.array_split(order, folds)
  divisions: list[tuple[np.ndarray, ...]] = []
  for f, part in enumerate(parts):
    others = np.concatenate([*parts[f + 1 :], *parts[:f]])
    num = max(1, round(0.2 * len(others)))
    if len(others) <= num:
      raise ValueError(
        f"{len(order)} people in folds={folds} leave {len(others)} to train "
        "and validate, expected at least two"
      )
    divisions.append((others[num:], others[:num], part, part))
  return divisions


def _by_column(
  data: DataSet, split: str, generator: np.random.Generator
) -> tuple[np.ndarray, ...]:
  """Read the parts from a label, and make the missing ones."""
  if split not in data.labels:
    raise ValueError(
      f"{data.name} has no label {split!r} to divide by; its labels are: "
      f"{', '.join(sorted(data.labels))}"
    )
  names, values = data.classes[split], data.labels[split]
  foreign = [name for name in names if name not in PARTS]
  if foreign:
    raise ValueError(
      f"column {split!r} holds {foreign[:5]}, expected only {PARTS}; rename "
      "them, for example with group={column: {value: part}}"
    )
  people = {
    part: np.unique(data.person[values == i]) for i, part in enumerate(names)
  }
  for a, b in ((a, b) for a in people for b in people if a < b):
    both = np.intersect1d(people[a], people[b])
    if len(both):
      name = (
        f"sample {both[0]}"
        if data.identity is None
        else f"person {data.classes[data.identity][both[0]]!r}"
      )
      raise ValueError(
        f"{name} is in both {a} and {b} of column {split!r} "
        f"({len(both)} such in all); put every person on one side"
      )
  order = {
    part: generator.permutation(people.get(part, np.empty(0, np.int32)))
    for part in PARTS
  }
  if not len(order["train"]) or not len(order["test"]) + len(order["audit"]):
    raise ValueError(
      f"column {split!r} has the parts {sorted(people)}, expected train and at "
      "least one of test and audit"
    )
  if not len(order["validation"]):
    order["validation"], order["train"] = _divide(order["train"], (0.1, 0.9))
  if not (len(order["test"]) and len(order["audit"])):
    strangers = np.concatenate([order["test"], order["audit"]])
    order["test"], order["audit"] = _divide(strangers, (0.5, 0.5))
  return tuple(order[part] for part in PARTS)


def _cap(
  index: np.ndarray,
  person: np.ndarray,
  cap: int,
  generator: np.random.Generator,
) -> np.ndarray:
  """Keep at most `cap` samples of a person, chosen at random."""
  shuffled = generator.permutation(index)
  shuffled = shuffled[np.argsort(person[shuffled], kind="stable")]
  owner = person[shuffled]
  rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
  return np.sort(shuffled[rank < cap])


def _check(fold: Fold, data: DataSet, desired: tuple[str, ...]) -> None:
  """Refuse an empty part and a desired label with one class in train."""
  empty = [name for name, index in _parts(fold) if not len(index)]
  if empty:
    raise ValueError(f"no sample of {data.name} is in {empty}; use more people")
  for name in desired:
    values = data.labels[name][fold.train]
    present = np.unique(values[values != UNKNOWN])
    if len(present) < 2:
      found = [data.classes[name][i] for i in present]
      raise ValueError(
        f"desired label {name!r} takes only {found} among the {len(values)} "
        "train samples, expected two classes or more; use more people, another "
        "seed of the partition or another split"
      )


def _digest(data: DataSet) -> str:
  """Name what a partition depends on: who each sample is of, and the labels."""
  digest = hashlib.sha256()
  for name in sorted(data.labels):
    digest.update(name.encode())
    digest.update("\0".join(data.classes[name]).encode())
    digest.update(np.ascontiguousarray(data.labels[name], "<i4").tobytes())
  return digest.hexdigest()


def to_json(folds: Sequence[Fold], data: DataSet) -> dict:
  """Write folds as plain lists with the names of the people in each part."""

  def names(index: np.ndarray) -> list[str]:
    if data.identity is None:
      return []
    found = np.unique(data.person[index])
    return [data.classes[data.identity][i] for i in found]

  return {
    "data": data.name,
    "identity": data.identity,
    "samples": len(data),
    "sha256": _digest(data),
    "folds": [
      {
        name: {"samples": index.tolist(), "people": names(index)}
        for name, index in _parts(fold)
      }
      for fold in folds
    ],
  }


def from_json(value: Mapping, data: DataSet | None = None) -> tuple[Fold, ...]:
  """Read the folds that `to_json` wrote.

  Args:
    value: what `to_json` gave.
    data: where given, the data set that the folds must belong to.

  Raises:
    ValueError: the labels or people of `data` are not those of the partition.
  """
  if data is not None and value["sha256"] != _digest(data):
    raise ValueError(
      f"the partition was made for {value['samples']} samples of "
      f"{value['data']} and does not fit the {len(data)} samples of {data.name}"
      ": the data, or the options that load it, have changed; use a new workdir"
    )
  return tuple(
    Fold(**{k: np.array(fold[k]["samples"], np.int64) for k in PARTS})
    for fold in value["folds"]
  )
