"""What the stages of a study share: configuration, data, folds, specs, keys."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from hybridpriv import build, mesh
from hybridpriv.data import dataset, partition
from hybridpriv.privatizers import privatizer as privatizer_lib
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


_PRIVATIZER = "privatizer"  # what a training may set beside knobs of terms


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


class Between(NamedTuple):
  """What is put between the halves in a training: "" and None for nothing."""

  name: str
  privatizer: privatizer_lib.Privatizer | None


def trials(config: Mapping[str, Any]) -> list[Trial]:
  """List every fine-tuning: the grids of all trainings written out.

  Raises:
    ValueError: for a training that sets something else, one with a privatizer
      that is not there, or an order that hides the reference.
  """
  found = []
  for training, entry in config["trainings"].items():
    between(config, training)  # it must be there
    grid = {}
    for term, knobs in entry.items():
      if term == _PRIVATIZER:
        continue
      if not hasattr(knobs, "items"):
        raise ValueError(
          f"config.trainings.{training} sets {term!r} to {knobs!r}: expected a"
          f" term of the objective with its knobs, or {_PRIVATIZER!r}"
        )
      for knob, v in knobs.items():
        grid[f"{term}/{knob}"] = v if isinstance(v, (tuple, list)) else (v,)
    for values in itertools.product(*grid.values()):
      found.append(Trial(training, tuple(zip(grid, values, strict=True))))
  _check_order(config)
  for trial in found:
    noise = between(config, trial.training).name
    alike = (t for t in found if between(config, t.training).name == noise)
    reference = next(alike)
    if noise and reference.strength:
      raise ValueError(
        f"the training {trial.training!r} has {noise!r} between the halves, and"
        " no training before it has that and no weight: what it costs is not"
        ' known. Add one, as {"privatizer": ...} with weights of 0'
      )
  return found


def between(config: Mapping[str, Any], training: str) -> Between:
  """Find what a training has between the halves.

  A training says so itself, or else `config.train.privatizer` does: by what
  follows the training in the name of a row, "project" or "noise sigma=0.5".

  Raises:
    ValueError: if there is no such privatizer; names those there are.
  """
  default = config["train"][_PRIVATIZER]
  name = config["trainings"][training].get(_PRIVATIZER, default)
  if not name:
    return Between("", None)
  rows = {
    row.name.removeprefix(f"{training}/"): row.privatizer
    for row in build.rows(config)
    if row.training == training
  }
  if name not in rows:
    raise ValueError(
      f"the training {training!r} has the privatizer {name!r} between the"
      f" halves: expected one, with one value of every grid, of"
      f" {', '.join(rows)}"
    )
  return Between(name, rows[name]) if rows[name].stages else Between("", None)


def _check_order(config: Mapping[str, Any]) -> None:
  """Stop where the undefended reference is there and does not come first."""

  def undefended(entry: Mapping[str, Any]) -> bool:
    weights = [
      value
      for term, knobs in entry.items()
      if term != _PRIVATIZER
      for value in np.ravel(knobs.get("weight", ()))
    ]
    return not any(weights) and not entry.get(_PRIVATIZER)

  for section, is_reference in (
    ("trainings", undefended),
    ("privatizers", lambda entry: not entry["chain"]),
  ):
    names = list(config[section])
    found = [name for name in names if is_reference(config[section][name])]
    if found and names[0] not in found:
      raise ValueError(
        f"config.{section} begins with {names[0]!r}, and the first entry is the"
        f" reference of all choices, which {found[0]!r} should be: put it"
        " first. A plain dict in a config file is sorted by name;"
        " default.in_order(...) around it keeps the order"
      )
  first = build.rows(config)[0]
  if found and first.privatizer.stages:
    raise ValueError(
      f"the first row is {first.name!r}, and the reference of all comparisons,"
      f" which {found[0]!r} in config.privatizers should be: let it go with all"
      " trainings"
    )


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
  index = np.asarray(setup.folds[fold].train, np.int64)
  return _statistic(setup.data, index.tobytes(), name, per)


@functools.lru_cache(maxsize=8)  # all parts of a study ask for it
def _statistic(
  data: dataset.DataSet, chosen: bytes, name: str, per: str
) -> np.ndarray:
  inputs, index = data.inputs, np.frombuffer(chosen, np.int64)
  axes = tuple(range(inputs.ndim - 1)) if per == "channel" else (0,)
  # In parts: a data set of large images would not fit in memory.
  parts = np.array_split(index, -(-len(index) // 1024))
  sums: Any = sum(inputs[part].sum(axes, dtype=np.float64) for part in parts)
  count = len(index) * inputs[0].size // sums.size
  mean = sums / count
  if name == "mean":
    return mean.astype(np.float32)
  total = sum(((inputs[part] - mean) ** 2).sum(axes) for part in parts)
  std = np.sqrt(total / count)
  return np.maximum(std, 1e-6 * max(std.max(), 1e-6)).astype(np.float32)


def spec(
  setup: Setup, phase: str, training: str | None = None
) -> step_lib.Spec:
  """Describe the training of a phase, "base", "finetune" or "retune".

  Args:
    setup: the study.
    phase: which one.
    training: whose fine-tuning, where it matters what is between the halves.
  """
  config = setup.config
  entry = config["train"][phase]
  terms, knobs = build.terms(config)
  players, optimizers = build.players(config, setup.data)
  optimizers["defender"] = build.optimizer(entry["optimizer"], entry["steps"])
  if phase != "finetune":
    # Here the network learns the question, and adversaries do not take part:
    # terms that read their answers, or weigh 0, are left out of the program.
    theirs = tuple(f"{player.name}/" for player in players)
    if phase == "retune":  # of the cloud: what goes in is no matter of its own
      theirs += ("inputs/",)
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
    privatizer=between(config, training).privatizer if training else None,
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


def together(setup: Setup) -> int:
  """Say how many trainings run as one program."""
  return mesh.replicas(setup.config["train"]["replicas"])
