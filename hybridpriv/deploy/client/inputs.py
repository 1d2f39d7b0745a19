"""From a file on the device to what the client half takes."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from hybridpriv.data import images

_MOST_BYTES = 64 * 2**20  # of a file
_LARGEST = float(np.finfo(np.float32).max)  # what a signal may reach


def read(
  path: pathlib.Path,
  entry: Mapping[str, Any],
  *,
  box: Sequence[float] | None = None,
) -> np.ndarray:
  """Read a photo or a window of a signal.

  Args:
    path: the file.
    entry: `input` of the manifest.
    box: left, top, width and height of what to look at in a photo turned
      upright, in pixels; None for its central square.

  Returns:
    uint8 `[h, w, c]` or float32 `[t, c]`.

  Raises:
    ValueError: it cannot be read, or is not what the client half takes.
  """
  try:
    with path.open("rb") as opened:
      content = opened.read(_MOST_BYTES + 1)
  except OSError as error:
    raise ValueError(f"{path} cannot be read ({error.strerror})") from error
  if len(content) > _MOST_BYTES:
    raise ValueError(f"{path} has more than {_MOST_BYTES >> 20} MiB")
  try:
    if entry["kind"] == "image":
      return picture(content, entry["shape"], box=box)
    if box is not None:
      raise ValueError("--box is for photos, and this bundle takes signals")
    return window(content, entry["shape"], entry.get("scale"))
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def picture(
  content: bytes, shape: Sequence[int], *, box: Sequence[float] | None = None
) -> np.ndarray:
  """Decode a photo, turn it upright, cut out a square and resize it.

  Raises:
    ValueError: it is no picture, or the box does not lie on it.
  """
  height, width, _ = shape
  if box is None:
    if height == width:
      return images.decode(content, size=height)
    raise ValueError(f"the bundle takes {width} x {height}: give a --box")
  try:
    with Image.open(io.BytesIO(content)) as opened:
      image = images.to_rgb(opened)
  except images.UNREADABLE as error:
    raise ValueError(f"not a readable picture ({error})") from error
  left, top, wide, high = box
  right, bottom = left + wide, top + high
  inside = (
    0 <= left < right <= image.width and 0 <= top < bottom <= image.height
  )
  if not inside:
    raise ValueError(
      f"the box {','.join(f'{v:g}' for v in box)} (left, top, width, height)"
      f" does not lie on the picture of {image.width} x {image.height} pixels"
    )
  resized = image.resize(
    (width, height),
    Image.Resampling.BILINEAR,
    box=(left, top, right, bottom),
  )
  return np.asarray(resized)


def window(
  content: bytes, shape: Sequence[int], scale: Sequence[float] | None = None
) -> np.ndarray:
  """Read a window from CSV: a row for each time step, a column a channel.

  A first row that is no numbers names the columns, and is skipped.

  Args:
    content: of the file.
    shape: [time steps, channels].
    scale: what each channel is multiplied by, None for nothing.

  Raises:
    ValueError: it has another shape, or something is no finite number.
  """
  steps, channels = shape
  try:
    # Some programs write a mark before the first number.
    lines = content.decode("utf-8-sig").splitlines()
    rows = [r for r in csv.reader(lines) if r]
  except (UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f"not a readable table ({error})") from error
  if rows and not _is_number(rows[0][0]):
    rows = rows[1:]
  if len(rows) != steps or any(len(r) != channels for r in rows):
    widths = sorted({len(r) for r in rows})
    raise ValueError(
      f"{len(rows)} rows of {' or '.join(map(str, widths)) or 'no'} columns;"
      f" expected {steps} time steps of {channels} channels"
    )
  for i, row in enumerate(rows):
    for j, text in enumerate(row):
      if not _is_number(text) or not abs(float(text)) <= _LARGEST:
        raise ValueError(
          f"time step {i}, channel {j} is {text!r}; expected a finite number"
        )
  values = np.asarray([[float(v) for v in r] for r in rows], np.float32)
  if scale is None:
    return values
  with np.errstate(over="ignore"):
    values *= np.asarray(scale, np.float32)
  if not np.isfinite(values).all():
    i, j = np.argwhere(~np.isfinite(values))[0]
    raise ValueError(
      f"time step {i}, channel {j} is {rows[i][j]!r}, too large once multiplied"
      f" by {scale[j]:g}"
    )
  return values


def _is_number(text: str) -> bool:
  try:
    float(text)
  except ValueError:
    return False
  return True
