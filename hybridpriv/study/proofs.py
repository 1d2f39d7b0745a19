"""What is proved of each defence, in the terms of what was measured on it."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hybridpriv import build
from hybridpriv.audit import assemble, problems, statistics
from hybridpriv.guarantees import guarantee
from hybridpriv.study import fitting, judging
from hybridpriv.study.setup import Setup

_DELTA = 1e-5
_METRICS = ("balanced_accuracy", "accuracy")


def prove(
  setup: Setup,
  row: build.Row,
  questions: Sequence[assemble.Question],
  asked: Sequence[problems.Problem],
  *,
  size: int,
) -> list[dict[str, Any]]:
  """State the guarantee of a row for one and for many codes of one input.

  Args:
    setup: the study.
    row: a defence; of its trained chains the weakest counts.
    questions: what was attacked.
    asked: all problems.
    size: values of a code.

  Returns:
    A guarantee by number of queries; none where nothing is proved.
  """
  made = []
  for num_queries in (1, *setup.config["audit"]["queries"]):
    found = [
      guarantee.of(
        row.privatizer,
        fitting.read_law(setup, fold, seed, row),
        size=size,
        num_queries=num_queries,
      )
      for fold in range(len(setup.folds))
      for seed in range(setup.config["train"]["seeds"])
    ]
    known = [own for own in found if own is not None]
    if not known or len(known) < len(found):
      return []
    weakest = max(known, key=lambda own: own.ratio)
    made.append(
      {
        "law": weakest.law,
        "clip_norm": weakest.clip_norm,
        "sigma": weakest.sigma,
        "num_queries": num_queries,
        "ratio": weakest.ratio,
        "epsilon": weakest.epsilon(_DELTA),
        "delta": _DELTA,
        "information_bits": {
          "one input": weakest.information(same=True) / math.log(2),
          "different inputs": weakest.information() / math.log(2),
        },
        "unit": "one input",
        "queries": "of one input",
        "prior": "the classes as they are mixed in the test",
        "case": "Worst case over inputs and attackers",
        "assumes": "the device clips, and its noise is secret and fresh",
        "leakage": {
          q.target: {
            metric: _bound(weakest, priors(q, asked, metric))
            for metric in _METRICS
          }
          for q in questions
          if q.kind != "linkage"  # of pairs nothing is proved here
        },
        "utility": {
          desired: {"balanced_accuracy": _bound(weakest, known_of)}
          for desired, known_of in _desired(setup).items()
        },
      }
    )
  return made


def priors(
  question: assemble.Question, asked: Sequence[problems.Problem], metric: str
) -> list[tuple[float, np.ndarray]]:
  """List what is known of a secret before the first code, by problem.

  An attacker knows which problem a sample is of, and there only its own classes
  occur. A metric is a mean over samples in which those of a class count
  together: it is the success of naming the class of a sample drawn with these
  weights.

  Args:
    question: the target.
    asked: all problems.
    metric: "balanced_accuracy" or "accuracy".

  Returns:
    For each problem its weight, and the prior of its classes [s].
  """
  sizes = [
    int(np.sum((asked[i].role == problems.TEST) & (asked[i].label >= 0)))
    for i in question.problems
  ]
  return _by_part(question.label, sizes, metric == "balanced_accuracy")


def _by_part(
  label: np.ndarray, sizes: Sequence[int], balanced: bool
) -> list[tuple[float, np.ndarray]]:
  """Weigh labels [n], which lie part by part; give weight and prior of each."""
  classes, label = np.unique(label, return_inverse=True)
  weight = np.full(len(label), 1 / len(label))
  if balanced:
    weight = 1 / np.bincount(label)[label] / len(classes)
  found, start = [], 0
  for num in sizes:
    own = slice(start, start + num)
    mass = np.bincount(label[own], weight[own], len(classes))
    if num:
      found.append((float(mass.sum()), mass / mass.sum()))
    start += num
  return found


def _desired(setup: Setup) -> dict[str, list[tuple[float, np.ndarray]]]:
  """List, as `priors`, what the service knows: which fold it serves.

  An answer about a pair needs two codes, and nothing is said of it.
  """
  if judging.verifies(setup):
    return {}
  found = {}
  for desired in setup.roles.desired:
    labels = [
      judging.questions(setup, fold, "test")[desired].label
      for fold in range(len(setup.folds))
    ]
    labels = [own[own >= 0] for own in labels]
    sizes = [len(own) for own in labels]
    found[desired] = _by_part(np.concatenate(labels), sizes, True)
  return found


def check(report: Mapping[str, Any]) -> None:
  """Stop where an attack did better than is possible.

  Args:
    report: contents of `results.json`.

  Raises:
    ValueError: something measured passed a guarantee; it says what.
  """
  for row in report["controls"]:
    for above in row.get("above", ()):
      raise ValueError(
        f"{above['row']}: {above['attack']} reached {above['low']:.3f} at"
        f" least, and no attack can pass {above['guarantee']:.3f}: the chain"
        " does not do what its guarantee says, or the audit is wrong"
      )


def passed(
  rows: Sequence[Mapping[str, Any]],
  tables: Mapping[tuple[str, str, int], statistics.Table],
) -> list[tuple[str, str, float, float]]:
  """Compare every measured value with the guarantee of its row.

  A value passes one where its lower limit, corrected for the number of
  comparisons (Bonferroni), lies above it.

  Args:
    rows: of the results, with their guarantees.
    tables: scores by (row, "leakage" or "utility", index).

  Returns:
    What passed a guarantee, which must be nothing: (row, attack, lower limit,
    guarantee).
  """
  compared = list(_compared(rows))
  level = 1 - 0.05 / max(len(compared), 1)
  found = []
  for row, kind, index, measurement, bound in compared:
    if measurement["value"] <= bound:
      continue
    table = tables[row, kind, index]
    low, _ = statistics.interval(table, level=level, resamples=5000)
    if low > bound:
      found.append((row, measurement["attack"] or "the service", low, bound))
  return found


def controls(
  rows: Sequence[Mapping[str, Any]],
  tables: Mapping[tuple[str, str, int], statistics.Table],
) -> list[dict[str, Any]]:
  """Draw up the control that no attack passes what is proved, where any is."""
  num = sum(1 for _ in _compared(rows))
  if not num:
    return []
  found = passed(rows, tables)
  return [
    {
      "name": "control/guarantees",
      "expected": f"none of {num} measurements above what is proved",
      "passed": not found,
      "leakage": [],
      "worst": {},
      "above": [
        {"row": row, "attack": attack, "low": low, "guarantee": bound}
        for row, attack, low, bound in found
      ],
    }
  ]


def _compared(
  rows: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, str, int, Mapping[str, Any], float]]:
  for row, kind in itertools.product(rows, ("leakage", "utility")):
    proved = {g["num_queries"]: g[kind] for g in row["guarantees"]}
    for index, m in enumerate(row[kind]):
      if "queries" in m:
        continue  # of several inputs; what is proved is of one
      by_target = proved.get(m["num_queries"], {})
      bound = by_target.get(m["target"], {}).get(m["metric"])
      if bound is not None:
        yield row["name"], kind, index, m, bound


def _bound(
  own: guarantee.Guarantee, known: Sequence[tuple[float, np.ndarray]]
) -> float:
  return float(sum(w * own.success(prior, same=True) for w, prior in known))
