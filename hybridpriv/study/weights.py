"""Published weights that a study starts from."""

import functools
import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from hybridpriv import build
from hybridpriv.networks import bottleneck
from hybridpriv.privatizers import project
from hybridpriv.study import compiled, stored
from hybridpriv.study.setup import Setup, constants, integer, key
from hybridpriv.train import features

_SAMPLES = 4000  # of task-train, for the first projection of a bottleneck
_projected: dict[Any, dict[str, Any]] = {}


def published(setup: Setup, fold: int) -> dict[str, Any]:
  """Give the weights that a study starts from, {} if all are drawn.

  A bottleneck in a network with published weights starts as the principal
  components of its features on task-train (DPFE, arXiv 1802.03151).

  Raises:
    ValueError: if they cannot be read, or are those of another network.
  """
  shape = tuple(setup.config["input_shape"]) or setup.data.inputs.shape[1:]
  options = json.dumps({"weights": setup.config["weights"]})
  network = setup.network
  # Values also where a program is only traced for its shapes, or what is kept
  # here would be of that trace.
  with jax.ensure_compile_time_eval():
    known = _read(options, network, shape)
    if not known or not isinstance(network, bottleneck.Bottleneck):
      return known
    name = (str(setup.folder), fold, options, network)
    if name not in _projected:
      _projected[name] = _project(setup, fold, known, shape)
  more = _projected[name]
  return {
    collection: {**known.get(collection, {}), **more.get(collection, {})}
    for collection in {**known, **more}
  }


@functools.lru_cache(maxsize=2)
def _read(options: str, network: Any, shape: tuple[int, ...]) -> dict[str, Any]:
  variables, report = build.weights(json.loads(options), network, shape)
  if report:
    tqdm.tqdm.write(f"weights: {report}", file=sys.stderr)
  return variables


def _project(
  setup: Setup, fold: int, known: dict[str, Any], shape: tuple[int, ...]
) -> dict[str, Any]:
  """Fit the first projection on features of task-train samples."""
  network, start = setup.network, setup.config["train"]["base"]["start"] or None
  fixed = constants(setup, fold)
  inputs = stored.features_of(setup, known, fixed, start)
  rng = np.random.default_rng(integer(setup, fold, 0, "bottleneck"))
  index = np.sort(rng.permutation(setup.folds[fold].train)[:_SAMPLES])
  if start == network.after:
    found = np.asarray(inputs[index])
  else:
    run = compiled.stages(network, shape, start, network.after)
    found = features.compute(lambda x: run(known, fixed, x), inputs, index)
  state = project.pca(k=network.k).fit(
    key(setup, fold, 0, "bottleneck"), {"features": jnp.asarray(found)}
  )
  return bottleneck.from_projection(
    state["mean"], state["components"], state["variances"]
  )
