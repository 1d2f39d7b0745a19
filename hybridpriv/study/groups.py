"""Whom a defence serves, and protects, worst: values by group of samples.

A group is a class of a label other than the person: women, pictures with a
smile, recordings of the left side.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hybridpriv.audit import assemble, engine, problems, statistics
from hybridpriv.study import judging, victims
from hybridpriv.study.setup import Setup

_LEAST = 2  # people (or samples) of a group


def leakage(
  setup: Setup,
  question: assemble.Question,
  asked: Sequence[problems.Problem],
  outcomes: Sequence[Sequence[engine.Outcome]],
) -> list[dict[str, Any]]:
  """Measure an attack on each group of the attacked samples.

  Args:
    setup: the study.
    question: the target.
    asked: all problems.
    outcomes: of the attack, by train seed and problem of the question.

  Returns:
    "kind" ("leakage"), "target", "label", "group", "value", "low", "high",
    "chance" and "num_units" of each; none for links, which join samples of two
    groups, and none where a group lacks a class of the target: there an answer
    that never changes would look like a leak.
  """
  if question.kind == "linkage" or not outcomes:
    return []
  value = np.stack(
    [np.concatenate([o.right for o in own], axis=1) for own in outcomes]
  )
  places = [
    setup.folds[asked[q].fold].audit[
      (asked[q].role == problems.TEST) & (asked[q].label >= 0)
    ]
    for q in question.problems
  ]
  found = _each(
    setup,
    {"kind": "leakage", "target": question.target},
    np.clip(value, 0, 1),
    question.label,
    question.person,
    np.concatenate(places),
    whole=question.kind == "attribute",
  )
  chance = question.chance["balanced_accuracy"]
  return [{**group, "chance": chance} for group in found]


def utility(
  setup: Setup, sent: Mapping[Any, Mapping[str, victims.Sent]], row: str
) -> list[dict[str, Any]]:
  """Measure right answers on each group of the test samples.

  Args:
    setup: the study.
    sent: what defences send and answer, by fold and train seed.
    row: name of the defence.

  Returns:
    As `leakage`, of kind "utility"; none where pairs are asked about.
  """
  if judging.verifies(setup):
    return []
  found = []
  folds = range(len(setup.folds))
  places = np.concatenate([setup.folds[f].test for f in folds])
  for desired in setup.roles.desired:
    label = setup.data.labels[desired][places]
    right = np.stack(
      [
        np.concatenate(
          [sent[f, seed][row].right[desired] for f in folds], axis=1
        )
        for seed in range(setup.config["train"]["seeds"])
      ]
    ).astype(np.float64)
    known = label >= 0
    found += _each(
      setup,
      {"kind": "utility", "target": desired},
      right[..., known],
      label[known],
      setup.data.person[places[known]],
      places[known],
    )
  return found


def _each(
  setup: Setup,
  head: Mapping[str, str],
  value: np.ndarray,
  label: np.ndarray,
  person: np.ndarray,
  places: np.ndarray,
  whole: bool = False,
) -> Iterator[dict[str, Any]]:
  """Give the value of every group of every label that has more than one.

  `whole` leaves out groups that lack one of the classes.
  """
  roles, num = setup.roles, len(np.unique(label))
  for name in (*roles.desired, *roles.private, *roles.unforeseen):
    if name == setup.data.identity:
      continue
    own, classes = setup.data.labels[name][places], setup.data.classes[name]
    parts = {c: own == c for c in np.unique(own[own >= 0])}
    able = {
      c: at
      for c, at in parts.items()
      if len(np.unique(person[at])) >= _LEAST
      and not (whole and len(np.unique(label[at])) < num)
    }
    for c, at in able.items() if len(able) > 1 else ():
      table = statistics.tabulate(
        value[..., at], label[at], person[at], int(label.max()) + 1
      )
      low, high = statistics.interval(table)
      yield {
        **head,
        "label": name,
        "group": str(classes[c]),
        "value": statistics.value(table),
        "low": low,
        "high": high,
        "num_units": len(table.people),
      }
