"""Bounds on what any attacker can do with a bounded code under Gaussian noise.

The setting: a code u of L2 norm at most C goes out as z = u + noise, n times,
with fresh noise that the attacker does not see. Whatever is known beside z
(network, law of the noise, other people's data, computing power) is allowed.
`docs/guarantees.md` derives every formula.

The ratio C sqrt(n) / sigma is all that matters of the mechanism; it is called
`ratio` here. Bounds are rounded up, never down, within 1e-9.
"""

import functools
import itertools
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize, special

_ROOM = 1e-9  # added to what a root finder leaves
_ORDERS = (1.05, 1.25, 1.5, *np.geomspace(2, 64, 21))


def ratio(*, clip_norm: float, sigma: float, num_queries: int = 1) -> float:
  """Return C sqrt(n) / sigma; infinite without noise or without a bound.

  Args:
    clip_norm: C, the largest norm of a code, 0 or more.
    sigma: standard deviation of the noise in every direction, 0 or more.
    num_queries: n, codes that the attacker sees, of one input or of several.

  Raises:
    ValueError: an argument is negative or not a number; no query.
  """
  if not (clip_norm >= 0 and sigma >= 0 and num_queries >= 1):
    raise ValueError(
      f"clip_norm={clip_norm}, sigma={sigma}, num_queries={num_queries}:"
      " expected two numbers of 0 or more and at least one query"
    )
  if clip_norm == 0:
    return 0.0
  return clip_norm * math.sqrt(num_queries) / sigma if sigma else math.inf


def gaussian_success(prior: ArrayLike, *, ratio: float) -> float:
  """Bound the success of any attacker who names a secret, continuous noise.

  With a = C sqrt(n) / sigma and the prior pi_s of the secret's values, the
  probability to name the right one is at most

    max over q in the simplex of sum_s pi_s Phi(a + Phi^-1(q_s)).

  The maximum has Phi^-1(q_s) = ln(pi_s) / a + c with the one c whose q add up
  to 1; what is returned is the value of the Lagrangian there, which is never
  below the maximum. For a uniform prior of K values it is
  Phi(a + Phi^-1(1/K)), and for two values of any prior it is reached.

  Worst case over inputs; holds for the discrete Gaussian only approximately,
  see `renyi_success`.

  Args:
    prior: probabilities of the secret's values, as the attacker knows them
      before the first code [s].
    ratio: see `ratio`.

  Returns:
    The bound, from the largest prior (ratio 0) to 1.

  Raises:
    ValueError: the prior is no distribution; the ratio is negative.

  References:
    Neyman and Pearson 1933; Dong, Roth and Su 2022, Gaussian differential
    privacy.
  """
  pi = _distribution(prior)
  pi = pi[pi > 0]
  _check(ratio, "ratio")
  if ratio == 0:
    return float(pi.max())
  if math.isinf(ratio) or len(pi) == 1:
    return 1.0
  at = np.log(pi) / ratio

  def excess(c: float) -> float:
    return float(special.ndtr(at + c).sum() - 1)

  # On the left every q is below 1 / s, on the right above it.
  edge = special.ndtri(1 / len(pi))
  left, right = edge - at.max() - 1e-3, edge - at.min() + 1e-3
  c = float(optimize.brentq(excess, left, right, xtol=1e-13))
  q = special.ndtr(at + c)
  price = math.exp(-ratio * c - ratio**2 / 2)
  value = pi @ special.ndtr(ratio + at + c) + price * (1 - q.sum())
  return min(float(value) + _ROOM, 1.0)


def information_success(prior: ArrayLike, *, information: float) -> float:
  """Bound the success of any attacker by the information that codes carry.

  The probability p to name the right value of a secret satisfies
  kl(Bern(p) || Bern(kappa)) <= I, kappa the largest prior: the largest such p.

  Args:
    prior: probabilities of the secret's values [s].
    information: I in nats: the mutual information of codes and secret, or a
      bound of it. n C^2 / (2 sigma^2) holds for the continuous Gaussian and for
      the discrete one on integers, whatever the inputs (`worst_information`).

  Returns:
    The bound, from the largest prior to 1.

  Raises:
    ValueError: the prior is no distribution; the information is negative.
  """
  kappa = float(_distribution(prior).max())
  _check(information, "information")
  if kappa == 1 or -math.log(kappa) <= information:
    return 1.0

  def excess(p: float) -> float:
    return float(
      special.rel_entr(p, kappa)
      + special.rel_entr(1 - p, 1 - kappa)
      - information
    )

  if information == 0:
    return kappa
  root = optimize.brentq(excess, kappa, 1.0, xtol=1e-13)
  return min(float(root) + _ROOM, 1.0)


def renyi_success(prior: ArrayLike, *, rho: float) -> float:
  """Bound the success of any attacker by Renyi divergences alone.

  Where the divergence of order alpha, in both directions, of a code's law and
  that of noise alone is alpha rho at most, for all alpha of 1 or more, so is
  that of what an attacker makes of them: with p the probability to name the
  right value of a secret and kappa the largest prior

    D_alpha(Bern(p) || Bern(kappa)) <= alpha rho  and
    D_alpha(Bern(kappa) || Bern(p)) <= alpha rho.

  The smallest p of these, over a grid of orders from 1. (Below 1 a shift on
  integers may tell a little more than alpha rho.) It holds
  for the discrete Gaussian on integers, where `gaussian_success` does not, and
  is the larger of the two.

  Args:
    prior: probabilities of the secret's values [s].
    rho: n C^2 / (2 sigma^2), as `worst_information` has it.

  Returns:
    The bound, from the largest prior to 1.

  Raises:
    ValueError: the prior is no distribution; rho is negative.

  References:
    Bun and Steinke 2016; Canonne, Kamath and Steinke 2020.
  """
  kappa = float(_distribution(prior).max())
  _check(rho, "rho")
  if kappa == 1 or rho == 0:
    return kappa
  if math.isinf(rho):
    return 1.0

  def reverse(p: float) -> float:
    own = special.rel_entr(kappa, p) + special.rel_entr(1 - kappa, 1 - p)
    return float(own - rho)

  def order(p: float, alpha: float, turned: bool) -> float:
    a, b = np.log([p, 1 - p]), np.log([kappa, 1 - kappa])
    a, b = (b, a) if turned else (a, b)
    own = special.logsumexp(alpha * a + (1 - alpha) * b) / (alpha - 1)
    return float(own - alpha * rho)

  found = [information_success(prior, information=rho)]
  tests = [
    reverse,
    *(
      functools.partial(order, alpha=a, turned=t)
      for a, t in itertools.product(_ORDERS, (False, True))
    ),
  ]
  for excess in tests:
    if excess(1 - _ROOM) > 0:
      root = optimize.brentq(excess, kappa, 1 - _ROOM, xtol=1e-13)
      found.append(float(root) + _ROOM)
  return min(*found, 1.0)


def worst_information(ratio: float) -> float:
  """Return a^2 / 2 = n C^2 / (2 sigma^2) nats, for any inputs and any codes.

  It is the largest divergence of a code's law from that of noise alone, and
  therefore a bound of the mutual information of codes and anything, for
  continuous and, on integers, for discrete Gaussian noise; n codes of one input
  or of different ones.
  """
  _check(ratio, "ratio")
  return ratio**2 / 2


def mutual_information(
  *, size: int, clip_norm: float, sigma: float, num_queries: int, same: bool
) -> float:
  """Bound the mutual information of n codes and their inputs, in nats.

  For n draws of one input (k/2) ln(1 + n C^2 / (k sigma^2)), the capacity of k
  Gaussian channels that share a power of C^2; for different inputs n times
  that of one.  Continuous noise, any distribution of inputs.

  Args:
    size: k, the values of a code.
    clip_norm: C.
    sigma: standard deviation of the noise.
    num_queries: n.
    same: whether all n codes are of one input.
  """
  if size < 1:
    raise ValueError(f"size={size}: a code has at least one value")
  times = num_queries if same else 1
  one = ratio(clip_norm=clip_norm, sigma=sigma, num_queries=times)
  total = size / 2 * math.log1p(one**2 / size)
  return total if same else num_queries * total


def gaussian_epsilon(delta: float, *, ratio: float) -> float:
  """Compute epsilon of local differential privacy, continuous noise, exactly.

  Two inputs' codes are 2C apart at most: with m = 2 C sqrt(n) / sigma the
  smallest epsilon with
  Phi(m/2 - epsilon/m) - exp(epsilon) Phi(-m/2 - epsilon/m) <= delta.

  Args:
    delta: between 0 and 1.
    ratio: see `ratio`.

  Raises:
    ValueError: delta is out of range; the ratio is negative.

  References:
    Balle and Wang 2018, the analytic Gaussian mechanism.
  """
  _check(ratio, "ratio")
  if not 0 < delta < 1:
    raise ValueError(f"delta={delta}: expected a number between 0 and 1")
  m = 2 * ratio
  if m == 0 or math.isinf(m):
    return m

  def excess(epsilon: float) -> float:
    most = special.ndtr(m / 2 - epsilon / m)
    least = math.exp(epsilon + special.log_ndtr(-m / 2 - epsilon / m))
    return float(most - least - delta)

  if excess(0.0) <= 0:
    return 0.0
  # There the first term alone is below delta.
  most = m * (m / 2 - float(special.ndtri(delta)))
  return float(optimize.brentq(excess, 0.0, most, rtol=1e-12)) + _ROOM


def gaussian_information(
  covariance: ArrayLike, noise_covariance: ArrayLike
) -> float:
  """Bound the information of a code by the covariance of clean codes, in nats.

  1/2 ln det(I + N^-1 S).  An average over the population whose covariance S
  this is; on a sample it is an estimate and carries its error.

  Args:
    covariance: S of the clean codes [k k].
    noise_covariance: N of the noise [k k], or its variance in any direction
      [].
  """
  clean = np.asarray(covariance, np.float64)
  noise = np.asarray(noise_covariance, np.float64)
  if noise.ndim == 0:
    noise = noise * np.eye(len(clean))
  values = linalg.eigvalsh(clean, noise)
  return float(np.log1p(np.maximum(values, 0)).sum() / 2)


def fano_error(prior: ArrayLike, *, information: float) -> float:
  """Bound the error of any attacker from below (Fano's inequality).

  The smallest e with h(e) + e ln(K - 1) >= H(s) - I. Values that do not occur
  are not counted: no attacker is right more often for naming them.

  Args:
    prior: probabilities of the secret's values [s], K of them above 0.
    information: I of codes and secret in nats, or a bound of it.

  Returns:
    A probability of error that no attacker stays below; 0 says nothing.
  """
  pi = _distribution(prior)
  pi = pi[pi > 0]
  _check(information, "information")
  left = float(special.entr(pi).sum()) - information
  if left <= 0 or len(pi) < 2:
    return 0.0

  def excess(e: float) -> float:
    own = special.entr(e) + special.entr(1 - e) + e * math.log(len(pi) - 1)
    return float(own - left)

  # h(e) + e ln(K - 1) grows up to ln(K) at 1 - 1/K.
  most = 1 - 1 / len(pi)
  if excess(most) <= 0:
    return most
  return max(float(optimize.brentq(excess, 0, most, xtol=1e-13)) - _ROOM, 0.0)


def _distribution(prior: ArrayLike) -> np.ndarray:
  pi = np.asarray(prior, np.float64)
  if pi.ndim != 1 or not len(pi) or not (pi >= 0).all():
    raise ValueError(f"prior is {prior}: expected probabilities [s]")
  if not math.isclose(pi.sum(), 1, abs_tol=1e-6):
    raise ValueError(f"prior adds up to {pi.sum()}: expected 1")
  return pi / pi.sum()


def _check(value: float, name: str) -> None:
  if not value >= 0:
    raise ValueError(f"{name} is {value}: expected a number of 0 or more")
