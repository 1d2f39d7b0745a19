"""What codes tell on average over a population: an estimate, no guarantee.

A guarantee (`guarantee.of`) holds for every input. What is computed here holds
on average over the population from which codes are drawn, whose covariance is
estimated on a sample: other people, or single ones, may give more away, and no
attack is held against it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hybridpriv.guarantees import bounds
from hybridpriv.privatizers import privatizer as privatizer_lib

_CASE = "estimate, average over the population"
KNOWN = ("noise.covariance", "noise.isotropic", "noise.learned", "noise.pac")
_LARGEST = 4096  # values of a code whose covariance is formed


@dataclasses.dataclass(frozen=True)
class Estimate:
  """Information of codes, bounded by the covariance of a sample of them.

  Attributes:
    information: nats that the codes tell of their inputs, at most, if the
      sample's covariance is that of the population.
    standard_error: of that number, from the sample. It knows nothing of the
      bias: a sample's covariance has too little information, by about a
      quarter of (k + 1) k / n for k values of n people, so that few people for
      each value make the number too low.
    num_samples: n of the sample.
    num_queries: codes of one input that the attacker sees.
    case: what kind of statement this is, for whoever prints it.
  """

  information: float
  standard_error: float
  num_samples: int
  num_queries: int = 1
  case: str = _CASE

  def success(self, prior: ArrayLike, *, errors: float = 0.0) -> float:
    """Bound the success of naming a secret, on average over the population.

    Args:
      prior: of the secret's values in the population [s].
      errors: standard errors to add to the information.
    """
    told = self.information + errors * self.standard_error
    return bounds.information_success(prior, information=told)


def of(
  chain: privatizer_lib.Privatizer,
  state: Any,
  codes: ArrayLike,
  *,
  person: ArrayLike | None = None,
  num_queries: int = 1,
) -> Estimate | None:
  """Estimate what a chain with Gaussian noise tells of a population.

  1/2 ln det(I + n N^-1 S), N the covariance of the chain's noise and S that of
  the clean codes given here. On codes other than those of the fit it tells
  whether a budget was kept.

  Args:
    chain: a privatizer, usually a chain.
    state: its state, as fitted.
    codes: clean codes of a sample, as they enter the first random member
      (`privatizer.split_random`) [n ...].
    person: whose each is [n]; codes of one person are one draw of the
      population, and the error is wider.
    num_queries: codes of one input that an attacker sees, at most
      `num_queries` times the information of one.

  Returns:
    The estimate, or None: the chain has no noise, another kind than Gaussian
    noise of this package, or directions without any.

  Raises:
    ValueError: fewer than two codes, or more than 4096 values.
  """
  if not chain.stages:
    chain, state = privatizer_lib.chain(chain), (state,)
  _, suffix = privatizer_lib.split_random(chain)
  _, parts = privatizer_lib.split_state(chain, state)
  if not suffix.stages or suffix.stages[0].name not in KNOWN:
    return None
  flat = np.asarray(codes, np.float64)
  flat = flat.reshape((len(flat), -1))
  if len(flat) < 2 or flat.shape[1] > _LARGEST:
    raise ValueError(
      f"Got {len(flat)} codes of {flat.shape[1]} values; expected two at least,"
      f" and values up to {_LARGEST}."
    )
  noise = covariance(parts[0], flat.shape[1]) / num_queries
  levels = np.linalg.eigvalsh(noise)
  if not levels[0] > 1e-12 * levels[-1]:
    return None
  centred = flat - flat.mean(axis=0)
  clean = centred.T @ centred / (len(flat) - 1)
  told = bounds.gaussian_information(clean, noise)
  # Influence of one code on ln det(N + S) / 2; its mean is taken off below.
  own = np.linalg.solve(noise + clean, centred.T).T
  pull = np.sum(own * centred, axis=1) / 2
  pull = pull - pull.mean()
  if person is not None:
    _, place = np.unique(np.asarray(person), return_inverse=True)
    pull = np.bincount(place, pull)
  error = float(np.sqrt(np.sum(pull**2)) / len(flat))
  return Estimate(told, error, len(flat), num_queries)


def covariance(state: Any, size: int) -> np.ndarray:
  """Read the covariance `[k k]` of Gaussian noise off its state."""
  if "factor" in state:
    factor = np.asarray(state["factor"], np.float64)
    return factor @ factor.T
  std = np.asarray(state["std"], np.float64).ravel()
  return np.diag(np.broadcast_to(std**2, (size,)))
