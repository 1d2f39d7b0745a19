"""The loop around the step: batches in, metrics and checkpoints out.

Where a training starts from, in this order:

1. its own newest checkpoint;
2. the state it is given (fresh parameters, or those of another training).

Told to stop by a signal, it finishes the step, saves, and stops there: in all
processes of a job at the same step.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm

from hybridpriv import mesh as mesh_lib
from hybridpriv.train import checkpoints, preemption
from hybridpriv.train import metrics as metrics_lib
from hybridpriv.train.state import TrainState


class Replica(NamedTuple):
  """One of several trainings that share a program.

  Attributes:
    run: its name in the metrics, "fold0/seed0/simple".
    state: where it starts.
    key: root of its randomness.
    batch: function of the step, returns NumPy arrays; of several processes,
      each returns its own part.
    evaluate: function of the state, returns named numbers; None for none.
    folder: its checkpoints.
  """

  run: str
  state: TrainState
  key: jax.Array
  batch: Callable[[int], Mapping[str, np.ndarray]]
  evaluate: Callable[[TrainState], Mapping[str, float]] | None
  folder: pathlib.Path


class Schedule(NamedTuple):
  """How long, and how often what happens, in steps."""

  num_steps: int
  log_every: int = 50
  evaluate_every: int = 500
  checkpoint_every: int = 500
  profile: tuple[int, int] | None = None


class Diverged(RuntimeError):
  """A loss or gradient was not finite; the message names run and step."""


def fit(
  step: Callable[..., Any],
  replicas: Sequence[Replica],
  schedule: Schedule,
  writer: metrics_lib.Writer,
  *,
  together: int = 1,
  profile_folder: pathlib.Path | None = None,
) -> list[TrainState]:
  """Train replicas to the end, resuming each where it stopped.

  Args:
    step: the compiled step, see `compile_step`.
    replicas: trainings of the same shapes.
    schedule: length and intervals.
    writer: where metrics go.
    together: the most that train as one program; with more than one, `step`
      takes them stacked.
    profile_folder: where `schedule.profile` writes its trace.

  Returns:
    The final states, in order; of several processes, each has a copy.

  Raises:
    Exception: what a batch raises, after the step is saved.
    Diverged: as soon as a logged interval holds a loss that is not finite.
    preemption.Preempted: told to stop by a signal, after saving.
  """
  by_start: dict[int, list[int]] = {}
  for i, replica in enumerate(replicas):
    # A kill between two saves leaves replicas at different steps: those that
    # stopped together go on together.
    by_start.setdefault(_start(replica), []).append(i)
  states: dict[int, TrainState] = {}
  for own in by_start.values():
    for first in range(0, len(own), together):
      members = own[first : first + together]
      group = [replicas[i] for i in members]
      with preemption.kept_back():
        final = _fit_group(
          step, group, schedule, writer, together > 1, profile_folder
        )
      states.update(zip(members, final, strict=True))
  return [states[i] for i in range(len(replicas))]


def compile_step(step: Callable[..., Any], *, vmapped: bool) -> Any:
  """Compile a step, its state donated; `vmapped` over stacked replicas."""
  own = jax.vmap(step) if vmapped else step
  if mesh_lib.num_processes() > 1:  # each has to read what comes out
    whole = mesh_lib.replicated(mesh_lib.data_mesh())
    return jax.jit(own, donate_argnums=0, out_shardings=whole)
  return jax.jit(own, donate_argnums=0)


def _start(replica: Replica) -> int:
  """Find the step at which a training goes on."""
  found = checkpoints.latest_step(replica.folder) or 0
  return mesh_lib.same_everywhere(found)


def _fit_group(
  step: Any,
  group: Sequence[Replica],
  schedule: Schedule,
  writer: metrics_lib.Writer,
  vmapped: bool,
  profile_folder: pathlib.Path | None,
) -> list[TrainState]:
  """Train one program's worth of replicas."""
  mesh = mesh_lib.data_mesh()
  stack = (
    (lambda trees: jax.tree.map(lambda *x: jax.numpy.stack(x), *trees))
    if vmapped
    else lambda trees: trees[0]
  )
  start = _start(group[0])
  states = [
    checkpoints.restore(r.folder, r.state, start) if start else r.state
    for r in group
  ]
  # The step gives its state away; what the caller passed stays the caller's.
  state = jax.tree.map(jax.numpy.copy, mesh_lib.replicate(stack(states), mesh))
  key = mesh_lib.replicate(stack([r.key for r in group]), mesh)
  for replica in group:
    writer.rewind(replica.run, start)

  def next_batch(number: int) -> Any:
    # Trials of a seed share their batches: each is read once.
    made = {batch: batch(number) for batch in {r.batch for r in group}}
    batches = [made[r.batch] for r in group]
    if vmapped:
      return mesh_lib.shard(
        jax.tree.map(lambda *x: np.stack(x), *batches), mesh, axis=1
      )
    return mesh_lib.shard(dict(batches[0]), mesh)

  end = schedule.num_steps
  name = group[0].run if len(group) == 1 else f"{len(group)} replicas"
  bar = tqdm.tqdm(
    total=end,
    initial=start,
    desc=name,
    leave=False,
    disable=None if mesh_lib.is_first() else True,
    unit="step",
  )
  batch = next_batch(start) if start < end else None
  if not end:  # published weights as they are
    for replica, own in zip(group, _unstack(state, group), strict=True):
      checkpoints.save(replica.folder, 0, own)
  first, final = schedule.profile or (0, 0)
  profiling = False
  vote = mesh_lib.vote(mesh)
  for number in range(start + 1, end + 1):
    if first <= number <= final and not profiling:
      jax.profiler.start_trace(str(profile_folder))
      profiling = True
    state, metrics = step(state, batch, key)
    broken = None
    if number < end:
      try:
        # Prepared while the device works: calls return before they are done.
        batch = next_batch(number)
      except Exception as error:
        if mesh_lib.num_processes() > 1:  # all save together, or none
          raise
        broken = error  # what is done is saved first
    last = number == end
    stop = vote(preemption.told()) and not last
    if profiling and (number == final or last or stop or broken):
      jax.block_until_ready(metrics)
      jax.profiler.stop_trace()
      profiling = False
    checkpoint = last or number % schedule.checkpoint_every == 0
    log = number % schedule.log_every == 0
    evaluate = last or number % schedule.evaluate_every == 0
    if checkpoint or log or evaluate or stop or broken:
      _stop_on_nan(group, state)
    if checkpoint or log or evaluate:
      seen = mesh_lib.local(state) if evaluate else None
      _log(group, writer, number, metrics, seen)
      bar.set_postfix(loss=float(np.mean(jax.device_get(metrics["loss"]))))
    if checkpoint or stop or broken:
      for replica, own in zip(group, _unstack(state, group), strict=True):
        checkpoints.save(replica.folder, number, own)
    bar.update()
    if broken:
      bar.close()
      raise broken
    if stop:
      bar.close()
      preemption.stop(f"{name} at step {number}")
  bar.close()
  return _unstack(mesh_lib.local(state), group)


def _unstack(state: TrainState, group: Sequence[Replica]) -> list[TrainState]:
  if state.step.ndim == 0:
    return [state]
  return [jax.tree.map(lambda x, i=i: x[i], state) for i in range(len(group))]


def _log(
  group: Sequence[Replica],
  writer: metrics_lib.Writer,
  number: int,
  metrics: Mapping[str, jax.Array],
  state: TrainState | None,
) -> None:
  """Write one line a replica; with `state`, what it is worth as well."""
  values = {f"train/{k}": v for k, v in jax.device_get(metrics).items()}
  states = [None] * len(group) if state is None else _unstack(state, group)
  for i, (replica, own) in enumerate(zip(group, states, strict=True)):
    line = {k: v[i] if np.ndim(v) else v for k, v in values.items()}
    if own is not None and replica.evaluate is not None:
      line |= replica.evaluate(own)
    writer.write(replica.run, number, line)


def _stop_on_nan(group: Sequence[Replica], state: TrainState) -> None:
  first = np.atleast_1d(jax.device_get(state.nan_step))
  for replica, number in zip(group, first, strict=True):
    if number >= 0:
      raise Diverged(
        f"{replica.run}: loss or gradient not finite at step {number + 1}."
        " Lower the learning rate or the weights of the objective; the last"
        " whole checkpoint was kept"
      )
