"""The contract of privatizers, and chains of them.

A privatizer is four pure functions. Its state is a tree of arrays and nothing
else, so that states of a grid can be stacked and vmapped, and saved as they
are.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from hybridpriv.privatizers import context as context_lib

State = Any  # a tree of arrays


class Privatizer(NamedTuple):
  """What happens to a feature between client and wire, wire and cloud.

  Attributes:
    name: module and function, as in "project.pca"; a chain joins its members'.
    fit: `(key, context) -> state`. `context["features"]` holds the clean
      features of task-train, `[n ...]`: an array, or anything with shape and
      slices, read in chunks. Where needed there are "labels", "desired" (the
      names of those the cloud answers) and "cloud" too, which `context` reads.
    encode: `(state, key, feature [b ...]) -> code`, on the device.
    decode: `(state, code) -> feature [b ...]`, in the cloud.
    radius: `(state, r) -> r'`, a bound of the L2 norm of a code whose feature
      has norm r at most; infinite if there is none.
    is_random: whether `encode` uses its key.
    stages: the members of a chain; () for a single privatizer.
  """

  name: str
  fit: Callable[[jax.Array, Mapping[str, Any]], State]
  encode: Callable[[State, jax.Array, jax.Array], jax.Array]
  decode: Callable[[State, jax.Array], jax.Array]
  radius: Callable[[State, jax.Array | float], jax.Array | float]
  is_random: bool = False
  stages: tuple["Privatizer", ...] = ()


def chain(*stages: Privatizer) -> Privatizer:
  """Compose privatizers; the first is the first on the device.

  Each member is fitted on the features as encoded by those before it, and to
  a cloud half that decodes what these encoded (`behind`). The state is the
  tuple of the members' states; chains among the members are taken apart. A
  member's subkey is folded by its place counted from the end, so that a suffix
  of a chain draws the noise that the whole chain draws. The empty chain is the
  identity.

  Guarantee: none by itself; `radius` folds the members' bounds.

  Args:
    *stages: privatizers.

  Returns:
    The chain.
  """
  members: tuple[Privatizer, ...] = ()
  for stage in stages:
    members += stage.stages or (stage,)

  def subkeys(key: jax.Array) -> list[jax.Array]:
    places = reversed(range(len(members)))
    return [jax.random.fold_in(key, place) for place in places]

  def fit(key: jax.Array, context: Mapping[str, Any]) -> State:
    states = []
    for stage, subkey in zip(members, subkeys(key), strict=True):
      fit_key, encode_key = jax.random.split(subkey)
      states.append(stage.fit(fit_key, context))
      if "cloud" in context:
        cloud = behind(stage, states[-1], context_lib.cloud(context))
        context = {**context, "cloud": cloud}
      if "features" in context:
        encoded = _Encoded(stage, states[-1], encode_key, context["features"])
        context = {**context, "features": encoded}
    return tuple(states)

  def encode(state: State, key: jax.Array, feature: jax.Array) -> jax.Array:
    for stage, part, subkey in zip(members, state, subkeys(key), strict=True):
      feature = stage.encode(part, subkey, feature)
    return feature

  def decode(state: State, code: jax.Array) -> jax.Array:
    for stage, part in zip(members[::-1], state[::-1], strict=True):
      code = stage.decode(part, code)
    return code

  def radius(state: State, r: jax.Array | float) -> jax.Array | float:
    for stage, part in zip(members, state, strict=True):
      r = stage.radius(part, r)
    return r

  return Privatizer(
    name=" + ".join(stage.name for stage in members) or "identity",
    fit=fit,
    encode=encode,
    decode=decode,
    radius=radius,
    is_random=any(stage.is_random for stage in members),
    stages=members,
  )


def behind(stage: Privatizer, state: State, cloud: Any) -> Any:
  """Return the cloud half as it answers the codes of a fitted member.

  Args:
    stage: the member.
    state: as fitted.
    cloud: a `jax.tree_util.Partial` from features to answers.

  Returns:
    The same from codes of the member. Members whose code is equal give
    functions that are equal, and programs that take them compile once.
  """
  decoded = _Decoded(_code(stage.decode), stage.decode)
  return jax.tree_util.Partial(decoded, state, cloud)


@dataclasses.dataclass(frozen=True)
class _Decoded:
  """A function that decodes, then asks; equal where what it runs is equal."""

  code: Hashable
  decode: Callable[[State, jax.Array], jax.Array] = dataclasses.field(
    compare=False
  )

  def __call__(self, state: State, cloud: Any, code: jax.Array) -> Any:
    return cloud(self.decode(state, code))


def program(privatizer: Privatizer) -> Hashable:
  """Return what tells whether two privatizers differ in their state only.

  Equal values mean equal code for encode and decode, so that one compiled
  program serves both, for instance a grid of noise levels.
  """
  return tuple(
    (_code(stage.encode), _code(stage.decode))
    for stage in privatizer.stages or (privatizer,)
  )


def _code(function: Callable[..., Any]) -> Hashable:
  """Identify a function of ours by its code and what it closes over.

  Functions from elsewhere are known by themselves only: they may read globals
  or the fields of an object.
  """
  if not str(getattr(function, "__module__", "")).startswith("hybridpriv."):
    return function
  if getattr(function, "__self__", None) is not None:  # a method of an object
    return function
  cells = getattr(function, "__closure__", None) or ()
  values = tuple(
    _code(cell.cell_contents)
    if callable(cell.cell_contents)
    else cell.cell_contents
    for cell in cells
  )
  try:
    named = tuple((function.__kwdefaults__ or {}).items())
    found = (function.__code__, function.__defaults__, named, values)
    hash(found)
    return found
  except (AttributeError, RecursionError, TypeError, ValueError):
    return function  # equal to itself only


def split_random(privatizer: Privatizer) -> tuple[Privatizer, Privatizer]:
  """Divide a privatizer before its first random member.

  What the prefix makes of a feature never changes, so that it is computed
  once and the suffix drawn as often as needed; for the same key, the suffix
  of the prefix is the code of the whole.

  Args:
    privatizer: a chain or a single privatizer.

  Returns:
    The longest deterministic prefix and the rest, either of which may be the
    empty chain. `split_state` divides the state alike.
  """
  if not privatizer.is_random:
    return privatizer, chain()
  if not privatizer.stages:
    return chain(), privatizer
  prefix, suffix = _divide(privatizer, privatizer.stages)
  return chain(*prefix), chain(*suffix)


def split_state(privatizer: Privatizer, state: State) -> tuple[State, State]:
  """Divide the state of a privatizer as `split_random` divides it."""
  if not privatizer.is_random:
    return state, ()
  if not privatizer.stages:
    return (), state
  return _divide(privatizer, state)


def _divide(privatizer: Privatizer, parts: tuple) -> tuple[tuple, tuple]:
  flags = [stage.is_random for stage in privatizer.stages]
  first = flags.index(True)
  return parts[:first], parts[first:]


class _Encoded:
  """Features as a fitted privatizer encodes them, chunk by chunk, on demand."""

  def __init__(
    self, stage: Privatizer, state: State, key: jax.Array, features: Any
  ) -> None:
    self._encode = functools.partial(jax.jit(stage.encode), state)
    self._key = key
    self._features = features
    row = jax.ShapeDtypeStruct((1, *features.shape[1:]), np.float32)
    code = jax.eval_shape(self._encode, key, row)
    self.shape = (features.shape[0], *code.shape[1:])

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, rows: slice) -> np.ndarray:
    # The same slice gives the same noise, another slice other noise.
    key = jax.random.fold_in(self._key, rows.start or 0)
    chunk = np.asarray(self._features[rows], np.float32)
    return np.asarray(self._encode(key, chunk))
