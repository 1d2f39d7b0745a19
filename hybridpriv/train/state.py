"""What a training carries from one step to the next."""

import dataclasses
import functools
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

Tree = Any
DEFENDER = "defender"


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=[
    "step",
    "nan_step",
    "params",
    "model_state",
    "opt_state",
    "knobs",
    "constants",
  ],
  meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class TrainState:
  """The whole state of one training, a pytree of arrays.

  Weights and margins live here, in `knobs`, and not in the program: trainings
  that differ only in them share one compiled step and can be vmapped.

  Attributes:
    step: number of updates done, int32 [].
    nan_step: first step whose loss was not finite, -1 while there is none.
    params: parameters by player; the network's own under "defender".
    model_state: the network's other collections (batch statistics).
    opt_state: optimizer state by player.
    knobs: scalars of the objective, "<term>/<knob>" -> float32 [].
    constants: arrays the step reads and never changes ("mean", "std" of the
      inputs, "privatizer" state).
  """

  step: jax.Array
  nan_step: jax.Array
  params: Mapping[str, Tree]
  model_state: Mapping[str, Tree]
  opt_state: Mapping[str, Tree]
  knobs: Mapping[str, jax.Array]
  constants: Mapping[str, Tree]

  @property
  def variables(self) -> dict[str, Tree]:
    """The network's variables, as Linen's `apply` wants them."""
    return {"params": self.params[DEFENDER], **self.model_state}


def create(
  params: Mapping[str, Tree],
  model_state: Mapping[str, Tree],
  optimizers: Mapping[str, Any],
  knobs: Mapping[str, float],
  constants: Mapping[str, Tree],
) -> TrainState:
  """Start a training at step 0."""
  return TrainState(
    step=jnp.zeros([], jnp.int32),
    nan_step=jnp.full([], -1, jnp.int32),
    params=dict(params),
    model_state=dict(model_state),
    opt_state={k: optimizers[k].init(params[k]) for k in params},
    knobs={k: jnp.asarray(v, jnp.float32) for k, v in knobs.items()},
    constants=dict(constants),
  )


def stream(key: jax.Array, name: str) -> jax.Array:
  """Derive the random stream `name` from `key`, stable between versions."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))
