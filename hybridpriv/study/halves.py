"""Which defence of a finished study ships, and the two halves it becomes.

Only a defence with a guarantee on whole numbers ships: a chain that bounds the
code, puts it on a grid and adds discrete noise (docs/guarantees.md).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hybridpriv import build
from hybridpriv.deploy import export
from hybridpriv.guarantees import guarantee
from hybridpriv.networks import frozen, staged
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.study import fitting, judging, training
from hybridpriv.study.setup import Setup
from hybridpriv.train import step as step_lib

_WIRE = ("noise.discrete", "quantize.saturate")  # what the device does itself


class Chosen(NamedTuple):
  """A trained network with a defence that ships.

  Attributes:
    row: the defence.
    system: the network, its cloud half retuned where the study does so.
    law: state of the defence.
    proved: its guarantee for one code.
    seed: which of the trained networks.
  """

  row: build.Row
  system: fitting.System
  law: Any
  proved: guarantee.Guarantee
  seed: int


def choose(setup: Setup, name: str, seed: int) -> Chosen:
  """Find the defence that ships.

  Raises:
    ValueError: there is none, or not the one asked for.
  """
  if judging.verifies(setup):
    raise ValueError(
      "a study of verification answers pairs; a service that ships answers one"
      " code"
    )
  seeds = setup.config["train"]["seeds"]
  if not 0 <= seed < seeds:
    raise ValueError(f"seed={seed}; the study has {seeds}, from 0")
  able, selected = {}, fitting.read_rows(setup)
  for row in build.rows(setup.config):
    law = fitting.read_law(setup, 0, seed, row)
    members = tuple(stage.name for stage in row.privatizer.stages[-2:])
    proved = guarantee.of(row.privatizer, law, size=_size(law))
    if proved and proved.law == guarantee.DISCRETE and members == _WIRE:
      able[row.name] = (row, law, proved)
  if not able:
    raise ValueError(
      "no defence of this study ships: one must end in clip.unit_ball,"
      " quantize.toward_zero, noise.discrete and quantize.saturate, as in"
      " configs/lfw_certified.py"
    )
  if name and name not in able:
    raise ValueError(f"--row={name}: name one of {'; '.join(able)}")
  # Without a name: what is proved most of, then what answers best.
  points = [n for n in able if selected[n]["selected"]] or list(able)
  name = name or min(
    points,
    key=lambda n: (able[n][2].ratio, -selected[n]["validation_utility"]),
  )
  row, law, proved = able[name]
  trial = training.chosen(setup)[0][row.training]["chosen"]
  system = fitting.load_system(setup, 0, seed, trial)
  system = fitting.retuned(setup, 0, seed, system, row)
  return Chosen(row, system, law, proved, seed)


def _size(law: Any) -> int:
  """Read the number of values of a code off a projection."""
  sizes = [len(state["components"]) for state in law if "components" in state]
  return sizes[-1] if sizes else 1


def folded(chosen: Chosen) -> Chosen:
  """Put BatchNorms into the layers before them, but for rounding the same.

  ONNX Runtime does so with a graph in float32; one in int8 would keep them in
  float32 between its convolutions, and JAX takes parameters as they are.
  """
  system = chosen.system
  network, variables = frozen.fold(system.network, system.variables)
  system = dataclasses.replace(system, network=network, variables=variables)
  return chosen._replace(system=system)


def make(setup: Setup, chosen: Chosen) -> tuple[export.Half, export.Half]:
  """Make the client half, up to the code before the noise, and the cloud half.

  Returns:
    (client: a raw sample -> float32 whole numbers [k]; cloud: a code as sent
    -> logits).
  """
  system, chain = chosen.system, chosen.row.privatizer
  network, cut = system.network, system.cut
  encode, given = client(system, chain, chosen.law)
  _, cloud = staged.split_variables(system.variables, network, cut)
  law = _arrays(chosen.law)

  def flat(given: Any, x: jax.Array) -> jax.Array:
    x = encode(given, x)
    return x.reshape(x.shape[0], -1)

  def answer(given: Any, code: jax.Array) -> jax.Array:
    places = range(len(chain.stages))
    states = tuple(given["law"].get(str(i), {}) for i in places)
    x = chain.decode(states, code)
    return network.apply(given["variables"], x, train=False, after=cut)[0]

  inputs = setup.data.inputs
  sent = chain.encode(
    chosen.law,
    jax.random.key(0),
    jnp.zeros((1, *_feature_shape(system)), jnp.float32),
  )
  if sent.ndim != 2:
    raise ValueError(f"codes of shape {sent.shape[1:]}; expected [k]")
  return (
    export.Half(flat, given, inputs.shape[1:], inputs.dtype),
    export.Half(
      answer, {"variables": cloud, "law": law}, sent.shape[1:], sent.dtype
    ),
  )


def client(
  system: fitting.System, chain: privatizer_lib.Privatizer, law: Any
) -> tuple[Callable[[Any, jax.Array], jax.Array], dict[str, Any]]:
  """Make the function from raw samples to codes before the noise.

  Args:
    system: a trained network.
    chain: a defence.
    law: its state.

  Returns:
    (pure function of (parameters, samples [b, ...]) -> codes [b, ...], its
    parameters).
  """
  network, cut, shape = system.network, system.cut, system.shape
  prefix, _ = privatizer_lib.split_random(chain)
  own, _ = staged.split_variables(system.variables, network, cut)
  before, _ = privatizer_lib.split_state(chain, law)

  def encode(given: Any, x: jax.Array) -> jax.Array:
    x = step_lib.prepare(x, given["constants"], shape=shape)
    x = network.apply(given["variables"], x, train=False, upto=cut)[0]
    unused: Any = None  # keys: nothing here is random
    for i, stage in enumerate(prefix.stages):
      x = stage.encode(given["law"].get(str(i), {}), unused, x)
    return x

  return encode, {
    "variables": own,
    "constants": dict(system.constants),
    "law": _arrays(before),
  }


def _arrays(law: Any) -> dict[str, Any]:
  """Number the states of a chain's members.

  Files hold arrays: a member without any has no entry.
  """
  return {str(i): dict(state) for i, state in enumerate(law) if state}


def _feature_shape(system: fitting.System) -> tuple[int, ...]:
  info = staged.describe(system.network, system.shape)
  return next(stage.shape for stage in info if stage.name == system.cut)
