"""What is measured without an attacker that learns: utility and ranks."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hybridpriv.attacks import rank
from hybridpriv.audit import assemble, statistics
from hybridpriv.study import judging, victims
from hybridpriv.study.setup import Setup

Measured = tuple[dict[str, Any], statistics.Table]
_ALL = "the clean codes of all candidates, the true one among them"


def unit(setup: Setup) -> str:
  """Say what an interval counts as one."""
  return "sample" if setup.data.identity is None else "person"


def utility(
  setup: Setup,
  sent: Mapping[Any, Mapping[str, victims.Sent]],
  row: str,
  validation: Mapping[str, Any],
) -> list[Measured]:
  """Measure right answers on test people, noise drawn afresh."""
  found = []
  folds = range(len(setup.folds))
  asked = [judging.questions(setup, f, "test") for f in folds]
  for desired in setup.roles.desired:
    label = np.concatenate([own[desired].label for own in asked])
    known = label >= 0
    right = np.stack(
      [
        np.concatenate(
          [sent[f, seed][row].right[desired] for f in folds], axis=1
        )
        for seed in range(setup.config["train"]["seeds"])
      ]
    )[..., known].astype(np.float64)
    person = np.concatenate([own[desired].person for own in asked])[known]
    num = asked[0][desired].num_classes
    counts = np.bincount(label[known], minlength=num)
    made = {
      "balanced_accuracy": (
        statistics.tabulate(right, label[known], person, num),
        1 / np.sum(counts > 0),
      ),
      "accuracy": (
        statistics.tabulate(right, None, person),
        counts.max() / counts.sum(),
      ),
    }
    for metric, (table, chance) in made.items():
      found.append(
        (
          assemble.measurement(
            target=desired,
            attack="",
            metric=metric,
            table=table,
            chance=float(chance),
            floor=float(chance),
            floor_of="chance",
            auxiliary="none: right answers on what the network never saw",
            unit=unit(setup),
            validation=validation["validation_utility"],
          ),
          table,
        )
      )
  return found


def ranks(
  setup: Setup, sent: Mapping[Any, Mapping[str, victims.Sent]], row: str
) -> list[Measured]:
  """Measure the rank of the true record, and of the true person."""
  if setup.data.identity in setup.roles.desired:
    return []  # there the rank is what the service is asked for
  folds = range(len(setup.folds))
  people = [setup.data.person[setup.folds[f].audit] for f in folds]
  desired = setup.data.labels[setup.roles.desired[0]]
  labels = [desired[setup.folds[f].audit] for f in folds]
  share = np.asarray([len(own) for own in people]) / sum(map(len, people))
  levels = {"rank.image": [len(own) for own in people]}
  if setup.data.identity is not None:
    levels["rank.person"] = [len(np.unique(own)) for own in people]
  found = []
  for attack, sizes in levels.items():
    value = np.stack(
      [
        np.concatenate(
          [1 - sent[f, seed][row].rank[attack] / sizes[f] for f in folds],
          axis=1,
        )
        for seed in range(setup.config["train"]["seeds"])
      ]
    )
    person = np.concatenate(people)
    table = statistics.tabulate(np.clip(value, 0, 1), None, person)
    chances = [1 - (n + 1) / (2 * n) for n in sizes]
    pairs = list(zip(people, labels, strict=True))
    floor, floor_of = float(share @ chances), "chance"
    if attack == "rank.image" or all(_one_label(*own) for own in pairs):
      best = [
        rank.ceiling(y) if attack == "rank.image" else rank.person_ceiling(p, y)
        for p, y in pairs
      ]
      floor, floor_of = float(1 - share @ best), "desired label"
    found.append(
      (
        assemble.measurement(
          target=setup.data.identity or "sample",
          attack=attack,
          metric="rank",
          table=table,
          chance=float(share @ chances),
          floor=floor,
          floor_of=floor_of,
          auxiliary=_ALL,
          unit=unit(setup),
          validation=statistics.value(table),
          knobs={},
        ),
        table,
      )
    )
  return found


def _one_label(person: np.ndarray, label: np.ndarray) -> bool:
  """Tell whether each person has one label only."""
  pairs = np.unique(np.stack([person, label]), axis=1)
  return len(np.unique(pairs[0])) == pairs.shape[1]
