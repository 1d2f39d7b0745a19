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

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.jit, static_argnames="block")
def _rank_block(
  observed: jax.Array, own: jax.Array, candidates: jax.Array, block: int
) -> jax.Array:
  """Ranks of one block of observed codes, candidates streamed in blocks."""

  def distance(a: jax.Array, b: jax.Array) -> jax.Array:
    # Direct differences: equal codes give exactly equal distances, which a
    # Gram matrix does not promise, and ties are part of the measure.
    return jnp.sum((a[:, None, :] - b[None, :, :]) ** 2, axis=-1)

  true = jnp.sum((observed - own) ** 2, axis=-1)
  blocks = candidates.reshape(-1, block, candidates.shape[-1])

  def count(carry: jax.Array, part: jax.Array) -> tuple[jax.Array, None]:
    d = distance(observed, part)
    less = jnp.sum(d < true[:, None], axis=1)
    equal = jnp.sum(d == true[:, None], axis=1)
    return carry + jnp.stack([2 * less, equal], axis=0), None

  start = jnp.zeros((2, observed.shape[0]), jnp.int32)
  (less, equal), _ = jax.lax.scan(count, start, blocks)
  # The true candidate counts itself among the equal ones.
  return 1 + (less + jnp.maximum(equal - 1, 0)) / 2


def by_distance(
  observed: np.ndarray, clean: np.ndarray, *, block: int = 256
) -> np.ndarray:
  """Rank the true candidate of every observed code, 1 for the first.

  Memory grows with the number of candidates, never with its square.

  Args:
    observed: codes as sent [n, ...]; the i-th belongs to candidate i.
    clean: codes of the candidates without noise [n, ...].
    block: candidates compared at once.

  Returns:
    Average ranks, float64 [n].

  Raises:
    ValueError: if the shapes differ.
  """
  if observed.shape != clean.shape:
    raise ValueError(
      f"observed codes {observed.shape} and candidates {clean.shape} must have"
      " the same shape: the i-th code belongs to the i-th candidate"
    )
  num = len(clean)
  observed = np.asarray(observed, np.float32).reshape(num, -1)
  clean = np.asarray(clean, np.float32).reshape(num, -1)
  # Wide codes get smaller blocks, so that a block stays near 32 MiB.
  block = max(1, min(block, num, 2**23 // (64 * clean.shape[1]) or 1))
  padding = -num % block
  candidates = jnp.asarray(
    np.concatenate([clean, np.full((padding, clean.shape[1]), np.inf)]),
    jnp.float32,
  )
  ranks = []
  for start in range(0, num, 64):
    take = np.minimum(np.arange(start, start + 64), num - 1)
    out = _rank_block(observed[take], clean[take], candidates, block)
    ranks.append(np.asarray(out, np.float64)[: num - start])
  return np.concatenate(ranks)


def of_scores(
  scores: jax.Array, label: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Find the true class in an attacker's scores.

  Args:
    scores: [b, n], higher is held more likely; -inf for impossible.
    label: true class, [b].

  Returns:
    (right [b], rank [b]): the chance that the first guess is right, 1/j when
    the true class ties with j - 1 others for the first place; and its rank,
    1 the best, ties averaged.
  """
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
