"""SPAR smartwatch exercises, as shipped in the PyPI package `seglearn`.

Ten healthy people do seven shoulder exercises on both sides with a smartwatch
on: one recording for each person, exercise and side, 140 in all, 19 to 52 s of
six axes (accelerometer in g, gyroscope in rad/s) at 50 Hz.

References:
  Burns et al. 2018, Shoulder physiotherapy exercise recognition: machine
  learning the inertial signals from a smartwatch, arXiv 1802.01489.
"""

import importlib.util
import pathlib

import numpy as np

from hybridpriv.data import columns, windows
from hybridpriv.data.dataset import DataSet, with_roles

RATE_HZ = 50.0
# The file abbreviates; the order is the file's own.
EXERCISES = {
  "PEN": "pendulum",
  "ABD": "abduction",
  "FEL": "forward elevation",
  "IR": "internal rotation",
  "ER": "external rotation",
  "TRAP": "trapezius row",
  "ROW": "bent-over row",
}
SIDES = ("left", "right")


def _find() -> pathlib.Path:
  """Find the file without importing its package, which would need pandas."""
  spec = importlib.util.find_spec("seglearn")
  if spec is None or not spec.submodule_search_locations:
    raise ValueError(
      "the SPAR data is shipped in the package 'seglearn', which is not "
      "installed; run: pip install seglearn"
    )
  folder = pathlib.Path(spec.submodule_search_locations[0])
  path = folder / "data" / "watch_dataset.npy"
  if not path.is_file():
    raise ValueError(
      f"{path} is missing; install a seglearn that ships it: "
      "pip install --force-reinstall 'seglearn>=1.2.5'"
    )
  return path


def _read(path: pathlib.Path) -> dict:
  """Read the pickled dict and check its fields."""
  # Unpickling runs code; the file is part of an installed package, whose code
  # is trusted already.
  content = np.load(path, allow_pickle=True).item()
  expected = ("X", "y", "y_labels", "subject", "side")
  missing = [name for name in expected if name not in content]
  if missing or tuple(content["y_labels"]) != tuple(EXERCISES):
    raise ValueError(
      f"{path} lacks {missing} or names other exercises than "
      f"{tuple(EXERCISES)}; install the version known to work: "
      "pip install 'seglearn==1.2.5'"
    )
  return content


def load(
  *,
  desired: tuple[str, ...] = ("exercise",),
  private: tuple[str, ...] = ("person",),
  unforeseen: tuple[str, ...] = ("side",),
  window_s: float = 4.0,
  overlap: float = 0.5,
  max_samples: int = 0,
  seed: int = 0,
) -> DataSet:
  """Load SPAR as windows `[n, t, 6]` with labels exercise, person and side.

  Args:
    desired: labels that the service answers.
    private: labels that the service must not learn.
    unforeseen: labels that no defence knew of.
    window_s: length of a window in seconds.
    overlap: share of a window that the next one repeats.
    max_samples: the most windows to keep (see `columns.subset`); 0 keeps all.
    seed: seed of that choice.

  Raises:
    ValueError: the package that ships the data is missing or another one than
      expected; a label is not in the data.
  """
  content = _read(_find())
  order = np.lexsort((content["side"], content["y"], content["subject"]))
  window, step = windows.lengths(window_s, RATE_HZ, overlap)
  size = windows.count([len(content["X"][i]) for i in order], window, step)
  person = [str(content["subject"][i]) for i in order]
  kept = columns.subset(person, size, max_samples=max_samples, seed=seed)
  kept = kept[size[kept] > 0]
  if not len(kept):
    raise ValueError(
      f"no recording of SPAR (19 to 52 s) holds a window of window_s={window_s}"
      f" within max_samples={max_samples}; shorten it or raise max_samples"
    )
  rows = order[kept]
  inputs, recording, position = windows.cut_all(
    [content["X"][i] for i in rows],
    window_s=window_s,
    rate_hz=RATE_HZ,
    overlap=overlap,
  )
  person_id, people = columns.encode([person[i] for i in kept])
  exercise_id = content["y"][rows].astype(np.int32)
  side_id = content["side"][rows].astype(np.int32)
  notes = ()
  if (size == 0).any():
    notes = (
      f"{int((size == 0).sum())} recordings are shorter than a window of "
      f"{window_s:g} s and were dropped",
    )
  data = DataSet(
    name="SPAR smartwatch exercises",
    kind="signal",
    inputs=inputs,
    labels={
      "exercise": exercise_id[recording],
      "person": person_id[recording],
      "side": side_id[recording],
    },
    classes={
      "exercise": tuple(EXERCISES.values()),
      "person": people,
      "side": SIDES,
    },
    identity="person",
    recording=recording,
    position=position,
    span=window / RATE_HZ,
    licence="BSD-3-Clause (package seglearn)",
    citation="Burns et al. 2018, arXiv 1802.01489",
    notes=notes,
  )
  return with_roles(
    data, desired=desired, private=private, unforeseen=unforeseen
  )
