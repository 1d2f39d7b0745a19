"""Divisions of the audit samples between an attacker's training and its test.

Roles are int8: 0 unused, 1 train (gallery), 2 validation, 3 test (probe).
"""

import numpy as np

from hybridpriv.data.dataset import UNKNOWN, DataSet

UNUSED, TRAIN, VALIDATION, TEST = range(4)
# Shuffles tried before a rotation without some class in training is given up.
_TRIALS = 100


def closed_set(
  data: DataSet, index: np.ndarray, *, seed: int, by: str = "time"
) -> np.ndarray:
  """Divide every person's samples into gallery, validation and probe.

  By time each recording is cut: the windows that end before its half are
  gallery; after a gap of one window the first half of what is left is
  validation and the rest probe, without a time step in common. A recording too
  short for both gives a probe only. Images, or `by="recording"`, divide the
  recordings of each person at random: half gallery, a quarter each validation
  and probe, at least one each.

  Args:
    data: the data set.
    index: int64 `[m]` samples to divide, such as `fold.audit`.
    seed: seed of the choice of recordings.
    by: "time" or "recording".

  Returns:
    int8 `[m]` roles. By recording, people with fewer than three recordings
    have role 0.

  Raises:
    ValueError: no person is known, or `by` is another word.
  """
  if by not in ("time", "recording"):
    raise ValueError(f"by is {by!r}, expected 'time' or 'recording'")
  if data.identity is None:
    raise ValueError(
      f"{data.name} names no person, so there is nobody to identify; give the "
      "identity column"
    )
  index = np.asarray(index)
  recording = data.recording[index]
  roles = np.zeros(len(index), np.int8)
  if by == "time" and data.span > 0:
    for rows in _groups(recording):
      roles[rows] = _by_time(data.position[index[rows]], data.span)
    return roles
  generator = np.random.default_rng(seed)
  for rows in _groups(data.person[index]):
    names = np.unique(recording[rows])
    num = len(names)
    if num < 3:
      continue
    held = max(1, round(num / 4))
    order = generator.permutation(names)
    role = np.full(num, TRAIN, np.int8)
    role[:held], role[held : 2 * held] = TEST, VALIDATION
    place = np.searchsorted(names, recording[rows])
    by_name = np.empty(num, np.int8)
    by_name[np.searchsorted(names, order)] = role
    roles[rows] = by_name[place]
  return roles


def _groups(value: np.ndarray) -> list[np.ndarray]:
  """List the positions of each value, in rising order of the values."""
  order = np.argsort(value, kind="stable")
  borders = np.flatnonzero(np.diff(value[order])) + 1
  return np.split(order, borders) if len(order) else []


def _by_time(position: np.ndarray, span: float) -> np.ndarray:
  """Give roles to the windows of one recording by where they start."""
  # Positions are multiples of a time step in float32: compare with a margin.
  tiny = 1e-3 * span
  end = position + span
  roles = np.zeros(len(position), np.int8)
  gallery = end <= position.min() + (end.max() - position.min()) / 2 + tiny
  roles[gallery] = TRAIN
  border = end[gallery].max() if gallery.any() else position.min()
  rest = np.flatnonzero(position >= border + span - tiny)
  rest = rest[np.argsort(position[rest], kind="stable")]
  for num in range(len(rest) // 2, -1, -1):
    seen = end[rest[:num]].max() if num else -np.inf
    probe = rest[position[rest] >= seen - tiny]
    if len(probe) or not len(rest):
      roles[rest[:num]] = VALIDATION
      roles[probe] = TEST
      break
  return roles


def rotations(
  data: DataSet, index: np.ndarray, *, label: str, num: int, seed: int
) -> np.ndarray:
  """Rotate the audit people through an attacker's train, validation and test.

  People are dealt into R parts, those with rare classes first and round the
  parts, so that classes spread. Rotation r tests part r, validates on part
  r + 1 and trains on the rest: each person is tested exactly once.

  Args:
    data: the data set.
    index: int64 `[m]` samples to divide.
    label: the label under attack. Samples without it have role 0 throughout,
      and so have those of a class that fewer than three people show: it cannot
      be learned, chosen and tested on different people.
    num: rotations wanted, at least three.
    seed: seed of the deal.

  Returns:
    int8 `[R, m]` roles with R = min(num, people).

  Raises:
    ValueError: fewer than three people or two classes are left, or no deal
      leaves every class in every training part.
  """
  index = np.asarray(index)
  if num < 3:
    raise ValueError(f"num is {num}, expected at least three rotations")
  values = data.labels[label][index]
  names, owner = np.unique(data.person[index], return_inverse=True)
  shown = np.zeros((len(names), len(data.classes[label])), bool)
  shown[owner[values != UNKNOWN], values[values != UNKNOWN]] = True
  holders = shown.sum(0)
  usable = holders >= 3
  if usable.sum() < 2:
    raise ValueError(
      f"label {label!r} has {int(usable.sum())} class(es) that three or more "
      f"of the {len(names)} audit people show, expected at least two; audit "
      "more people or merge classes (group); for who it is use closed_set"
    )
  used = (values != UNKNOWN) & usable[values]
  shown = shown[:, usable]
  people = np.flatnonzero(shown.any(1))
  shown, holders = shown[people], holders[usable]
  # The rarest class that a person shows; people are dealt in this order.
  rarest = np.where(shown, holders, np.inf).argmin(1)
  size = min(num, len(people))
  generator = np.random.default_rng(seed)
  for _ in range(_TRIALS):
    order = generator.permutation(len(people))
    order = order[np.argsort(rarest[order], kind="stable")]
    part = np.empty(len(people), int)
    part[order] = np.arange(len(people)) % size
    if _leaves_every_class(shown, part, size):
      break
  else:
    raise ValueError(
      f"no deal of {len(people)} people into {size} parts leaves every class "
      f"of {label!r} in training; ask for more rotations or merge classes "
      "(group)"
    )
  part_of = np.full(len(names), UNKNOWN)
  part_of[people] = part
  after = (part_of[owner] - np.arange(size)[:, None]) % size
  roles = np.select(
    [~used[None, :], after == 0, after == 1], [UNUSED, TEST, VALIDATION], TRAIN
  )
  return roles.astype(np.int8)


def _leaves_every_class(shown: np.ndarray, part: np.ndarray, size: int) -> bool:
  """Say whether training still shows every class in each rotation."""
  in_part = np.stack([shown[part == r].sum(0) for r in range(size)])
  held_out = in_part + np.roll(in_part, -1, axis=0)
  return bool((held_out < in_part.sum(0)).all())
