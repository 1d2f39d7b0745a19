"""MotionSense: 24 people, six activities, a phone in the front pocket.

Twelve channels at 50 Hz: attitude (rad), gravity (g), rotation rate (rad/s)
and the user's acceleration (g), in three axes each.

```
folder/
  data_subjects_info.csv   code,weight,height,age,gender: kg, cm, years, 1 male
  A_DeviceMotion_data/     unpacked from A_DeviceMotion_data.zip
    dws_1/sub_1.csv        <activity>_<trial>/sub_<code>.csv: one recording
```

References:
  Malekzadeh et al. 2019, Mobile sensor data anonymization, arXiv 1810.11546.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from hybridpriv.data import columns, rows, windows
from hybridpriv.data.dataset import DataSet, with_roles

RATE_HZ = 50.0
# The folders abbreviate.
ACTIVITIES = {
  "dws": "downstairs",
  "ups": "upstairs",
  "wlk": "walking",
  "jog": "jogging",
  "sit": "sitting",
  "std": "standing",
}
CHANNELS = (
  *(f"attitude.{axis}" for axis in ("roll", "pitch", "yaw")),
  *(
    f"{sensor}.{axis}"
    for sensor in ("gravity", "rotationRate", "userAcceleration")
    for axis in "xyz"
  ),
)
_GENDERS = {"0": "female", "1": "male", "": ""}
_NUMBERS = ("age", "height", "weight")
_FOLDER = "A_DeviceMotion_data"
_SOURCE = "github.com/mmalekzadeh/motion-sense, folder data"


def load(
  *,
  path: str,
  desired: tuple[str, ...],
  private: tuple[str, ...],
  unforeseen: tuple[str, ...] = (),
  activities: Sequence[str] = tuple(ACTIVITIES),
  bins: Mapping[str, Sequence[float]] | None = None,
  window_s: float = 1.0,
  overlap: float = 0.8,
  max_samples: int = 0,
  seed: int = 0,
) -> DataSet:
  """Load MotionSense as windows `[n, t, 12]`, channels as in `CHANNELS`.

  Labels are activity, person, gender, trial, age, height and weight. A trial
  is of one activity: 1 to 9 are long (minutes), 11 to 16 short. Windows and
  their overlap are by default those of the authors, 50 time steps every 10.

  Args:
    path: the folder.
    desired: labels that the service answers.
    private: labels that the service must not learn.
    unforeseen: labels that no defence knew of.
    activities: those to read, as the folders abbreviate them.
    bins: rising edges for age (years), height (cm) and weight (kg): (26, 31)
      gives three classes. Without edges every number is a class.
    window_s: length of a window in seconds; shorter recordings are dropped.
    overlap: share of a window that the next one repeats.
    max_samples: the most windows to keep (see `columns.subset`); 0 keeps all.
    seed: seed of that choice.

  Raises:
    ValueError: something is missing or cannot be read; the message names file
      and remedy.
  """
  folder = pathlib.Path(path).expanduser()
  window, step = windows.lengths(window_s, RATE_HZ, overlap)
  people = _people(folder / "data_subjects_info.csv", bins or {})
  files = _files(folder / _FOLDER, activities)
  line = {code: i for i, code in enumerate(people.column("code"))}
  for file in files:
    if _code(file) not in line:
      raise ValueError(
        f"{file} is of subject {_code(file)!r}, who is not in {people.file}, "
        f"column 'code'; add the row or take the file out"
      )
  person = np.array([_code(file) for file in files], object)
  signals = [_signal(file) for file in files]
  size = windows.count([len(signal) for signal in signals], window, step)
  kept = columns.subset(person, size, max_samples=max_samples, seed=seed)
  kept = kept[size[kept] > 0]
  if not len(kept):
    longest = max(len(signal) for signal in signals) / RATE_HZ
    raise ValueError(
      f"no recording in {folder / _FOLDER} holds a window of "
      f"window_s={window_s} within max_samples={max_samples}, the longest is "
      f"{longest:g} s; shorten the window or raise max_samples"
    )
  inputs, recording, position = windows.cut_all(
    [signals[i] for i in kept],
    window_s=window_s,
    rate_hz=RATE_HZ,
    overlap=overlap,
  )
  files, person = [files[i] for i in kept], person[kept]
  known = people.take(np.array([line[code] for code in person]))
  labels = {name: known.labels(name) for name in ("gender", *_NUMBERS)}
  doing = [ACTIVITIES[_activity(file)] for file in files]
  order = [ACTIVITIES[name] for name in activities]
  order = [name for name in order if name in doing]
  labels["activity"] = columns.encode(doing, order)
  labels["person"] = columns.encode(person)
  labels["trial"] = columns.encode([_trial(file) for file in files])
  short = int((size == 0).sum())
  note = (
    f"{short} recordings are shorter than a window of {window_s:g} s and were "
    "dropped"
  )
  data = DataSet(
    name="MotionSense",
    kind="signal",
    inputs=inputs,
    labels={name: values[recording] for name, (values, _) in labels.items()},
    classes={name: classes for name, (_, classes) in labels.items()},
    identity="person",
    recording=recording,
    position=position,
    span=window / RATE_HZ,
    licence="MIT (repository of the data set)",
    citation="Malekzadeh et al. 2019, arXiv 1810.11546",
    notes=(note,) if short else (),
  )
  return with_roles(
    data, desired=desired, private=private, unforeseen=unforeseen
  )


def _people(
  file: pathlib.Path, bins: Mapping[str, Sequence[float]]
) -> rows.Rows:
  """Read who the subjects are; `gender` in words, numbers in their bins."""
  if not file.is_file():
    raise ValueError(
      f"{file} is missing; give as path the folder with it and {_FOLDER} "
      f"({_SOURCE})"
    )
  if unknown := sorted(set(bins) - set(_NUMBERS)):
    raise ValueError(f"bins are of {unknown}, expected some of {_NUMBERS}")
  people = rows.read(file)
  for name in ("code", *_NUMBERS):
    people.column(name)
  seen: dict[str, int] = {}
  for i, code in enumerate(people.column("code")):
    j = seen.setdefault(code, i)
    if j != i:
      raise ValueError(
        f"{people.where(i)}: subject {code!r} is at line {people.line[j]} too; "
        "give every person one row"
      )
  for i, gender in enumerate(people.column("gender")):
    if gender not in _GENDERS:
      raise ValueError(
        f"{people.where(i)}: gender is {gender!r}, expected 0 (female), 1 "
        "(male) or nothing"
      )
  return rows.group(rows.bins(people, bins), {"gender": _GENDERS})


def _files(
  folder: pathlib.Path, activities: Sequence[str]
) -> list[pathlib.Path]:
  """List the recordings by activity, trial and person."""
  if not folder.is_dir():
    raise ValueError(
      f"{folder} is missing; unpack {_FOLDER}.zip there ({_SOURCE})"
    )
  if set(activities) - set(ACTIVITIES) or not activities:
    raise ValueError(
      f"activities are {tuple(activities)}, expected some of "
      f"{tuple(ACTIVITIES)}"
    )
  files: list[pathlib.Path] = []
  for activity in dict.fromkeys(activities):
    found = sorted(
      folder.glob(f"{activity}_*/sub_*.csv"),
      key=lambda file: (len(_trial(file)), _trial(file), len(file.name), file),
    )
    if not found:
      raise ValueError(
        f"{folder} has no recording {activity}_<trial>/sub_<code>.csv; unpack "
        "it, or leave the activity out of activities"
      )
    files += found
  return files


def _activity(file: pathlib.Path) -> str:
  return file.parent.name.partition("_")[0]


def _trial(file: pathlib.Path) -> str:
  return file.parent.name.partition("_")[2]


def _code(file: pathlib.Path) -> str:
  return file.stem.removeprefix("sub_")


def _signal(file: pathlib.Path) -> np.ndarray:
  """Read one recording, float32 `[t, 12]`."""
  table = rows.read(file)
  text = np.stack([table.column(name) for name in CHANNELS], axis=1)
  try:
    signal = text.astype(np.float32)
  except ValueError:
    signal = np.array([[_number(cell) for cell in row] for row in text])
  if not np.isfinite(signal).all():
    i, channel = np.argwhere(~np.isfinite(signal))[0]
    raise ValueError(
      f"{table.where(i)}: {CHANNELS[channel]} is {text[i, channel]!r}, "
      "expected a finite number; mend it or take the file out"
    )
  return signal


def _number(text: str) -> float:
  """Read a number; NaN where it is none."""
  try:
    return float(text)
  except ValueError:
    return np.nan
