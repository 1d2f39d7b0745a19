"""Networks made of named stages, cut in two at any of them.

A staged network runs the stages strictly after `after`, up to and including
`upto`: the client half is `upto=cut`, the cloud half `after=cut`. Whatever a
stage creates lives under its name, so that the variables divide by name.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend import core


class _Stage(nn.Module):
  """Scope of one stage: all it creates is stored under the stage's name."""

  run: Callable[..., jax.Array]

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    return self.run(x, train=train)


class Staged(nn.Module):
  """Base of all networks: a sequence of named stages.

  A subclass gives `stage_names(self)` and `stage(self, name, x, *, train)`,
  the latter creating Linen modules as a compact method does. Fields are
  tuples and scalars, so that a network is hashable and static under `jit`.

  Attributes:
    num_classes: number of logits.
    dtype: compute type, "float32" or "bfloat16"; parameters are float32, and
      so is what leaves the network: logits, captured outputs, and the feature
      at a cut, whose values are those of the compute type.
  """

  num_classes: int
  dtype: str = "float32"

  def __init_subclass__(cls, **kwargs: Any) -> None:
    # Unwrapped, the two run in the scope of whoever calls them: `_Stage`.
    for method in ("stage_names", "stage"):
      if method in vars(cls):
        nn.nowrap(vars(cls)[method])
    super().__init_subclass__(**kwargs)

  @nn.nowrap
  def stage_names(self) -> tuple[str, ...]:
    """Return the names of all stages, in order."""
    raise NotImplementedError(f"{type(self).__name__} needs stage_names().")

  @nn.nowrap
  def stage(self, name: str, x: jax.Array, *, train: bool) -> jax.Array:
    """Run stage `name` on `x [b ...]`."""
    raise NotImplementedError(f"{type(self).__name__} needs stage().")

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    *,
    train: bool,
    after: str | None = None,
    upto: str | None = None,
    capture: tuple[str, ...] = (),
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Run the stages strictly after `after`, up to and including `upto`.

    Args:
      x: input `[b ...]`, or the output of stage `after`.
      train: whether to drop out (stream "dropout") and to use and update
        batch statistics (collection "batch_stats").
      after: last stage that has run already; None starts at the input.
      upto: last stage to run; None runs to the logits.
      capture: stages, among those run, whose outputs are returned too.

    Returns:
      The output of the last stage run, and `{name: output}` of `capture`.

    Raises:
      ValueError: a stage is unknown, `upto` lies before `after`, or a stage
        to capture is not among those run.
    """
    names = self.stage_names()
    first = 0 if after is None else _position(names, after) + 1
    last = len(names) if upto is None else _position(names, upto) + 1
    if last < first:
      raise ValueError(
        f"upto={upto!r} lies before after={after!r}; give a later stage."
      )
    for name in capture:
      if not first <= _position(names, name) < last:
        raise ValueError(
          f"Cannot capture {name!r}: the stages run are {names[first:last]}."
        )
    captured = {}
    for name in names[first:last]:
      run = functools.partial(self.stage, name)
      x = _Stage(run, name=name)(x.astype(self.dtype), train=train)
      if name in capture:
        captured[name] = x.astype(jnp.float32)
    return x.astype(jnp.float32), captured


class StageInfo(NamedTuple):
  """What one stage costs for one example.

  Attributes:
    name: stage name.
    shape: shape of its output without the batch axis.
    num_params: trainable parameters of this stage alone.
    macs: multiply-accumulates of its matrix products and convolutions.
    num_bytes: bytes of its output in float32, if the network is cut here.
  """

  name: str
  shape: tuple[int, ...]
  num_params: int
  macs: int
  num_bytes: int


def split_variables(
  variables: Mapping[str, Any], network: Staged, cut: str
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Divide the variables of a network between device and cloud.

  Args:
    variables: `{collection: {stage: ...}}`.
    network: the network they belong to.
    cut: name of the last stage on the device.

  Returns:
    The client's and the cloud's variables: disjoint, together complete, both
    with every collection.

  Raises:
    ValueError: `cut` or a key in `variables` is not a stage of the network.
  """
  names = network.stage_names()
  last = _position(names, cut)
  client, cloud = {}, {}
  for collection, stages in variables.items():
    client[collection], cloud[collection] = {}, {}
    for name, value in stages.items():
      half = client if _position(names, name) <= last else cloud
      half[collection][name] = value
  return client, cloud


def merge_variables(
  client: Mapping[str, Any], cloud: Mapping[str, Any]
) -> dict[str, Any]:
  """Put the two halves of `split_variables` together again.

  Raises:
    ValueError: a stage is in both halves.
  """
  variables: dict[str, Any] = {}
  for collection in {**client, **cloud}:
    left, right = client.get(collection, {}), cloud.get(collection, {})
    if both := sorted(set(left) & set(right)):
      raise ValueError(f"Stages {both} of {collection!r} are in both halves.")
    variables[collection] = {**left, **right}
  return variables


def overlay(
  variables: Mapping[str, Any], weights: Mapping[str, Any], network: Staged
) -> dict[str, Any]:
  """Put weights trained elsewhere in the place of drawn ones.

  Args:
    variables: `{collection: {stage: ...}}`, all of them.
    weights: the same for some of the stages. Those of the last stage are left
      out where they have another number of answers.
    network: the network they are for.

  Returns:
    All variables.

  Raises:
    ValueError: a stage, or a tensor in it, is not that of the network.
  """
  last = network.stage_names()[-1]
  merged = {name: dict(stages) for name, stages in variables.items()}
  for collection, stages in weights.items():
    for name, value in stages.items():
      _position(network.stage_names(), name)
      want = jax.tree.map(jnp.shape, merged.get(collection, {}).get(name))
      have = jax.tree.map(jnp.shape, value)
      if want == have:
        merged[collection][name] = value
      elif name != last:
        raise ValueError(
          f"The weights of {name!r} in {collection!r} are {have}; the network"
          f" takes {want}."
        )
  return merged


def describe(
  network: Staged, input_shape: tuple[int, ...]
) -> tuple[StageInfo, ...]:
  """Compute the stage table of a network without data or arrays.

  Multiply-accumulates are counted in the traced program (`dot_general` and
  `conv_general_dilated`), so that a user's own network is counted too.

  Args:
    network: the network.
    input_shape: shape of one input, without the batch axis.

  Returns:
    One row a stage, in order, none of them cumulative.
  """

  def init(x: jax.Array) -> Any:
    return network.init(jax.random.key(0), x, train=False)

  x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
  variables = jax.eval_shape(init, x)
  table, after = [], None
  for name in network.stage_names():

    def run(variables: Any, x: jax.Array, after=after, upto=name) -> jax.Array:
      return network.apply(variables, x, train=False, after=after, upto=upto)[0]

    program, x = jax.make_jaxpr(run, return_shape=True)(variables, x)
    params = jax.tree.leaves(variables.get("params", {}).get(name, {}))
    table.append(
      StageInfo(
        name=name,
        shape=x.shape[1:],
        num_params=sum(math.prod(leaf.shape) for leaf in params),
        macs=_macs(program.jaxpr),
        num_bytes=4 * math.prod(x.shape[1:]),
      )
    )
    after = name
  return tuple(table)


def _position(names: tuple[str, ...], name: str) -> int:
  """Return the index of a stage, or say which stages there are."""
  if name not in names:
    raise ValueError(f"No stage {name!r}; the stages are {', '.join(names)}.")
  return names.index(name)


def _macs(jaxpr: core.Jaxpr) -> int:
  """Count the multiply-accumulates of a traced program."""
  total = 0
  eqns: Any = jaxpr.eqns  # all values have a shape here
  for eqn in eqns:
    if eqn.primitive.name == "dot_general":
      (contracted, _), _ = eqn.params["dimension_numbers"]
      shape = eqn.invars[0].aval.shape
      depth = math.prod(shape[axis] for axis in contracted)
      total += math.prod(eqn.outvars[0].aval.shape) * depth
    elif eqn.primitive.name == "conv_general_dilated":
      kernel = eqn.invars[1].aval.shape
      features = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
      taps = math.prod(kernel) // features
      # The zeros between the inputs of a transposed convolution cost nothing.
      dilation = math.prod(eqn.params["lhs_dilation"])
      total += math.prod(eqn.outvars[0].aval.shape) * taps // dilation
    else:
      parts = [_macs(part) for part in _parts(eqn.params.values())]
      if eqn.primitive.name == "cond":
        total += max(parts)
      else:
        total += sum(parts) * eqn.params.get("length", 1)
  return total


def _parts(values: Any) -> list[core.Jaxpr]:
  """Return the programs among the parameters of a primitive."""
  found = []
  for value in values:
    if isinstance(value, core.ClosedJaxpr):
      found.append(value.jaxpr)
    elif isinstance(value, core.Jaxpr):
      found.append(value)
    elif isinstance(value, (tuple, list)):
      found.extend(_parts(value))
  return found
