"""What is proved of each defence, in the terms of what was measured on it."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hybridpriv import build
from hybridpriv.audit import assemble, problems, statistics
from hybridpriv.guarantees import bounds, guarantee
from hybridpriv.study import fitting, judging
from hybridpriv.study.setup import Setup

_DELTA = 1e-5
_METRICS = ("balanced_accuracy", "accuracy")
_OF = {"one input": True, "different inputs": False}  # are codes of the same
_ASSUMES = "the device clips, and its noise is secret and fresh"

# What is known of a secret before the first code, see `priors`.
Known = Sequence[tuple[float, np.ndarray]]
ByMetric = Mapping[str, Known]


def prove(
  setup: Setup,
  row: build.Row,
  questions: Sequence[assemble.Question],
  asked: Sequence[problems.Problem],
  *,
  size: int,
  joined: Sequence[tuple[problems.Problem, int]] = (),
) -> list[dict[str, Any]]:
  """State the guarantee of a row for one and for many codes.

  Args:
    setup: the study.
    row: a defence; of its trained chains the weakest counts.
    questions: what was attacked.
    asked: all problems.
    size: values of a code.
    joined: problems about several inputs of one person, and how many.

  Returns:
    A guarantee by number of queries; none where nothing is proved.
  """
  service = _desired(setup)
  single = _by_metric(questions, asked)
  made = []
  several = {num for _, num in joined}
  for num in sorted({1, *setup.config["audit"]["queries"], *several}):
    weakest = _weakest(setup, row, size=size, num_queries=num)
    if weakest is None:
      return []
    few = [problem for problem, n in joined if n == num]
    # Who is asked about with so many inputs are not all; of other secrets, and
    # of other numbers, nothing was measured.
    together = single | _by_metric(_questions(setup, few), few)
    made.append(state(weakest, single, together, service))
  return made


def _by_metric(
  questions: Sequence[assemble.Question], asked: Sequence[problems.Problem]
) -> dict[str, ByMetric]:
  return {
    q.target: {metric: priors(q, asked, metric) for metric in _METRICS}
    for q in questions
    if q.kind != "linkage"  # of pairs nothing is proved here
  }


def _questions(
  setup: Setup, asked: Sequence[problems.Problem]
) -> list[assemble.Question]:
  people = [setup.data.person[fold.audit] for fold in setup.folds]
  return assemble.questions(asked, people)


def _weakest(
  setup: Setup, row: build.Row, *, size: int, num_queries: int
) -> guarantee.Guarantee | None:
  """Read the guarantee of all trained chains of a row; None if one has none."""
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
    return None
  return max(known, key=lambda own: own.ratio)


def state(
  own: guarantee.Guarantee,
  single: Mapping[str, ByMetric],
  together: Mapping[str, ByMetric],
  service: Mapping[str, Known],
) -> dict[str, Any]:
  """Write a guarantee out, in the terms of `results.json`.

  Args:
    own: the guarantee.
    single: what is known beforehand of the secrets of single samples, by target
      and metric.
    together: the same of secrets that several samples share.
    service: what is known of desired labels.
  """
  num = own.num_queries
  return {
    "law": own.law,
    "clip_norm": own.clip_norm,
    "sigma": own.sigma,
    "num_queries": num,
    "ratio": own.ratio,
    "epsilon": own.epsilon(_DELTA),
    "delta": _DELTA,
    "information_bits": {
      of: own.information(same=same) / math.log(2) for of, same in _OF.items()
    },
    "fano_error": {
      of: {
        target: _fano(own, known, same=same)
        for target, known in (single if same else together).items()
      }
      for of, same in _OF.items()
    },
    "information": {
      "unit": "all inputs of the codes together",
      "case": (
        "Worst case over inputs, how often each is sent, and attackers; an"
        " error is the average over those attacked"
      ),
      "assumes": _ASSUMES + ", and a code depends on its own input only",
    },
    "unit": "one input",
    "queries": "of one input",
    "prior": "the classes as they are mixed in the test",
    "case": "Worst case over inputs and attackers",
    "assumes": _ASSUMES,
    "leakage": {
      target: {m: _bound(own, known, same=True) for m, known in by.items()}
      for target, by in single.items()
    },
    "different_inputs": {
      "unit": f"the secret that {num} inputs share, whatever these are"
      if num > 1
      else "one input",
      "queries": "of different inputs that share the secret",
      "prior": "the classes as they are mixed in the test",
      "case": "Worst case over inputs and attackers",
      "assumes": _ASSUMES + ", and a code depends on its own input only",
      "leakage": {
        target: {m: _bound(own, known, same=False) for m, known in by.items()}
        for target, by in together.items()
      },
    },
    "utility": {
      desired: {"balanced_accuracy": _bound(own, known, same=True)}
      for desired, known in service.items()
    },
  }


def _fano(
  own: guarantee.Guarantee, by_metric: ByMetric, *, same: bool
) -> dict[str, Any]:
  """Bound the error on a target from below, by metric; say of how many."""
  told = own.information(same=same)
  sizes = {int((pi > 0).sum()) for of in by_metric.values() for _, pi in of}
  return {"classes": sorted(sizes)} | {
    metric: float(
      sum(w * bounds.fano_error(pi, information=told) for w, pi in known)
    )
    for metric, known in by_metric.items()
  }


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
    proved = {g["num_queries"]: g for g in row["guarantees"]}
    for index, m in enumerate(row[kind]):
      own = proved.get(m["num_queries"], {})
      if "queries" in m:  # of different inputs, for which more is possible
        own = own.get("different_inputs", {})
      bound = own.get(kind, {}).get(m["target"], {}).get(m["metric"])
      if bound is not None:
        yield row["name"], kind, index, m, bound


def _bound(own: guarantee.Guarantee, known: Known, *, same: bool) -> float:
  return float(sum(w * own.success(prior, same=same) for w, prior in known))
