"""Tensors of a file of published weights, matched to a network by name.

A file is read into named tensors, the naming it uses is recognized, and every
tensor of the network is looked up under that naming. A network is loaded whole
or not at all: whatever does not fit is an error that lists it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from hybridpriv.networks import named_tensors

_SHOWN = 4  # names of a kind that a report prints; its fields hold all

# block1_conv1/kernel, also repeated, below a prefix, with old or new endings.
_KERAS_NAME = re.compile(
  r"(?:.*/)?(?P<layer>(?!vars/)\w+)/(?:vars/|(?P=layer)/)?(?:(?P=layer)_)?"
  r"(?P<leaf>kernel|bias|gamma|beta|moving_mean|moving_variance|W|b|[0-3])"
  r"(?:_\d+)?(?::\d+)?"
)
_KERAS_LEAF = {"W": "kernel", "b": "bias", "0": "kernel", "1": "bias"}
_KERAS_LEAF["beta"] = "bias"  # of a normalization
_KERAS_NORM = ("gamma", "bias", "moving_mean", "moving_variance")


class Report(NamedTuple):
  """What became of the tensors of a network and of a file.

  Attributes:
    matched: name in the network and name in the file of what was read.
    missing: the same of what the network has and was not read; the name in
      the file is the one that was looked for.
    unused: names in the file that were not read.
    misshapen: name in the file, shape there, shape wanted there.
    caution: what else to look at, "" for nothing.
  """

  matched: tuple[tuple[str, str], ...]
  missing: tuple[tuple[str, str], ...]
  unused: tuple[str, ...]
  misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
  caution: str = ""

  def __str__(self) -> str:
    pairs = [f"{name} ({looked_for})" for name, looked_for in self.missing]
    shapes = [
      f"{name} {found}, wanted {wanted}"
      for name, found, wanted in self.misshapen
    ]
    text = [f"{len(self.matched)} tensors matched"]
    for what, names in (
      ("missing", pairs),
      ("unused", self.unused),
      ("misshapen", shapes),
    ):
      if names:
        text.append(f"{len(names)} {what}: {_few(names)}")
    if self.caution:
      text.append(self.caution)
    return "; ".join(text)


class Naming(NamedTuple):
  """How a family of files names the tensors of a network and lays them out.

  Attributes:
    layers: stage and module of the network, to the layer in the file.
    leaves: kind of tensor in the network, to what ends its name in the file.
    order: axes of a convolution in the file, "OIHW" or "HWIO"; a dense layer
      after an image flattens it in the order that the I, H and W have there.
    grids: stage with such a dense layer, to height and width of its image.
    shifts: stage and module of a normalization, to the bias in the file of the
      convolution before, which is taken off the mean: ours have no bias.
    channels: what files with such names were published for, "rgb" or "bgr".
  """

  layers: Mapping[tuple[str, str], str]
  leaves: Mapping[str, str]
  order: str
  grids: Mapping[str, tuple[int, int]]
  shifts: Mapping[tuple[str, str], str]
  channels: str


def match(
  tensors: Mapping[str, np.ndarray],
  like: Mapping[str, Any],
  naming: Naming,
  *,
  head: str,
  drop: bool = False,
) -> tuple[dict[str, Any], Report]:
  """Find the tensors of a network among those of a file.

  Args:
    tensors: those of the file, by name.
    like: variables of the network, or their shapes.
    naming: how the file names them and lays them out.
    head: the last stage.
    drop: whether to leave it out.

  Returns:
    The variables in float32, and the report.

  Raises:
    ValueError: anything but a dropped head is missing, misshapen, not finite,
      not floating point or of a layer that the network does not have.
  """
  names = _by_tidy_name(tensors)
  variables, used, dropped, wrong = {}, set(), set(), set()
  matched, missing, misshapen, hints = [], [], [], []
  for path, leaf in traverse_util.flatten_dict(like).items():
    _, stage, module, kind = path
    label = "/".join(path[1:])
    name = naming.layers[stage, module] + naming.leaves[kind]
    shift = naming.shifts.get((stage, module), "") if kind == "mean" else ""
    sought = [name, shift] if shift else [name]
    absent = [other for other in sought if other not in names]
    if stage == head and drop:
      dropped.update(sought)
      missing.append((label, names.get(name, name)))
      continue
    if absent:
      wrong.add(stage)
      missing.append((label, absent[0]))
      continue
    used.update(sought)
    value, *rest = (_floats(names[other], tensors) for other in sought)
    if kind == "kernel":
      sizes = _sizes(leaf.shape, naming.grids.get(stage, (1, 1)))
      is_flat = value.ndim == 2 == len(leaf.shape)
      wanted = _laid_out(sizes, naming.order, is_flat=is_flat)
    else:
      wanted = leaf.shape
    misfits = [
      (names[other], part.shape, wanted)
      for other, part in zip(sought, (value, *rest), strict=True)
      if part.shape != wanted
    ]
    if misfits:
      wrong.add(stage)
      misshapen += misfits
      if kind == "kernel":
        hints += _other_order(names[name], value.shape, sizes, naming.order)
      continue
    if kind == "kernel":
      value = value.reshape(_laid_out(sizes, naming.order, is_flat=False))
      value = value.transpose([naming.order.index(axis) for axis in "HWIO"])
    elif rest:
      value = value - rest[0]
    variables[path] = np.ascontiguousarray(value.reshape(leaf.shape))
    matched.append((label, names[name]))
  unused = sorted(other for other in names if other not in used)
  ends = tuple(naming.leaves.values())
  surplus = [n for n in unused if n.endswith(ends) and n not in dropped]
  # A report shows the first of them, which should not all be counters.
  unused = [*surplus, *(n for n in unused if n not in surplus)]
  report = Report(
    tuple(matched),
    tuple(missing),
    tuple(names[other] for other in unused),
    tuple(misshapen),
  )
  if wrong or surplus:
    if wrong == {head}:
      hints.append('head="drop" leaves the last layer out')
    elif misshapen and wrong <= set(naming.grids):
      hints.append("it was made for images of another size")
    hint = f"; {hints[0]}" if hints else ""
    raise ValueError(f"the weights do not fit the network: {report}{hint}")
  return traverse_util.unflatten_dict(variables), report


def load(
  path: str,
  like: Mapping[str, Any],
  namings: Sequence[Naming],
  *,
  channels: str,
  head: str,
  first: str,
  last: str,
) -> tuple[dict[str, Any], Report]:
  """Read a file under the naming that finds most of the network in it.

  Args:
    path: a file of safetensors or of NumPy's npz, told apart by content.
    like: variables of the network, or their shapes.
    namings: those that the file may use.
    channels: what the file expects, "rgb" or "bgr"; the report says if files
      with such names were published for the other.
    head: "keep" or "drop".
    first: the first stage, whose convolution is turned to take RGB.
    last: the last stage, left out if the head is dropped.

  Returns:
    The variables in float32, and the report.

  Raises:
    ValueError: as of `match`; the file cannot be read or its package is not
      installed; or an argument is not one of those above.
  """
  for name, value, choices in (
    ("channels", channels, ("rgb", "bgr")),
    ("head", head, ("keep", "drop")),
  ):
    if value not in choices:
      raise ValueError(
        f'{name}={value!r}; expected "{choices[0]}" or "{choices[1]}"'
      )
  inputs = like["params"][first]["conv"]["kernel"].shape[2]
  if channels == "bgr" and inputs != 3:
    raise ValueError(
      f'channels="bgr" is for images of 3 channels; these have {inputs}'
    )
  tensors = named_tensors.read(path)
  try:
    names = _by_tidy_name(tensors)
    wanted = [
      [layer + end for layer in n.layers.values() for end in n.leaves.values()]
      for n in namings
    ]
    hits = [sum(name in names for name in some) for some in wanted]
    if not any(hits):
      raise ValueError(
        f"names such as {_few(sorted(tensors))} are not known; expected"
        f" {' or '.join(some[0] for some in wanted)}"
      )
    naming = namings[int(np.argmax(hits))]
    variables, report = match(
      tensors, like, naming, head=last, drop=head == "drop"
    )
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
  if inputs == 3 and channels != naming.channels:
    report = report._replace(caution=_other_channels(naming, first, channels))
  if channels == "bgr":
    conv = variables["params"][first]["conv"]
    conv["kernel"] = np.ascontiguousarray(conv["kernel"][:, :, ::-1])
  return variables, report


def _sizes(
  shape: tuple[int, ...], grid: tuple[int, int]
) -> tuple[int, int, int, int]:
  """Return H, W, I, O of a kernel; a dense one sees an image of H by W."""
  if len(shape) == 4:
    return shape[0], shape[1], shape[2], shape[3]
  height, width = grid
  return height, width, shape[0] // (height * width), shape[1]


def _laid_out(
  sizes: tuple[int, int, int, int], order: str, *, is_flat: bool
) -> tuple[int, ...]:
  """Return the shape of a kernel in an order of its axes."""
  if is_flat:
    inputs, outputs = math.prod(sizes[:3]), sizes[3]
    return (outputs, inputs) if order[0] == "O" else (inputs, outputs)
  return tuple(sizes["HWIO".index(axis)] for axis in order)


def _other_order(
  name: str,
  shape: tuple[int, ...],
  sizes: tuple[int, int, int, int],
  order: str,
) -> list[str]:
  """Say in which other order the axes of a kernel lie, if in one."""
  is_flat = len(shape) == 2
  for other in ("OIHW", "HWIO", "OHWI"):
    if shape == _laid_out(sizes, other, is_flat=is_flat):
      found, wanted = (
        axes.replace("HW", "") if is_flat else axes for axes in (other, order)
      )
      if found != wanted:
        return [f"{name} lies as {found}; such names go with {wanted}"]
  return []


def _other_channels(naming: Naming, first: str, channels: str) -> str:
  """Say that files with such names were published for other channels."""
  layer = naming.layers[first, "conv"]
  own = naming.channels
  return (
    f"names such as {layer}{naming.leaves['kernel']} were published for"
    f' {own.upper()}, and channels="{channels}" was given: unless this file is'
    f' known to expect {channels.upper()}, give channels="{own}"'
  )


def _by_tidy_name(names: Iterable[str]) -> dict[str, str]:
  """Map names without what differs among files to the names in this one."""
  tidied: dict[str, str] = {}
  for name in sorted(names):
    if parts := _KERAS_NAME.fullmatch(name):
      leaf = parts["leaf"]
      if leaf.isdigit() and parts["layer"].endswith("_bn"):
        leaf = _KERAS_NORM[int(leaf)]
      tidy = f"{parts['layer']}/{_KERAS_LEAF.get(leaf, leaf)}"
    else:
      tidy = name.removeprefix("module.")  # of a model trained in parallel
      tidy = re.sub(r"^conv_(\d)_(\d)\.", r"conv\1_\2.", tidy)
    if tidy in tidied:
      raise ValueError(
        f"{tidied[tidy]} and {name} are names of one tensor; leave one"
      )
    tidied[tidy] = name
  return tidied


def _floats(name: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
  """Return a tensor in float32, all of it finite."""
  value = tensors[name]
  if value.dtype == np.dtype("V2"):  # what npz makes of it
    value = value.view(jnp.bfloat16)
  if not jnp.issubdtype(value.dtype, jnp.floating):
    raise ValueError(f"{name} holds {value.dtype}; expected floating point")
  with np.errstate(over="ignore"):  # infinite then, and told below
    value = value.astype(np.float32)
  if not np.isfinite(value).all():
    raise ValueError(f"{name} holds numbers that are not finite in float32")
  return value


def _few(names: Sequence[str]) -> str:
  """Join the first few names."""
  more = len(names) - _SHOWN
  return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
