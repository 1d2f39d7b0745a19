"""Attack problems: who is asked about whom, with whose samples (NumPy only).

A problem is one private question to one attacker: labels, and a role for each
audit sample (the attacker's training, its validation, attacked, or none).
Problems are padded to one shape, so that attackers on all of them are one
compiled program.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hybridpriv.data import dataset, partition

TRAIN, VALIDATION, TEST = 1, 2, 3
ACROSS = "{} (across recordings)"
LINKED = "{} (linkage)"
SHIFTED = "{} (auxiliary: {} {})"
_MOST_LINKED = 8  # samples of a person that are compared: pairs are many


class Problem(NamedTuple):
  """One question about the audit samples of one fold.

  Attributes:
    target: name in results: a label, or "<label> (across recordings)".
    fold: which fold's audit samples.
    label: class of every audit sample [n], 0 .. num_classes - 1 or -1.
    role: TRAIN, VALIDATION, TEST or 0 for every audit sample [n].
    num_classes: number of classes.
    kind: "identity" (closed set), "attribute", or "linkage": are two codes
      from one person, of people whom the attacker has never seen.
    is_shifted: whether the attacker's samples are of another kind than the
      attacked ones.
    together: the attacker knows that attacked samples of one number here are
      of one person, and joins what they tell [n]; None to take each alone.
  """

  target: str
  fold: int
  label: np.ndarray
  role: np.ndarray
  num_classes: int
  kind: str
  is_shifted: bool = False
  together: np.ndarray | None = None


class Padded(NamedTuple):
  """Problems of one shape, stacked along the first axis.

  The attacker's samples come training first, then validation.

  Attributes:
    rows: places of the attacker's samples among the audit samples
      [q, m + v].
    label: their classes [q, m + v].
    train: 1 where there is a training sample [q, m].
    validation: 1 where there is a validation sample [q, v].
    test_rows: places of the attacked samples [q, t].
    test_label: their classes [q, t].
    test_mask: 1 where there is one [q, t].
    together: places of equal number are joined, 0 .. t - 1 [q, t].
  """

  rows: np.ndarray
  label: np.ndarray
  train: np.ndarray
  validation: np.ndarray
  test_rows: np.ndarray
  test_label: np.ndarray
  test_mask: np.ndarray
  together: np.ndarray


def make(
  data: dataset.DataSet,
  audit: np.ndarray,
  fold: int,
  targets: Sequence[str],
  *,
  rotations: int,
  seed: int,
  linkage: bool = False,
  shift: str = "",
) -> list[Problem]:
  """List the problems of one fold.

  The label that names the person is a closed-set question: whose is it, among
  the audit people, with a gallery of each.  Other labels are asked about
  people whom the attacker has never seen, rotated until everybody was.

  Args:
    data: the data set.
    audit: the fold's audit samples [n].
    fold: its number.
    targets: private and unforeseen labels.
    rotations: most divisions of the people for an attribute.
    seed: of the divisions.
    linkage: whether to ask, where the person is a target, also for links.
    shift: a label; every question about another one is also asked to an
      attacker whose own samples are all of the most common class of this, and
      the attacked ones of the others. "" for none.

  Raises:
    ValueError: linkage is asked for with too few people, or a shift where
      nothing is left to learn from or to attack.
  """
  found = []
  for target in targets:
    before = len(found)
    if target == data.identity:
      own = data.labels[target][audit]
      ways = [(target, "time")]
      # Images are recordings of their own: there both ways are the same.
      if len(np.unique(data.recording[audit])) < len(audit):
        ways.append((ACROSS.format(target), "recording"))
      for name, by in ways:
        role = partition.closed_set(data, audit, seed=seed, by=by)
        # People with too few samples for a gallery are no candidates.
        people = np.unique(own[role == TRAIN])
        known = np.isin(own, people)
        label = np.where(known, np.searchsorted(people, own), -1)
        found.append(Problem(name, fold, label, role, len(people), "identity"))
      if linkage:
        found += _linked(own, fold, target, rotations=rotations, seed=seed)
    else:
      label = data.labels[target][audit]
      roles = partition.rotations(
        data, audit, label=target, num=rotations, seed=seed
      )
      num_classes = len(data.classes[target])
      found += [
        Problem(target, fold, label, role, num_classes, "attribute")
        for role in roles
      ]
    if shift and target != shift:
      found += [
        _shifted(p, data, audit, shift)
        for p in found[before:]
        if p.kind != "linkage"
      ]
  return found


def _shifted(
  problem: Problem, data: dataset.DataSet, audit: np.ndarray, shift: str
) -> Problem:
  """Keep one class of a label for the attacker, and attack the others.

  Raises:
    ValueError: there is no such label, or one part has nothing left.
  """
  if shift not in data.labels:
    raise ValueError(
      f"config.audit.shift is {shift!r}; the labels are"
      f" {', '.join(data.labels)}"
    )
  group = data.labels[shift][audit]
  own = np.isin(problem.role, (TRAIN, VALIDATION)) & (problem.label >= 0)
  # One for all folds and questions: they are one target.
  known = data.labels[shift][data.labels[shift] >= 0]
  common = int(np.argmax(np.bincount(known)))
  role = np.where(own & (group == common), problem.role, 0)
  attacked = (problem.role == TEST) & (group >= 0) & (group != common)
  role = np.where(attacked, TEST, role)
  label, num_classes = problem.label, problem.num_classes
  if problem.kind == "identity":
    # Who is in no picture of the attacker's is no candidate.
    people = np.unique(label[role == TRAIN])
    known = np.isin(label, people)
    label = np.where(known, np.searchsorted(people, label), -1)
    num_classes = len(people)
  own, held_out, test = (
    set(label[(role == r) & (label >= 0)].tolist())
    for r in (TRAIN, VALIDATION, TEST)
  )
  # Knobs for many people can be chosen on some of them.
  needed = test if problem.kind == "attribute" else set()
  if min(len(test), len(held_out)) < 2 or not needed <= own & held_out:
    raise ValueError(
      f"config.audit.shift={shift!r} leaves the attacker on {problem.target!r}"
      f" (fold {problem.fold}) {len(own)} classes to learn, {len(held_out)} to"
      f" validate on and {len(test)} to attack: expected two or more, and of an"
      " attribute the same; audit more people, or name another label"
    )
  name = str(data.classes[shift][common])
  return problem._replace(
    target=SHIFTED.format(problem.target, shift, name),
    label=label,
    role=role,
    num_classes=num_classes,
    is_shifted=True,
  )


def with_share(
  problem: Problem,
  person: np.ndarray,
  share: float,
  generator: np.random.Generator,
) -> Problem:
  """Leave the attacker a share of its training data, of each class alike.

  Of an identity, samples of each person; of an attribute, people: many samples
  of few people would not be less of what it learns from.

  Args:
    problem: the question.
    person: of every audit sample [n].
    share: of the samples, or people, of each class, at least one.
    generator: which are left.
  """
  role = problem.role.copy()
  unit = np.arange(len(role)) if problem.kind == "identity" else person
  for c in range(problem.num_classes):
    own = (role == TRAIN) & (problem.label == c)
    units = generator.permutation(np.unique(unit[own]))
    keep = units[: max(1, round(share * len(units)))]
    role[own & ~np.isin(unit, keep)] = 0
  return problem._replace(role=role)


def joined(
  problem: Problem,
  person: np.ndarray,
  num: int,
  generator: np.random.Generator,
) -> Problem | None:
  """Deal the attacked samples of each person into groups of different ones.

  Only where the secret is of the person: whose label changes from sample to
  sample would be told which of them share it.

  Args:
    problem: the question.
    person: of every audit sample [n].
    num: samples of a group; who has fewer left is not asked about.
    generator: which are together.

  Returns:
    The question, or None where nobody has so many, or somebody has several
    labels.
  """
  attacked = (problem.role == TEST) & (problem.label >= 0)
  together, count = np.full(len(person), -1), 0
  for own in np.unique(person[attacked]):
    at = np.flatnonzero(attacked & (person == own))
    if len(np.unique(problem.label[at])) > 1:
      return None
    at = generator.permutation(at)[: len(at) // num * num]
    together[at] = count + np.arange(len(at)) // num
    count += len(at) // num
  if not count:
    return None
  role = np.where(attacked & (together < 0), 0, problem.role)
  return problem._replace(role=role, together=together)


def _linked(
  person: np.ndarray, fold: int, target: str, *, rotations: int, seed: int
) -> list[Problem]:
  """Deal the people round the attacker's three parts; each is tested once.

  Raises:
    ValueError: too few people have two samples.
  """
  rng = np.random.default_rng(seed)
  people, owner = np.unique(person, return_inverse=True)
  parts = max(rotations, 3)
  able = rng.permutation(np.flatnonzero(np.bincount(owner) >= 2))
  if len(able) < 2 * parts:
    raise ValueError(
      f"linkage of {target!r} (fold {fold}) needs two people in each of {parts}"
      f" parts: {len(able)} of {len(people)} have two samples or more; audit"
      " more people, lower config.audit.rotations (not below 3), or leave out"
      " the attacks on linkage"
    )
  part = np.full(len(people), -1)
  part[able] = np.arange(len(able)) % parts
  # Which samples of a person are compared, at random.
  order = rng.permutation(len(person))
  turn = np.empty(len(person), int)
  for own in range(len(people)):
    mine = order[owner[order] == own]
    turn[mine] = np.arange(len(mine))
  found = []
  for r in range(parts):
    role = np.where(part[owner] >= 0, TRAIN, 0)
    role[part[owner] == (r + 1) % parts] = VALIDATION
    role[part[owner] == r] = TEST
    role[(turn >= _MOST_LINKED) & (role != TRAIN)] = 0
    name = LINKED.format(target)
    found.append(Problem(name, fold, owner, role, len(people), "linkage"))
  return found


def shuffled(
  problem: Problem, blocks: np.ndarray, generator: np.random.Generator
) -> Problem:
  """Permute the attacker's labels among people (or recordings).

  An attacker trained on these can know nothing; what it scores on the true
  labels of the attacked samples is chance.  Of links, all labels are permuted
  among the samples of each part.

  Args:
    problem: the question.
    blocks: samples that keep a common label [n]: people for an attribute,
      recordings for an identity.
    generator: for the permutation.
  """
  if problem.kind == "linkage":
    # Links are found without labels: only the truth can be mixed, part by part.
    mixed_label = problem.label.copy()
    for role in (TRAIN, VALIDATION, TEST):
      at = np.flatnonzero(problem.role == role)
      mixed_label[at] = generator.permutation(mixed_label[at])
    return problem._replace(label=mixed_label)
  own = (problem.role == TRAIN) | (problem.role == VALIDATION)
  names, first = np.unique(blocks[own], return_index=True)
  values = problem.label[own][first]
  mixed = dict(zip(names, generator.permutation(values), strict=True))
  label = problem.label.copy()
  label[own] = [mixed[b] for b in blocks[own]]
  return problem._replace(label=label)


def pad(problems: Sequence[Problem]) -> Padded:
  """Bring problems to one shape.

  Raises:
    ValueError: if a problem has nobody to train on, to validate or to attack.
  """
  parts: dict[int, list[np.ndarray]] = {}
  for role, what in (
    (TRAIN, "train"),
    (VALIDATION, "validation"),
    (TEST, "test"),
  ):
    parts[role] = [
      np.flatnonzero((p.role == role) & (p.label >= 0)) for p in problems
    ]
    for p, chosen in zip(problems, parts[role], strict=True):
      if not len(chosen):
        raise ValueError(
          f"the attacker on {p.target!r} (fold {p.fold}) has no {what}"
          " samples: audit more people or more samples of each"
        )

  def fill(role: int, what: str) -> np.ndarray:
    size = max(map(len, parts[role]))
    # Filled up with a sample of the same role: what is not the attacker's own
    # is not among its rows, not even masked.
    values = {
      "rows": lambda p, at: at.astype(np.int32),
      "label": lambda p, at: p.label[at].astype(np.int32),
      "mask": lambda p, at: np.ones(len(at), np.float32),
    }
    return np.stack(
      [
        np.pad(
          values[what](p, at),
          (0, size - len(at)),
          mode="constant" if what == "mask" else "edge",
        )
        for p, at in zip(problems, parts[role], strict=True)
      ]
    )

  own = (TRAIN, VALIDATION)
  return Padded(
    rows=np.concatenate([fill(r, "rows") for r in own], axis=1),
    label=np.concatenate([fill(r, "label") for r in own], axis=1),
    train=fill(TRAIN, "mask"),
    validation=fill(VALIDATION, "mask"),
    test_rows=fill(TEST, "rows"),
    test_label=fill(TEST, "label"),
    test_mask=fill(TEST, "mask"),
    together=_together(problems, parts[TEST]),
  )


def _together(
  problems: Sequence[Problem], tests: Sequence[np.ndarray]
) -> np.ndarray:
  """Number what is joined by a place of its own; padding is alone."""
  size = max(map(len, tests))
  found = np.tile(np.arange(size, dtype=np.int32), (len(problems), 1))
  for own, p, at in zip(found, problems, tests, strict=True):
    if p.together is not None:
      _, first, group = np.unique(
        p.together[at], return_index=True, return_inverse=True
      )
      own[: len(at)] = first[group]
  return found
