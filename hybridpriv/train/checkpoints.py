"""Checkpoints; the only file that knows Orbax.

A state is saved as a flat dictionary from path to array.  That way a
checkpoint does not depend on Python classes, and one written under any
Orbax of the supported range is read under any other.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from hybridpriv import mesh as mesh_lib
from hybridpriv.train import optim

_NAME = "state"


def _flatten(tree: Any) -> dict[str, jax.Array]:
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    "/".join(str(getattr(p, "name", optim.path_name((p,)))) for p in path): leaf
    for path, leaf in leaves
  }


def _open(folder: pathlib.Path) -> ocp.training.Checkpointer:
  policies = ocp.training.preservation_policies
  return ocp.training.Checkpointer(
    folder.absolute(), preservation_policy=policies.LatestN(1)
  )


def latest_step(folder: pathlib.Path) -> int | None:
  """Return the step of the newest whole checkpoint, None without one."""
  if not folder.is_dir():
    return None
  with _open(folder) as checkpointer:
    latest = checkpointer.latest
  return None if latest is None else int(latest.step)


def save(folder: pathlib.Path, step: int, state: Any) -> None:
  """Write `state` as the checkpoint of `step` and drop older ones.

  The new one is complete before the old one goes; a crash leaves one whole.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with _open(folder) as checkpointer:
    checkpointer.save_checkpointables(step, {_NAME: _flatten(state)})


def restore(folder: pathlib.Path, like: Any, step: int | None = None) -> Any:
  """Read the newest checkpoint into the structure of `like`, on all devices.

  Args:
    folder: where `save` wrote.
    like: a state of the same structure, of arrays or of their shapes.
    step: which one it has to be, where several processes agreed on it.

  Raises:
    ValueError: if there is no checkpoint, if the newest one here is of another
      step, or if it holds another network or optimizer.
  """
  leaves, structure = jax.tree_util.tree_flatten(like)
  names = list(_flatten(like))
  everywhere = mesh_lib.replicated(mesh_lib.data_mesh())
  abstract = {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere)
    for name, x in zip(names, leaves, strict=True)
  }
  newest = latest_step(folder)
  if newest is None:
    raise ValueError(f"there is no whole checkpoint in {folder}")
  if step not in (None, newest):
    raise ValueError(
      f"the newest checkpoint in {folder} is of step {newest}, that of process"
      f" 0 is of step {step}: all processes have to see the same folder"
    )
  with _open(folder) as checkpointer:
    # Compared here: Orbax answers a wrong shape with pages, a wrong type with
    # a silent cast.
    held = checkpointer.checkpointables_metadata(newest).metadata[_NAME]
    if found := _differences(held, abstract):
      raise ValueError(
        f"the checkpoint {folder}/{newest} does not fit this configuration"
        f" ({found[0]}; {len(found)} such): use another --workdir"
      )
    saved = checkpointer.load_checkpointables(newest, {_NAME: abstract})[_NAME]
  return jax.tree_util.tree_unflatten(structure, [saved[n] for n in names])


def _differences(
  held: Mapping[str, Any], wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> list[str]:
  """Say which arrays a checkpoint holds otherwise than wanted."""

  def text(arrays: Mapping[str, Any], name: str) -> str:
    if name not in arrays:
      return "nothing"
    return f"{arrays[name].dtype} {tuple(arrays[name].shape)}"

  return [
    f"{name}: it holds {text(held, name)}, expected {text(wanted, name)}"
    for name in sorted({*held, *wanted})
    if text(held, name) != text(wanted, name)
  ]
