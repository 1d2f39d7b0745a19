"""Training steps as a study takes them, without its folder: for benches."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from hybridpriv import build
from hybridpriv.data import dataset, partition
from hybridpriv.study import setup as setup_lib
from hybridpriv.train import step as step_lib

KEY = jax.random.key(0)


def setup(config: Mapping[str, Any], data: dataset.DataSet) -> setup_lib.Setup:
  """Make a study of data in which all people are those of task-train."""
  everybody, nobody = np.arange(len(data)), np.arange(0)
  fold = partition.Fold(everybody, nobody, nobody, nobody)
  network = build.network(config, build.num_logits(config, data))
  return setup_lib.Setup(
    config, build.roles(config), data, (fold,), network, pathlib.Path()
  )


def state(given: setup_lib.Setup, phase: str) -> Any:
  """Draw the parameters that a phase trains."""
  return step_lib.initialise(
    setup_lib.spec(given, phase),
    KEY,
    knobs=build.terms(given.config)[1],
    constants=setup_lib.constants(given, 0),
  )


def run(
  step: Callable[..., Any],
  start: Any,
  batch: Callable[[int], Any],
  num: int,
) -> float:
  """Take `num` steps, each batch made while the device works; give the loss."""
  own = jax.tree.map(jax.numpy.copy, start)  # the step gives its state away
  ready, metrics = batch(0), {}
  for number in range(num):
    own, metrics = step(own, ready, KEY)
    if number + 1 < num:
      ready = batch(number + 1)
  return float(metrics["loss"])
