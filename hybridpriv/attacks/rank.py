r"""The rank measure: how far down the list of candidates the true one stands.

Every observed code $z_i = u_i + n_i$ is compared with the clean codes $u_j$ of
all candidates, which the adversary is given.  With isotropic Gaussian noise
the order by likelihood is the order by distance, so

$$ rank_i = 1 + |\{j : d_{ij} < d_{ii}\}|
          + |\{j \ne i : d_{ij} = d_{ii}\}| / 2 $$

(ties get the average rank).  The paper's privacy is mean(rank) / n: 0 for none,
1/2 for guessing.  By distance it neither underflows nor invents ties
(paper.md 7.2 and section 11).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_TILE = 16  # blocks of codes are a multiple of this
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
  if observed.shape != clean.shape:
    raise ValueError(
      f"observed codes {observed.shape} and candidates {clean.shape} must have"
      " the same shape: the i-th code belongs to the i-th candidate"
    )
  num = len(clean)
  observed = np.asarray(observed, np.float32).reshape(num, -1)
  clean = np.asarray(clean, np.float32).reshape(num, -1)
  if not (np.isfinite(observed).all() and np.isfinite(clean).all()):
    raise ValueError(
      "some codes are not finite numbers, so that nothing is near them; was the"
      " training stable?"
    )
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
  uniformly within its own class: $\sum_c p_c^2 / 2$ (paper.md 11.8), exactly
  $\sum_c p_c (n_c + 1) / (2 n)$ for a finite list.

  Args:
    label: desired label of every candidate [n]; -1 counts as a class.
  """
  _, counts = np.unique(label, return_counts=True)
  num = counts.sum()
  return float(np.sum(counts / num * (counts + 1) / (2 * num)))
