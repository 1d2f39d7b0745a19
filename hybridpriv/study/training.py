"""Stage `train`: every training of a study, its trials and the choice.

For every fold and train seed: the network learns the desired question from
scratch (`base`); from there it is fine-tuned once for every trial of every
training (`simple`, `siamese`, ...), all with the same budget and through the
same compiled step.  The choice follows one rule, on task-validation people
only: of the trials of a training that cost at most `config.train.tolerance`
of balanced utility against the first trial of all (`simple`), the one with the
largest weight.
"""

import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from hybridpriv import build
from hybridpriv import mesh as mesh_lib
from hybridpriv.data import batches
from hybridpriv.networks import staged
from hybridpriv.study import compiled, judging, stored, weights, workdir
from hybridpriv.study import pairs as pairs_lib
from hybridpriv.study.setup import (
  Setup,
  Trial,
  constants,
  integer,
  key,
  spec,
  trials,
)
from hybridpriv.train import checkpoints, features, loop, metrics
from hybridpriv.train import state as state_lib
from hybridpriv.train import step as step_lib


def run(setup: Setup, writer: metrics.Writer, profile: Any = None) -> None:
  """Train everything; write `trainings.json` when all is done."""
  out = setup.folder / "trainings.json"
  if out.exists():
    return
  steps = {}
  for phase in ("base", "finetune"):
    step = step_lib.make_step(spec(setup, phase))
    steps[phase] = loop.compile_step(step, vmapped=mesh_lib.vmaps_replicas())
  chosen = [
    _fold(setup, fold, steps, writer, profile)
    for fold in range(len(setup.folds))
  ]
  workdir.write_json(out, chosen)


def chosen(setup: Setup) -> list[dict[str, Any]]:
  """Read which trial was chosen, by fold and training."""
  return json.loads((setup.folder / "trainings.json").read_text())


def _fold(
  setup: Setup,
  fold: int,
  steps: Mapping[str, Any],
  writer: metrics.Writer,
  profile: Any,
) -> dict[str, Any]:
  """Train base and all trials of one fold; return the table of choices."""
  config, seeds = setup.config, range(setup.config["train"]["seeds"])
  base_spec, tune_spec = spec(setup, "base"), spec(setup, "finetune")
  inputs = stored.features_of(
    setup, whole(setup, fold, 0), constants(setup, fold), base_spec.start
  )
  base = loop.fit(
    steps["base"],
    [
      loop.Replica(
        run=f"fold{fold}/seed{seed}/base",
        state=initial(setup, fold, seed),
        key=key(setup, fold, seed, "base"),
        batch=make_batches(setup, fold, seed, inputs, "base"),
        evaluate=_evaluate(setup, fold, base_spec, inputs),
        folder=folder(setup, fold, seed, "base"),
      )
      for seed in seeds
    ],
    schedule(config, "base", profile),
    writer,
    profile_folder=setup.folder / "profile",
  )
  utilities: dict[str, list[float]] = {t.name: [] for t in trials(config)}
  pairs: dict[str, list[dict[str, float]]] = {
    t.name: [] for t in trials(config)
  }
  units = []
  for seed, state in zip(seeds, base, strict=True):
    trained = _join(setup, whole(setup, fold, seed), state.variables, "base")
    start = _tunable(setup, fold, seed, tune_spec, trained)
    tuned_on = fixed_inputs(setup, fold, seed, trained)
    evaluate = _evaluate(setup, fold, tune_spec, tuned_on)
    unit = pairs_lib.unit(setup, fold, tune_spec, start, tuned_on)
    units.append(unit)
    replicas = [
      loop.Replica(
        run=f"fold{fold}/seed{seed}/{trial.name}",
        state=_with_knobs(setup, start, trial, unit),
        key=key(setup, fold, seed, "finetune"),
        batch=make_batches(setup, fold, seed, tuned_on, "finetune"),
        evaluate=evaluate,
        folder=folder(setup, fold, seed, trial.name),
      )
      for trial in trials(config)
    ]
    states = loop.fit(
      steps["finetune"], replicas, schedule(config, "finetune", None), writer
    )
    for replica, trial, final in zip(
      replicas, trials(config), states, strict=True
    ):
      utilities[trial.name].append(
        float(np.mean(list(evaluate(final).values())))
      )
      found = pairs_lib.measure(setup, fold, tune_spec, final, tuned_on)
      pairs[trial.name].append(found)
      warning = pairs_lib.degenerate(found)
      if warning and _moves_pairs(setup, trial):
        tqdm.tqdm.write(f"warning: {replica.run}: {warning}", file=sys.stderr)
  return {
    training: _choose(setup, training, utilities, pairs)
    | {"median_different_distance": units}
    for training in config["trainings"]
  }


def _moves_pairs(setup: Setup, trial: Trial) -> bool:
  """Tell whether a trial turns on a term that keeps desired classes apart."""
  terms, knobs = build.terms(setup.config)
  desired = {f"labels/{name}" for name in setup.roles.desired}
  apart = [
    f"{term.name}/weight"
    for term in terms
    if f"{term.name}/margin" in knobs
    and desired & set(dict(term.inputs).values())
  ]
  return any(value and name in apart for name, value in trial.knobs)


def _choose(
  setup: Setup,
  training: str,
  utilities: Mapping[str, list[float]],
  pairs: Mapping[str, list[dict[str, float]]],
) -> dict[str, Any]:
  """Apply the rule: the largest weight that costs at most the tolerance."""
  config = setup.config
  tolerance = config["train"]["tolerance"]
  reference = float(np.mean(utilities[next(t.name for t in trials(config))]))
  table = [
    {
      "name": t.name,
      "knobs": dict(t.knobs),
      "utility": float(np.mean(utilities[t.name])),
      "by_seed": utilities[t.name],
      "strength": t.strength,
      "pairs": pairs[t.name],
    }
    for t in trials(config)
    if t.training == training
  ]

  able = [r for r in table if r["utility"] >= reference - tolerance]
  if able:
    best = max(able, key=lambda r: (r["strength"], r["utility"]))
  else:
    best = max(table, key=lambda r: r["utility"])
  last = len(table) > 1 and best["strength"] == max(
    r["strength"] for r in table
  )
  return {
    "chosen": best["name"],
    "knobs": best["knobs"],
    "rule": (
      "the largest weight that costs at most"
      f" {100 * tolerance:g} points of balanced utility on task-validation"
      f" against {100 * reference:.1f} % of the first trial"
      + ("" if able else "; none did, the most useful one was taken")
      + ("; it is the end of the grid" if last else "")
    ),
    "trials": table,
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
  tune, base = spec(setup, "finetune"), trained_base(setup, fold, seed)
  like = jax.eval_shape(lambda: _tunable(setup, fold, seed, tune, base))
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
  tune: step_lib.Spec,
  base: dict[str, Any],
) -> state_lib.TrainState:
  """Make the state at which fine-tuning starts, of the stages it trains."""
  values = base
  if tune.start is not None:
    _, values = staged.split_variables(values, tune.network, tune.start)
  values = dict(values)
  params = {state_lib.DEFENDER: values.pop("params")}
  state = state_lib.create(
    params,
    values,
    tune.optimizers,
    build.terms(setup.config)[1],
    constants(setup, fold),
  )
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
  setup: Setup, fold: int, seed: int, inputs: np.ndarray, phase: str
) -> Callable[[int], dict[str, np.ndarray]]:
  """Make the function step -> batch; the same for all trials of a seed."""
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
    labels = {f"labels/{k}": v[chosen] for k, v in setup.data.labels.items()}
    mask = np.ones(len(chosen), np.float32)
    return {"inputs": inputs[chosen], "mask": mask, **labels}

  return batch


def _evaluate(
  setup: Setup, fold: int, own: step_lib.Spec, inputs: np.ndarray
) -> Callable[[state_lib.TrainState], dict[str, float]]:
  """Make the function state -> balanced accuracy on task-validation."""
  whole = compiled.stages(own.network, own.shape, own.start)
  index = judging.samples(setup, fold, "validation")

  def evaluate(state: state_lib.TrainState) -> dict[str, float]:
    found = features.compute(
      lambda x: whole(state.variables, state.constants, x), inputs, index
    )
    logits = {
      d: np.asarray(x)[:, None]
      for d, x in step_lib.split_logits(found, own.answers).items()
    }
    scores = judging.scores(setup, fold, "validation", logits)
    return {f"validation/{d}/balanced_accuracy": x for d, x in scores.items()}

  return evaluate


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
