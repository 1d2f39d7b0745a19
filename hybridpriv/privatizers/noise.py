"""Gaussian noise, continuous and discrete, added to a code on the device."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.privatizers import context as context_lib
from hybridpriv.privatizers import learning, moments, privatizer

__all__ = ["covariance", "discrete", "isotropic", "learned", "pac"]

_LARGEST = 4096  # values of a code whose covariance is kept: 64 MiB float32
_QUIET = 1e-6  # variance of a direction, of the mean, that counts at least
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
    values, vectors = _spectrum("noise.covariance", context)
    root = np.sqrt(scale * values)
    return {"factor": jnp.asarray((vectors * root) @ vectors.T, jnp.float32)}

  return _additive("noise.covariance", fit, _correlated)


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


def learned(*, weight: float, num_steps: int = 600) -> privatizer.Privatizer:
  """Build the privatizer whose noise is loud where the answer allows it.

  Adds N(0, diag(std^2)) on the device, and a shift in the cloud. Both halves
  stay as they are; shift and levels are learned on task-train, by

    cross-entropy of the desired labels - weight * mean of log std,

  with fresh noise at every step (`learning.levels`). A level is at most 100
  times the root mean square of the code's standard deviations. The state is
  `{"std": [...], "shift": [...]}`, both in the shape of a code: weights stack
  and vmap. Shredder and Cloak add the shift on the device. A known constant
  hides nothing and tells nothing, so that an attacker has the same either way,
  and the noise is centred here as all of this module is.

  Guarantee: none. A component that the answer needs is sent nearly clean, with
  all that it tells on people.

  Args:
    weight: of the noise against the cross-entropy in nats, 0 or more. At 0 no
      noise is rewarded: there is none, nor a shift, and nothing is learned.
    num_steps: of Adam, 128 samples each.

  Raises:
    ValueError: a knob is out of range; in `fit`, there is no cloud half, or no
      desired label that it answers with classes.

  References:
    Mireshghallah et al. 2020, arXiv 1905.11814 (Shredder); 2021, arXiv
    2003.12154 (Cloak), whose levels are learned by this objective.
  """
  _check("weight", weight)
  if num_steps < 1:
    raise ValueError(f"num_steps={num_steps}; expected 1 or more.")

  def fit(key: jax.Array, context: Mapping[str, Any]) -> privatizer.State:
    features = moments.features_of(context)
    if weight:
      shift, std = learning.levels(
        key,
        features,
        context_lib.cloud(context),
        context_lib.desired(context),
        weight=weight,
        num_steps=num_steps,
      )
    else:
      shift = std = jnp.zeros(features.shape[1:])
    return {"std": std, "shift": shift}

  def encode(
    state: privatizer.State, key: jax.Array, feature: jax.Array
  ) -> jax.Array:
    noise = jax.random.normal(key, feature.shape, jnp.float32)
    return feature.astype(jnp.float32) + state["std"][None] * noise

  own = _additive("noise.learned", fit, encode)
  return own._replace(decode=lambda state, code: code + state["shift"][None])


def pac(*, budget: float) -> privatizer.Privatizer:
  """Build the privatizer that adds the least noise for a budget of nats.

  With S the covariance of clean codes on task-train, the noise has the
  covariance N of smallest trace for which

    1/2 ln det(I + N^-1 S) = budget,

  which the mutual information of a code and its input does not exceed for any
  population of covariance S. N has the eigenvectors of S; of an eigenvalue l
  it makes (sqrt(l^2 + 2 u l) - l) / 2, with the one u that spends the budget.
  For small budgets these are sqrt(l) sum(sqrt(l)) / (2 budget), the published
  noise, which is louder. The state is `{"factor": [k k]}`, a root of
  N: budgets stack and vmap. There is no budget without noise: the larger it
  is, the less there is.

  Guarantee: none in the worst case. On average over the population whose
  covariance S is, codes tell at most the budget of nats; S is estimated, and
  other people, or single ones, may give more away. `guarantees.pac` states
  that estimate. Directions with less than a millionth of the mean variance
  are taken to have that: none is silent.

  Args:
    budget: nats that one code may tell, above 0, on average.

  Raises:
    ValueError: `budget` is not above 0; in `fit`, the code has more than 4096
      values, or as many as there are samples.

  References:
    Xiao and Devadas 2023, PAC Privacy, arXiv 2210.03458.
  """
  if not 0 < budget < math.inf:
    raise ValueError(f"budget={budget}; expected a finite number above 0.")

  def fit(key: jax.Array, context: Mapping[str, Any]) -> privatizer.State:
    del key
    values, vectors = _spectrum("noise.pac", context)
    count = moments.features_of(context).shape[0]
    if len(values) >= count:
      raise ValueError(
        f"noise.pac got {count} codes of {len(values)} values, too few for"
        " their covariance; put project.pca before it."
      )
    if not values.max() > 0:
      raise ValueError("noise.pac: all codes of task-train are equal.")
    values = np.maximum(values, _QUIET * values.mean())
    root = np.sqrt(_least_noise(values, budget))
    return {"factor": jnp.asarray((vectors * root) @ vectors.T, jnp.float32)}

  return _additive("noise.pac", fit, _correlated)


def _least_noise(values: np.ndarray, budget: float) -> np.ndarray:
  """Share a budget of nats among eigenvalues `[k]`, all above 0.

  Minimises sum(e) subject to sum(log1p(l / e)) / 2 = budget: there
  e (e + l) = u l / 2, and the information falls as u grows.
  """
  own = values / values.mean()

  def noise(log_u: float) -> np.ndarray:
    u = math.exp(log_u)
    # (sqrt(l^2 + 2 u l) - l) / 2, without the difference.
    return u * own / (np.sqrt(own**2 + 2 * u * own) + own)

  low, high = -80.0, 80.0
  for _ in range(100):
    middle = (low + high) / 2
    told = np.log1p(own / noise(middle)).sum() / 2
    low, high = (middle, high) if told > budget else (low, middle)
  return noise(high) * values.mean()


def _spectrum(
  name: str, context: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
  """Compute eigenvalues, 0 or more, and vectors of the codes' covariance."""
  features = moments.features_of(context)
  size = math.prod(features.shape[1:])
  if size > _LARGEST:
    raise ValueError(
      f"{name} got codes of {size} values and takes at most {_LARGEST}; put"
      " project.pca before it, or use noise.isotropic."
    )
  values, vectors = np.linalg.eigh(moments.covariance(features))
  return np.maximum(values, 0), vectors


def _correlated(
  state: privatizer.State, key: jax.Array, feature: jax.Array
) -> jax.Array:
  """Add noise of the covariance whose root is the state's factor."""
  size = math.prod(feature.shape[1:])
  noise = jax.random.normal(key, (feature.shape[0], size), jnp.float32)
  noise = moments.dot(noise, state["factor"])
  return feature.astype(jnp.float32) + noise.reshape(feature.shape)


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
