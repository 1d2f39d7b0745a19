"""What a network in training is worth: its answers on task-validation."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from hybridpriv.study import compiled, judging
from hybridpriv.study.setup import Setup, key
from hybridpriv.train import features
from hybridpriv.train import state as state_lib
from hybridpriv.train import step as step_lib


def make(
  setup: Setup,
  fold: int,
  seed: int,
  own: step_lib.Spec,
  inputs: np.ndarray,
  answers: Any = None,
) -> Callable[[state_lib.TrainState], dict[str, float]]:
  """Make the function state -> balanced accuracy on task-validation.

  With something between the halves the answers are those to its codes, drawn as
  often as in the audit: afresh for every look, and alike for all trials at the
  same step.

  Args:
    setup: the study.
    fold: number of the fold.
    seed: train seed.
    own: the training.
    inputs: what it reads, [n, ...].
    answers: `step.make_answers`, compiled; needed with something between.
  """
  whole = compiled.stages(own.network, own.shape, own.start)
  index = judging.samples(setup, fold, "validation")
  root = key(setup, fold, seed, "validation")
  is_random = own.privatizer is not None and own.privatizer.is_random
  draws = setup.config["audit"]["draws"] if is_random else 1

  def evaluate(state: state_lib.TrainState) -> dict[str, float]:
    at_step = jax.random.fold_in(root, state.step)
    number = itertools.count()

    def answer(x: np.ndarray) -> dict[str, jax.Array]:
      if own.privatizer is not None:
        return answers(state, x, jax.random.fold_in(at_step, next(number)))
      found = whole(state.variables, state.constants, x)
      return step_lib.split_logits(found, own.answers)

    drawn = [features.compute(answer, inputs, index) for _ in range(draws)]
    logits = {d: np.stack([one[d] for one in drawn], axis=1) for d in drawn[0]}
    scores = judging.scores(setup, fold, "validation", logits)
    return {f"validation/{d}/balanced_accuracy": x for d, x in scores.items()}

  return evaluate
