"""What the stages of a study share: configuration, data, folds, specs, keys."""

import dataclasses
import itertools
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from hybridpriv import build
from hybridpriv.data import dataset, partition
from hybridpriv.train import state as state_lib
from hybridpriv.train import step as step_lib


class Setup(NamedTuple):
  """What all stages of a study share."""

  config: Mapping[str, Any]
  roles: build.Roles
  data: dataset.DataSet
  folds: tuple[partition.Fold, ...]
  network: Any
  folder: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Trial:
  """One fine-tuning: a training and the knobs it changes."""

  training: str
  knobs: tuple[tuple[str, float], ...]

  @property
  def name(self) -> str:
    """Its name in runs and folders."""
    text = " ".join(f"{k.replace('/', '.')}={v:g}" for k, v in self.knobs)
    return f"{self.training} {text}".strip()

  @property
  def strength(self) -> float:
    """Sum of the sizes of the weights that it sets."""
    return sum(abs(v) for k, v in self.knobs if k.endswith("/weight"))


def trials(config: Mapping[str, Any]) -> list[Trial]:
  """List every fine-tuning: the grids of all trainings written out."""
  found = []
  for training, terms in config["trainings"].items():
    grid = {
      f"{term}/{knob}": v if isinstance(v, (tuple, list)) else (v,)
      for term, knobs in terms.items()
      for knob, v in knobs.items()
    }
    for values in itertools.product(*grid.values()):
      found.append(Trial(training, tuple(zip(grid, values, strict=True))))
  return found


def constants(setup: Setup, fold: int) -> dict[str, np.ndarray]:
  """Give what inputs are centred and divided by; measure it on task-train.

  Raises:
    ValueError: for a mean or spread that does not fit the inputs.
  """
  wanted = {n: setup.config[f"input_{n}"] for n in ("mean", "std")}
  found: dict[str, np.ndarray] = {}
  for name, value in wanted.items():
    channels = setup.data.inputs.shape[-1]
    measured = ["channel", "image"] if name == "mean" else ["channel"]
    if len(value) == 1 and value[0] in measured:
      found[name] = _measured(setup, fold, name, value[0])
    elif len(value) in (1, channels) and all(
      isinstance(x, (int, float)) and (x or name == "mean") for x in value
    ):
      found[name] = np.broadcast_to(np.float32(value), (channels,)).copy()
    else:
      raise ValueError(
        f"config.input_{name} is {tuple(value)}: give one of"
        f" {', '.join(f'({m!r},)' for m in measured)}, or one number, or"
        f" {channels}, one for each channel"
      )
  return found


def _measured(setup: Setup, fold: int, name: str, per: str) -> np.ndarray:
  """Measure mean or spread of every channel, or the mean image."""
  inputs = setup.data.inputs[setup.folds[fold].train]
  axes = tuple(range(inputs.ndim - 1)) if per == "channel" else (0,)
  if name == "mean":
    return inputs.mean(axes, dtype=np.float64).astype(np.float32)
  mean = inputs.mean(axes, dtype=np.float64)
  # In parts: in float64 a data set of large images would not fit in memory.
  parts = np.array_split(inputs, -(-len(inputs) // 1024))
  total = sum(((part - mean) ** 2).sum(axes) for part in parts)
  std = np.sqrt(total * mean.size / inputs.size)
  return np.maximum(std, 1e-6 * max(std.max(), 1e-6)).astype(np.float32)


def spec(setup: Setup, phase: str) -> step_lib.Spec:
  """Describe the training of a phase, "base", "finetune" or "retune"."""
  config = setup.config
  entry = config["train"][phase]
  terms, knobs = build.terms(config)
  players, optimizers = build.players(config, setup.data)
  optimizers["defender"] = build.optimizer(entry["optimizer"], entry["steps"])
  if phase != "finetune":
    # Here the network learns the question, and adversaries do not take part:
    # terms that read their answers, or weigh 0, are left out of the program.
    theirs = tuple(f"{player.name}/" for player in players)
    terms = [
      t
      for t in terms
      if t.player == state_lib.DEFENDER
      and knobs[f"{t.name}/weight"]
      and not any(name.startswith(theirs) for _, name in t.inputs)
    ]
    players = []
  return step_lib.Spec(
    network=setup.network,
    answers=answers(setup),
    cut=config["cut"],
    shape=tuple(config["input_shape"]) or setup.data.inputs.shape[1:],
    optimizers=optimizers,
    terms=terms,
    monitors=build.monitors(config) if phase == "finetune" else (),
    players=players,
    start=entry.get("start") or None,
    augment=build.augment(entry.get("augment", "")),
  )


def answers(setup: Setup) -> tuple[tuple[str, int], ...]:
  """Divide the outputs among the desired labels: (label, how many)."""
  size = setup.config["verification"]["outputs"]
  return tuple(
    (d, size or len(setup.data.classes[d])) for d in setup.roles.desired
  )


def key(setup: Setup, fold: int, seed: int, name: str) -> jax.Array:
  """Derive the root of the random stream `name` of a fold and seed."""
  root = jax.random.key(setup.config["seed"])
  for number in (fold, seed):
    root = jax.random.fold_in(root, number)
  return state_lib.stream(root, name)


def integer(setup: Setup, fold: int, seed: int, name: str) -> int:
  """Derive a seed for NumPy, as `key` derives one for JAX."""
  data = jax.random.key_data(key(setup, fold, seed, name))
  return int(np.asarray(data).ravel()[-1])
