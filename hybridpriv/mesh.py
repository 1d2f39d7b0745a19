"""Devices: the one mesh, how arrays lie on it, and the start of many processes.

Step code is written for the global batch; only this file knows how many
devices there are, and in how many processes.  The mesh has one axis, `data`;
batches are split over it and everything else is replicated.  The axis type is
`Auto`, said explicitly, because newer JAX makes `Explicit` the default and
pairwise distances of a sharded batch need automatic partitioning.

Several processes run the same program in step.  Each holds its own part of a
batch; what they start from is what process 0 has.
"""

import contextlib
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def join(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  *,
  timeout_s: int,
) -> None:
  """Become one of the processes of a job; before anything else uses JAX.

  Args:
    coordinator: host:port of process 0; None lets JAX ask Slurm or the TPU.
    num_processes: how many there are; None likewise.
    process_id: which one this is, from 0; None likewise.
    timeout_s: how long to wait for the others.  What happens then is up to JAX,
      which ends the process.
  """
  jax.distributed.initialize(
    coordinator,
    num_processes,
    process_id,
    initialization_timeout=timeout_s,
  )
  _let_compute()


def _let_compute() -> None:
  """Keep the thread of gloo, which sends on CPUs, from interrupting others.

  It asks again and again while the one that computes holds its lock.  Where it
  wakes on the core of that one, and interrupts it, nothing moves until its turn
  is over, for every array that is sent.  Linux lets it wake without
  interrupting.
  """
  if not hasattr(os, "SCHED_BATCH"):
    return
  tasks = pathlib.Path("/proc/self/task")
  if not tasks.is_dir():  # some sandboxes hide it
    return
  before = set(tasks.iterdir())
  if jax.default_backend() != "cpu":
    return
  name = pathlib.Path("/proc/self/comm").read_text()
  for task in set(tasks.iterdir()) - before:
    # One may have ended since, and a container may forbid it.
    with contextlib.suppress(OSError):
      # Threads that compute have names of their own.
      if (task / "comm").read_text() == name:
        os.sched_setscheduler(int(task.name), os.SCHED_BATCH, os.sched_param(0))


def leave() -> None:
  """Part from the other processes, when all of them do."""
  jax.distributed.shutdown()


def num_processes() -> int:
  """Return how many processes run this program together."""
  # Alone, nothing asks for devices that are not needed.
  return jax.process_count() if jax.distributed.is_initialized() else 1


def process_id() -> int:
  """Return which of them this is, from 0."""
  return jax.process_index() if jax.distributed.is_initialized() else 0


def is_first() -> bool:
  """Say whether this is process 0, which writes what is written once."""
  return process_id() == 0


def data_mesh() -> Mesh:
  """Return the mesh over all devices, with the single axis `data`."""
  if num_processes() > 1:
    # In the order of the processes: the parts of a batch are then in its order.
    devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
  return jax.make_mesh(
    (jax.device_count(),), ("data",), axis_types=(AxisType.Auto,)
  )


def replicated(mesh: Mesh) -> NamedSharding:
  """Return the placement of a copy on every device of `mesh`."""
  return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Put a copy of every array of `tree` on every device of `mesh`.

  With several processes it is the copy that process 0 has.
  """
  if not mesh.is_multi_process:
    return jax.device_put(tree, replicated(mesh))

  def put(x: Any) -> jax.Array:
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
      return x  # read from a checkpoint by all
    if isinstance(x, jax.Array) and jax.dtypes.issubdtype(
      x.dtype, jax.dtypes.prng_key
    ):
      data = put(jax.random.key_data(x))
      return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    first = multihost_utils.broadcast_one_to_all(x)
    return jax.device_put(first, replicated(mesh))

  return jax.tree.map(put, tree)


def local(tree: Any) -> Any:
  """Return the process's own copy of replicated arrays.

  What it computes from it, it computes alone.
  """
  if num_processes() == 1:
    return tree
  return jax.tree.map(lambda x: x.addressable_data(0), tree)


def own_part(rows: np.ndarray) -> np.ndarray:
  """Choose those rows of a batch that this process feeds.

  Args:
    rows: of the whole batch, the same in all processes.

  Raises:
    ValueError: if the batch cannot be divided evenly over all devices.
  """
  if num_processes() == 1:
    return rows
  _check_size(len(rows), jax.device_count())
  return np.split(rows, num_processes())[process_id()]


def shard(batch: Any, mesh: Mesh, *, axis: int = 0) -> Any:
  """Split the arrays of `batch` along `axis` over the devices of `mesh`.

  Args:
    batch: arrays; of several processes, each gives its own part.
    mesh: the devices.
    axis: of the samples.

  Raises:
    ValueError: if the batch cannot be divided evenly.
  """
  spec = PartitionSpec(*([None] * axis), "data")
  placed = NamedSharding(mesh, spec)
  size = jax.tree.leaves(batch)[0].shape[axis]
  if not mesh.is_multi_process:
    _check_size(size, mesh.size)
    return jax.device_put(batch, placed)
  _check_size(size * num_processes(), mesh.size)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(placed, x), batch
  )


def _check_size(size: int, num_devices: int) -> None:
  if size % num_devices:
    raise ValueError(
      f"a batch of {size} cannot be divided over {num_devices} devices: choose"
      f" a batch size that is a multiple of {num_devices}"
    )


def vote(mesh: Mesh) -> Callable[[bool], bool]:
  """Make the function with which processes agree to stop at the same step.

  It is called once a step by all, with what the process itself wants.  Of
  several processes it returns whether any of them wanted it one step ago: so
  that none waits for a device that has work before it.
  """
  if not mesh.is_multi_process:
    return lambda own: own
  devices = NamedSharding(mesh, PartitionSpec("data"))
  anybody = jax.jit(jax.numpy.any, out_shardings=replicated(mesh))
  pending: list[jax.Array] = []

  def agreed(own: bool) -> bool:
    votes = np.full(jax.local_device_count(), own)
    pending.append(
      anybody(jax.make_array_from_process_local_data(devices, votes))
    )
    return len(pending) > 1 and bool(pending.pop(0))

  return agreed


def same_everywhere(number: int) -> int:
  """Return the number that process 0 has, in all processes."""
  if num_processes() == 1:
    return number
  return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def replicas(num: int) -> int:
  """Give how many trainings run as one vmapped program on this machine.

  On a CPU a convolution whose weights are vmapped is several times slower than
  separate calls of the same compiled step, so there they go one by one.

  Args:
    num: the most that are wanted; 0 for what suits the device.
  """
  if num < 0:
    raise ValueError(
      f"config.train.replicas is {num}: give the most trainings of one program,"
      " or 0 for what suits the device"
    )
  return num or (1 if jax.default_backend() == "cpu" else sys.maxsize)
