"""The choice among the trials of a training: one rule, on validation alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hybridpriv import build
from hybridpriv.study.setup import Setup, Trial, between, trials


def moves_pairs(setup: Setup, trial: Trial) -> bool:
  """Tell whether a trial turns on a term that keeps desired classes apart."""
  terms, knobs = build.terms(setup.config)
  desired = {f"labels/{name}" for name in setup.roles.desired}
  apart = [
    f"{term.name}/weight"
    for term in terms
    if f"{term.name}/margin" in knobs
    and desired & set(dict(term.inputs).values())
  ]
  return any(value and name in apart for name, value in trial.knobs)


def choose(
  setup: Setup,
  training: str,
  utilities: Mapping[str, list[float]],
  pairs: Mapping[str, list[dict[str, float]]],
) -> dict[str, Any]:
  """Apply the rule: the largest weight that costs at most the tolerance.

  Args:
    setup: the study.
    training: which one.
    utilities: balanced utility on task-validation by train seed, by trial.
    pairs: what is found of distances, likewise.

  Returns:
    The choice, the rule in words and the table of trials.
  """
  config = setup.config
  tolerance = config["train"]["tolerance"]
  # What noise itself costs is no matter of the weight.
  noise = between(config, training).name
  first = next(
    t.name for t in trials(config) if between(config, t.training).name == noise
  )
  reference = float(np.mean(utilities[first]))
  table = [
    {
      "name": t.name,
      "knobs": dict(t.knobs),
      "utility": float(np.mean(utilities[t.name])),
      "by_seed": utilities[t.name],
      "strength": t.strength,
      "pairs": pairs[t.name],
    }
    for t in trials(config)
    if t.training == training
  ]

  able = [r for r in table if r["utility"] >= reference - tolerance]
  if able:
    best = max(able, key=lambda r: (r["strength"], r["utility"]))
  else:
    best = max(table, key=lambda r: r["utility"])
  last = len(table) > 1 and best["strength"] == max(
    r["strength"] for r in table
  )
  return {
    "chosen": best["name"],
    "knobs": best["knobs"],
    "rule": (
      "the largest weight that costs at most"
      f" {100 * tolerance:g} points of balanced utility on task-validation"
      f" against {100 * reference:.1f} % of the first trial"
      + (f" with {noise} between the halves" if noise else "")
      + ("" if able else "; none did, the most useful one was taken")
      + ("; it is the end of the grid" if last else "")
    ),
    "trials": table,
  }
