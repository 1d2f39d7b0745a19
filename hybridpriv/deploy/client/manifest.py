"""What a bundle says of itself: `manifest.json`."""

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from hybridpriv.deploy import wire

FILE = "manifest.json"
SCHEMA = "hybridpriv.bundle/1"
# What both sides read of it.
_PARTS = {
  "input": ("kind", "shape", "dtype", "framing"),
  "answers": (),
  "code": ("k", "bits", "radius", "sigma", "low", "high"),
  "utility": ("validation",),
  "guarantee": ("assumes",),
  "budget": ("cost", "max_queries", "table"),
  "files": (),
}


class Manifest(NamedTuple):
  """A manifest that was read.

  Attributes:
    folder: the bundle.
    content: the bytes of the file: what both sides must have.
    values: what they say, see docs/bundle.md.
  """

  folder: pathlib.Path
  content: bytes
  values: Mapping[str, Any]

  @property
  def id(self) -> bytes:
    """The bundle id of its frames."""
    return bundle_id(self.content)


def bundle_id(content: bytes) -> bytes:
  """Return the id of the bundle whose manifest has this content."""
  return hashlib.sha256(content).digest()[: wire.ID_BYTES]


def read(folder: pathlib.Path) -> Manifest:
  """Read the manifest of a bundle.

  Raises:
    ValueError: it is not there, or not of a bundle that this program knows.
  """
  path = folder / FILE
  try:
    content = path.read_bytes()
    values = json.loads(content)
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{folder} is no bundle: {path.name} cannot be read ({error}); make one"
      " with launch/export.py"
    ) from error
  schema = values.get("schema") if isinstance(values, dict) else None
  if schema != SCHEMA or values.get("wire") != wire.VERSION:
    raise ValueError(
      f"{path} is of {schema!r}, wire {values.get('wire') if schema else None};"
      f" this program knows {SCHEMA!r}, wire {wire.VERSION}: export again, or"
      " use the program that came with the bundle"
    )
  lacking = [
    f"{part}.{name}" if name else part
    for part, names in _PARTS.items()
    for name in ("", *names)
    if not isinstance(own := values.get(part), dict) or name and name not in own
  ]
  if lacking:
    raise ValueError(
      f"{path} lacks {', '.join(lacking)}: copy the bundle again"
    )
  _check_cost(path, values)
  if wrong := _wrong(values):
    raise ValueError(f"{path}: {wrong}: copy the bundle again")
  return Manifest(folder, content, values)


def _wrong(values: Mapping[str, Any]) -> str:
  """Say what is of another kind than both sides read it as; "" for nothing."""
  code, budget = values["code"], values["budget"]
  shape = values["input"]["shape"]
  if not isinstance(shape, list):
    return f"input.shape is {shape!r}, expected whole numbers"
  for name, own in (
    ("code.k", code["k"]),
    ("code.bits", code["bits"]),
    ("budget.max_queries", budget["max_queries"]),
    *((f"input.shape[{i}]", n) for i, n in enumerate(shape)),
  ):
    if type(own) is not int or own < 1:
      return f"{name} is {own!r}, expected a whole number, 1 or more"
  for name in ("low", "high"):
    own = code[name]
    if not isinstance(own, list) or len(own) != code["k"]:
      return f"code.{name} is {own!r}, expected {code['k']} numbers"
  table = budget["table"]
  if not isinstance(table, list) or len(table) != budget["max_queries"]:
    return f"budget.table has no row for each of {budget['max_queries']} codes"
  if not isinstance(values["utility"]["validation"], (int, float)):
    return "utility.validation is no number"
  return ""


def _check_cost(path: pathlib.Path, values: Mapping[str, Any]) -> None:
  """Refuse a price that is not that of the noise: (C / sigma)^2."""
  code, budget = values["code"], values["budget"]
  try:
    cost = (code["radius"] / code["sigma"]) ** 2
    is_right = math.isclose(budget["cost"], cost, rel_tol=1e-6)
  except (TypeError, ZeroDivisionError, OverflowError):
    is_right = False
  if not is_right:
    raise ValueError(
      f"{path}: a code with noise of {code['sigma']!r} about a radius of"
      f" {code['radius']!r} does not cost {budget['cost']!r}: copy the bundle"
      " again"
    )


def file(manifest: Manifest, name: str) -> pathlib.Path:
  """Return a file of a bundle, having checked that it is the one listed.

  Raises:
    ValueError: the bundle has no such file, or its content is another.
  """
  listed = manifest.values["files"]
  if name not in listed:
    raise ValueError(
      f"the bundle {manifest.folder} has no {name}; it has"
      f" {', '.join(sorted(listed))}"
    )
  path = manifest.folder / name
  try:
    found = digest(path)
  except OSError as error:
    raise ValueError(f"{path} cannot be read ({error})") from error
  if found != listed[name]:
    raise ValueError(
      f"{path} is not the file that the manifest lists: copy the bundle again"
    )
  return path


def digest(path: pathlib.Path) -> str:
  """Return the SHA-256 of a file, in hexadecimal."""
  with path.open("rb") as opened:
    return hashlib.file_digest(opened, "sha256").hexdigest()


def limit(manifest: Manifest, max_queries: int | None = None) -> float:
  """Return the largest sum of costs that a device may spend.

  Args:
    manifest: of the bundle.
    max_queries: a smaller number of codes than the bundle allows.

  Raises:
    ValueError: the bundle does not allow that many.
  """
  budget = manifest.values["budget"]
  most = budget["max_queries"]
  asked = most if max_queries is None else max_queries
  if not 1 <= asked <= most:
    raise ValueError(
      f"{asked} codes were asked for; the bundle's guarantee is for 1 to {most}"
    )
  return asked * budget["cost"]


def proved(manifest: Manifest, cost: float) -> Mapping[str, Any] | None:
  """Return what is proved once codes of a total cost have left a device.

  Args:
    manifest: of the bundle.
    cost: the sum of (C / sigma)^2, of this and other bundles.

  Returns:
    The entry of the manifest's table for as many codes of this bundle as cost
    the same, rounded up; None where the table ends before.
  """
  budget = manifest.values["budget"]
  num = max(math.ceil(cost / budget["cost"] - 1e-9), 1)
  table = budget["table"]
  return table[num - 1] if num <= len(table) else None
