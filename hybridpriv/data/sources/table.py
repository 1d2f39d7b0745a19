"""A folder with a table of labels, and images or signals beside it.

```
folder/
  labels.csv    a row for each image or recording; column names in the first row
  images.zip    or images/, or the files beside labels.csv: column `path`
  signals.npz   array `signals`: [rows, c] with the columns `offset` and
                `length`, or [n, t, c] in the order of labels.csv
```
"""

import functools
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hybridpriv.data import columns, pictures, rows, streamed, windows
from hybridpriv.data.dataset import DataSet, with_roles

_NOT_STATED = "not stated"
_ENGINES = ("", "grain")


def load(
  *,
  path: str,
  desired: tuple[str, ...],
  private: tuple[str, ...],
  unforeseen: tuple[str, ...] = (),
  identity: str = "",
  split: str = "",
  keep: Mapping[str, Sequence[str]] | None = None,
  group: Mapping[str, Mapping[str, str]] | None = None,
  bins: Mapping[str, Sequence[float]] | None = None,
  size: int = 64,
  crop: float = 0,
  engine: str = "",
  signals: str | np.ndarray = "",
  rate_hz: float = 0.0,
  window_s: float = 4.0,
  overlap: float = 0.5,
  scale: float | Sequence[float] = 1.0,
  max_samples: int = 0,
  seed: int = 0,
  name: str = "",
  licence: str = "",
  citation: str = "",
  cache: str | pathlib.Path = "",
) -> DataSet:
  """Load the folder `path`; its rows are filtered before anything is decoded.

  Args:
    path: the folder.
    desired: columns that the service answers.
    private: columns that the service must not learn.
    unforeseen: columns that no defence knew of.
    identity: column that names the person; rows without one are dropped.
      '' where no person is known: then every sample is a unit of its own.
    split: column that holds train, validation, test or audit, for
      `partition.make`; rows without one are dropped. '' for none.
    keep: values to keep by column, as they stand in the file.
    group: value to group by column; rows with another value are dropped, empty
      ones stay unknown.
    bins: rising edges by column of numbers: (30, 50) gives three classes.
    size: side of the images in pixels.
    crop: central square of the images to keep, in pixels of the file, or up to
      1 as a share of the shorter side; 0 for the largest.
    engine: what reads pictures. '' decodes them once; 'grain' whenever they are
      read, and keeps none: see `streamed.Pictures`.
    signals: name of the file with the signals, or the array itself; by default
      `signals.npz` where the table has no column `path`.
    rate_hz: time steps a second of the signals.
    window_s: length of a window in seconds; shorter recordings are dropped.
    overlap: share of a window that the next one repeats.
    scale: what signals are multiplied by, one number or one a channel.
    max_samples: the most images or windows to keep, chosen by person (see
      `columns.subset`); 0 keeps all.
    seed: seed of that choice.
    name: what the report calls the data; by default the name of the folder.
    licence: terms of the data, for the report.
    citation: what to cite, for the report.
    cache: folder where decoded pictures are kept, see `pictures.load`.

  Returns:
    The data set, with the columns named here as labels.

  Raises:
    ValueError: something is missing or cannot be read; the message names file,
      line and remedy.
  """
  folder = pathlib.Path(path).expanduser()
  if not path or not folder.is_dir():
    raise ValueError(
      f"path is {path!r}, which is no folder; give the folder with labels.csv"
    )
  if engine not in _ENGINES:
    raise ValueError(f"engine is {engine!r}, expected one of {_ENGINES}")
  keep, group, bins = keep or {}, group or {}, bins or {}
  both = sorted(set(group) & set(bins))
  if both:
    raise ValueError(f"columns {both} have a group and bins; choose one")
  table = rows.read(folder / "labels.csv")
  for column in (*desired, *private, *unforeseen):
    table.column(column)
  table = rows.keep(table, keep)
  for column, what in ((identity, "person"), (split, "part")):
    if column:
      table = rows.drop_empty(table, column, what)
  table = rows.bins(rows.group(table, group), bins)
  if not len(table):
    raise ValueError(f"no row of {table.file} is left; ask for less to be kept")
  if identity and split:
    _check_sides(table, identity, split)

  def choose(number: np.ndarray) -> np.ndarray:
    person = table.column(identity) if identity else None
    return columns.subset(person, number, max_samples=max_samples, seed=seed)

  if not isinstance(signals, str) or signals or "path" not in table.columns:
    if engine:
      raise ValueError(f"engine={engine!r} reads pictures; signals have none")
    source = signals if len(signals) else "signals.npz"
    array = _read_signals(folder, source) if isinstance(source, str) else source
    window, step = windows.lengths(window_s, rate_hz, overlap)
    start, length = _extents(table, array)
    number = windows.count(length, window, step)
    short = number == 0
    if short.all():
      raise ValueError(
        f"all {len(table)} recordings of {table.file} are shorter than "
        f"window_s={window_s}, the longest is {length.max() / rate_hz:g} s; "
        "give a shorter window or the right rate_hz"
      )
    chosen = choose(number)
    chosen = chosen[~short[chosen]]
    if not len(chosen):
      raise ValueError(
        f"max_samples={max_samples} is less than the windows of one recording "
        f"(up to {number.max()}); raise it"
      )
    note = f"{int(short.sum())} recordings are shorter than {window_s:g} s: "
    table = table.take(chosen, note + "dropped" if short.any() else "")
    recordings = [
      _recording(table, i, array, start[row], length[row])
      for i, row in enumerate(chosen)
    ]
    inputs, recording, position = windows.cut_all(
      recordings, window_s=window_s, rate_hz=rate_hz, overlap=overlap
    )
    inputs *= _scale(scale, inputs.shape[-1])
    kind, span, files = "signal", window / rate_hz, ()
  else:
    table = table.take(choose(np.ones(len(table), int)))
    _check_paths(table)
    find = _pictures(folder)
    chosen = [_picture(table, i, find) for i in range(len(table))]
    inputs: Any = (
      streamed.Pictures(chosen, size=size, crop=crop)
      if engine
      else pictures.load(chosen, size=size, crop=crop, cache=cache)
    )
    files = tuple(table.column("path"))
    recording = np.arange(len(inputs), dtype=np.int32)
    position = np.zeros(len(inputs), np.float32)
    kind, span = "image", 0.0
  labels, classes = {}, {}
  for column in (*desired, *private, *unforeseen, identity, split):
    if column:
      values, classes[column] = table.labels(column)
      labels[column] = values[recording]
  data = DataSet(
    name=name or folder.resolve().name,
    kind=kind,
    inputs=inputs,
    labels=labels,
    classes=classes,
    identity=identity or None,
    recording=recording,
    position=position,
    span=span,
    licence=licence or _NOT_STATED,
    citation=citation or _NOT_STATED,
    names=files,
    notes=table.notes,
  )
  return with_roles(
    data, desired=desired, private=private, unforeseen=unforeseen
  )


def _check_sides(table: rows.Rows, identity: str, split: str) -> None:
  """Refuse a person whose rows are in two parts of the split."""
  first: dict[str, int] = {}
  parts = table.column(split)
  for i, person in enumerate(table.column(identity)):
    j = first.setdefault(person, i)
    if parts[j] != parts[i]:
      raise ValueError(
        f"{table.where(i)}: person {person!r} is in {split}={parts[i]!r}, but "
        f"in {parts[j]!r} at line {table.line[j]}; put every person on one side"
      )


def _check_paths(table: rows.Rows) -> None:
  """Refuse an empty path and a picture that two rows name."""
  first: dict[str, int] = {}
  for i, name in enumerate(table.column("path")):
    if not name:
      raise ValueError(f"{table.where(i)}: path is empty, expected a picture")
    j = first.setdefault(name, i)
    if j != i:
      raise ValueError(
        f"{table.where(i)}: {name!r} is at line {table.line[j]} too; give "
        "every picture one row"
      )


class _Found(NamedTuple):
  """A picture's file: what tells its content from another's, and the bytes."""

  state: str
  read: Callable[[], bytes]


_Find = Callable[[str], _Found | None]


def _picture(table: rows.Rows, i: int, find: _Find) -> pictures.Picture:
  """Find the picture of row i, so that a missing one is known at once."""
  name = table.column("path")[i]
  found = find(name)
  if found is None:
    raise ValueError(
      f"{table.where(i)}: there is no picture {name!r} in images.zip, images/ "
      f"or {table.file.parent}; add it or take the row out"
    )
  where = f"{table.where(i)}, {name!r}"
  return pictures.Picture(where, f"{name} {found.state}", found.read)


def _pictures(folder: pathlib.Path) -> _Find:
  """Open the pictures of a folder: by path, how to read them."""
  file = folder / "images.zip"
  if not file.is_file():

    def find(name: str) -> _Found | None:
      for path in (folder / "images" / name, folder / name):
        if path.is_file():
          # As `make` and `rsync` do: to read all files takes too long.
          found = path.stat()
          state = f"{found.st_size} {found.st_mtime_ns}"
          return _Found(state, path.read_bytes)
      return None

    return find
  try:
    archive = zipfile.ZipFile(file)
  except (OSError, zipfile.BadZipFile) as error:
    raise ValueError(
      f"{file} cannot be opened ({error}); make it anew, or unpack the "
      f"pictures into {folder / 'images'}"
    ) from error
  members = {member.filename: member for member in archive.infolist()}

  def find_member(name: str) -> _Found | None:
    for path in (name, f"images/{name}"):
      if path in members:
        # The archive holds a checksum of what is in it.
        state = f"{members[path].file_size} {members[path].CRC}"
        return _Found(state, functools.partial(archive.read, path))
    return None

  return find_member


def _read_signals(folder: pathlib.Path, name: str) -> np.ndarray:
  """Read the array `signals` of an npz file."""
  file = folder / name
  if not file.is_file():
    raise ValueError(
      f"{folder / 'labels.csv'} has no column 'path' and {file} is missing; "
      "add the column for pictures or the file for signals"
    )
  try:
    with np.load(file, allow_pickle=False) as archive:
      return archive["signals"]
  except Exception as error:
    raise ValueError(
      f"{file} cannot be read ({error}); write it with numpy.savez(file, "
      "signals=array)"
    ) from error


def _extents(
  table: rows.Rows, array: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Give the first time step and the number of them for each row."""
  if array.ndim == 3:
    rows_read = table.number.max() + 1
    if rows_read > len(array):
      raise ValueError(
        f"signals has {len(array)} recordings, expected one for each of the "
        f"{rows_read} or more rows of {table.file}"
      )
    return table.number, np.full(len(table), array.shape[1])
  if array.ndim != 2 or array.dtype.kind not in "iuf":
    raise ValueError(
      f"signals is {array.dtype} with shape {array.shape}, expected numbers "
      "[rows, c] or [n, t, c]"
    )
  return _integers(table, "offset"), _integers(table, "length")


def _integers(table: rows.Rows, name: str) -> np.ndarray:
  """Read a column of whole numbers that are not negative."""
  result = np.empty(len(table), np.int64)
  for i, value in enumerate(table.column(name)):
    if not value.isascii() or not value.isdigit():
      raise ValueError(
        f"{table.where(i)}: {name} is {value!r}, expected a whole number of "
        "time steps, 0 or more"
      )
    result[i] = int(value)
  return result


def _recording(
  table: rows.Rows, i: int, array: np.ndarray, start: int, length: int
) -> np.ndarray:
  """Give the recording `[t, c]` of row i, checked."""
  if array.ndim == 3:
    signal = array[start]
  elif start + length > len(array):
    raise ValueError(
      f"{table.where(i)}: offset {start} + length {length} is beyond the "
      f"{len(array)} time steps of signals; mend the row or the file"
    )
  else:
    signal = array[start : start + length]
  if not np.isfinite(signal).all():
    bad = np.argwhere(~np.isfinite(signal))[0]
    raise ValueError(
      f"{table.where(i)}: the signal is {signal[tuple(bad)]} at time step "
      f"{bad[0]}, channel {bad[1]}; fill such gaps or take the row out"
    )
  return signal


def _scale(scale: float | Sequence[float], channels: int) -> np.ndarray:
  """Give the factor of every channel."""
  factor = np.asarray(scale, np.float32).reshape(-1)
  if len(factor) not in (1, channels):
    raise ValueError(
      f"scale has {len(factor)} numbers, expected one or {channels}, the "
      "channels of the signals"
    )
  return factor
