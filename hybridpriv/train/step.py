"""One update of all players, and the network's answers: pure functions."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from hybridpriv.networks import staged
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.train import augment as augment_lib
from hybridpriv.train import objective, thumbnails
from hybridpriv.train import state as state_lib
from hybridpriv.train.state import DEFENDER, TrainState

Batch = Mapping[str, Any]
Metrics = dict[str, jax.Array]


class Player(NamedTuple):
  """An adversary inside the training, with parameters of its own.

  Attributes:
    name: its name; its output is "<name>/<output>" in the context.
    network: a Linen module of one input.
    input: the context name it looks at, "feature" or "code".
    output: what it gives, "logits" or "restored".
  """

  name: str
  network: nn.Module
  input: str
  output: str = "logits"


class Monitor(NamedTuple):
  """Something to log that nobody minimises.

  Attributes:
    name: prefix of the metrics.
    function: keyword-only, also takes `mask`; returns named scalars.
    inputs: pairs (argument, name in the context), knobs included.
  """

  name: str
  function: Callable[..., Mapping[str, jax.Array]]
  inputs: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Spec:
  """Everything about a training that is not an array.

  Attributes:
    network: a staged network.
    answers: (desired label, number of classes) in the order of the logits.
    cut: last stage on the device.
    shape: input of the network, without the batch axis.
    optimizers: by player.
    terms: the objective.
    monitors: what else to log.
    players: the adversaries, if any.
    start: train only the stages after this one, from its stored output.
    augment: function of (key, inputs, shape), in training only.
    privatizer: put between the halves, with fresh noise every step.
  """

  network: Any  # staged; a Linen module is hashable in a way types miss
  answers: tuple[tuple[str, int], ...]
  cut: str
  shape: tuple[int, ...]
  optimizers: Mapping[str, optax.GradientTransformation]
  terms: Sequence[objective.Term]
  monitors: Sequence[Monitor] = ()
  players: Sequence[Player] = ()
  start: str | None = None
  augment: Callable[..., jax.Array] | None = None
  privatizer: privatizer_lib.Privatizer | None = None


def prepare(
  inputs: jax.Array,
  constants: Mapping[str, Any],
  *,
  shape: tuple[int, ...],
  augment: Callable[..., jax.Array] | None = None,
  key: jax.Array | None = None,
) -> jax.Array:
  """Turn stored samples into what the network takes.

  Args:
    inputs: uint8 images [b, h, w, c] or signals [b, t, c].
    constants: "mean", per channel or a whole image [h, w, c], and "std", per
      channel.
    shape: the network's input.
    augment: augmentation; None cuts the centre.
    key: for the augmentation.

  Returns:
    float32 [b, *shape], standardised per channel.
  """
  mean = constants["mean"]
  if mean.ndim > 1:  # a mean image moves with what is cut out
    inputs = inputs.astype(jnp.float32) - mean[None]
    mean = jnp.zeros(inputs.shape[-1])
  if augment is None:
    inputs = augment_lib.centre(inputs, shape=shape)
  else:
    inputs = augment(key, inputs, shape=shape)
  channel = (1,) * (inputs.ndim - 1) + (-1,)
  mean, std = mean.reshape(channel), constants["std"].reshape(channel)
  return (inputs.astype(jnp.float32) - mean) / std


def split_logits(
  logits: jax.Array, answers: Sequence[tuple[str, int]]
) -> dict[str, jax.Array]:
  """Divide the last stage's output among the desired labels."""
  parts, at = {}, 0
  for label, size in answers:
    parts[label] = logits[:, at : at + size]
    at += size
  return parts


def forward(
  spec: Spec,
  params: Mapping[str, Any],
  state: TrainState,
  batch: Batch,
  key: jax.Array,
  *,
  train: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Run client, privatizer, cloud and adversaries.

  Args:
    spec: the training.
    params: parameters by player.
    state: for everything but the parameters.
    batch: "inputs" [b, ...], "mask" [b], "labels/<name>" [b]; with
      `spec.start` also the "inputs/<size>" that terms read.
    key: of this step.
    train: batch statistics, dropout and augmentation on.

  Returns:
    (context, new model state).  The context holds the batch, "feature",
    "code", "decoded", "logits/<label>", "<player>/<output>", the knobs, and
    the small copies "inputs/<size>" that terms read.
  """
  x = batch["inputs"]
  context = {**batch, **{f"knobs/{k}": v for k, v in state.knobs.items()}}
  if spec.start is None:
    x = prepare(
      x,
      state.constants,
      shape=spec.shape,
      augment=spec.augment if train else None,
      key=state_lib.stream(key, "augment"),
    )
    for name, size in thumbnails.asked(spec.terms).items():
      context[name] = thumbnails.make(x, size)
  model_state = dict(state.model_state)
  mutable = list(model_state) if train else False

  def run(x: jax.Array, **stages: Any) -> jax.Array:
    variables = {"params": params[DEFENDER], **model_state}
    rngs = {"dropout": state_lib.stream(key, "dropout")}
    result = spec.network.apply(
      variables, x, train=train, mutable=mutable, rngs=rngs, **stages
    )
    if train:
      (x, _), changed = result
      model_state.update(changed)
      return x
    return result[0]

  feature = x
  if spec.start != spec.cut:
    feature = run(x, after=spec.start, upto=spec.cut)
  context["feature"] = context["code"] = context["decoded"] = feature
  if spec.privatizer is not None:
    law = state.constants["privatizer"]
    noise = state_lib.stream(key, "privatizer")
    context["code"] = spec.privatizer.encode(law, noise, feature)
    context["decoded"] = spec.privatizer.decode(law, context["code"])
  logits = run(context["decoded"], after=spec.cut)
  for label, part in split_logits(logits, spec.answers).items():
    context[f"logits/{label}"] = part
  for player in spec.players:
    context[f"{player.name}/{player.output}"] = player.network.apply(
      {"params": params[player.name]}, context[player.input]
    )
  return context, model_state


def make_step(
  spec: Spec,
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]:
  """Make the pure step (state, batch, key) -> (state, metrics).

  Every player's gradient is that of its own total by its own parameters, all
  from the same forward pass (XLA merges the equal computations).  `key` is the
  root of the training; the step folds in its own number, so that a resumed
  training draws what the straight one would have drawn.
  """

  def step(
    state: TrainState, batch: Batch, key: jax.Array
  ) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(key, state.step)

    def total(own: Any, player: str) -> tuple[jax.Array, tuple[Any, Any]]:
      params = {**state.params, player: own}
      context, model_state = forward(
        spec, params, state, batch, key, train=True
      )
      totals, values = objective.evaluate(spec.terms, context, state.step)
      metrics = dict(values)
      for monitor in spec.monitors:
        arguments, mask = objective.read(
          context, monitor.inputs, "mask", f"monitor {monitor.name!r}"
        )
        found = monitor.function(**arguments, mask=mask)
        metrics |= {f"{monitor.name}/{k}": v for k, v in found.items()}
      if player not in totals:
        raise ValueError(
          f"player {player!r} has no term: the terms belong to"
          f" {sorted({t.player for t in spec.terms})}"
        )
      return totals[player], (model_state, metrics)

    params, opt_state, model_state, metrics = {}, {}, state.model_state, {}
    finite = jnp.asarray(True)
    for player, own in state.params.items():
      (loss, (changed, values)), grads = jax.value_and_grad(
        total, has_aux=True
      )(own, player)
      updates, opt_state[player] = spec.optimizers[player].update(
        grads, state.opt_state[player], own
      )
      params[player] = optax.apply_updates(own, updates)
      prefix = "" if player == DEFENDER else f"{player}/"
      metrics[f"{prefix}loss"] = loss
      metrics[f"{prefix}gradient_norm"] = optax.tree.norm(grads)
      finite &= jnp.isfinite(loss) & jnp.isfinite(
        metrics[f"{prefix}gradient_norm"]
      )
      if player == DEFENDER:
        model_state, metrics = changed, {**metrics, **values}
    first = jnp.where(state.nan_step >= 0, state.nan_step, state.step)
    return dataclasses.replace(
      state,
      step=state.step + 1,
      nan_step=jnp.where(finite, state.nan_step, first).astype(jnp.int32),
      params=params,
      model_state=model_state,
      opt_state=opt_state,
    ), metrics

  return step


def make_answers(
  spec: Spec,
) -> Callable[[TrainState, jax.Array, jax.Array], dict[str, jax.Array]]:
  """Make the function (state, inputs, key) -> logits by desired label.

  Evaluation mode: stored statistics, no dropout; the privatizer, where there is
  one, with fresh noise from `key`.
  """

  def answers(
    state: TrainState, inputs: jax.Array, key: jax.Array
  ) -> dict[str, jax.Array]:
    batch = {"inputs": inputs, "mask": jnp.ones(inputs.shape[0])}
    context, _ = forward(spec, state.params, state, batch, key, train=False)
    return {label: context[f"logits/{label}"] for label, _ in spec.answers}

  return answers


def initialise(
  spec: Spec,
  key: jax.Array,
  *,
  knobs: Mapping[str, float],
  constants: Mapping[str, Any],
  weights: Mapping[str, Any] | None = None,
) -> TrainState:
  """Draw the parameters of all players and start at step 0.

  With `spec.start` the state holds the stages after it only. `weights`, by
  collection and stage, take the place of drawn ones.
  """
  own = state_lib.stream(key, "init")
  draw = _initialiser(spec.network, spec.shape)
  # Inside another program, such as one for shapes alone, it is a part of it.
  is_part = isinstance(own, jax.core.Tracer)
  variables = draw.__wrapped__(own) if is_part else draw(own)
  variables = staged.overlay(variables, weights or {}, spec.network)
  if spec.start is not None:
    _, variables = staged.split_variables(variables, spec.network, spec.start)
  variables = dict(variables)
  params = {DEFENDER: variables.pop("params")}
  state = state_lib.create(params, variables, spec.optimizers, knobs, constants)
  return add_players(spec, key, state)


@functools.cache
def _initialiser(network: nn.Module, shape: tuple[int, ...]) -> Any:
  """Compile the drawing of a network's parameters, once for all seeds.

  It runs for a moment: a CPU compiler that optimises it takes ten times longer
  than one that does not.
  """
  is_cpu = jax.default_backend() == "cpu"
  options = {"xla_backend_optimization_level": 0} if is_cpu else None

  def draw(key: jax.Array) -> Any:
    return network.init(key, jnp.zeros((1, *shape)), train=False)

  return jax.jit(draw, compiler_options=options)


def add_players(spec: Spec, key: jax.Array, state: TrainState) -> TrainState:
  """Draw the parameters of the adversaries that `state` does not have yet."""
  params, opt_state = dict(state.params), dict(state.opt_state)
  whole = dataclasses.replace(spec, start=None, players=())
  batch = {
    "inputs": jnp.zeros((1, *spec.shape)),
    "mask": jnp.ones(1),
  }

  def look(key: jax.Array) -> Any:
    # The state may hold the later stages only, so the whole network is made.
    held = dict(spec.network.init(key, batch["inputs"], train=False))
    own = {DEFENDER: held.pop("params")}
    full = dataclasses.replace(state, params=own, model_state=held)
    return forward(whole, own, full, batch, key, train=False)[0]

  for player in spec.players:
    if player.name in params:
      continue
    context = jax.eval_shape(look, key)
    example = jnp.zeros(context[player.input].shape)
    draw = jax.jit(player.network.init)
    drawn = draw(state_lib.stream(key, player.name), example)
    params[player.name] = drawn["params"]
    opt_state[player.name] = spec.optimizers[player.name].init(
      params[player.name]
    )
  return dataclasses.replace(state, params=params, opt_state=opt_state)
