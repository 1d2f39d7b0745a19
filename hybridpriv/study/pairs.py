"""Distances of pairs: the unit of the margin, and signs of a dead term."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from hybridpriv.losses import siamese
from hybridpriv.study import compiled
from hybridpriv.study.setup import Setup
from hybridpriv.train import features
from hybridpriv.train import state as state_lib
from hybridpriv.train import step as step_lib


def _features(
  setup: Setup,
  fold: int,
  tune: step_lib.Spec,
  state: state_lib.TrainState,
  stored: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Compute features and desired labels of up to 512 task-train samples."""
  label = setup.data.labels[setup.roles.desired[0]]
  index = setup.folds[fold].train
  rng = np.random.default_rng(setup.config["seed"])
  index = rng.permutation(index[label[index] >= 0])[:512]
  client = compiled.stages(tune.network, tune.shape, tune.start, tune.cut)
  feature = features.compute(
    lambda x: client(state.variables, state.constants, x), stored, index
  )
  return feature, label[index]


def measure(
  setup: Setup,
  fold: int,
  tune: step_lib.Spec,
  state: state_lib.TrainState,
  stored: np.ndarray,
) -> dict[str, float]:
  """Measure distances of same and different pairs after a training."""
  feature, label = _features(setup, fold, tune, state, stored)
  margins = [v for k, v in state.knobs.items() if k.endswith("/margin")]
  found = siamese.pair_statistics(
    feature=jnp.asarray(feature),
    labels=jnp.asarray(label),
    margin=margins[0] if margins else np.inf,
    mask=jnp.ones(len(label)),
  )
  return {k: float(v) for k, v in found.items()}


def degenerate(pairs: Mapping[str, float]) -> str:
  """Say what is wrong with a contrastive term, "" if nothing is.

  Args:
    pairs: what `siamese.pair_statistics` returns.
  """
  if pairs["different_distance"] <= 1e-6:
    return "all features are equal: the contrastive term has collapsed them"
  if pairs["inside_margin"] == 0:
    return (
      "no pair of different classes is inside the margin: the term pushes"
      " nothing apart; a larger margin would"
    )
  if pairs["inside_margin"] == 1:
    return (
      "every pair of different classes is inside the margin: it is out of"
      " reach; a smaller margin or a larger weight may help"
    )
  return ""


def unit(
  setup: Setup,
  fold: int,
  tune: step_lib.Spec,
  state: state_lib.TrainState,
  stored: np.ndarray,
) -> float:
  """Measure the median distance of different pairs before fine-tuning.

  The published margin of 10 belongs to features of 100,352 values; here
  margins are in units of this median, and weights in units of one over the
  squared margin, unless `config.train.margin_unit` is "raw".
  """
  if setup.config["train"]["margin_unit"] == "raw":
    return 1.0
  feature, label = _features(setup, fold, tune, state, stored)
  distance = np.asarray(siamese.distances(jnp.asarray(feature)))
  different = label[:, None] != label[None]
  return float(np.median(distance[different]))
