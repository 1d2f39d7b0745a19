import numpy as np
import pytest

from hybridpriv.data.sources import table

ROLES = {"desired": ("task",), "private": ("person",), "identity": "person"}
# Of 10 time steps a second, one-second windows with half overlap.
WINDOWS = {"rate_hz": 10.0, "window_s": 1.0}
ROWS = ("ann,sit,0,20", "ann,walk,20,9", "bob,sit,29,31", "bob,walk,60,40")


def write(folder, rows=ROWS, header="person,task,offset,length", array=None):
  if array is None:
    array = np.arange(200, dtype=np.int16).reshape(100, 2)
  (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
  np.savez(folder / "signals.npz", signals=array)
  return folder


def load(folder, **options):
  return table.load(path=str(folder), **(ROLES | WINDOWS | options))


def test_windows_are_slices_of_their_rows(tmp_path):
  data = load(write(tmp_path))
  # Row two is shorter than a window.
  starts = [0, 5, 10, 29, 34, 39, 44, 49, *range(60, 91, 5)]
  signal = np.arange(200, dtype=np.float32).reshape(100, 2)
  expected = np.stack([signal[s : s + 10] for s in starts])
  np.testing.assert_array_equal(data.inputs, expected)
  assert data.inputs.dtype == np.float32 and data.span == 1.0
  np.testing.assert_array_equal(data.recording, [0] * 3 + [1] * 5 + [2] * 7)
  np.testing.assert_allclose(data.position[:4], [0, 0.5, 1, 0])
  np.testing.assert_array_equal(data.person, [0] * 3 + [1] * 12)
  np.testing.assert_array_equal(data.labels["task"], [0] * 8 + [1] * 7)
  assert data.notes == ("1 recordings are shorter than 1 s: dropped",)


def test_recordings_of_one_length_are_in_the_order_of_the_table(tmp_path):
  array = np.random.default_rng(0).normal(size=(4, 10, 3))
  rows = ("ann,sit", "ann,walk", ",sit", "bob,sit")
  write(tmp_path, rows, "person,task", array)
  data = load(tmp_path)
  kept = array[[0, 1, 3]].astype(np.float32)
  np.testing.assert_array_equal(data.inputs, kept)
  # The array itself, as a Python caller may have it.
  (tmp_path / "signals.npz").unlink()
  np.testing.assert_array_equal(load(tmp_path, signals=array).inputs, kept)


def test_scale_is_one_number_or_one_a_channel(tmp_path):
  write(tmp_path)
  raw = load(tmp_path).inputs
  np.testing.assert_allclose(load(tmp_path, scale=0.5).inputs, raw * 0.5)
  both = load(tmp_path, scale=(2.0, -1.0)).inputs
  np.testing.assert_allclose(both, raw * [2.0, -1.0])
  with pytest.raises(
    ValueError, match="scale has 3 numbers, expected one or 2"
  ):
    load(tmp_path, scale=(1.0, 2.0, 3.0))


def test_max_samples_counts_windows_and_keeps_recordings_whole(tmp_path):
  rows = [f"p{i // 2},{('sit', 'walk')[i % 2]},0,30" for i in range(24)]
  data = load(write(tmp_path, rows), max_samples=40)
  assert 30 < len(data) <= 40
  assert (np.bincount(data.recording) == 5).all()
  with pytest.raises(ValueError, match="less than the windows of one record"):
    load(tmp_path, max_samples=3)


def nan(shape):
  array = np.zeros(shape)
  array[35, 1] = np.nan
  return array


@pytest.mark.parametrize(
  ("changes", "options", "message"),
  [
    ({}, {"rate_hz": 0.0}, "rate_hz is 0.0"),
    ({}, {"window_s": 60.0}, "shorter than window_s=60.0, the longest is 4 s"),
    (
      {"rows": [*ROWS[:3], "bob,walk,90,40"]},
      {},
      "line 5: offset 90 [+] length 40 is beyond the 100 time steps",
    ),
    ({"rows": ["ann,sit,0,x", *ROWS]}, {}, "line 2: length is 'x'"),
    ({"rows": ["ann,sit,-5,20", *ROWS]}, {}, "line 2: offset is '-5'"),
    (
      {"array": nan((100, 2))},
      {},
      "line 4: the signal is nan at time step 6, channel 1",
    ),
    ({"array": np.zeros((3, 20, 2))}, {}, "signals has 3 recordings, expected"),
    ({"array": np.zeros(100)}, {}, r"float64 with shape \(100,\), expected"),
    (
      {"rows": ["ann,sit", "bob,walk"], "header": "person,task"},
      {},
      "no column 'offset'",
    ),
  ],
)
def test_what_is_wrong_is_named(tmp_path, changes, options, message):
  write(tmp_path, **changes)
  with pytest.raises(ValueError, match=message):
    load(tmp_path, **options)


def test_an_unreadable_file_is_named(tmp_path):
  write(tmp_path)
  (tmp_path / "signals.npz").write_text("nothing")
  with pytest.raises(ValueError, match="signals.npz cannot be read"):
    load(tmp_path)
  np.savez(tmp_path / "signals.npz", other=np.zeros(3))
  with pytest.raises(ValueError, match="signals.npz cannot be read.*signals"):
    load(tmp_path)
