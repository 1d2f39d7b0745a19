"""Which samples of one person an attacker averages (NumPy only)."""

import numpy as np

from hybridpriv.audit import problems


def deal(
  problem: problems.Problem,
  person: np.ndarray,
  num: int,
  generator: np.random.Generator,
) -> tuple[problems.Problem, np.ndarray] | None:
  """Deal samples of each person into means of several different ones.

  Attacked samples are dealt into groups, none in two; the first of a group
  stands for it.  Of the attacker's own, each sample is averaged with others
  drawn at random, of the same person, part and class; where there are too few
  these repeat, with fresh noise.  For links the attacker's own are groups as
  well: two means with a common input are more alike than two of strangers.

  Only where the secret is of the person: whose label changes from sample to
  sample would be told which of them share it.

  Args:
    problem: the question.
    person: of every audit sample [n].
    num: different inputs of a mean; who has fewer left is not asked about.
    generator: which are together.

  Returns:
    The question about means, and the places of the inputs of each [n, num]:
    those of a sample without a role are its own. None where too few people
    have so many, or somebody has several labels.
  """
  role, label = problem.role, problem.label
  known = label >= 0
  mates = np.repeat(np.arange(len(person))[:, None], num, axis=1)
  kept = np.zeros_like(role)
  for part in (problems.TRAIN, problems.VALIDATION, problems.TEST):
    grouped = part == problems.TEST or problem.kind == "linkage"
    found = 0
    for own in np.unique(person[known & (role == part)]):
      at = np.flatnonzero(known & (role == part) & (person == own))
      classes = [at[label[at] == c] for c in np.unique(label[at])]
      if part == problems.TEST and len(classes) > 1:
        return None
      for same in classes:
        means = (_groups if grouped else _around)(same, num, generator)
        # Who has one mean is linked to nobody.
        if len(means) > (problem.kind == "linkage"):
          mates[means[:, 0]], kept[means[:, 0]] = means, part
          found += 1
    if found < (2 if problem.kind == "linkage" else 1):
      return None
  return problem._replace(role=kept), mates


def _groups(
  at: np.ndarray, num: int, generator: np.random.Generator
) -> np.ndarray:
  """Deal places into as many groups as there are [g, num]."""
  at = generator.permutation(at)
  return at[: len(at) // num * num].reshape(-1, num)


def _around(
  at: np.ndarray, num: int, generator: np.random.Generator
) -> np.ndarray:
  """Give each place others beside it [len(at), num], itself the first."""
  means = []
  for own in at:
    others = generator.permutation(at[at != own])
    means.append(np.resize(np.append(own, others), num))
  return np.stack(means)
