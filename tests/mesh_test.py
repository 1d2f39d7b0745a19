import dataclasses
import inspect
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from hybridpriv import mesh


def test_the_mesh_has_one_axis_over_all_devices():
  found = mesh.data_mesh()
  assert found.axis_names == ("data",)
  assert found.axis_types == (AxisType.Auto,)
  assert set(found.devices.flat) == set(jax.devices())
  assert found.size == 2


@pytest.mark.parametrize("axis", [0, 1])
def test_a_batch_is_split_over_the_devices_along_its_axis(axis):
  own = mesh.data_mesh()
  batch = {"x": np.arange(24.0).reshape(4, 6), "n": np.arange(24).reshape(4, 6)}
  found = mesh.shard(batch, own, axis=axis)
  for name, value in batch.items():
    np.testing.assert_array_equal(found[name], value)
    halves = np.split(value, 2, axis=axis)
    shards = sorted(found[name].addressable_shards, key=lambda s: s.device.id)
    for half, shard in zip(halves, shards, strict=True):
      np.testing.assert_array_equal(shard.data, half)


def test_replicas_of_an_array_are_whole_on_every_device():
  own = mesh.data_mesh()
  found = mesh.replicate({"x": np.arange(3.0)}, own)["x"]
  assert found.sharding == mesh.replicated(own)
  assert found.sharding.spec == PartitionSpec()
  for shard in found.addressable_shards:
    np.testing.assert_array_equal(shard.data, np.arange(3.0))


def test_keys_are_replicated_too(key):
  found = mesh.replicate(key, mesh.data_mesh())
  assert jax.random.key_data(found).tolist() == (
    jax.random.key_data(key).tolist()
  )
  assert len(found.sharding.device_set) == 2


def test_a_batch_that_cannot_be_divided_names_the_remedy():
  message = "a batch of 7 cannot be divided over 2 devices.* multiple of 2"
  with pytest.raises(ValueError, match=message):
    mesh.shard({"x": np.zeros((7, 2))}, mesh.data_mesh())


def test_replicas_go_one_by_one_on_a_cpu_unless_asked_for():
  assert mesh.replicas(0) == 1
  assert mesh.replicas(5) == 5
  with pytest.raises(ValueError, match="train.replicas is -1: give the most"):
    mesh.replicas(-1)


def test_one_process_feeds_whole_batches_and_agrees_with_itself():
  rows = np.arange(7)
  assert mesh.own_part(rows) is rows
  assert mesh.same_everywhere(3) == 3
  vote = mesh.vote(mesh.data_mesh())
  assert [vote(told) for told in (False, True, False)] == [False, True, False]
  assert (mesh.num_processes(), mesh.process_id()) == (1, 0)


def test_who_is_alone_asks_for_no_devices(monkeypatch):
  for name in ("process_count", "process_index"):
    monkeypatch.setattr(jax, name, None)
  assert (mesh.num_processes(), mesh.process_id()) == (1, 0)


def test_the_bound_of_the_wait_reaches_jax(monkeypatch):
  calls, takes = [], inspect.signature(jax.distributed.initialize)

  def initialize(*given, **more):
    calls.append(takes.bind(*given, **more).arguments)

  monkeypatch.setattr(jax.distributed, "initialize", initialize)
  monkeypatch.setattr(jax.distributed, "shutdown", lambda: calls.append("out"))
  mesh.join("here:1", 3, 2, timeout_s=7)
  mesh.leave()
  assert calls == [
    {
      "coordinator_address": "here:1",
      "num_processes": 3,
      "process_id": 2,
      "initialization_timeout": 7,
    },
    "out",
  ]


@pytest.mark.skipif(
  not hasattr(os, "SCHED_BATCH"), reason="only Linux lets a thread give way"
)
def test_the_thread_that_sends_does_not_interrupt_those_that_compute(
  repository, environment
):
  with socket.create_server(("127.0.0.1", 0)) as free:
    place = f"127.0.0.1:{free.getsockname()[1]}"
  program = f"""
import os, pathlib
from hybridpriv import mesh
mesh.join({place!r}, 1, 0, timeout_s=60)
for task in pathlib.Path("/proc/self/task").iterdir():
  gives_way = os.sched_getscheduler(int(task.name)) == os.SCHED_BATCH
  print(gives_way, (task / "comm").read_text().strip())
mesh.leave()
"""
  said = subprocess.run(
    [sys.executable, "-c", program],
    cwd=repository,
    env=environment,
    check=True,
    capture_output=True,
    text=True,
  ).stdout
  found = [line.split(maxsplit=1) for line in said.splitlines()]
  own = pathlib.Path(sys.executable).name[:15]
  giving = [name for gives_way, name in found if gives_way == "True"]
  assert giving and set(giving) == {own}
  # The first one is the program's; those of the compiler bear its name.
  assert ["False", own] in found
  assert ["False", "tf_XLAEigen"] in found


@dataclasses.dataclass(frozen=True)
class Device:
  """A device of another process."""

  id: int
  process_index: int


def test_devices_lie_in_the_order_of_their_processes(monkeypatch):
  # As on TPUs, where numbers follow the wires.
  found = [
    Device(id=number, process_index=process)
    for number, process in enumerate((1, 0, 0, 1))
  ]
  monkeypatch.setattr(jax, "devices", lambda: found)
  monkeypatch.setattr(mesh, "num_processes", lambda: 2)
  own = mesh.data_mesh()
  assert [device.id for device in own.devices] == [1, 2, 0, 3]
  assert own.axis_names == ("data",) and own.axis_types == (AxisType.Auto,)
