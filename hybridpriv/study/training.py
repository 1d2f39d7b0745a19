"""Stage `train`: every training of a study, its trials and the choice.

For every fold and train seed: the network learns the desired question from
scratch (`base`); from there it is fine-tuned once for every trial of every
training (`simple`, `siamese`, ...), all with the same budget and through the
same compiled step.  A training may have a privatizer between the halves, with
fresh noise at every step.  The choice follows one rule, on task-validation
people only: of the trials of a training that cost at most
`config.train.tolerance` of balanced utility against the first trial of all
(`simple`) with the same between the halves, the one with the largest weight.
"""

import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from hybridpriv import build
from hybridpriv import mesh as mesh_lib
from hybridpriv.data import batches
from hybridpriv.networks import staged
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.study import (
  choices,
  laws,
  stored,
  validation,
  weights,
  workdir,
)
from hybridpriv.study import pairs as pairs_lib
from hybridpriv.study.setup import (
  Setup,
  Trial,
  between,
  constants,
  integer,
  key,
  spec,
  together,
  trials,
)
from hybridpriv.train import checkpoints, features, loop, metrics, thumbnails
from hybridpriv.train import state as state_lib
from hybridpriv.train import step as step_lib


def run(setup: Setup, writer: metrics.Writer, profile: Any = None) -> None:
  """Train everything; write `trainings.json` when all is done."""
  out = setup.folder / "trainings.json"
  if out.exists():
    return
  step = step_lib.make_step(spec(setup, "base"))
  base = loop.compile_step(step, vmapped=together(setup) > 1)
  tunings = _tunings(setup)
  chosen = [
    _fold(setup, fold, base, tunings, writer, profile)
    for fold in range(len(setup.folds))
  ]
  workdir.write_json(out, chosen)


def chosen(setup: Setup) -> list[dict[str, Any]]:
  """Read which trial was chosen, by fold and training."""
  return json.loads((setup.folder / "trainings.json").read_text())


class _Tuning(NamedTuple):
  """Fine-tunings with the same between the halves.

  Attributes:
    trials: these.
    spec: of each of them.
    step: compiled.
    answers: compiled, for the choice.
  """

  trials: list[Trial]
  spec: step_lib.Spec
  step: Any
  answers: Any


def _tunings(setup: Setup) -> list[_Tuning]:
  """Compile fine-tuning once for each kind of thing between the halves."""
  by_name: dict[str, list[Trial]] = {}
  for trial in trials(setup.config):
    name = between(setup.config, trial.training).name
    by_name.setdefault(name, []).append(trial)
  programs: dict[Any, Any] = {}
  found = []
  for members in by_name.values():
    own = spec(setup, "finetune", members[0].training)
    # Levels of noise are states of one program.
    law_of = own.privatizer and privatizer_lib.program(own.privatizer)
    if law_of not in programs:
      step = step_lib.make_step(own)
      programs[law_of] = (
        loop.compile_step(step, vmapped=together(setup) > 1),
        jax.jit(step_lib.make_answers(own)),
      )
    found.append(_Tuning(members, own, *programs[law_of]))
  return found


def _fold(
  setup: Setup,
  fold: int,
  base_step: Any,
  tunings: Sequence[_Tuning],
  writer: metrics.Writer,
  profile: Any,
) -> dict[str, Any]:
  """Train base and all trials of one fold; return the table of choices."""
  config, seeds = setup.config, range(setup.config["train"]["seeds"])
  base_spec, tune_spec = spec(setup, "base"), spec(setup, "finetune")
  inputs = stored.features_of(
    setup, whole(setup, fold, 0), constants(setup, fold), base_spec.start
  )
  more = _thumbnails(setup, fold, base_spec)
  base = loop.fit(
    base_step,
    [
      loop.Replica(
        run=f"fold{fold}/seed{seed}/base",
        state=initial(setup, fold, seed),
        key=key(setup, fold, seed, "base"),
        batch=make_batches(setup, fold, seed, inputs, "base", more),
        evaluate=validation.make(setup, fold, seed, base_spec, inputs),
        folder=folder(setup, fold, seed, "base"),
      )
      for seed in seeds
    ],
    schedule(config, "base", profile),
    writer,
    together=together(setup),
    profile_folder=setup.folder / "profile",
  )
  utilities: dict[str, list[float]] = {t.name: [] for t in trials(config)}
  pairs: dict[str, list[dict[str, float]]] = {
    t.name: [] for t in trials(config)
  }
  units = []
  more = _thumbnails(setup, fold, tune_spec)
  for seed, state in zip(seeds, base, strict=True):
    trained = _join(setup, whole(setup, fold, seed), state.variables, "base")
    tuned_on = fixed_inputs(setup, fold, seed, trained)
    starts = []
    for tuning in tunings:
      training = tuning.trials[0].training
      laws.fit(setup, fold, seed, training, trained, tuned_on)
      starts.append(_tunable(setup, fold, seed, training, trained))
    unit = pairs_lib.unit(setup, fold, tune_spec, starts[0], tuned_on)
    units.append(unit)
    batch = make_batches(setup, fold, seed, tuned_on, "finetune", more)
    for tuning, start in zip(tunings, starts, strict=True):
      evaluate = validation.make(
        setup, fold, seed, tuning.spec, tuned_on, tuning.answers
      )
      replicas = [
        loop.Replica(
          run=f"fold{fold}/seed{seed}/{trial.name}",
          state=_with_knobs(setup, start, trial, unit),
          key=key(setup, fold, seed, "finetune"),
          batch=batch,
          evaluate=evaluate,
          folder=folder(setup, fold, seed, trial.name),
        )
        for trial in tuning.trials
      ]
      own = schedule(config, "finetune", None)
      states = loop.fit(
        tuning.step, replicas, own, writer, together=together(setup)
      )
      for replica, trial, final in zip(
        replicas, tuning.trials, states, strict=True
      ):
        utilities[trial.name].append(
          float(np.mean(list(evaluate(final).values())))
        )
        found = pairs_lib.measure(setup, fold, tune_spec, final, tuned_on)
        pairs[trial.name].append(found)
        warning = pairs_lib.degenerate(found)
        counts = mesh_lib.is_first() and choices.moves_pairs(setup, trial)
        if warning and counts:
          line = f"warning: {replica.run}: {warning}"
          tqdm.tqdm.write(line, file=sys.stderr)
  return {
    training: choices.choose(setup, training, utilities, pairs)
    | {"median_different_distance": units}
    for training in config["trainings"]
  }


def initial(setup: Setup, fold: int, seed: int) -> state_lib.TrainState:
  """Make the state at which the base training starts."""
  return _initialise(setup, fold, seed, spec(setup, "base"))


def whole(setup: Setup, fold: int, seed: int) -> dict[str, Any]:
  """Give all variables that a study starts with: published, or drawn."""
  own = dataclasses.replace(spec(setup, "base"), start=None)
  return _initialise(setup, fold, seed, own).variables


def _initialise(
  setup: Setup, fold: int, seed: int, own: step_lib.Spec
) -> state_lib.TrainState:
  return step_lib.initialise(
    own,
    key(setup, fold, seed, "base"),
    knobs=build.terms(setup.config)[1],
    constants=constants(setup, fold),
    weights=weights.published(setup, fold),
  )


def trained_base(setup: Setup, fold: int, seed: int) -> dict[str, Any]:
  """Read all variables of the base network after its training."""
  like = jax.eval_shape(lambda: initial(setup, fold, seed))
  base = checkpoints.restore(folder(setup, fold, seed, "base"), like).variables
  return _join(setup, whole(setup, fold, seed), base, "base")


def _join(
  setup: Setup, before: dict[str, Any], own: dict[str, Any], phase: str
) -> dict[str, Any]:
  """Put the frozen prefix of a phase before what it trained."""
  start = spec(setup, phase).start
  if start is None:
    return own
  prefix, _ = staged.split_variables(before, setup.network, start)
  return staged.merge_variables(prefix, own)


def variables(setup: Setup, fold: int, seed: int, trial: str) -> dict[str, Any]:
  """Read the network's variables after a fine-tuning, prefix included."""
  training = next(t for t in trials(setup.config) if t.name == trial).training
  base = trained_base(setup, fold, seed)
  like = jax.eval_shape(lambda: _tunable(setup, fold, seed, training, base))
  own = checkpoints.restore(folder(setup, fold, seed, trial), like).variables
  return _join(setup, base, own, "finetune")


def fixed_inputs(
  setup: Setup, fold: int, seed: int, base: Mapping[str, Any] | None = None
) -> np.ndarray:
  """Give what fine-tuning reads: samples, or outputs of its frozen prefix.

  Args:
    setup: the study.
    fold: number of the fold.
    seed: train seed.
    base: all variables of the trained base network; read where not given.

  Returns:
    [n, ...], for every sample of the data set.
  """
  start = spec(setup, "finetune").start
  if start is None:
    return setup.data.inputs
  if base is None:
    base = trained_base(setup, fold, seed)
  return stored.features_of(setup, base, constants(setup, fold), start)


def folder(setup: Setup, fold: int, seed: int, name: str) -> pathlib.Path:
  """Where a training's checkpoints are."""
  return setup.folder / "checkpoints" / f"fold{fold}" / f"seed{seed}" / name


def _tunable(
  setup: Setup,
  fold: int,
  seed: int,
  training: str,
  base: dict[str, Any],
) -> state_lib.TrainState:
  """Make the state at which fine-tuning starts, of the stages it trains."""
  tune, values = spec(setup, "finetune", training), base
  if tune.start is not None:
    _, values = staged.split_variables(values, tune.network, tune.start)
  values = dict(values)
  params = {state_lib.DEFENDER: values.pop("params")}
  fixed: dict[str, Any] = dict(constants(setup, fold))
  if tune.privatizer is not None:
    fixed["privatizer"] = laws.read(setup, fold, seed, training)
  knobs = build.terms(setup.config)[1]
  state = state_lib.create(params, values, tune.optimizers, knobs, fixed)
  return step_lib.add_players(tune, key(setup, fold, seed, "players"), state)


def _with_knobs(
  setup: Setup, start: state_lib.TrainState, trial: Trial, unit: float
) -> state_lib.TrainState:
  """Set the knobs of a trial, turned from relative into absolute units."""
  knobs = {k: float(v) for k, v in build.terms(setup.config)[1].items()}
  for name, value in trial.knobs:
    knobs |= dict.fromkeys(build.copies(knobs, name), float(value))
  for name in [k for k in knobs if k.endswith("/margin")]:
    knobs[name] *= unit
    if setup.config["train"]["margin_unit"] != "raw":
      knobs[name.replace("/margin", "/weight")] /= knobs[name] ** 2
  return dataclasses.replace(
    start, knobs={k: jnp.float32(v) for k, v in knobs.items()}
  )


def make_batches(
  setup: Setup,
  fold: int,
  seed: int,
  inputs: np.ndarray,
  phase: str,
  more: Mapping[str, np.ndarray] | None = None,
) -> Callable[[int], dict[str, np.ndarray]]:
  """Make the function step -> batch; the same for all trials of a seed.

  Of several processes each reads its own part of the samples.

  Args:
    setup: the study.
    fold: number of the fold.
    seed: train seed.
    inputs: samples, or what stands for them, [n, ...].
    phase: "base", "finetune" or "retune".
    more: further arrays of a batch by context name, [n, ...].
  """
  config = setup.config["train"]
  desired = setup.roles.desired[0]
  index = setup.folds[fold].train
  index = index[setup.data.labels[desired][index] >= 0]
  order = integer(setup, fold, seed, phase)
  balance = setup.data.labels[desired][index] if config["balance"] else None

  choose = batches.indices
  if phase == "finetune" and config["groups"]:
    choose = functools.partial(
      batches.groups, group=setup.data.labels[config["groups"]][index]
    )

  def batch(step: int) -> dict[str, np.ndarray]:
    chosen = choose(
      index,
      seed=order,
      step=step,
      batch_size=config["batch_size"],
      balance=balance,
    )
    chosen = mesh_lib.own_part(chosen)
    labels = {f"labels/{k}": v[chosen] for k, v in setup.data.labels.items()}
    mask = np.ones(len(chosen), np.float32)
    others = {name: array[chosen] for name, array in (more or {}).items()}
    return {"inputs": inputs[chosen], "mask": mask, **labels, **others}

  return batch


def _thumbnails(
  setup: Setup, fold: int, own: step_lib.Spec
) -> dict[str, np.ndarray]:
  """Make the small inputs that terms read where a batch holds features."""
  if own.start is None:
    return {}
  fixed, index = constants(setup, fold), np.arange(len(setup.data))

  def small(x: jax.Array, size: int) -> jax.Array:
    x = step_lib.prepare(x, fixed, shape=own.shape)
    return thumbnails.make(x, size)

  return {
    name: features.compute(
      jax.jit(functools.partial(small, size=size)), setup.data.inputs, index
    )
    for name, size in thumbnails.asked(own.terms).items()
  }


def schedule(
  config: Mapping[str, Any], phase: str, profile: Any = None
) -> loop.Schedule:
  """Read length and intervals of a phase."""
  train = config["train"]
  return loop.Schedule(
    num_steps=train[phase]["steps"],
    log_every=train["log_every"],
    evaluate_every=train["evaluate_every"],
    checkpoint_every=train["checkpoint_every"],
    profile=profile,
  )
