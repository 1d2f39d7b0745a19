"""Gaussian noise, continuous and discrete, added to a code on the device."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.privatizers import moments, privatizer

__all__ = ["covariance", "discrete", "isotropic"]

_LARGEST = 4096  # values of a code whose covariance is kept: 64 MiB float32
_REACH = 2048  # whole numbers on either side of 0 that discrete noise can be


def isotropic(*, sigma: float, relative: bool = True) -> privatizer.Privatizer:
  """Build the privatizer that adds N(0, std^2 I) to a code.

  The state `{"std": []}` is an array: a grid of noise levels stacks and
  vmaps.

  Guarantee: none; the code it is added to is not bounded here. After
  `clip.norm`, the Gaussian mechanism.

  Args:
    sigma: noise level, 0 or more. Relative: in units of the root mean square,
      over components, of the standard deviation of the clean codes of
      task-train, so that methods of different scale can be compared.
    relative: False takes `sigma` as the standard deviation itself, in raw
      PCA units after `project.pca`, as the paper does.

  Raises:
    ValueError: `sigma` is negative or not finite.

  References:
    Osia et al., arXiv 1703.02952, the noisy embedding.
  """
  _check("sigma", sigma)

  def fit(key: jax.Array, context: Mapping[str, Any]) -> privatizer.State:
    del key
    unit = 1.0
    if relative:
      unit = math.sqrt(moments.mean_variance(moments.features_of(context)))
    return {"std": jnp.asarray(sigma * unit, jnp.float32)}

  def encode(
    state: privatizer.State, key: jax.Array, feature: jax.Array
  ) -> jax.Array:
    noise = jax.random.normal(key, feature.shape, jnp.float32)
    return feature.astype(jnp.float32) + state["std"] * noise

  return _additive("noise.isotropic", fit, encode)


def covariance(*, scale: float) -> privatizer.Privatizer:
  """Build the privatizer that adds N(0, scale Cov(code)) to a code.

  Every direction gets the same ratio of signal to noise. The state is
  `{"factor": [k k]}`, a symmetric root of the noise covariance; k is the
  number of values of a code.

  Guarantee: none; directions without variance get no noise at all.

  Args:
    scale: 0 or more; factor on the covariance of the clean codes of
      task-train (a variance, where `isotropic` takes a standard deviation).

  Raises:
    ValueError: `scale` is negative or not finite; in `fit`, the code has more
      than 4096 values.

  References:
    Osia et al., arXiv 1802.03151 (DPFE), its noise.
  """
  _check("scale", scale)

  def fit(key: jax.Array, context: Mapping[str, Any]) -> privatizer.State:
    del key
    features = moments.features_of(context)
    size = math.prod(features.shape[1:])
    if size > _LARGEST:
      raise ValueError(
        f"noise.covariance got codes of {size} values and takes at most "
        f"{_LARGEST}; put project.pca before it, or use noise.isotropic."
      )
    values, vectors = np.linalg.eigh(moments.covariance(features))
    root = np.sqrt(scale * np.maximum(values, 0))
    return {"factor": jnp.asarray((vectors * root) @ vectors.T, jnp.float32)}

  def encode(
    state: privatizer.State, key: jax.Array, feature: jax.Array
  ) -> jax.Array:
    size = math.prod(feature.shape[1:])
    noise = jax.random.normal(key, (feature.shape[0], size), jnp.float32)
    noise = jnp.matmul(
      noise, state["factor"], precision=jax.lax.Precision.HIGHEST
    )
    return feature.astype(jnp.float32) + noise.reshape(feature.shape)

  return _additive("noise.covariance", fit, encode)


def discrete(*, sigma: float) -> privatizer.Privatizer:
  """Build the privatizer that adds discrete Gaussian noise to whole numbers.

  Of a whole number j the noise has the probability exp(-j^2 / (2 sigma^2)), up
  to a constant.  Here it is drawn from a table of its distribution, exact to
  2^-32 for each value, which is what attacks and training need; a device that
  ships draws it exactly.  The state `{"std": [], "table": [4096]}` holds arrays
  of one size for every `sigma`: a grid of noise levels stacks and vmaps.

  Guarantee: none; the code it is added to is neither bounded nor whole here.
  After `clip.unit_ball` and `quantize.toward_zero`, the discrete Gaussian
  mechanism.

  Args:
    sigma: of the law above, in steps of the grid; 0 (no noise) to 200.

  Raises:
    ValueError: `sigma` is out of range.

  References:
    Canonne, Kamath and Steinke 2020, arXiv 2004.00010.
  """
  _check("sigma", sigma)
  if 10 * sigma > _REACH:
    raise ValueError(
      f"sigma={sigma} steps of the grid; expected {_REACH // 10} at most: a"
      " coarser grid (fewer levels) does as well."
    )

  def fit(key: jax.Array, context: Mapping[str, Any]) -> privatizer.State:
    del key, context
    whole = np.arange(-_REACH, _REACH)
    # Without noise, all of it at 0.
    mass = np.exp(-0.5 * (whole / max(sigma, 1e-3)) ** 2)
    below = np.cumsum(mass) / mass.sum()
    table = np.minimum(np.floor(below * 2.0**32), 2.0**32 - 1)
    return {
      "std": jnp.asarray(sigma, jnp.float32),
      "table": jnp.asarray(table.astype(np.uint32)),
    }

  def encode(
    state: privatizer.State, key: jax.Array, feature: jax.Array
  ) -> jax.Array:
    bits = jax.random.bits(key, feature.shape, jnp.uint32)
    # The largest bits would point behind all that can be.
    bits = jnp.minimum(bits, jnp.uint32(2**32 - 2))
    place = jnp.searchsorted(state["table"], bits, side="right")
    return feature.astype(jnp.float32) + (place - _REACH)

  return _additive("noise.discrete", fit, encode)


def _check(name: str, value: float) -> None:
  if not 0 <= value < math.inf:
    raise ValueError(f"{name}={value}; expected a finite number, 0 or more.")


def _additive(name: str, fit: Any, encode: Any) -> privatizer.Privatizer:
  return privatizer.Privatizer(
    name=name,
    fit=fit,
    encode=encode,
    decode=lambda state, code: code,
    radius=lambda state, r: jnp.full_like(r, jnp.inf, dtype=jnp.float32),
    is_random=True,
  )
