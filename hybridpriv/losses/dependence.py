"""How much a feature tells, measured without an adversary."""

import jax
import jax.numpy as jnp

from hybridpriv.losses import siamese

__all__ = ["conditional_entropy", "distance_correlation", "gaussian_rate"]

_EPSILON = 1e-6  # inside the root: its gradient stays finite at 0


def distance_correlation(*, feature: jax.Array, other: jax.Array) -> jax.Array:
  r"""Compute the distance correlation of features and something else.

  With centred matrices of Euclidean distances $A$ and $B$ within the batch
  (rows, columns and the whole have mean 0) it is
  $\sqrt{\overline{AB} / \sqrt{\overline{AA} \, \overline{BB}}}$: 0 where both
  are independent, in the limit of many samples, and 1 where one is the other,
  turned and scaled.  It is that of distances; some implementations take squared
  ones, which see linear dependence only.

  Args:
    feature: `[b ...]`.
    other: `[b ...]`, such as the inputs; `[b]` integers are labels, which are
      1 apart or 0.

  Returns:
    A statistic of the whole batch, which no mask can leave examples out of:
    float32 `[]`, 0 (up to 0.001) to 1; 0 where one of both is constant.

  References:
    Szekely, Rizzo and Bakirov 2007; Vepakomma et al. 2020, arXiv 2008.09161
    (NoPeek).
  """
  a, b = _centred(feature), _centred(other)

  def mean(x: jax.Array) -> jax.Array:
    return jnp.maximum(jnp.mean(x), 0.0)

  spread = jnp.sqrt(mean(a * a) * mean(b * b) + 1e-30)
  return jnp.sqrt(mean(a * b) / spread + _EPSILON)


def gaussian_rate(*, feature: jax.Array, variance: jax.Array) -> jax.Array:
  r"""Compute a bound of what a noisy feature tells of its input, in nats.

  $KL(N(f, v I) \| N(0, I)) = \frac{1}{2} \sum_i (f_i^2 + v - 1 - \ln v)$, whose
  mean over inputs bounds the mutual information of input and $f$ with noise of
  variance $v$: the rate of a variational information bottleneck.  It is a bound
  for that noise only, and none for a feature sent without.

  Args:
    feature: `[b ...]`.
    variance: v of the noise, above 0; may be traced.

  Returns:
    `[b]` float32, 0 or more.

  References:
    Alemi et al. 2017, arXiv 1612.00410.
  """
  flat = feature.reshape((feature.shape[0], -1)).astype(jnp.float32)
  constant = flat.shape[1] * (variance - 1 - jnp.log(variance))
  return (jnp.sum(flat**2, axis=1) + constant) / 2


def conditional_entropy(
  *, feature: jax.Array, labels: jax.Array, variance: jax.Array
) -> jax.Array:
  r"""Compute how far noise is from drowning what differs within a class.

  For noise of variance $v$ the capacity of each component within a class,
  $\frac{1}{2} \ln(1 + s_{ci} / v)$ with the variance $s_{ci}$ of component $i$
  in class $c$, averaged over components and, by their size, over classes: a
  Gaussian's information about its input that the class does not tell.  Low
  where inputs of a class have one code, whoever they show.

  Args:
    feature: `[b ...]`.
    labels: `[b]`, the desired label; -1 for the objective to mask, or classes
      found without labels.
    variance: v of the noise, above 0; may be traced.

  Returns:
    `[b]` float32, of the class that each example is in; 0 or more.

  References:
    After Xia et al. 2025 (CEM), whose clusters are those of a mixture model.
  """
  flat = feature.reshape((feature.shape[0], -1)).astype(jnp.float32)
  same = (labels[:, None] == labels[None, :]).astype(jnp.float32)
  count = jnp.sum(same, axis=1, keepdims=True)
  centre = same @ flat / count
  spread = same @ (flat - centre) ** 2 / count
  return jnp.mean(jnp.log1p(spread / variance), axis=1) / 2


def _centred(x: jax.Array) -> jax.Array:
  """Compute the distances `[b b]`, without the means of rows and columns."""
  if jnp.issubdtype(x.dtype, jnp.integer) and x.ndim == 1:
    apart = (x[:, None] != x[None, :]).astype(jnp.float32)
  else:
    apart = siamese.distances(x)
    apart -= jax.lax.stop_gradient(jnp.min(apart))  # 0 where they are equal
  rows = jnp.mean(apart, axis=1)
  return apart - rows[:, None] - rows[None, :] + jnp.mean(rows)
