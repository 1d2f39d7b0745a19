r"""The density attack: a kernel estimate of the law of every class's codes.

Unlike `likelihood` it does not know the law of the noise: it sees noisy codes
only, as DPFE's adversary does.  With $n_c$ codes $x_i$ of $d$ values in class
$c$, whose covariance is $C_c$, a code $z$ scores

$$ \log \frac{1}{n_c} \sum_{i : y_i = c} N(z; x_i, n_c^{-2 / (d + 4)} C_c) $$
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import likelihood

_LONGEST = 16  # values of a code: kernels with a covariance suit short ones
# Where a class has too few codes to span all directions, a tenth of the average
# class's covariance is added: its kernels then reach a third of the usual width
# in the directions it lacks, so that a code beside them is unlikely and not
# impossible, while the directions it has stay its own.
_SHARE = 0.1
# What a covariance needs to have a root in float32: a share of each variance,
# and of the spread of all codes, which is 1. A second root, of what the first
# one leaves, takes this back.
_RIDGE, _SILENT, _SECOND = 1e-6, 1e-10, 1e-5
_WIDER = (1e2, 1e4)  # times these, where it was not enough


def kde() -> attack_lib.Attack:
  """Attack by one Gaussian kernel density estimate for each class.

  That of `scipy.stats.gaussian_kde` with its defaults, the full covariance of
  the class's noisy codes and Scott's factor, where a class has more codes than
  a code has values; with fewer, where SciPy's has none, a tenth of the average
  covariance within classes is added.  Scores are log densities; classes count
  alike.  As for the other attacks, values farther out than ten spreads are
  taken to be no farther.

  Applies to codes of at most 16 values.

  The metric "log_rank" of this attack on an identity, 1 - mean(log r) / log n
  with r the rank of the true person among n, is 1 - LRP, where LRP is the
  log-rank privacy of DPFE.

  References:
    Osia et al., arXiv 1802.03151 (DPFE), as coded by its authors; Scott 1992,
    Multivariate Density Estimation.
  """

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    del knobs
    index, weights = auxiliary.train_index, auxiliary.train_weights
    codes = attack_lib.flatten(victim.sample(key, index))
    mean, std = attack_lib.moments(codes, weights)
    used = weights > 0
    label = jnp.where(used, auxiliary.label[index], 0)
    codes = jnp.where(
      used[:, None], attack_lib.standardise(codes, mean, std), 0.0
    )
    member = jax.nn.one_hot(label, auxiliary.num_classes) * used[:, None]
    count = jnp.sum(member, axis=0)
    share = member / jnp.maximum(count, 1.0)[None]
    means = likelihood.product(share.T, codes)
    own = jnp.where(used[:, None], codes - means[label], 0.0)
    roots = _inverse_roots(own, label, share, count)
    # Every code in units of its own class's kernel, from its class's mean.
    whitened = _whiten(roots, own, label)
    directions = likelihood.product(whitened[:, None], roots[label])[:, 0]
    size = codes.shape[1]
    logdet = jnp.sum(jnp.log(jnp.diagonal(roots, axis1=1, axis2=2)), axis=1)
    return {
      "mean": mean,
      "std": std,
      "means": means,
      "roots": roots,
      "label": label,
      "directions": directions,
      "norms": jnp.sum(whitened**2, axis=1) / 2
      + jnp.sum(directions * means[label], axis=1),
      "member": member,
      "constant": logdet - jnp.sum(jnp.log(std)) - size / 2 * np.log(2 * np.pi),
    }

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    codes = attack_lib.standardise(codes, attacker["mean"], attacker["std"])

    def norm(of_class: Any) -> jax.Array:
      mean, root = of_class
      return jnp.sum(likelihood.product(codes - mean[None], root.T) ** 2, -1)

    # Squared by the class's own mean: far from the others' nothing cancels.
    norms = jax.lax.map(norm, (attacker["means"], attacker["roots"]))  # [n, b]
    cross = likelihood.product(attacker["directions"], codes.T)
    exponent = cross - attacker["norms"][:, None]
    exponent = exponent - norms[attacker["label"]] / 2  # -|z - x|^2 / 2
    density = likelihood.log_mixture(exponent, attacker["member"])
    return density + attacker["constant"][None]

  return attack_lib.Attack(
    "density.kde",
    fit,
    score,
    ({"none": 0.0},),
    applies=lambda noise, shape: int(np.prod(shape)) <= _LONGEST,
    is_fixed=True,
  )


def _inverse_roots(
  own: jax.Array, label: jax.Array, weights: jax.Array, count: jax.Array
) -> jax.Array:
  """Compute lower triangular $R_c$ with $R_c^T R_c$ = (kernel covariance)^-1.

  Args:
    own: codes from their class's mean [m, d], 0 where they do not count.
    label: their classes [m].
    weights: 1 / n_c where a code is in the class [m, n].
    count: n_c [n].

  Returns:
    [n, d, d].
  """
  size = own.shape[1]
  free = jnp.maximum(count - 1.0, 0.0)
  unbiased = (count / jnp.maximum(free, 1.0))[:, None, None]
  share = jnp.where(count <= size, _SHARE, 0.0)[:, None, None]
  average = free / jnp.maximum(jnp.sum(free), 1.0)
  covariance = unbiased * _second_moments(own, weights)
  within = jnp.sum(covariance * average[:, None, None], axis=0)[None]
  covariance = covariance + share * within
  variances = jnp.diagonal(covariance, axis1=1, axis2=2)
  first = _inverse_root(covariance, _RIDGE * variances + _SILENT)
  # As in Cholesky QR done twice: what is left is near the identity.
  covariance = unbiased * _second_moments(_whiten(first, own, label), weights)
  shared = likelihood.product(first, within)
  shared = likelihood.product(shared, first.swapaxes(1, 2))
  covariance = covariance + share * shared
  left = jnp.diagonal(covariance, axis1=1, axis2=2)
  second = _inverse_root(covariance, _SECOND * jnp.maximum(left, 1.0))
  scott = jnp.maximum(count, 1.0) ** (1.0 / (size + 4))
  return likelihood.product(second, first) * scott[:, None, None]


def _second_moments(own: jax.Array, weights: jax.Array) -> jax.Array:
  """Average x x^T over the codes of every class, [n, d, d]."""
  size = own.shape[1]
  outer = (own[:, :, None] * own[:, None, :]).reshape(-1, size * size)
  return likelihood.product(weights.T, outer).reshape(-1, size, size)


def _inverse_root(covariance: jax.Array, ridge: jax.Array) -> jax.Array:
  """Invert the Cholesky roots of matrices [n, d, d] with ridges [n, d]."""
  identity = jnp.eye(ridge.shape[1])[None]

  def root(factor: float) -> jax.Array:
    wider = factor * ridge[:, :, None] * identity
    return jnp.linalg.cholesky(covariance + wider)

  found = root(1.0)
  # A class that is flat in some direction may leave less than nothing there in
  # float32: it gets a wider ridge, or its variances alone; others keep theirs.
  for factor in _WIDER:
    found = jnp.where(_is_finite(found), found, root(factor))
  spread = jnp.diagonal(covariance, axis1=1, axis2=2) + ridge
  plain = jnp.sqrt(jnp.maximum(spread, _SILENT))[:, :, None] * identity
  found = jnp.where(_is_finite(found), found, plain)
  identity = jnp.broadcast_to(identity, found.shape)
  return jax.scipy.linalg.solve_triangular(found, identity, lower=True)


def _is_finite(root: jax.Array) -> jax.Array:
  return jnp.all(jnp.isfinite(root), axis=(1, 2), keepdims=True)


def _whiten(roots: jax.Array, own: jax.Array, label: jax.Array) -> jax.Array:
  """Multiply every code [m, d] by its class's root [n, d, d]."""
  return likelihood.product(roots[label], own[..., None])[..., 0]
