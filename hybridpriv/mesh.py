"""Devices: the one mesh, and how arrays lie on it.

Step code is written for the global batch; only this file knows how many
devices there are.  The mesh has one axis, `data`; batches are split over it and
everything else is replicated.  The axis type is `Auto`, said explicitly,
because newer JAX makes `Explicit` the default and pairwise distances of a
sharded batch need automatic partitioning.
"""

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def data_mesh() -> Mesh:
  """Return the mesh over all devices, with the single axis `data`."""
  return jax.make_mesh(
    (jax.device_count(),), ("data",), axis_types=(AxisType.Auto,)
  )


def replicated(mesh: Mesh) -> NamedSharding:
  """Return the placement of a copy on every device of `mesh`."""
  return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Put a copy of every array of `tree` on every device of `mesh`."""
  return jax.device_put(tree, replicated(mesh))


def shard(batch: Any, mesh: Mesh, *, axis: int = 0) -> Any:
  """Split the arrays of `batch` along `axis` over the devices of `mesh`.

  Raises:
    ValueError: if the batch cannot be divided evenly.
  """
  size = jax.tree.leaves(batch)[0].shape[axis]
  if size % mesh.size:
    raise ValueError(
      f"a batch of {size} cannot be divided over {mesh.size} devices: choose a"
      f" batch size that is a multiple of {mesh.size}"
    )
  spec = PartitionSpec(*([None] * axis), "data")
  return jax.device_put(batch, NamedSharding(mesh, spec))


def vmaps_replicas() -> bool:
  """Say whether replicas run as one vmapped program on this machine.

  On a CPU a convolution whose weights are vmapped is several times slower than
  separate calls of the same compiled step, so there they go one by one.
  """
  return jax.default_backend() != "cpu"
