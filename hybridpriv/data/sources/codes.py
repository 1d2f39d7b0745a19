"""Codes of any other system, with labels: one `.npz` file.

`codes` [n, draws, k] or [n, k] as they are sent, `private` [n], and where
known `desired` [n], `person` [n], `unforeseen` [n, m].  Labels are whole
numbers or text; -1 and "" are not known.
"""

import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

from hybridpriv.data.dataset import UNKNOWN, DataSet

_KNOWN = ("codes", "inputs", "private", "desired", "person", "unforeseen")


def load(
  *,
  path: str,
  name: str = "",
  licence: str = "not given",
  citation: str = "",
) -> DataSet:
  """Read a file of codes.

  Args:
    path: of the `.npz` file.
    name: what the report calls the data; the file's name by default.
    licence: terms under which they may be used.
    citation: what to cite.

  Returns:
    A data set of kind "code", whose inputs [n, draws, k] are the codes; with
    `inputs` in place of `codes`, those, for an encoder.  Labels are "private",
    "desired", "person", "unforeseen 1" and so on; a private label that is the
    person's has no other name than "person".

  Raises:
    ValueError: the file is no such file, or its arrays do not fit; in a line.
  """
  arrays = _read(pathlib.Path(path).expanduser())
  given = "codes" if "codes" in arrays else "inputs"
  codes = _codes(arrays[given], given)
  num = len(codes)
  columns = {
    k: arrays[k] for k in ("private", "desired", "person") if k in arrays
  }
  if "unforeseen" in arrays:
    more = arrays["unforeseen"]
    more = more[:, None] if more.ndim == 1 else more
    columns |= {f"unforeseen {i + 1}": c for i, c in enumerate(more.T)}
  labels, classes = {}, {}
  for label, column in columns.items():
    labels[label], classes[label] = _label(label, column, num)
  if "person" in labels:
    if labels["person"].min() < 0:
      raise ValueError("person: some samples have none; leave them out")
    if _same(labels["person"], labels["private"]):
      del labels["private"], classes["private"]
  return DataSet(
    name=name or pathlib.Path(path).name,
    kind="code",
    inputs=codes,
    labels=labels,
    classes=classes,
    identity="person" if "person" in labels else None,
    recording=np.arange(num, dtype=np.int32),
    position=np.zeros(num, np.float32),
    span=0.0,
    licence=licence,
    citation=citation,
  )


def roles(data: DataSet) -> dict[str, tuple[str, ...]]:
  """Give the labels of such a file the parts that their names say."""
  private = "private" if "private" in data.labels else "person"
  return {
    "desired": ("desired",) if "desired" in data.labels else (),
    "private": (private,),
    "unforeseen": tuple(n for n in data.labels if n.startswith("unforeseen")),
  }


def _read(path: pathlib.Path) -> Mapping[str, np.ndarray]:
  if not path.is_file():
    raise ValueError(
      f"config.data.path is {str(path)!r}, and there is no such file: name one,"
      " --config.data.path=codes.npz"
    )
  try:
    with np.load(path, allow_pickle=False) as saved:
      arrays = {k: saved[k] for k in saved.files}
  except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
    raise ValueError(
      f"{path} cannot be read as .npz: write it with numpy.savez(path,"
      " codes=..., private=...), without objects in it"
    ) from error
  if unknown := sorted(set(arrays) - set(_KNOWN)):
    raise ValueError(
      f"{path} has {', '.join(unknown)}; known are {', '.join(_KNOWN)}"
    )
  missing = [k for k in ("private",) if k not in arrays]
  if missing or ("codes" in arrays) == ("inputs" in arrays):
    raise ValueError(
      f"{path} has {', '.join(sorted(arrays)) or 'nothing'}; needed are private"
      " and codes (or inputs, for an encoder)"
    )
  return arrays


def _codes(codes: np.ndarray, given: str) -> np.ndarray:
  """Bring codes to float32 [n, draws, k]; inputs to float32 [n, 1, ...]."""
  fits = codes.ndim in (2, 3) or (given == "inputs" and codes.ndim > 1)
  if codes.dtype.kind not in "biuf" or not fits or not codes.size:
    raise ValueError(
      f"{given} is {codes.dtype} {codes.shape}: expected numbers [n, k] or"
      " [n, draws, k]; a feature map is laid out as [n, k]"
    )
  if not np.isfinite(codes).all():
    bad = np.flatnonzero(~np.isfinite(codes.reshape(len(codes), -1)).all(1))
    raise ValueError(
      f"{given}: {len(bad)} of {len(codes)} samples are not finite, the first"
      f" is number {bad[0]}"
    )
  if given == "inputs":
    return codes.reshape(len(codes), 1, -1).astype(np.float32)
  return _narrowed(codes[:, None] if codes.ndim == 2 else codes)


def _narrowed(codes: np.ndarray) -> np.ndarray:
  """Bring codes [n, draws, k] to float32 without losing what differs.

  Large numbers that differ in their last digits are taken from their middle
  first; attacks do not mind, as they standardise codes.
  """
  if codes.dtype in (np.float16, np.float32, np.int8, np.uint8, np.bool_):
    return codes.astype(np.float32)
  low, high = (f(codes, axis=(0, 1)) for f in (np.min, np.max))
  middle = low + (high - low) // 2 if codes.dtype.kind in "iu" else low
  if codes.dtype.kind == "f":
    middle = (low + high) / 2
  narrow = (codes - middle).astype(np.float32)
  for i in range(codes.shape[-1]):
    before, after = (len(np.unique(x[..., i])) for x in (codes, narrow))
    if after < before:
      raise ValueError(
        f"codes: value {i} takes {before} different numbers, of which float32"
        f" keeps {after}: split large whole numbers, such as packed bits or"
        " hashes, into several values"
      )
  return narrow


def _label(
  name: str, column: np.ndarray, num: int
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Number the classes of a column, in their order; unknown is -1."""
  if column.shape != (num,):
    raise ValueError(
      f"{name} has shape {column.shape}: expected ({num},) as there are codes"
    )
  if column.dtype.kind not in "biuUS":
    raise ValueError(
      f"{name} is {column.dtype}: expected whole numbers or text (bin what is"
      " continuous)"
    )
  if column.dtype.kind == "S":
    column = column.astype(str)
  if column.dtype.kind == "b":
    column = column.astype(int)
  unknown = column == ("" if column.dtype.kind == "U" else UNKNOWN)
  values, label = np.unique(column[~unknown], return_inverse=True)
  if len(values) < 2:
    raise ValueError(
      f"{name} has {len(values)} class(es), {[str(v) for v in values]}:"
      " expected two or more"
    )
  ids = np.full(num, UNKNOWN, np.int32)
  ids[~unknown] = label
  return ids, tuple(map(str, values))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
  """Tell whether two labels divide the samples in the same way."""
  pairs = len(np.unique(np.stack([a, b]), axis=1).T)
  return pairs == len(np.unique(a)) == len(np.unique(b))
