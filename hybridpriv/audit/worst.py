"""Which attack is the headline: the best one on the attacker's validation."""

from collections.abc import Mapping, Sequence
from typing import Any

# What a headline is measured in; of links, the area under the ROC curve.
HEADLINES = ("balanced_accuracy", "auc")


def by_target(
  leakage: Sequence[Mapping[str, Any]], targets: Sequence[str]
) -> dict[str, int]:
  """Choose the headline attack of every target, on attacker validation."""
  found = {}
  for target in targets:
    own = candidates(leakage, target)
    if own:
      found[target] = max(own, key=lambda i: leakage[i]["validation"])
  return found


def of_shared(
  leakages: Sequence[Sequence[Mapping[str, Any]]], target: str
) -> tuple[list[int], list[str]]:
  """Choose the worst attack of every row among those that all rows faced.

  Beside each other, a row that one attack more was tried on looks worse for
  that alone.

  Args:
    leakages: what was measured, by row.
    target: of the attacks.

  Returns:
    (place of the attack with the best attacker validation, by row; names of
    the shared attacks). Both are empty where no attack was tried on all.
  """
  own = [candidates(leakage, target) for leakage in leakages]
  pairs = list(zip(leakages, own, strict=True))
  shared = set.intersection(*({m[i]["attack"] for i in at} for m, at in pairs))
  if not shared:
    return [], []
  return [
    max(
      (i for i in at if m[i]["attack"] in shared),
      key=lambda i, m=m: m[i]["validation"],
    )
    for m, at in pairs
  ], sorted(shared)


def candidates(leakage: Sequence[Mapping[str, Any]], target: str) -> list[int]:
  """Find the measurements that a headline may be, of one code of an input."""
  return [
    i
    for i, m in enumerate(leakage)
    if m["target"] == target
    and m["metric"] in HEADLINES
    and m["num_queries"] == 1
  ]
