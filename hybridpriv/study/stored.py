"""Outputs of a frozen prefix, computed once and kept in a file.

The file is named by all that they depend on: weights, preprocessing, samples.
A sweep over cuts, seeds and objectives behind one prefix shares the folder.
"""

import functools
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from hybridpriv.data import dataset, kept, streamed
from hybridpriv.networks import staged
from hybridpriv.study import compiled
from hybridpriv.study.setup import Setup
from hybridpriv.train import features


def place(config: Mapping[str, Any], folder: pathlib.Path) -> pathlib.Path:
  """Say where the study in `folder` keeps pictures and outputs."""
  return pathlib.Path(config["features"] or folder / "features")


def features_of(
  setup: Setup,
  variables: Mapping[str, Any],
  constants: Mapping[str, Any],
  start: str | None,
) -> np.ndarray:
  """Run every sample through the stages up to `start`, or read what is kept.

  Args:
    setup: the study.
    variables: of the network, at least those of the prefix.
    constants: of the preprocessing.
    start: last stage of the prefix; None for no prefix.

  Returns:
    A read-only memory map [n, ...], float32; the samples themselves without a
    prefix.  Of several processes that find no file one computes it, and the
    others wait.

  Raises:
    ValueError: the folder cannot take it; says how many bytes are needed.
  """
  if start is None:
    return setup.data.inputs
  network = setup.network
  shape = tuple(setup.config["input_shape"]) or setup.data.inputs.shape[1:]
  prefix, _ = staged.split_variables(variables, network, start)
  folder = place(setup.config, setup.folder)
  run = compiled.stages(network, shape, None, start)
  example = setup.data.inputs[:1]
  # The program itself, so that networks with a prefix in common share it.
  program = jax.make_jaxpr(run)(prefix, constants, example)
  own = hashlib.sha256(str(program).encode())
  own.update(_digest(setup.data))
  for path, leaf in jax.tree_util.tree_leaves_with_path((prefix, constants)):
    own.update(jax.tree_util.keystr(path).encode())
    own.update(np.ascontiguousarray(leaf).tobytes())
  one = jax.eval_shape(run, prefix, constants, example)
  return kept.array(
    folder,
    start,
    own.digest(),
    (len(setup.data), *one.shape[1:]),
    one.dtype,
    lambda: features.stream(
      lambda x: run(prefix, constants, x),
      setup.data.inputs,
      np.arange(len(setup.data)),
      name=f"features of {start}",
    ),
  )


@functools.lru_cache(maxsize=1)
def _digest(data: dataset.DataSet) -> bytes:
  """Name the samples by what they hold."""
  if isinstance(data.inputs, streamed.Pictures):
    return data.inputs.digest()
  return hashlib.sha256(np.ascontiguousarray(data.inputs).data).digest()
