"""Outputs of a frozen prefix, computed once and kept in a file.

The file is named by all that they depend on: weights, preprocessing, samples.
A sweep over cuts, seeds and objectives behind one prefix shares the folder.
"""

import functools
import hashlib
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from hybridpriv import mesh
from hybridpriv.data import dataset
from hybridpriv.networks import staged
from hybridpriv.study import compiled
from hybridpriv.study.setup import Setup
from hybridpriv.train import features


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
    A memory map [n, ...], float32; the samples themselves without a prefix.  Of
    several processes that find no file the first writes it, and the others keep
    what they have computed.
  """
  if start is None:
    return setup.data.inputs
  network = setup.network
  shape = tuple(setup.config["input_shape"]) or setup.data.inputs.shape[1:]
  prefix, _ = staged.split_variables(variables, network, start)
  folder = pathlib.Path(setup.config["features"] or setup.folder / "features")
  run = compiled.stages(network, shape, None, start)
  example = setup.data.inputs[:1]
  # The program itself, so that networks with a prefix in common share it.
  program = jax.make_jaxpr(run)(prefix, constants, example)
  own = hashlib.sha256(str(program).encode())
  own.update(_digest(setup.data))
  for place, leaf in jax.tree_util.tree_leaves_with_path((prefix, constants)):
    own.update(jax.tree_util.keystr(place).encode())
    own.update(np.ascontiguousarray(leaf).tobytes())
  name = own.hexdigest()[:16]
  path = folder / f"{start}-{name}.npy"
  if not path.exists():
    found = features.compute(
      lambda x: run(prefix, constants, x),
      setup.data.inputs,
      np.arange(len(setup.data)),
      name=f"features of {start}",
    )
    if not mesh.is_first():
      return found
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: runs of a sweep may compute it at the same time.
    fresh = path.with_suffix(f".{uuid.uuid4().hex}.tmp.npy")
    np.save(fresh, found)
    fresh.replace(path)
  return np.load(path, mmap_mode="r")


@functools.lru_cache(maxsize=1)
def _digest(data: dataset.DataSet) -> bytes:
  """Name the samples by what they hold."""
  return hashlib.sha256(np.ascontiguousarray(data.inputs).data).digest()
