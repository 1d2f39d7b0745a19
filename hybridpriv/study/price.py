"""What is proved of the codes that a device may send, and in words."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from hybridpriv.study import halves
from hybridpriv.study.setup import Setup

_DELTA = 1e-5
_NOTHING = 0.99  # success that is not out of reach: nothing is proved


def budget(
  setup: Setup, chosen: halves.Chosen, max_queries: int
) -> dict[str, Any]:
  """Tabulate what is proved once 1, 2, ... codes have left a device."""
  audit = setup.folds[0].audit
  blind = {}
  for target in (*setup.roles.private, *setup.roles.unforeseen):
    label = setup.data.labels[target][audit]
    num = len(np.unique(label[label >= 0]))
    if num > 1:
      blind[target] = 1 / num
  table = []
  for num_queries in range(1, max_queries + 1):
    own = dataclasses.replace(chosen.proved, num_queries=num_queries)
    table.append(
      {
        "num_queries": num_queries,
        "epsilon": own.epsilon(_DELTA),
        "delta": _DELTA,
        "success": {
          target: {
            "blind": share,
            "success": own.success(np.full(round(1 / share), share), same=True),
          }
          for target, share in blind.items()
        },
      }
    )
  return {
    "cost": chosen.proved.ratio**2,
    "max_queries": max_queries,
    "table": table,
  }


def summary(budget: Mapping[str, Any]) -> str:
  """Say what is proved once a device has spent its budget."""
  last = budget["table"][-1]
  lines = [
    f"{target} (of {round(1 / b['blind'])} equally likely) at most"
    f" {100 * b['success']:.1f} %"
    for target, b in last["success"].items()
  ]
  said = (
    f"proved when a device has sent all {last['num_queries']} codes:"
    f" {', '.join(lines)}; epsilon {last['epsilon']:.1f};"
    " --max_queries allows fewer"
  )
  for target in last["success"]:
    spent = [
      row["num_queries"]
      for row in budget["table"]
      if row["success"][target]["success"] >= _NOTHING
    ]
    if spent:
      said += (
        f"\nwarning: from code {spent[0]} on nothing is proved of {target}:"
        f" {100 * _NOTHING:.0f} % or more are not out of reach"
      )
  return said
