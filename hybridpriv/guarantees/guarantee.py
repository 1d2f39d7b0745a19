"""The guarantee of a chain of privatizers: its bound and its noise."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from numpy.typing import ArrayLike

from hybridpriv.guarantees import bounds
from hybridpriv.privatizers import privatizer as privatizer_lib

CONTINUOUS, DISCRETE = "gaussian", "discrete gaussian"
_LAWS = {"noise.isotropic": CONTINUOUS, "noise.discrete": DISCRETE}


@dataclasses.dataclass(frozen=True)
class Guarantee:
  """What a chain proves about every code it sends.

  Unit: one input, any of those that could have been sent. Worst case over
  inputs and over attackers; who knows more than the prior beforehand guesses
  better without any code. Assumes that the device itself clips and draws noise
  that nobody else can see; says nothing of what the answer, the network address
  or the number of queries tell.

  Attributes:
    law: "gaussian" or "discrete gaussian".
    clip_norm: C, the largest norm of a code before the noise, in its units.
    sigma: of the noise, in the same units.
    size: k, the values of a code.
    num_queries: n, codes that the attacker sees.
  """

  law: str
  clip_norm: float
  sigma: float
  size: int
  num_queries: int = 1

  @property
  def ratio(self) -> float:
    """C sqrt(n) / sigma, all that matters of the mechanism."""
    return bounds.ratio(
      clip_norm=self.clip_norm,
      sigma=self.sigma,
      num_queries=self.num_queries,
    )

  def information(self, *, same: bool = False) -> float:
    """Bound the mutual information of codes and inputs, in nats.

    Args:
      same: whether all codes are of one input.
    """
    worst = bounds.worst_information(self.ratio)
    if self.law == DISCRETE or not self.sigma:
      return worst
    capacity = bounds.mutual_information(
      size=self.size,
      clip_norm=self.clip_norm,
      sigma=self.sigma,
      num_queries=self.num_queries,
      same=same,
    )
    return min(worst, capacity)

  def success(self, prior: ArrayLike, *, same: bool = False) -> float:
    """Bound the probability that any attacker names a secret.

    The same number bounds what any *service* can make of these codes: with the
    prior of the desired label its accuracy, with a uniform one its balanced
    accuracy.

    Args:
      prior: of the secret's values [s], as known without any code.
      same: whether all codes are of one input, which one need not know.

    Returns:
      The smallest of the bounds that hold for this law.
    """
    told = self.information(same=same)
    by_fano = 1 - bounds.fano_error(prior, information=told)
    if self.law == DISCRETE:
      rho = bounds.worst_information(self.ratio)
      return min(by_fano, bounds.renyi_success(prior, rho=rho))
    return min(
      by_fano,
      bounds.information_success(prior, information=told),
      bounds.gaussian_success(prior, ratio=self.ratio),
    )

  def epsilon(self, delta: float) -> float:
    """Return the epsilon of local differential privacy at a delta.

    Two inputs' codes are 2C apart at most. Continuous: exact; discrete: from
    zero-concentrated privacy rho = n (2C)^2 / (2 sigma^2), an upper bound.

    Raises:
      ValueError: delta is no probability between 0 and 1.
    """
    if self.law == CONTINUOUS or self.ratio == 0:
      return bounds.gaussian_epsilon(delta, ratio=self.ratio)
    import dp_accounting  # takes seconds to load
    from dp_accounting import rdp

    event = dp_accounting.ZCDpEvent(2 * self.ratio**2)
    return float(rdp.RdpAccountant().compose(event).get_epsilon(delta))


def of(
  chain: privatizer_lib.Privatizer,
  state: Any,
  *,
  size: int,
  num_queries: int = 1,
) -> Guarantee | None:
  """Read the guarantee off a fitted chain.

  The radius of what can be sent is folded through the members, from infinite,
  up to the noise; what follows it only works on a noisy code.

  Args:
    chain: a privatizer, usually a chain.
    state: its state, as fitted.
    size: values of a code.
    num_queries: codes that an attacker sees.

  Returns:
    The guarantee, or None: there is no noise, its law is not known here, what
    it is added to has no bound, or a member is not one of this package, whose
    word would have to be taken for it.
  """
  members = chain.stages or (chain,)
  if not all(map(is_ours, members)):
    return None
  states = state if chain.stages else (state,)
  radius: Any = math.inf
  before = ""
  for member, own in zip(members, states, strict=True):
    if member.is_random:
      law = _LAWS.get(member.name)
      std = float(own["std"]) if law else 0.0
      if not math.isfinite(radius) or std == 0:
        return None
      if law == DISCRETE and before != "quantize.toward_zero":
        return None  # what is not whole gives itself away
      return Guarantee(str(law), float(radius), std, size, num_queries)
    radius, before = float(member.radius(own, radius)), member.name
  return None


def is_ours(member: privatizer_lib.Privatizer) -> bool:
  """Tell whether all that a bound rests on was written here."""
  return all(
    getattr(f, "__module__", "").startswith("hybridpriv.privatizers.")
    for f in (member.fit, member.encode, member.radius)
  )
