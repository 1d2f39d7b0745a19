"""From outcomes of attacks to measurements with chance, floor and interval."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hybridpriv.attacks import linkage
from hybridpriv.audit import engine, problems, statistics

_MANY = {"person": "people", "sample": "samples"}


class Question(NamedTuple):
  """Everything about one target that does not depend on the defence.

  Attributes:
    target: its name.
    kind: "identity", "attribute" or "linkage".
    problems: numbers of its problems, over all folds and rotations.
    person: whose each attacked sample is, problems concatenated [n].
    label: class of each attacked sample [n].
    num_classes: classes over all folds; people for an identity.
    size: number of candidates of each sample's problem [n].
    chance: by metric.
  """

  target: str
  kind: str
  problems: Sequence[int]
  person: np.ndarray
  label: np.ndarray
  num_classes: int
  size: np.ndarray
  chance: Mapping[str, float]

  @property
  def headline(self) -> str:
    """What its headline is measured in."""
    return "auc" if self.kind == "linkage" else "balanced_accuracy"


def questions(
  asked: Sequence[problems.Problem], people: Sequence[np.ndarray]
) -> list[Question]:
  """Collect the problems by target.

  Args:
    asked: all problems.
    people: person of every audit sample, by fold.
  """
  found = []
  for target in dict.fromkeys(p.target for p in asked):
    own = [i for i, p in enumerate(asked) if p.target == target]
    person, label, size = [], [], []
    majority = []
    for i in own:
      p = asked[i]
      test = np.flatnonzero((p.role == problems.TEST) & (p.label >= 0))
      person.append(people[p.fold][test])
      label.append(p.label[test])
      size.append(np.full(len(test), p.num_classes))
      majority.append(np.bincount(p.label[test]).max())
    persons, labels = np.concatenate(person), np.concatenate(label)
    sizes = np.concatenate(size)
    kind, num_classes = asked[own[0]].kind, asked[own[0]].num_classes
    if kind != "attribute":
      labels = np.unique(persons, return_inverse=True)[1]
      num_classes = int(labels.max()) + 1
    found.append(
      Question(
        target=target,
        kind=kind,
        problems=own,
        person=persons,
        label=labels,
        num_classes=num_classes,
        size=sizes,
        chance={"auc": 0.5, "tpr_at_1_fpr": linkage.FALSE_ALARMS}
        if kind == "linkage"
        else {
          "balanced_accuracy": _chance(labels, sizes, kind),
          "accuracy": float(np.sum(majority) / len(labels)),
          "rank": float(np.mean(1 - (sizes + 1) / (2 * sizes))),
          "log_rank": float(np.mean([_chance_log_rank(n) for n in sizes])),
        },
      )
    )
  return found


def _chance(label: np.ndarray, size: np.ndarray, kind: str) -> float:
  """Balanced accuracy of guessing: every class, or person, counts once."""
  classes, first = np.unique(label, return_index=True)
  if kind == "identity":
    return float(np.mean(1 / size[first]))
  return 1 / len(classes)


def _chance_log_rank(size: int) -> float:
  return 1 - float(np.mean(np.log(np.arange(1, size + 1))) / np.log(size))


def tables(
  question: Question, outcomes: Sequence[Sequence[engine.Outcome]]
) -> dict[str, statistics.Table]:
  """Sum one attack's outcomes by person and class.

  Args:
    question: the target.
    outcomes: by train seed, then by problem of the question.

  Returns:
    A table for every metric; ranks only for identities, and for links the area
    and the share found.
  """

  def stack(field: str) -> np.ndarray:
    return np.stack(
      [
        np.concatenate([getattr(o, field) for o in by_problem], axis=1)
        for by_problem in outcomes
      ]
    )

  label, person = question.label, question.person
  if question.kind == "linkage":
    found = np.clip(stack("rank"), 0, 1)
    num = question.num_classes
    return {
      "auc": statistics.tabulate(
        stack("right"), label, person, num, bounded=False
      ),
      "tpr_at_1_fpr": statistics.tabulate(found, label, person, num),
    }
  right = np.clip(stack("right"), 0, 1)
  made = {
    "balanced_accuracy": statistics.tabulate(
      right, label, person, question.num_classes
    ),
    "accuracy": statistics.tabulate(right, None, person),
  }
  if question.kind == "identity":
    size = question.size[None, None]
    ranks = 1 - stack("rank") / size
    logs = 1 - stack("log_rank") / np.log(size)
    made["rank"] = statistics.tabulate(np.clip(ranks, 0, 1), None, person)
    made["log_rank"] = statistics.tabulate(np.clip(logs, 0, 1), None, person)
  return made


def measurement(
  *,
  target: str,
  attack: str,
  metric: str,
  table: statistics.Table,
  chance: float,
  floor: float,
  floor_of: str,
  auxiliary: str,
  unit: str = "person",
  num_queries: int = 1,
  **more: Any,
) -> dict[str, Any]:
  """Make one measurement of the public results format.

  Args:
    target: the label or goal.
    attack: "family.function", "" for utility.
    metric: its name.
    table: the scores by seed, person and class.
    chance: value of an attacker that sees nothing.
    floor: value of one that sees only what the service must learn.
    floor_of: what that attacker sees.
    auxiliary: the attacker's own data, in words.
    unit: what the interval counts as one, "person" or "sample".
    num_queries: codes of one input that are joined.
    **more: further fields.
  """
  low, high = statistics.interval(table)
  return {
    "target": target,
    "attack": attack,
    "metric": metric,
    "value": statistics.value(table),
    "low": low,
    "high": high,
    "interval": _interval_text(table, attack, unit),
    "unit": unit,
    "chance": chance,
    "floor": floor,
    "floor_of": floor_of,
    "num_units": len(table.people),
    "num_queries": num_queries,
    "auxiliary": auxiliary,
    "train_seeds": table.sum.shape[0],
    "attack_seeds": table.sum.shape[1],
    **more,
  }


def _interval_text(table: statistics.Table, attack: str, unit: str) -> str:
  """Say what was resampled: only what there is more than one of."""
  train, other = table.sum.shape[:2]
  learns = attack and not attack.startswith("rank.")
  levels = [_MANY[unit]]
  levels += ["train seeds"] if train > 1 else []
  second = "attack seeds" if learns else "draws of the noise"
  levels += [second] if other > 1 else []
  *most, last = levels
  text = f"{', '.join(most)} and {last}" if most else last
  return f"95 % bootstrap over {text}"
