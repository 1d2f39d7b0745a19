"""What codes tell on average, where no more is proved: estimates.

A guarantee (`study.proofs`) holds for every input.  These hold on average over
the audit people, under assumptions that are written beside each: nothing is
held against them, and no run fails for an attack that passed one.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv import build
from hybridpriv.audit import assemble, problems
from hybridpriv.guarantees import fisher, guarantee, pac
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.study import fitting, granting, proofs, training, victims
from hybridpriv.study.setup import Setup, key

_ERRORS = 2.0  # standard errors that are added to an information
# Passes back through the client for an input, all at once: of a deep one each
# takes the memory of its largest values. For longer codes, of random signs.
_PROBES = 16
_SCALES = {
  "image": "values from 0 to 1",
  "signal": "standard deviations of a channel",
}

Sent = Mapping[tuple[int, int], Mapping[str, victims.Sent]]


class _Sensitivity(NamedTuple):
  """How codes of some inputs change with these.

  Attributes:
    dfil: by input [m].
    person: whose each is [m].
    variance: of a value over these inputs, the mean over values.
    method: "exact", or how it was estimated.
  """

  dfil: np.ndarray
  person: np.ndarray
  variance: float
  method: str


def of_rows(
  setup: Setup,
  rows: Sequence[build.Row],
  sent: Sent,
  questions: Sequence[assemble.Question],
  asked: Sequence[problems.Problem],
) -> dict[str, list[dict[str, Any]]]:
  """State what can be said of each row on average, by its name.

  Args:
    setup: the study.
    rows: all defences.
    sent: what they send.
    questions: what was attacked.
    asked: all problems.
  """
  known: dict[Any, _Sensitivity] = {}
  return {
    row.name: [
      *_budgets(setup, row, sent, questions, asked),
      *_restored(setup, row, known),
    ]
    for row in rows
  }


def _numbers(setup: Setup) -> list[int]:
  return sorted({1, *setup.config["audit"]["queries"]})


def _budgets(
  setup: Setup,
  row: build.Row,
  sent: Sent,
  questions: Sequence[assemble.Question],
  asked: Sequence[problems.Problem],
) -> Iterator[dict[str, Any]]:
  """State what codes with PAC noise tell of the audit people, in bits."""
  budget = next(
    (dict(k)["budget"] for n, k in row.stages if n == "noise.pac"), None
  )
  if budget is None:
    return
  for num in _numbers(setup):
    found = []
    for (fold, seed), by_row in sent.items():
      person = setup.data.person[setup.folds[fold].audit]
      own = pac.of(
        row.privatizer,
        fitting.read_law(setup, fold, seed, row),
        by_row[row.name].clean,
        person=person,
        num_queries=num,
      )
      if own is None:
        return
      found.append((own, len(np.unique(person))))
    most, people = max(
      found, key=lambda x: x[0].information + _ERRORS * x[0].standard_error
    )
    yield {
      "kind": "pac",
      "num_queries": num,
      "budget_bits": num * float(budget) / math.log(2),
      "information_bits": most.information / math.log(2),
      "standard_error_bits": most.standard_error / math.log(2),
      "num_samples": most.num_samples,
      "num_units": people,
      "queries": "of one input",
      "unit": "an input drawn from the population of the audit people",
      "case": "Estimate, average over the population",
      "assumes": (
        "the covariance of the codes is the population's: the budget holds for"
        " that of task-train, the estimate for that of the audit people; the"
        " noise is secret and fresh"
      ),
      "leakage": {
        q.target: {
          "accuracy": float(
            sum(
              weight * most.success(prior, errors=_ERRORS)
              for weight, prior in proofs.priors(q, asked, "accuracy")
            )
          )
        }
        for q in questions
        if q.kind != "linkage"  # of pairs nothing is said here
      },
    }


def _restored(
  setup: Setup, row: build.Row, known: dict[Any, _Sensitivity]
) -> Iterator[dict[str, Any]]:
  """State the error of unbiased estimates of an input (dFIL)."""
  prefix, suffix = privatizer_lib.split_random(row.privatizer)
  if not setup.config["audit"]["dfil"] or not is_smooth(prefix, suffix):
    return
  folds = []
  for fold in range(len(setup.folds)):
    first, rest = privatizer_lib.split_state(
      row.privatizer, fitting.read_law(setup, fold, 0, row)
    )
    # A grid of isotropic noise differs by a factor only.
    is_alike = suffix.stages[0].name == "noise.isotropic"
    scale = float(rest[0]["std"]) if is_alike else 1.0
    if not scale > 0:
      return
    members = fitting.member_names(row)[: len(prefix.stages) + (not is_alike)]
    name = (row.training, fold, *members)
    if name not in known:
      noise = {"std": 1.0} if is_alike else rest[0]
      known[name] = _sensitivity(
        setup, fold, row.training, (prefix, first), noise
      )
    own = known[name]
    folds.append(own._replace(dfil=own.dfil / scale**2))
  values = np.concatenate([own.dfil for own in folds])
  mean = float(values.mean())
  if not 0 < mean < math.inf:
    return  # noise that is silent somewhere, or a client without a gradient
  _, at = np.unique(
    np.concatenate([own.person for own in folds]), return_inverse=True
  )
  pulled = np.bincount(at, values - mean)
  error = float(np.sqrt(np.sum(pulled**2)) / len(values))
  spread = float(np.sqrt(np.mean([own.variance for own in folds])))
  for num in _numbers(setup):
    yield {
      "kind": "dfil",
      "num_queries": num,
      "dfil": num * mean,
      "standard_error": num * error,
      "least_error": (num * mean) ** -0.5,
      "spread": spread,
      "scale": _SCALES[setup.data.kind],
      "method": folds[0].method,
      "num_samples": len(values),
      "num_units": len(pulled),
      "queries": "of one input",
      "unit": "one input, all its values alike",
      "case": "Average over inputs of the audit people",
      "assumes": (
        "who restores it errs as often one way as the other (unbiased), and"
        " knows nothing of what inputs look like; the client half has"
        " derivatives; the noise is Gaussian, secret and fresh; one trained"
        " network"
      ),
    }


def is_smooth(
  prefix: privatizer_lib.Privatizer, suffix: privatizer_lib.Privatizer
) -> bool:
  """Tell whether a chain has derivatives up to Gaussian noise of its own."""
  members = (*prefix.stages, *suffix.stages[:1])
  return (
    bool(suffix.stages)
    and suffix.stages[0].name in pac.KNOWN
    and all(map(guarantee.is_ours, members))
    and not any(m.name.startswith("quantize.") for m in members)
  )


def _sensitivity(
  setup: Setup,
  fold: int,
  training_name: str,
  chain: tuple[privatizer_lib.Privatizer, Any],
  noise: Any,
) -> _Sensitivity:
  """Compute the Fisher information of codes about some audit samples.

  Args:
    setup: the study.
    fold: whose people.
    training_name: of the network, which is that of the first seed.
    chain: what is before the noise, and its state.
    noise: state of the noise.
  """
  trial = training.chosen(setup)[fold][training_name]["chosen"]
  system = fitting.load_system(setup, fold, 0, trial)
  index = _samples(setup, fold)
  prefix, law = chain
  client = granting.client(setup, system, granting.shared(prefix), law)
  inputs = granting.inputs(setup, system, index)
  size = math.prod(jax.eval_shape(client, inputs[:1]).shape)
  whole = jax.tree_util.Partial(_whitened, client, whitening(noise, size))
  is_exact = size <= _PROBES
  variance = np.var(np.asarray(inputs, np.float64), axis=0).mean()
  # One at a time: of a deep client every row of a Jacobian is large.
  found = [
    fisher.dfil(
      whole,
      inputs[i : i + 1],
      sigma=1.0,
      key=own,
      probes=0 if is_exact else _PROBES,
    )
    for i, own in enumerate(
      jax.random.split(key(setup, fold, 0, "dfil"), len(index))
    )
  ]
  return _Sensitivity(
    dfil=np.concatenate(found).astype(np.float64),
    person=setup.data.person[index],
    variance=float(variance * len(index) / max(len(index) - 1, 1)),
    method="exact" if is_exact else f"Hutchinson, {_PROBES} signs an input",
  )


def whitening(noise: Any, size: int) -> jax.Array:
  """Give what makes Gaussian noise white, of standard deviation 1.

  Args:
    noise: its state.
    size: k, the values of a code.

  Returns:
    [1 1] or [1 k], of which codes [b k] are multiples, or [k k] for noise that
    has directions; infinite or NaN where noise is silent.
  """
  if "std" in noise:
    return 1 / jnp.reshape(jnp.asarray(noise["std"], jnp.float32), (1, -1))
  values, vectors = np.linalg.eigh(pac.covariance(noise, size))
  values = np.where(values > 1e-12 * values[-1], values, 0)
  with np.errstate(divide="ignore", invalid="ignore"):
    return jnp.asarray(vectors / np.sqrt(values), jnp.float32)


def _whitened(client: Any, root: jax.Array, x: jax.Array) -> jax.Array:
  """Send inputs [b ...] as codes [b k] on which noise is white, of size 1."""
  code = client(x).reshape(len(x), -1)
  return code * root if len(root) == 1 else code @ root


def _samples(setup: Setup, fold: int) -> np.ndarray:
  """Choose samples of audit people, of as many people as there are."""
  audit = setup.folds[fold].audit
  order = np.random.default_rng(setup.config["seed"]).permutation(audit)
  person = setup.data.person[order]
  turn = np.zeros(len(order), int)
  for own in np.unique(person):
    turn[person == own] = np.arange(np.sum(person == own))
  most = setup.config["audit"]["dfil"]
  return np.sort(order[np.argsort(turn, kind="stable")[:most]])
