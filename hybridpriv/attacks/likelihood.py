r"""The likelihood attack: Bayes' rule with the noise law, in closed form.

The attacker knows client, privatizer and noise, so it can compute the clean
code $u_i$ of each of its own samples.  For a code $z = u + N(0, S)$ it
scores class $c$ by

$$ \log \frac{1}{n_c} \sum_{i : y_i = c} N(z; u_i, S + h^2 diag(v)) $$

where $v$ is the variance of the clean codes and the bandwidth $h$, tuned on
attacker validation, stands for inputs it has not seen.  With $h = 0$ this is
the posterior of the published rank with several images a class; for a gallery
that holds every possible input no attack can do better.
"""

from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.attacks import attack as attack_lib

# An exponent that is finite, so that 0 times it is 0.
_LOWEST = float(jnp.finfo(jnp.float32).min)


def bayes(
  *, bandwidth: tuple[float, ...] = (0.05, 0.2, 0.8, 1.6)
) -> attack_lib.Attack:
  """Attack by likelihood under the known law of Gaussian noise.

  Applies to chains whose random part is the Gaussian noise of
  `privatizers.noise`, and to codes without noise.

  Args:
    bandwidth: kernel widths to try, in standard deviations of the clean code.
  """

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    del key  # nothing here is random
    index, weights = auxiliary.train_index, auxiliary.train_weights
    clean = attack_lib.flatten(victim.clean(index))
    mean = jnp.sum(clean * weights[:, None], axis=0)
    own = clean - mean[None]
    spread = attack_lib.spread(own, weights, jnp.abs(mean))
    noise = _noise_covariance(victim)
    kernel = (knobs["bandwidth"] * spread) ** 2 + 1e-20
    known = jnp.diag(noise) if noise.ndim == 2 else noise
    law = jnp.sqrt(known + kernel)
    # The law of noise holds however far a code lies; the kernel is a guess, and
    # says nothing about components that were silent so far.
    low, high = attack_lib.reach(
      own, weights > 0, jnp.where(known > 0, jnp.inf, spread)
    )
    if noise.ndim == 2:
      root = jnp.linalg.cholesky(noise + jnp.diag(kernel))
    else:
      root = law
    one_hot = jax.nn.one_hot(auxiliary.label[index], auxiliary.num_classes)
    member = one_hot * (weights > 0)[:, None]
    return {
      "codes": _whiten(own, root),
      "mean": mean,
      "low": low,
      "high": high,
      "root": root,
      "member": member,
    }

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    codes = attack_lib.flatten(codes) - attacker["mean"][None]
    codes = jnp.clip(codes, attacker["low"][None], attacker["high"][None])
    codes, own = _whiten(codes, attacker["root"]), attacker["codes"]
    cross = product(own, codes.T)
    norms = jnp.sum(own**2, axis=1)[:, None] + jnp.sum(codes**2, axis=1)[None]
    exponent = cross - norms / 2  # -|u - z|^2 / 2, [m, b]
    return log_mixture(exponent, attacker["member"])

  grid = tuple({"bandwidth": b} for b in bandwidth)
  return attack_lib.Attack(
    "likelihood.bayes",
    fit,
    score,
    grid,
    # Saturation holds what is far out anyway.
    applies=lambda noise, shape: all(
      stage.name.startswith("noise.") or stage.name == "quantize.saturate"
      for stage in noise.stages
    ),
    is_fixed=True,
  )


def log_mixture(exponent: jax.Array, member: jax.Array) -> jax.Array:
  """Compute log mean_{i in c} exp(e_i) for every class c, however small.

  Where all samples say the same, classes tie to the last bit, however many
  samples each has: what knows nothing must not answer by rounding.

  Args:
    exponent: of every sample's kernel at every code [m, b].
    member: 1 where a sample is of a class, else 0 [m, n].

  Returns:
    [b, n]; -inf for a class without samples.
  """

  def nearest(own: jax.Array) -> jax.Array:
    return jnp.max(jnp.where(own[:, None] > 0, exponent, _LOWEST), axis=0)

  # One exponential of each pair, and one class at a time: [m, b] is enough
  # memory, [m, b, n] may not be.
  highest = jax.lax.map(nearest, member.T)
  of_own = product(member, highest)
  total = product(member.T, jnp.exp(jnp.minimum(exponent - of_own, 0.0)))
  # A sum of ones is exact in any order, one of equal weights is not.
  mean = total / jnp.maximum(jnp.sum(member, axis=0), 1.0)[:, None]
  return (jnp.log(mean) + highest).T


def product(a: jax.Array, b: jax.Array) -> jax.Array:
  """Multiply matrices in full precision."""
  return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _whiten(codes: jax.Array, root: jax.Array) -> jax.Array:
  """Divide codes [b, d] by a root of a covariance, [d] diagonal or [d, d]."""
  if root.ndim == 1:
    return codes / root[None]
  return jax.scipy.linalg.solve_triangular(root, codes.T, lower=True).T


def _noise_covariance(victim: attack_lib.Victim) -> jax.Array:
  """Covariance of the (averaged) noise.

  Returns:
    [] when isotropic, [d] when each component has a level of its own, [d, d]
    when components are correlated.
  """
  law = jax.tree.map(lambda x: x[victim.which], victim.law)
  total, levels = jnp.zeros([]), jnp.zeros([])
  for state in law:
    if "factor" in state:
      total = total + product(state["factor"], state["factor"].T)
    elif "std" in state:  # others add nothing
      std = state["std"]
      levels = levels + (jnp.ravel(std) if std.ndim else std) ** 2
  if total.ndim:
    total = total + jnp.diag(jnp.broadcast_to(levels, total.shape[:1]))
  else:
    total = levels
  return total / victim.num_queries
