"""One data set in memory: inputs, labels, people, recordings, licence."""

import dataclasses
from collections.abc import Mapping

import numpy as np

UNKNOWN = -1


@dataclasses.dataclass(frozen=True, eq=False)
class DataSet:
  """Samples with their labels, and where they come from.

  Attributes:
    name: what the report calls the data.
    kind: "image", "signal" or "code".
    inputs: uint8 `[n, h, w, c]` images, float32 `[n, t, c]` signal windows, or
      float32 `[n, draws, k]` codes of another system; an array, or what is
      indexed as one, see `streamed.Pictures`.
    labels: int32 `[n]` class ids by label name, -1 where not known.
    classes: class names by label name; `classes[name][labels[name][i]]`.
    identity: the label that names the person, or None where no person is
      known and every sample is a unit of its own.
    recording: int32 `[n]`, the recording a sample was cut from; for images
      0 .. n-1.
    position: float32 `[n]`, start of a window in its recording in seconds;
      for images 0.
    span: length of a window in seconds; for images 0.
    licence: terms under which the data may be used.
    citation: what to cite.
    synthetic: whether the data is made up.
    names: what each sample is called where it is a file, or ().
    notes: rows dropped and counted, one sentence each, for the report.
  """

  name: str
  kind: str
  inputs: np.ndarray
  labels: Mapping[str, np.ndarray]
  classes: Mapping[str, tuple[str, ...]]
  identity: str | None
  recording: np.ndarray
  position: np.ndarray
  span: float
  licence: str
  citation: str
  synthetic: bool = False
  names: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()

  def __post_init__(self):
    layouts = {
      "image": (np.uint8, 4),
      "signal": (np.float32, 3),
      "code": (np.float32, 3),
    }
    if self.kind not in layouts:
      raise ValueError(
        f"kind is {self.kind!r}, expected one of {tuple(layouts)}"
      )
    dtype, ndim = layouts[self.kind]
    if self.inputs.dtype != dtype or self.inputs.ndim != ndim:
      raise ValueError(
        f"inputs of kind {self.kind!r} are {self.inputs.dtype} with "
        f"{self.inputs.ndim} axes, expected {np.dtype(dtype)} with {ndim}"
      )
    if set(self.labels) != set(self.classes):
      raise ValueError(
        f"labels are {sorted(self.labels)} and classes are "
        f"{sorted(self.classes)}; expected the same names"
      )
    if self.identity is not None and self.identity not in self.labels:
      raise ValueError(
        f"identity {self.identity!r} is not one of the labels "
        f"{sorted(self.labels)}"
      )
    n = len(self.inputs)
    arrays = {f"labels[{name!r}]": v for name, v in self.labels.items()}
    arrays |= {"recording": self.recording, "position": self.position}
    for name, array in arrays.items():
      if array.shape != (n,):
        raise ValueError(
          f"{name} has shape {array.shape}, expected ({n},) as inputs"
        )
    for name, array in self.labels.items():
      num = len(self.classes[name])
      if n and not (array.min() >= UNKNOWN and array.max() < num):
        raise ValueError(
          f"labels[{name!r}] holds {array.min()} .. {array.max()}, expected "
          f"-1 (not known) or 0 .. {num - 1} for its {num} classes"
        )
    if n and self.identity is not None and self.labels[self.identity].min() < 0:
      raise ValueError(
        f"a sample has no person in {self.identity!r}; drop such samples "
        "before making a DataSet"
      )

  def __len__(self) -> int:
    return len(self.inputs)

  @property
  def person(self) -> np.ndarray:
    """int32 `[n]`: who a sample is of; 0 .. n-1 where no person is known."""
    if self.identity is None:
      return np.arange(len(self), dtype=np.int32)
    return self.labels[self.identity]


def with_roles(
  data: DataSet,
  *,
  desired: tuple[str, ...],
  private: tuple[str, ...],
  unforeseen: tuple[str, ...],
) -> DataSet:
  """Check the roles that a study gives to labels and note what is unknown.

  Args:
    data: the data set.
    desired: labels that the service answers.
    private: labels that the service must not learn.
    unforeseen: labels that no defence knew of, attacked all the same.

  Returns:
    The data set with one note for each label that some samples lack; a second
    call adds none.

  Raises:
    ValueError: a label is not in the data, has two roles, or takes fewer than
      two values.
  """
  names = (*desired, *private, *unforeseen)
  known = ", ".join(sorted(data.labels))
  notes = []
  for name in names:
    if name not in data.labels:
      raise ValueError(
        f"{data.name} has no label {name!r}; its labels are: {known}"
      )
    if names.count(name) > 1:
      raise ValueError(
        f"label {name!r} is named {names.count(name)} times among desired "
        f"{desired}, private {private} and unforeseen {unforeseen}; give it "
        "one role"
      )
    values = data.labels[name]
    present = np.unique(values[values != UNKNOWN])
    if len(present) < 2:
      found = [data.classes[name][i] for i in present]
      raise ValueError(
        f"label {name!r} of {data.name} takes {len(present)} value(s) {found} "
        f"in the {len(values)} samples kept, expected at least two; name "
        "another label, or keep more rows (keep, group, max_samples)"
      )
    missing = int(np.sum(values == UNKNOWN))
    if missing:
      notes.append(
        f"{missing} of {len(values)} samples have no {name!r} and are left "
        f"out where {name!r} is learned or scored"
      )
  new = [note for note in notes if note not in data.notes]
  return dataclasses.replace(data, notes=(*data.notes, *new))
