r"""The rank measure: how far down the list of candidates the true one stands.

Every observed code $z_i = u_i + n_i$ is compared with the clean codes $u_j$ of
all candidates, which the adversary is given.  With isotropic Gaussian noise
the order by likelihood is the order by distance, so

$$ rank_i = 1 + |\{j : d_{ij} < d_{ii}\}|
          + |\{j \ne i : d_{ij} = d_{ii}\}| / 2 $$

(ties get the average rank).  The paper's privacy is mean(rank) / n: 0 for none,
1/2 for guessing.  By distance it neither underflows nor invents ties
(Osia et al., arXiv 1703.02952, and what its code does).

Candidates can also be people with several clean codes each (`by_person`): then
the noise law does not drop out, and the order is that of mean likelihoods.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import distance

_TILE = 16  # blocks of codes are a multiple of this
_ROUNDING = 1e-12  # of sums in float64; codes in float32 differ by more
_WIDTH = 512  # values of a code that are compared at once, and stay in cache


@jax.jit
def _rank_block(
  number: jax.Array, observed: jax.Array, blocks: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Rank block `number` of the observed codes among all candidates.

  Args:
    number: which block of `blocks` holds the true candidates.
    observed: [w, c, d].
    blocks: candidates, in blocks [m, w, c, d]; w d values make a code.

  Returns:
    Number of nearer candidates, and of equally near ones, int32 [c].
  """
  size = observed.shape[1]

  def add(total: jax.Array, parts: Any) -> tuple[jax.Array, None]:
    a, b = parts
    return total + jnp.sum((a[:, None] - b[None]) ** 2, axis=-1), None

  def count(carry: Any, at: jax.Array) -> tuple[Any, None]:
    true, less, equal, is_true = carry
    # Direct differences, not a Gram matrix, and the true candidate's distance
    # read off the same array: only numbers from one compiled loop are equal to
    # the last bit, and ties are part of the measure.
    d = jax.lax.scan(add, jnp.zeros((size, size)), (observed, blocks[at]))[0]
    d = jax.lax.optimization_barrier(d)
    true = jnp.where(is_true, jnp.diagonal(d), true)
    less += jnp.where(is_true, 0, jnp.sum(d < true[:, None], axis=1))
    equal += jnp.where(is_true, 0, jnp.sum(d == true[:, None], axis=1))
    return (true, less, equal, False), None

  zero = jnp.zeros(size, jnp.int32)
  order = jnp.concatenate([number[None], jnp.arange(len(blocks))])
  start = (jnp.zeros(size), zero, zero, True)
  return jax.lax.scan(count, start, order)[0][1:3]


def by_distance(
  observed: np.ndarray, clean: np.ndarray, *, block: int = 128
) -> np.ndarray:
  """Rank the true candidate of every observed code, 1 for the first.

  Memory grows with the number of candidates, never with its square.

  Args:
    observed: codes as sent [n, ...]; the i-th belongs to candidate i.
    clean: codes of the candidates without noise [n, ...].
    block: codes, and candidates, compared at once.

  Returns:
    Average ranks, float64 [n].

  Raises:
    ValueError: if the shapes differ, or a code is not finite.
  """
  num = len(clean)
  observed, clean = _check(observed, clean)
  if np.array_equal(observed, clean):
    same = _copies(clean)
    return (np.bincount(same)[same] + 1) / 2
  block = -(-min(block, num) // _TILE) * _TILE
  # Padding is no candidate: it is infinitely far from everything.
  blocks = jnp.asarray(_blocks(clean, block, np.inf))
  observed = _blocks(observed, block, 0.0)
  ranks = []
  for number, own in enumerate(observed):
    less, equal = jax.device_get(_rank_block(jnp.int32(number), own, blocks))
    # The true candidate counts itself among the equal ones.
    ranks.append(1.0 + less + (equal - 1) / 2)
  return np.concatenate(ranks)[:num]


def by_person(
  observed: np.ndarray,
  clean: np.ndarray,
  person: np.ndarray,
  *,
  std: float,
  block: int = 128,
) -> np.ndarray:
  r"""Rank the true person of every observed code, 1 for the first.

  A person $p$ with $n_p$ clean codes is as likely for a code $z$ as
  $\frac{1}{n_p} \sum_{j \in p} N(z; u_j, \mathrm{std}^2 I)$, the reading of the
  measure by class (arXiv 1703.02952).  The adversary has all clean codes, that
  of the very sample it observes among them.  Without noise the order is that by
  the nearest code of each person, the limit of the above.

  Computed in float64, from direct differences; memory grows with the number of
  codes, never with its square.

  Args:
    observed: codes as sent [n, ...]; the i-th belongs to the i-th clean code.
    clean: codes without noise [n, ...].
    person: whose they are [n].
    std: standard deviation of the isotropic noise, in units of the code.
    block: observed codes compared at once.

  Returns:
    Average ranks among people, float64 [n].

  Raises:
    ValueError: if the shapes differ, a code is not finite, or `std` is negative
      or not finite.
  """
  observed, clean = _check(observed, clean)
  if len(person) != len(clean):
    raise ValueError(
      f"{len(clean)} codes need as many people, one each; got {len(person)}"
    )
  if not 0 <= std < np.inf:
    raise ValueError(f"std={std}; expected a finite number, 0 or more")
  people, own = np.unique(person, return_inverse=True)
  if std == 0 and np.array_equal(observed, clean):
    same = _copies(clean)
    pairs = np.unique(np.stack([same, own]), axis=1)
    return (np.bincount(pairs[0])[same] + 1) / 2
  codes = [clean[own == p].astype(np.float64) for p in range(len(people))]
  ranks = []
  for start in range(0, len(observed), block):
    sent = observed[start : start + block].astype(np.float64)
    score = np.stack([_log_likelihood(sent, u, std) for u in codes], axis=1)
    true = np.take_along_axis(score, own[start : start + block, None], axis=1)
    # One list of codes twice, or in another order, adds up to a little else.
    equal = np.isclose(score, true, rtol=_ROUNDING, atol=0)
    above = np.sum((score > true) & ~equal, axis=1)
    # The true person counts itself among the equal ones.
    ranks.append(1 + above + (np.sum(equal, axis=1) - 1) / 2)
  return np.concatenate(ranks)


def _log_likelihood(
  sent: np.ndarray, clean: np.ndarray, std: float
) -> np.ndarray:
  """Compare codes [b, d] with a person's [n, d]: an order, by likelihood.

  Returns:
    2 std^2 times the log of the mean likelihood, less a constant [b]: so
    written, nothing underflows and std may be 0.
  """
  squared = distance.cdist(sent, clean, "sqeuclidean")
  nearest = np.min(squared, axis=1)
  unit = 2.0 * float(std) ** 2
  if unit == 0:
    return -nearest
  farther = np.expm1((nearest[:, None] - squared) / unit)
  return unit * np.log1p(np.mean(farther, axis=1)) - nearest


def _check(
  observed: np.ndarray, clean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Lay codes out as vectors, or say why they cannot be compared."""
  if observed.shape != clean.shape:
    raise ValueError(
      f"observed codes {observed.shape} and candidates {clean.shape} must have"
      " the same shape: the i-th code belongs to the i-th candidate"
    )
  observed, clean = (
    np.asarray(x, np.float32).reshape(len(x), -1) for x in (observed, clean)
  )
  if not (np.isfinite(observed).all() and np.isfinite(clean).all()):
    raise ValueError(
      "some codes are not finite numbers, so that nothing is near them; was the"
      " training stable?"
    )
  return observed, clean


def _copies(codes: np.ndarray) -> np.ndarray:
  """Number codes [n, d] so that equal ones have one number [n].

  A code that is sent as it is has no distance to itself: only its copies tie
  with it, and nothing need be compared with anything.
  """
  # Minus zero is zero.
  return np.unique(codes + 0.0, axis=0, return_inverse=True)[1].reshape(-1)


def _blocks(codes: np.ndarray, size: int, filler: float) -> np.ndarray:
  """Cut codes [n, d] into blocks [m, w, size, d / w], rows filled up."""
  width = min(codes.shape[1], _WIDTH)
  padding = ((0, 0), (0, -codes.shape[1] % width))
  codes = np.pad(codes, padding)
  padding = ((0, -len(codes) % size), (0, 0))
  codes = np.pad(codes, padding, constant_values=filler)
  return codes.reshape(-1, size, codes.shape[1] // width, width).swapaxes(1, 2)


def of_scores(
  scores: jax.Array, label: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Find the true class in an attacker's scores.

  Args:
    scores: [b, n], higher is held more likely; -inf for impossible. NaN is
      taken as -inf: an attack that breaks down knows nothing.
    label: true class, [b].

  Returns:
    (right [b], rank [b]): the chance that the first guess is right, 1/j when
    the true class ties with j - 1 others for the first place; and its rank,
    1 the best, ties averaged.
  """
  scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
  true = jnp.take_along_axis(scores, label[:, None], axis=1)
  above = jnp.sum(scores > true, axis=1)
  equal = jnp.maximum(jnp.sum(scores == true, axis=1), 1)
  right = jnp.where(above == 0, 1.0 / equal, 0.0)
  return right, 1.0 + above + (equal - 1) / 2


def ceiling(label: np.ndarray) -> float:
  r"""Return the best rank privacy that the class mix allows.

  A code that tells the desired label and nothing else ranks the true candidate
  uniformly within its own class: $\sum_c p_c^2 / 2$, exactly
  $\sum_c p_c (n_c + 1) / (2 n)$ for a finite list.

  Args:
    label: desired label of every candidate [n]; -1 counts as a class.
  """
  _, counts = np.unique(label, return_counts=True)
  num = counts.sum()
  return float(np.sum(counts / num * (counts + 1) / (2 * num)))


def person_ceiling(person: np.ndarray, label: np.ndarray) -> float:
  r"""Return the best rank privacy among people that the class mix allows.

  As `ceiling`, for `by_person`: a code that tells the desired label and nothing
  else ranks the true person uniformly among those of its label. With $K_c$ of
  $K$ people in class $c$ and $p_c$ of all codes theirs, that is
  $\sum_c p_c (K_c + 1) / (2 K)$.

  Args:
    person: whose each code is [n].
    label: desired label of each code [n]; -1 counts as a class.

  Raises:
    ValueError: if a person has codes of several labels; among such people a
      label alone does not order anyone uniformly.
  """
  pairs = np.unique(np.stack([person, label]), axis=1)
  people, times = np.unique(pairs[0], return_counts=True)
  if np.any(times > 1):
    raise ValueError(
      f"person {people[np.argmax(times)]} has codes of {times.max()} labels;"
      " the ceiling among people is for a label that each person has one of"
    )
  classes, size = np.unique(pairs[1], return_counts=True)
  own = size[np.searchsorted(classes, label)]
  return float(np.mean(own + 1) / (2 * len(people)))
