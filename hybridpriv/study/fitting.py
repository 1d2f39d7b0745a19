"""Stage `fit`: privatizers on task-train, and the operating point.

All choices here are made on task-validation people: a privatizer with a grid
(noise levels) gets the strongest setting that costs at most
`config.audit.max_cost` of balanced utility against the undefended network.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv import build
from hybridpriv.networks import staged
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.study import compiled, judging, laws, training, workdir
from hybridpriv.study.setup import (
  Setup,
  constants,
  key,
  spec,
)
from hybridpriv.train import checkpoints, features, loop, metrics
from hybridpriv.train import state as state_lib
from hybridpriv.train import step as step_lib


@dataclasses.dataclass(frozen=True)
class System:
  """One trained network, cut, ready to be defended and attacked.

  Attributes:
    variables: all of them.
    constants: of the preprocessing.
    network: the network.
    cut: where it is cut.
    shape: its input.
    answers: (desired label, classes).
    start: last stage of the prefix whose outputs are stored; None for none.
    inputs: those outputs, or the samples, [n, ...].
  """

  variables: Any
  constants: Mapping[str, Any]
  network: Any
  cut: str
  shape: tuple[int, ...]
  answers: tuple[tuple[str, int], ...]
  start: str | None
  inputs: np.ndarray

  def features(self, index: np.ndarray) -> np.ndarray:
    """Run the client half on the samples at `index`."""
    if self.start == self.cut:
      return np.asarray(self.inputs[index])
    client, _ = staged.split_variables(self.variables, self.network, self.cut)
    run = compiled.stages(self.network, self.shape, self.start, self.cut)
    return features.compute(
      lambda x: run(client, self.constants, x), self.inputs, index
    )


_COMPILED: dict[Any, Any] = {}


def answer(
  system: System,
  chain: privatizer_lib.Privatizer,
  law: Any,
  feature: np.ndarray,
  key: jax.Array,
  *,
  draws: int = 1,
) -> dict[str, np.ndarray]:
  """Let the cloud answer codes of `feature`, drawn afresh `draws` times.

  Args:
    system: for the cloud half.
    chain: the privatizer.
    law: its state.
    feature: clean features [n, ...].
    key: of the noise.
    draws: how often each sample is sent.

  Returns:
    Logits [n, draws, classes] by desired label.
  """
  law_of = privatizer_lib.program(chain)
  name = ("cloud", system.network, system.cut, law_of)
  if name not in _COMPILED:

    def cloud(variables: Any, law: Any, key: jax.Array, x: jax.Array) -> Any:
      code = chain.encode(law, key, x)
      x = chain.decode(law, code)
      return system.network.apply(variables, x, train=False, after=system.cut)[
        0
      ]

    _COMPILED[name] = jax.jit(cloud)
  _, cloud = staged.split_variables(
    system.variables, system.network, system.cut
  )
  index = np.arange(len(feature))
  drawn = []
  for draw in range(draws if chain.is_random else 1):
    count = iter(range(len(feature) + 1))
    own = jax.random.fold_in(key, draw)
    drawn.append(
      features.compute(
        lambda x, own=own, count=count: _COMPILED[name](
          cloud, law, jax.random.fold_in(own, next(count)), x
        ),
        feature,
        index,
      )
    )
  logits = np.stack(drawn, axis=1)
  parts, at = {}, 0
  for label, size in system.answers:
    parts[label] = logits[..., at : at + size]
    at += size
  return parts


def run(setup: Setup, writer: metrics.Writer) -> None:
  """Fit everything; write `privatizers/rows.json` when all is done."""
  out = setup.folder / "privatizers" / "rows.json"
  if out.exists():
    return
  config, rows = setup.config, build.rows(setup.config)
  utility: dict[str, list[float]] = {row.name: [] for row in rows}
  choices = training.chosen(setup)
  for fold in range(len(setup.folds)):
    for seed in range(config["train"]["seeds"]):
      for name in config["trainings"]:
        trial = choices[fold][name]["chosen"]
        system = load_system(setup, fold, seed, trial)
        own = [row for row in rows if row.training == name]
        _fit(setup, fold, seed, system, own)
        _retune(setup, fold, seed, system, own, writer)
        # Neither noise nor retuning touches the client half.
        feature = system.features(judging.samples(setup, fold, "validation"))
        for row in own:
          utility[row.name].append(
            _utility(setup, fold, seed, system, row, feature)
          )
  workdir.write_json(out, _operating_points(config, rows, utility))


def read_rows(setup: Setup) -> dict[str, dict[str, Any]]:
  """Read validation utility and choice of every row."""
  return json.loads((setup.folder / "privatizers" / "rows.json").read_text())


def load_system(setup: Setup, fold: int, seed: int, trial: str) -> System:
  """Read a trained network from its checkpoints."""
  own = spec(setup, "finetune")
  return System(
    variables=training.variables(setup, fold, seed, trial),
    constants=constants(setup, fold),
    network=own.network,
    cut=own.cut,
    shape=own.shape,
    answers=own.answers,
    start=own.start,
    inputs=training.fixed_inputs(setup, fold, seed),
  )


def member_names(row: build.Row) -> list[str]:
  """Name the members of a row's chain by all that they were fitted with."""
  names, path = [], []
  for function, knobs in row.stages:
    text = ",".join(f"{k}={v}" for k, v in knobs)
    path.append(f"{function}({text})")
    names.append(" | ".join(path))
  return names


def _file(setup: Setup, fold: int, seed: int, name: str) -> pathlib.Path:
  folder = setup.folder / "privatizers" / f"fold{fold}" / f"seed{seed}"
  return folder / f"{name}.npz"


def _fit(
  setup: Setup, fold: int, seed: int, system: System, rows: list[build.Row]
) -> None:
  """Fit the chains of one training; members that chains share, once."""
  path = _file(setup, fold, seed, rows[0].training)
  if path.exists():
    return
  index = setup.folds[fold].train
  if judging.verifies(setup):
    # Pairs are over all people: nothing is fitted on those in them.
    asked = [judging.samples(setup, fold, p) for p in ("validation", "test")]
    person = setup.data.person
    index = index[~np.isin(person[index], person[np.concatenate(asked)])]
  fitted: dict[str, Any] = {}
  feature = system.features(index)
  contexts = {"": laws.context(setup, system.variables, feature, index)}
  root = key(setup, fold, seed, f"fit {rows[0].training}")
  for row in rows:
    before = ""
    names = member_names(row)
    for name, stage in zip(names, row.privatizer.stages, strict=True):
      known = contexts[before]
      if name not in fitted:
        own = state_lib.stream(root, name)
        fitted[name] = stage.fit(own, known)
      if name not in contexts and name != names[-1]:
        noise = state_lib.stream(root, name + " encode")
        code = stage.encode(fitted[name], noise, jnp.asarray(known["features"]))
        contexts[name] = {
          **known,
          "features": np.asarray(code),
          "cloud": privatizer_lib.behind(stage, fitted[name], known["cloud"]),
        }
      before = name
  arrays = {
    f"{name}/{k}": np.asarray(v)
    for name, law in fitted.items()
    for k, v in law.items()
  }
  workdir.write_arrays(path, arrays)


def read_law(setup: Setup, fold: int, seed: int, row: build.Row) -> Any:
  """Read the state of a row's chain: a tuple of dictionaries of arrays."""
  with np.load(_file(setup, fold, seed, row.training)) as saved:
    return tuple(
      {
        k.removeprefix(name + "/"): jnp.asarray(saved[k])
        for k in saved.files
        if k.rpartition("/")[0] == name
      }
      for name in member_names(row)
    )


def _utility(
  setup: Setup,
  fold: int,
  seed: int,
  system: System,
  row: build.Row,
  feature: np.ndarray,
) -> float:
  """Measure balanced utility on task-validation, the noise on."""
  system = retuned(setup, fold, seed, system, row)
  logits = answer(
    system,
    row.privatizer,
    read_law(setup, fold, seed, row),
    feature,
    key(setup, fold, seed, f"validation {row.name}"),
    draws=setup.config["audit"]["draws"],
  )
  found = judging.scores(setup, fold, "validation", logits)
  return float(np.mean(list(found.values())))


def _operating_points(
  config: Mapping[str, Any],
  rows: list[build.Row],
  utility: Mapping[str, list[float]],
) -> dict[str, dict[str, Any]]:
  """Choose one setting of every grid, on validation."""
  mean = {row.name: float(np.mean(utility[row.name])) for row in rows}
  least = mean[rows[0].name] - config["audit"]["max_cost"]
  groups: dict[Any, list[str]] = {}
  for row in rows:
    groups.setdefault((row.training, row.embedding), []).append(row.name)
  chosen = set()
  for names in groups.values():
    able = [n for n in names if mean[n] >= least]
    # Grids run from weak to strong; if none is cheap enough, the weakest.
    chosen.add(able[-1] if able else names[0])
  return {
    row.name: {
      "validation_utility": mean[row.name],
      "by_system": utility[row.name],
      "selected": row.name in chosen,
    }
    for row in rows
  }


def _retune(
  setup: Setup,
  fold: int,
  seed: int,
  system: System,
  rows: list[build.Row],
  writer: metrics.Writer,
) -> None:
  """Tune the cloud half on decoded codes, where the configuration says so."""
  config = setup.config["train"]
  if not config["retune_cloud"]:
    return
  stored = np.zeros((len(setup.data), *_code_shape(setup, system)), np.float32)
  parts = setup.folds[fold]
  index = np.concatenate([parts.train, parts.validation])
  stored[index] = system.features(index)
  for row in rows:
    own, state = _retunable(setup, fold, seed, system, row)
    law_of = privatizer_lib.program(row.privatizer)
    names = ("retune", system.network, system.cut, law_of)
    if names not in _COMPILED:
      _COMPILED[names] = loop.compile_step(
        step_lib.make_step(own), vmapped=False
      )
    replica = loop.Replica(
      run=f"fold{fold}/seed{seed}/{row.name.replace('/', ' ')} retuned",
      state=state,
      key=key(setup, fold, seed, f"retune {row.name}"),
      batch=training.make_batches(setup, fold, seed, stored, "retune"),
      evaluate=None,
      folder=_retune_folder(setup, fold, seed, row),
    )
    schedule = training.schedule(setup.config, "retune", None)
    loop.fit(_COMPILED[names], [replica], schedule, writer)


def _retunable(
  setup: Setup, fold: int, seed: int, system: System, row: build.Row
) -> tuple[step_lib.Spec, state_lib.TrainState]:
  law = read_law(setup, fold, seed, row)
  own = dataclasses.replace(
    spec(setup, "retune"), start=system.cut, privatizer=row.privatizer
  )
  _, cloud = staged.split_variables(
    system.variables, system.network, system.cut
  )
  cloud = dict(cloud)
  params = {state_lib.DEFENDER: cloud.pop("params")}
  knobs = build.terms(setup.config)[1]
  constants = {**system.constants, "privatizer": law}
  return own, state_lib.create(params, cloud, own.optimizers, knobs, constants)


def _retune_folder(
  setup: Setup, fold: int, seed: int, row: build.Row
) -> pathlib.Path:
  return training.folder(setup, fold, seed, f"retuned {row.name}")


def retuned(
  setup: Setup, fold: int, seed: int, system: System, row: build.Row
) -> System:
  """Return the system with the cloud half that belongs to a row."""
  if not setup.config["train"]["retune_cloud"]:
    return system
  _, like = _retunable(setup, fold, seed, system, row)
  state = checkpoints.restore(_retune_folder(setup, fold, seed, row), like)
  client, _ = staged.split_variables(
    system.variables, system.network, system.cut
  )
  values = staged.merge_variables(client, state.variables)
  return dataclasses.replace(system, variables=values)


def _code_shape(setup: Setup, system: System) -> tuple[int, ...]:
  info = staged.describe(system.network, system.shape)
  return next(stage.shape for stage in info if stage.name == system.cut)
