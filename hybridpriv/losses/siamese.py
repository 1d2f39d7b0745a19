r"""The contrastive loss over all pairs of a batch, from one forward pass.

The two branches of the published network share their weights, so a batch of
b examples passed once holds all b (b - 1) / 2 pairs; the branches would see
b / 2 of them for the same work.  `lockstep` sees these b / 2, as published.
"""

import jax
import jax.numpy as jnp

__all__ = [
  "contrastive",
  "distances",
  "lockstep",
  "pair_statistics",
  "reversed_contrastive",
]

_EPSILON = 1e-12  # inside the root: its gradient stays finite at distance 0


def contrastive(
  *, feature: jax.Array, labels: jax.Array, margin: jax.Array | float
) -> jax.Array:
  r"""Compute the contrastive loss of every pair of examples.

  $\frac{1}{2} [s d^2 + (1 - s) \max(m - d, 0)^2]$ with $s = 1$ where the
  labels are equal: pairs of one class are pulled together, identity and all,
  other pairs are pushed apart up to the margin $m$.

  Args:
    feature: `[b ...]`, flattened; any floating type, computed in float32.
    labels: `[b]` integers, the desired label. Pairs with an unknown one (-1)
      are for the objective to mask.
    margin: in the units of the feature; may be traced.

  Returns:
    Pairs `[b b]` float32, symmetric; the diagonal, which is no pair, is 0 and
    not to be averaged over.

  References:
    Hadsell, Chopra and LeCun 2006; Osia et al., arXiv 1703.02952.
  """
  pull = labels[:, None] == labels[None, :]
  return _all_pairs(feature, pull, margin)


def lockstep(
  *, feature: jax.Array, labels: jax.Array, margin: jax.Array | float
) -> jax.Array:
  r"""Compute the contrastive loss as two branches in lockstep see it.

  A batch of 2N examples is the two branches of the published network, N
  examples each: example k makes a pair with example k + N and with no other.
  The mean over the batch is that over the pairs,
  $\frac{1}{2N} \sum_k [s_k d_k^2 + (1 - s_k) \max(m - d_k, 0)^2]$, the layer
  `ContrastiveLoss` of Caffe without `legacy_version`.  In a shuffled batch its
  expectation is the mean of `contrastive` over all pairs, with more variance.

  Args:
    feature: `[2N ...]`, flattened; any floating type, computed in float32.
    labels: `[2N]` integers, the desired label. All must be known: a mask of
      the objective leaves out an example, not the pair that it is in.
    margin: in the units of the feature; may be traced.

  Returns:
    `[2N]` float32: the loss of the pair that each example is in.

  Raises:
    ValueError: an odd number of examples.

  References:
    Osia et al., arXiv 1703.02952, its code; Jia et al. 2014, arXiv 1408.5093,
    Caffe; Hadsell, Chopra and LeCun 2006.
  """
  if len(labels) % 2:
    raise ValueError(
      f"siamese.lockstep got {len(labels)} examples; two branches need an even"
      " number of them: change the batch size."
    )
  feature = feature.reshape((len(labels), -1)).astype(jnp.float32)
  left, right = jnp.split(feature, 2)
  squared = jnp.sum((left - right) ** 2, axis=1)
  pull = jnp.equal(*jnp.split(jnp.asarray(labels), 2))
  return jnp.tile(_pair_loss(squared, pull, margin), 2)


def reversed_contrastive(
  *, feature: jax.Array, labels: jax.Array, margin: jax.Array | float
) -> jax.Array:
  r"""Compute the contrastive loss with its sign turned round, as DPFE does.

  $\frac{1}{2} [(1 - s) d^2 + s \max(m - d, 0)^2]$ with $s = 1$ where the
  identities are equal: different people are pulled together, examples of one
  person are pushed apart up to the margin $m$.  It needs identities in
  training, which `contrastive` does not.  Published with the margin 10 and the
  weight 0.01, on a feature of ten values of variance 1
  (`networks.bottleneck`), whose pairs are about 4.5 apart: nearly all are
  inside the margin.

  Args:
    feature: `[b ...]`, as in `contrastive`.
    labels: `[b]` integers, identities. Pairs with an unknown one (-1) are for
      the objective to mask.
    margin: in the units of the feature; may be traced.

  Returns:
    Pairs `[b b]` float32, as in `contrastive`.

  References:
    Osia et al., arXiv 1802.03151 (DPFE), as coded by its authors, who see
    pairs in two branches.
  """
  pull = labels[:, None] != labels[None, :]
  return _all_pairs(feature, pull, margin)


def distances(feature: jax.Array) -> jax.Array:
  """Compute the Euclidean distances `[b b]` of features `[b ...]`.

  They are float32 and differentiable everywhere: equal features are 1e-6
  apart, not 0, and have gradient 0.
  """
  return jnp.sqrt(_squared_distances(feature) + _EPSILON)


def pair_statistics(
  *,
  feature: jax.Array,
  labels: jax.Array,
  margin: jax.Array | float,
  mask: jax.Array,
) -> dict[str, jax.Array]:
  """Summarize the distances within a batch, to see the loss work or die.

  Args:
    feature: `[b ...]`, as in `contrastive`.
    labels: `[b]` integers.
    margin: as in `contrastive`.
    mask: `[b]`, false or 0 for examples that do not count.

  Returns:
    Scalars in float32: `same_distance` and `different_distance`, the mean
    distance of pairs with equal and with different labels; `inside_margin`,
    the share of different pairs nearer than the margin (0: the push term is
    dead; 1: nothing has been pushed apart yet); `same_pairs` and
    `different_pairs`, how many pairs these are. Without any such pair the
    means and the share are 0.
  """
  distance = distances(feature)
  mask = mask.astype(bool)
  valid = mask[:, None] & mask[None, :] & ~jnp.eye(len(labels), dtype=bool)
  same = labels[:, None] == labels[None, :]
  pull, push = valid & same, valid & ~same
  return {
    "same_distance": _masked_mean(distance, pull),
    "different_distance": _masked_mean(distance, push),
    "inside_margin": _masked_mean(distance < margin, push),
    "same_pairs": jnp.sum(pull) / 2.0,
    "different_pairs": jnp.sum(push) / 2.0,
  }


def _all_pairs(
  feature: jax.Array, pull: jax.Array, margin: jax.Array | float
) -> jax.Array:
  """Compute the loss of all pairs `[b b]`, with a diagonal of 0."""
  loss = _pair_loss(_squared_distances(feature), pull, margin)
  return jnp.where(jnp.eye(len(loss), dtype=bool), 0.0, loss)


def _pair_loss(
  squared: jax.Array, pull: jax.Array, margin: jax.Array | float
) -> jax.Array:
  """Pull pairs together or push them apart, given squared distances."""
  hinge = jnp.maximum(margin - jnp.sqrt(squared + _EPSILON), 0)
  return 0.5 * jnp.where(pull, squared, hinge**2)


def _masked_mean(value: jax.Array, mask: jax.Array) -> jax.Array:
  total = jnp.sum(jnp.where(mask, value, 0), dtype=jnp.float32)
  return total / jnp.maximum(jnp.sum(mask), 1)


def _squared_distances(feature: jax.Array) -> jax.Array:
  """Compute squared distances `[b b]` from the Gram matrix."""
  feature = feature.reshape((feature.shape[0], -1)).astype(jnp.float32)
  # Far from the origin the products cancel: distances do not depend on it.
  feature = feature - jnp.mean(feature, axis=0, keepdims=True)
  gram = jnp.matmul(feature, feature.T, precision=jax.lax.Precision.HIGHEST)
  # On some processors a product of two rows rounds otherwise the other way.
  gram = (gram + gram.T) / 2
  norm = jnp.diagonal(gram)
  squared = norm[:, None] + norm[None, :] - 2.0 * gram
  # Not `maximum`, which passes half a gradient at the tie of equal features:
  # there the root multiplies rounding errors by a million.
  return jnp.where(squared > 0.0, squared, 0.0)
