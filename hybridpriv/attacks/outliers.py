r"""Codes drawn in where some lie far out, so that these do not hide the rest.

One code in a hundred that lies a million spreads away makes every mean and
every standard deviation its own: scaled by these, all other codes are one and
the same number to whoever standardises them.  So attackers see, in place of a
value $x$ whose distance from the middle is $z = (x - m) / s$,

$$ m + s \, \mathrm{sign}(z) (L + \log(1 + |z| - L) / 4) \quad (|z| > L = 10) $$

and $x$ itself, to the last bit, where $|z| \le L$.  The map is one to one, so
that what an outlier tells is not lost.  $m$ is the median of the attacker's own
codes, and $s$ the standard deviation of a Gaussian of which as many are as near
to it as three quarters of those that differ from it; or as the nearest quarter,
where that makes $s$ more than thirty times smaller: so many may be outliers.

References:
  Huber and Ronchetti 2009, Robust Statistics.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

LIMIT = 10.0  # spreads; a Gaussian is never that far out
# Of a standard Gaussian's absolute values a quarter, and three, are less.
_ONE, _THREE = 0.3186, 1.1503
_APART = 30.0  # as in no natural code: the units of a ReLU come to ten
_SLOWER = 4.0  # means and variances are not of outliers either
_FARTHEST = 1e30  # spreads: all beyond is one value
_MOST = 128  # codes that the middle and the spread are taken from


class Bulk(NamedTuple):
  """Where most codes lie; of an infinite spread, nothing is drawn in.

  Attributes:
    middle: median of every component, in the shape of a code.
    spread: its robust standard deviation; infinite where no code differs.
  """

  middle: jax.Array
  spread: jax.Array


def some(used: jax.Array) -> jax.Array:
  """Choose at most 128 places [k] among those that count, evenly.

  Args:
    used: 1 where a place counts [m], at least once.
  """
  num = used.shape[0]
  order = jnp.argsort(used <= 0, stable=True)
  count = jnp.maximum(jnp.sum(used > 0), 1)
  size = min(num, _MOST)
  return order[jnp.arange(size) * count // size]


def bulk(codes: jax.Array) -> Bulk:
  """Find where most of the codes [m, ...] lie."""
  half = jnp.asarray((codes.shape[0] + 1) // 2)
  middle = _kth_smallest(codes, half)
  away = jnp.abs(codes - middle[None])
  away = jnp.where(away > 0, away, jnp.inf)
  most = _share(away, 3) / _THREE
  near = _share(away, 1)
  # The zeros of a ReLU are one value, as near to the middle as chance has it.
  tied = away == near[None]
  tied = tied & (jnp.sum(tied, axis=0) > len(codes) // 8)[None]
  near = _share(jnp.where(tied, jnp.inf, away), 1) / _ONE
  return Bulk(middle, jnp.where(most > _APART * near, near, most))


def _share(away: jax.Array, quarters: int) -> jax.Array:
  """Give what so many quarters of the finite values [m, ...] are less than."""
  count = jnp.sum(jnp.isfinite(away), axis=0)
  return _kth_smallest(away, quarters * count // 4 + 1)


def draw_in(codes: jax.Array, found: Bulk) -> jax.Array:
  """Draw in what lies farther out than ten spreads, [b, ...] -> [b, ...]."""
  middle, spread = found.middle[None], found.spread[None]
  away, is_far = jnp.abs(codes - middle), _is_far(codes, found)
  spread = jnp.where(is_far, spread, 1.0)  # infinity in no arithmetic
  # Of the largest floats neither difference nor quotient is finite.
  beyond = jnp.clip(away / spread - LIMIT, 0.0, _FARTHEST)
  near = spread * (LIMIT + jnp.log1p(beyond) / _SLOWER)
  return jnp.where(is_far, middle + jnp.sign(codes - middle) * near, codes)


def touches(codes: jax.Array, found: Bulk) -> jax.Array:
  """Tell whether `draw_in` changes any of the codes, []."""
  return jnp.any(_is_far(codes, found))


def _is_far(codes: jax.Array, found: Bulk) -> jax.Array:
  return jnp.abs(codes - found.middle[None]) > LIMIT * found.spread[None]


def _kth_smallest(values: jax.Array, k: jax.Array) -> jax.Array:
  """Find the k-th smallest [...] of float32 values [m, ...], from 1 on.

  By bisection of their bits: a sort down columns is many times slower.
  """
  bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32)
  flip = jnp.int32(2**31 - 1)
  order = bits ^ ((bits >> 31) & flip)  # in the order of the numbers

  def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> Any:
    low, high = bounds
    middle = (low & high) + ((low ^ high) >> 1)  # rounded down, no overflow
    enough = jnp.sum(order <= middle[None], axis=0) >= k
    return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

  start = jnp.min(order, axis=0), jnp.max(order, axis=0)
  found = jax.lax.fori_loop(0, 32, halve, start)[1]
  found = found ^ ((found >> 31) & flip)
  return jax.lax.bitcast_convert_type(found, jnp.float32)
