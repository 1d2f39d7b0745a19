"""A network with a narrow waist: the private feature of DPFE, and of a VIB.

Two stages are put into a staged network: `private` leaves k values of a
feature, standardised, and `restore` makes a feature of them again.  Cut after
`private`, the waist is what the device sends.
"""

import importlib
import inspect
import math
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from hybridpriv.networks import staged

_PACKAGE = "hybridpriv.networks"
PRIVATE, RESTORE = "private", "restore"
_NAME = "projection"  # of the variables within either stage
_EPSILON = 1e-5  # added to variances by the BatchNorm


class Bottleneck(staged.Staged, kw_only=True):
  """A staged network with the stages `private` and `restore` put in.

  The other stages keep their names and their variables.

  Attributes:
    inner: the network; its logits and compute type are those given here.
    after: its stage whose output becomes narrow.
    k: number of values of the private feature.
    held: whether `private` standardises by the statistics it starts with, and
      not by those of the batch, so that training may shrink the values.
  """

  inner: Any  # staged; a Linen module is hashable in a way types miss
  after: str
  k: int = 10
  held: bool = False

  def __post_init__(self) -> None:
    names = self.inner.stage_names()
    if self.after not in names[:-1]:
      raise ValueError(
        f"after={self.after!r}; expected a stage of the network, before its"
        f" last: {', '.join(names[:-1])}."
      )
    if twice := {PRIVATE, RESTORE} & set(names):
      raise ValueError(f"The network has stages {sorted(twice)} already.")
    if self.k < 1:
      raise ValueError(f"k={self.k}; expected 1 or more values.")
    super().__post_init__()

  def stage_names(self) -> tuple[str, ...]:
    """Return the stages of the network with the two after `after`."""
    names = self.inner.stage_names()
    at = names.index(self.after) + 1
    return (*names[:at], PRIVATE, RESTORE, *names[at:])

  def stage(self, name: str, x: jax.Array, *, train: bool) -> jax.Array:
    """Run one stage on `x [b ...]`, or `[b k]` after `private`."""
    if name == PRIVATE:
      private = _Private(self.k, self.dtype, name=_NAME)
      return private(x, train=train and not self.held)
    if name == RESTORE:
      return _Restore(self._shape(), self.dtype, name=_NAME)(x)
    # A copy without parent creates its layers in the scope of this stage.
    inner = self.inner.copy(
      parent=None, num_classes=self.num_classes, dtype=self.dtype
    )
    return inner.stage(name, x, train=train)

  @nn.nowrap
  def _shape(self) -> tuple[int, ...]:
    """Find the shape of the feature, which a code does not tell."""
    for stage, name in ((RESTORE, "bias"), (PRIVATE, "shift")):
      found = self.get_variable("params", stage, {}).get(_NAME, {})
      if name in found:
        return found[name].shape
    raise ValueError(
      f"Stage {RESTORE!r} has no variables, nor has {PRIVATE!r}: nothing tells"
      " the shape of the feature; initialise the whole network."
    )


class _Private(nn.Module):
  """Leaves k values of a feature, standardised over the batch."""

  k: int
  dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    shift = self.param("shift", nn.initializers.zeros_init(), x.shape[1:])
    x = (x - shift.astype(self.dtype)[None]).reshape((x.shape[0], -1))
    x = nn.Dense(self.k, use_bias=False, dtype=self.dtype, name="dense")(x)
    return nn.BatchNorm(
      use_running_average=not train,
      momentum=0.9,
      epsilon=_EPSILON,
      use_bias=False,
      use_scale=False,
      dtype=self.dtype,
      name="norm",
    )(x)


class _Restore(nn.Module):
  """Makes a feature of k values."""

  shape: tuple[int, ...]
  dtype: str

  @nn.compact
  def __call__(self, code: jax.Array) -> jax.Array:
    size = math.prod(self.shape)
    flat = nn.Dense(size, use_bias=False, dtype=self.dtype, name="dense")(code)
    bias = self.param("bias", nn.initializers.zeros_init(), self.shape)
    return flat.reshape((-1, *self.shape)) + bias.astype(self.dtype)[None]


def dpfe(
  *,
  inner: str,
  after: str,
  k: int = 10,
  num_classes: int,
  dtype: str = "float32",
  **knobs: Any,
) -> Bottleneck:
  """Build a network with the private feature of DPFE.

  After stage `after`: flatten, subtract a shift, project linearly on k values,
  standardise over the batch without scale and bias (`private`); and linearly
  back to the shape of the feature (`restore`).  All of it is trained;
  `from_projection` starts it as a PCA.

  Args:
    inner: builds the network, "module.function" in `networks`.
    after: its stage whose output becomes narrow.
    k: number of values of the private feature.
    num_classes: number of logits.
    dtype: compute type, "float32" or "bfloat16".
    **knobs: further arguments of `inner`.

  Returns:
    The network.

  Raises:
    ValueError: `inner` is unknown or does not take the knobs; `after` is no
      stage before its last.

  References:
    Osia et al., arXiv 1802.03151 (DPFE), as coded by its authors; there the
    network is another one, and k is 10.
  """
  built = _inner(inner, {**knobs, "num_classes": num_classes, "dtype": dtype})
  return Bottleneck(
    inner=built, after=after, k=k, num_classes=num_classes, dtype=dtype
  )


def variational(
  *,
  inner: str,
  after: str,
  k: int = 10,
  num_classes: int,
  dtype: str = "float32",
  **knobs: Any,
) -> Bottleneck:
  """Build a network whose waist gives the means of a variational bottleneck.

  The stages of `dpfe`, but for the statistics, which stay as they start (those
  of a PCA after `from_projection`, else mean 0 and variance 1).  Values that
  are standardised over every batch have one sum of squares whatever they tell,
  and a term on it (`losses.dependence.gaussian_rate`) would do nothing.  The
  noise around the means is a privatizer's, in training as on the wire.

  Args:
    inner: builds the network, "module.function" in `networks`.
    after: its stage whose output becomes narrow.
    k: number of values sent.
    num_classes: number of logits.
    dtype: compute type, "float32" or "bfloat16".
    **knobs: further arguments of `inner`.

  Returns:
    The network.

  Raises:
    ValueError: as of `dpfe`.

  References:
    Alemi et al. 2017, arXiv 1612.00410, whose variances are learned as well;
    docs/method.md says why these are not.
  """
  built = _inner(inner, {**knobs, "num_classes": num_classes, "dtype": dtype})
  return Bottleneck(
    inner=built,
    after=after,
    k=k,
    held=True,
    num_classes=num_classes,
    dtype=dtype,
  )


def _inner(name: str, knobs: dict[str, Any]) -> Any:
  """Build the network that gets a waist."""
  module, _, function = name.rpartition(".")
  try:
    build = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), function)
  except (ModuleNotFoundError, AttributeError) as error:
    raise ValueError(
      f"inner={name!r}; expected 'module.function' in {_PACKAGE}, as in"
      " 'resnet.resnet18'."
    ) from error
  try:
    inspect.signature(build).bind(**knobs)
  except TypeError as error:
    raise ValueError(
      f"{name}: {error}. It takes {inspect.signature(build)}."
    ) from None
  return build(**knobs)


def from_projection(
  mean: np.ndarray, components: np.ndarray, variances: np.ndarray
) -> dict[str, Any]:
  """Make variables with which the two stages are a PCA.

  In evaluation `private` then gives the principal coordinates, standardised
  (1e-5 is added to their variances), and `restore` their reconstruction.

  Args:
    mean: of the features, in their shape `[...]`.
    components: orthonormal rows `[k D]`, as of `privatizers.project.pca`.
    variances: of the coordinates `[k]`.

  Returns:
    Variables of the stages `private` and `restore`, by collection.
  """
  mean, components, variances = (
    np.asarray(x, np.float32) for x in (mean, components, variances)
  )
  spread = np.sqrt(variances + _EPSILON)
  private = {"shift": mean, "dense": {"kernel": components.T}}
  restore = {"bias": mean, "dense": {"kernel": components * spread[:, None]}}
  norm = {"mean": np.zeros_like(variances), "var": variances}
  return {
    "params": {PRIVATE: {_NAME: private}, RESTORE: {_NAME: restore}},
    "batch_stats": {PRIVATE: {_NAME: {"norm": norm}}},
  }
