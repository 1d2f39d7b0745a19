"""The rows of a table of labels: read, filtered, merged and binned.

Whatever is dropped is counted in `Rows.notes`; whatever is wrong is one
`ValueError` that names the file and the line.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from hybridpriv.data import columns


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
  """Rows of a CSV file as columns of text.

  Attributes:
    file: where they were read.
    columns: `[n]` arrays of str by column name, '' where empty.
    number: int64 `[n]`, the place of a row in the file, from 0 for the first
      row below the header.
    line: int64 `[n]`, its line in the file, from 1.
    order: class names in the order wanted, for columns that have one.
    notes: what was dropped, counted, one sentence each.
  """

  file: pathlib.Path
  columns: Mapping[str, np.ndarray]
  number: np.ndarray
  line: np.ndarray
  order: Mapping[str, tuple[str, ...]]
  notes: tuple[str, ...] = ()

  def __len__(self) -> int:
    return len(self.line)

  def where(self, i: int) -> str:
    """Name the file and line of row i, for an error."""
    return f"{self.file} line {self.line[i]}"

  def take(self, index: np.ndarray, note: str = "") -> "Rows":
    """Keep rows by number or mask, with a note on why."""
    return dataclasses.replace(
      self,
      columns={name: column[index] for name, column in self.columns.items()},
      number=self.number[index],
      line=self.line[index],
      notes=(*self.notes, note) if note else self.notes,
    )

  def column(self, name: str) -> np.ndarray:
    """Give a column.

    Raises:
      ValueError: there is none of this name.
    """
    if name not in self.columns:
      raise ValueError(
        f"{self.file} has no column {name!r}; its columns are: "
        f"{', '.join(self.columns)}"
      )
    return self.columns[name]

  def labels(self, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Give int32 `[n]` class ids of a column, -1 where empty, and the names."""
    values = self.column(name)
    present = set(values)
    order = [value for value in self.order.get(name, ()) if value in present]
    return columns.encode(values, order)


def read(file: pathlib.Path) -> Rows:
  """Read a CSV file: UTF-8, commas, column names in the first row.

  Raises:
    ValueError: the file is missing, is not such a file, or a row has more or
      fewer fields than the header.
  """
  if not file.is_file():
    raise ValueError(
      f"{file} is missing; write a table there with one row for each image or "
      "recording and the names of the columns in the first row"
    )
  values, line = [], []
  try:
    with file.open(encoding="utf-8-sig", newline="") as stream:
      reader = csv.reader(stream, strict=True)
      header = [name.strip() for name in next(reader, [])]
      for fields in reader:
        if not fields:
          continue
        if len(fields) != len(header):
          raise ValueError(
            f"{file} line {reader.line_num} has {len(fields)} fields, expected "
            f"{len(header)} as the first row; quote fields that hold commas"
          )
        values.append([field.strip() for field in fields])
        line.append(reader.line_num)
  except (UnicodeDecodeError, csv.Error) as error:
    raise ValueError(
      f"{file} is not a CSV file in UTF-8 ({error}); save it as one"
    ) from error
  if not header or len(set(header)) < len(header) or not values:
    raise ValueError(
      f"{file} has the columns {header} and {len(values)} rows, expected "
      "different names in the first row and at least one row below"
    )
  array = np.array(values, object)
  return Rows(
    file=file,
    columns={name: array[:, i] for i, name in enumerate(header)},
    number=np.arange(len(values)),
    line=np.array(line),
    order={},
  )


def drop_empty(rows: Rows, name: str, what: str) -> Rows:
  """Drop the rows whose column is empty; `what` says what they lack."""
  empty = rows.column(name) == ""
  if not empty.any():
    return rows
  return rows.take(
    ~empty, f"{int(empty.sum())} rows name no {what} ({name!r}): dropped"
  )


def keep(rows: Rows, values: Mapping[str, Sequence[str]]) -> Rows:
  """Keep the rows whose columns have one of the values given for them.

  Raises:
    ValueError: no row is left.
  """
  for name, wanted in values.items():
    names = {wanted} if isinstance(wanted, str) else {str(v) for v in wanted}
    column = rows.column(name)
    mask = np.array([value in names for value in column], bool)
    if not mask.any():
      raise ValueError(
        f"keep={{{name!r}: {sorted(names)}}} leaves no row of {rows.file}; the "
        f"column holds {_some(column)}"
      )
    if not mask.all():
      rows = rows.take(
        mask,
        f"{int((~mask).sum())} rows have another {name!r} than "
        f"{', '.join(sorted(names))}: dropped",
      )
  return rows


def group(rows: Rows, groups: Mapping[str, Mapping[str, str]]) -> Rows:
  """Replace values by the group they belong to.

  Rows whose value has no group are dropped and counted; empty ones stay.

  Raises:
    ValueError: no row is left.
  """
  for name, mapping in groups.items():
    names = {str(k): str(v) for k, v in mapping.items()}
    column = rows.column(name)
    mask = np.array([not v or v in names for v in column], bool)
    if not any(value in names for value in column):
      raise ValueError(
        f"group of column {name!r} names {sorted(names)}, none of which is in "
        f"{rows.file}; the column holds {_some(column)}"
      )
    if not mask.all():
      rows = rows.take(
        mask,
        f"{int((~mask).sum())} rows have a {name!r} without a group "
        f"({_some(column[~mask])}): dropped",
      )
    merged = [names.get(value, "") for value in rows.columns[name]]
    rows = _replace(rows, name, merged, ())
  return rows


def bins(rows: Rows, edges: Mapping[str, Sequence[float]]) -> Rows:
  """Replace numbers by the interval they fall in; empty ones stay.

  Raises:
    ValueError: a value is no number, or the edges do not rise.
  """
  for name, given in edges.items():
    borders = [float(edge) for edge in given]
    names = columns.bin_names(borders)
    result = []
    for i, value in enumerate(rows.column(name)):
      try:
        number = float(value) if value else 0.0
      except ValueError:
        number = np.nan
      if np.isnan(number):
        raise ValueError(
          f"{rows.where(i)}: {name!r} is {value!r}, expected a number, as bins "
          f"are asked of this column; mend it or leave it empty"
        )
      interval = names[np.searchsorted(borders, number, side="right")]
      result.append(interval if value else "")
    rows = _replace(rows, name, result, names)
  return rows


def _replace(
  rows: Rows, name: str, values: Sequence[str], order: tuple[str, ...]
) -> Rows:
  """Give a column other values, and its classes an order."""
  return dataclasses.replace(
    rows,
    columns={**rows.columns, name: np.array(values, object)},
    order={**rows.order, name: order},
  )


def _some(values: np.ndarray) -> str:
  """List the first few of the different values of a column."""
  names = sorted(set(values))
  more = ", ..." if len(names) > 8 else ""
  return ", ".join(repr(name) for name in names[:8]) + more
