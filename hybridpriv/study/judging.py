"""How right the service's answers are: classification, or verification.

Classification asks about samples: is the desired label the right one?
Verification asks about pairs of samples: do both show the same person?  There
the answer to a sample is an embedding, and two are called the same person where
they are nearer than a threshold, chosen on the other parts of the list of pairs
(the protocol of Labeled Faces in the Wild).
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hybridpriv import build
from hybridpriv.data import dataset
from hybridpriv.study.setup import Setup

_PARTS = 10  # of a list of pairs that does not name its own


def check(config: build.Config) -> None:
  """Refuse a verification that cannot be what it says.

  Raises:
    ValueError: for several desired labels, no size of the embedding, or a
      training, which would see the people of the pairs.
  """
  asked, desired = config["verification"], build.roles(config).desired
  if not asked["test"]:
    return
  if len(desired) != 1 or not asked["outputs"]:
    raise ValueError(
      "config.verification compares embeddings of one desired label, the"
      f" person: set its outputs, and config.data.desired ({list(desired)})"
    )
  if any(config["train"][phase]["steps"] for phase in ("base", "finetune")):
    raise ValueError(
      "config.verification judges a published network as it is, because its"
      " pairs are over all people: set the steps of config.train.base and of"
      " config.train.finetune to 0"
    )


class Questions(NamedTuple):
  """What is asked about one target.

  Attributes:
    label: right answer of each question, -1 where it is not known [m].
    person: whom an interval counts it to [m]; the first of a pair.
    num_classes: number of answers.
  """

  label: np.ndarray
  person: np.ndarray
  num_classes: int


class Pairs(NamedTuple):
  """A list of pairs: places in the data set, sameness, part [m]."""

  first: np.ndarray
  second: np.ndarray
  same: np.ndarray
  part: np.ndarray


def samples(setup: Setup, fold: int, part: str) -> np.ndarray:
  """List the samples whose answers are needed, "validation" or "test"."""
  if not verifies(setup):
    return getattr(setup.folds[fold], part)
  found = pairs(setup, part)
  return np.unique(np.concatenate([found.first, found.second]))


def questions(setup: Setup, fold: int, part: str) -> dict[str, Questions]:
  """List what is asked, by desired label."""
  if not verifies(setup):
    index = getattr(setup.folds[fold], part)
    return {
      d: Questions(
        setup.data.labels[d][index],
        setup.data.person[index],
        len(setup.data.classes[d]),
      )
      for d in setup.roles.desired
    }
  found = pairs(setup, part)
  person = setup.data.person[found.first]
  return {setup.roles.desired[0]: Questions(found.same, person, 2)}


def right(
  setup: Setup, fold: int, part: str, logits: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Say which questions are answered rightly.

  Args:
    setup: the study.
    fold: number of the fold.
    part: "validation" or "test".
    logits: answers to `samples` [n, draws, classes or values], by label.

  Returns:
    Bool [draws, m], by desired label.
  """
  asked = questions(setup, fold, part)
  if not verifies(setup):
    return {
      d: (logits[d].argmax(-1) == own.label[:, None]).T
      for d, own in asked.items()
    }
  (target,) = asked
  found, place = pairs(setup, part), samples(setup, fold, part)
  first, second = (
    logits[target][np.searchsorted(place, x)]
    for x in (found.first, found.second)
  )
  distance = np.linalg.norm(first - second, axis=-1)  # [m, draws]
  nearer = np.empty(distance.shape, bool)
  for number in np.unique(found.part):
    own = found.part == number
    limit = _threshold(distance[~own], found.same[~own])
    nearer[own] = distance[own] < limit
  return {target: (nearer == (found.same[:, None] == 1)).T}


def scores(
  setup: Setup, fold: int, part: str, logits: Mapping[str, np.ndarray]
) -> dict[str, float]:
  """Average right answers over the classes that occur, by desired label."""
  found = {}
  for target, own in right(setup, fold, part, logits).items():
    label = questions(setup, fold, part)[target].label
    classes = np.unique(label[label >= 0])
    found[target] = float(np.mean([own[:, label == c].mean() for c in classes]))
  return found


def _threshold(distance: np.ndarray, same: np.ndarray) -> float:
  """Choose the distance [m, draws] that tells most pairs apart."""
  values = distance.ravel()
  order = np.argsort(values, kind="stable")
  sign = np.where(np.repeat(same == 1, distance.shape[1]), 1, -1)[order]
  best = int(np.argmax(np.cumsum(sign)))
  after = values[order[min(best + 1, len(values) - 1)]]
  return float((values[order[best]] + after) / 2)


def verifies(setup: Setup) -> bool:
  """Tell whether the study's question is one about pairs."""
  return bool(setup.config["verification"]["test"])


def pairs(setup: Setup, part: str) -> Pairs:
  """Read the list of pairs of a part.

  Pairs to choose by that show a person of the pairs to judge by are left out:
  LFW's two views overlap.

  Raises:
    ValueError: if the file is no such list, or names a picture that the data
      set lacks.
  """
  folder = pathlib.Path(setup.config["data"]["path"]).expanduser()
  asked = setup.config["verification"]
  found = _read(folder / asked[part], setup.data)
  if part == "test" or asked[part] == asked["test"]:
    return found
  test, person = _read(folder / asked["test"], setup.data), setup.data.person
  judged = person[np.concatenate([test.first, test.second])]
  own = ~np.isin(person[found.first], judged)
  own &= ~np.isin(person[found.second], judged)
  if not (found.same[own] == 1).any() or not (found.same[own] == 0).any():
    raise ValueError(
      f"{folder / asked[part]}: {own.sum()} of its {len(own)} pairs show nobody"
      f" of {asked['test']}, and not both same and different people; name"
      " another list, config.verification.validation"
    )
  return Pairs(*(x[own] for x in found))


@functools.lru_cache(maxsize=4)
def _read(file: pathlib.Path, data: dataset.DataSet) -> Pairs:
  try:
    lines = file.read_text().splitlines()
  except OSError as error:
    raise ValueError(f"cannot read the list of pairs {file}: {error}") from None
  place = {pathlib.PurePath(name).stem: i for i, name in enumerate(data.names)}
  head = lines[0].split() if lines else []
  rows = [line.split() for line in lines[1:] if line.strip()]
  if not all(x.isdigit() for x in head) or not 1 <= len(head) <= 2 or not rows:
    raise ValueError(
      f"{file} is no list of pairs: its first line is {lines[:1]}, expected the"
      " number of parts and of pairs, and then a pair in each line"
    )
  listed = []
  for number, row in enumerate(rows, start=2):
    if len(row) not in (3, 4):
      raise ValueError(
        f"{file}, line {number}: {row}; expected a name and two numbers, or"
        " two names with a number each"
      )
    names = (row[0], row[1]), (row[-2] if len(row) == 4 else row[0], row[-1])
    stems = [f"{name}_{int(number):04d}" for name, number in names]
    if missing := [stem for stem in stems if stem not in place]:
      raise ValueError(
        f"{file}, line {number}: there is no picture {missing[0]!r} in"
        f" {data.name}; load all of its pictures"
      )
    listed.append((place[stems[0]], place[stems[1]], len(row) == 3))
  first, second, same = (np.asarray(x) for x in zip(*listed, strict=True))
  # Blocks of same and different pairs alternate; without them, dealt round.
  parts = int(head[0]) if len(head) == 2 else _PARTS
  order = np.arange(len(listed))
  part = order * parts // len(order) if len(head) == 2 else order % parts
  return Pairs(first, second, same.astype(int), part)
