r"""Fisher information of a code about its input: a bound on restored inputs.

For z = h(x) + N(0, sigma^2 I) the Fisher information about x is
J^T J / sigma^2, J the Jacobian of h; diagonal Fisher information leakage is its
trace over the number d of values of x,
$dFIL(x) = \lVert J \rVert_F^2 / (d \sigma^2)$.  Any *unbiased* estimate of x is
off by a mean squared error of 1 / dFIL(x) at least (Cramer and Rao).  That is
no bound on a decoder that knows what faces look like, and it says nothing of
attributes.  Of a code on a grid it is that of the code before: a grid has no
gradient.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

_EXACT = 64  # values of a code for which every row of J is computed


def dfil(
  encode: Callable[[jax.Array], jax.Array],
  inputs: jax.Array,
  *,
  sigma: jax.Array | float,
  key: jax.Array,
  probes: int = 0,
) -> jax.Array:
  r"""Compute the diagonal Fisher information leakage of inputs.

  Exact for codes of up to 64 values, by one reverse pass for each; beyond, or
  where `probes` says so, Hutchinson's estimate, whose mean is the exact value:
  $\lVert J \rVert_F^2 = E \lVert v^T J \rVert^2$ for random signs v.

  Args:
    encode: h without its noise, from [b ...] to [b ...], each sample on its
      own; pass the same function object again to compile once. Arrays that
      `jax.tree_util.Partial` binds to it are no part of the program.
    inputs: x [b ...].
    sigma: standard deviation of the noise on the code [].
    key: typed key of the signs.
    probes: random vectors for each input; 0 chooses.

  Returns:
    [b], in units of 1 over the square of an input's.

  References:
    Maeng et al., NeurIPS 2023 (dFIL).
  """
  if not isinstance(encode, jax.tree_util.Partial):
    encode = jax.tree_util.Partial(encode)
  return _dfil(encode, inputs, sigma, key, probes=probes)


@functools.partial(jax.jit, static_argnames="probes")
def _dfil(
  encode: jax.tree_util.Partial,
  inputs: jax.Array,
  sigma: jax.Array | float,
  key: jax.Array,
  *,
  probes: int,
) -> jax.Array:
  def one(x: jax.Array, key: jax.Array) -> jax.Array:
    code, back = jax.vjp(lambda x: encode(x[None])[0].ravel(), x)
    if probes or code.size > _EXACT:
      num = probes or _EXACT
      rows = jax.random.rademacher(key, (num, code.size), code.dtype)
    else:
      num, rows = 1, jnp.eye(code.size, dtype=code.dtype)
    (gradients,) = jax.vmap(back)(rows)
    return jnp.sum(gradients**2) / (num * x.size * sigma**2)

  return jax.vmap(one)(inputs, jax.random.split(key, len(inputs)))
