"""Short trainings by the loop, killed or not, and how they compare."""

import dataclasses
import json

import jax
import numpy as np

from hybridpriv.train import loop, metrics

SCHEDULE = loop.Schedule(
  num_steps=7, log_every=1, evaluate_every=3, checkpoint_every=2
)


class Killed(BaseException):
  """Stands for a kill in the middle of a step."""


def evaluate(state):
  leaves = jax.tree.leaves(state.params)
  return {"validation/size": float(sum(np.abs(x).sum() for x in leaves))}


def replica(made, folder, run="a", seed=0, killed_at=None):
  def batch(number):
    if number == killed_at:
      raise Killed
    return made.batch(100 * seed + number)

  def judge(state):
    if state.step == killed_at:
      raise Killed
    return evaluate(state)

  # Replicas differ in batches, keys and weights.
  knobs = {"task/weight": np.float32(1 + seed)}
  return loop.Replica(
    run=run,
    state=dataclasses.replace(made.state, knobs=knobs),
    key=jax.random.key(seed),
    batch=batch,
    evaluate=judge,
    folder=folder / run,
  )


def fit(step, replicas, folder, schedule=SCHEDULE, together=1):
  writer = metrics.Writer(folder / "metrics.jsonl")
  return loop.fit(step, replicas, schedule, writer, together=together)


def lines(folder, run="a"):
  text = (folder / "metrics.jsonl").read_text()
  found = [json.loads(line) for line in text.splitlines()]
  return [x for x in found if x["run"] == run]


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a, b):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-5), a, b
  )
