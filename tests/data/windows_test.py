import numpy as np
import pytest

from hybridpriv.data import windows


@pytest.mark.parametrize("step", [1, 3, 4])
@pytest.mark.parametrize("length", [0, 3, 4, 5, 17])
def test_windows_are_the_slices_of_a_plain_loop(length, step):
  signal = np.random.default_rng(0).normal(size=(length, 2))
  expected = [
    signal[s : s + 4] for s in range(0, length, step) if s + 4 <= length
  ]
  found = windows.cut(signal, 4, step)
  assert found.shape == (len(expected), 4, 2)
  assert windows.count([length], 4, step)[0] == len(expected)
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_array_equal(a, b)


def test_recordings_keep_their_windows_numbers_and_seconds():
  recordings = [np.full((n, 1), i) for i, n in enumerate((25, 9, 30))]
  inputs, recording, position = windows.cut_all(
    recordings, window_s=1.0, rate_hz=10.0, overlap=0.5
  )
  assert inputs.dtype == np.float32
  np.testing.assert_array_equal(recording, [0, 0, 0, 0, 2, 2, 2, 2, 2])
  np.testing.assert_array_equal(inputs[:, 0, 0], recording)
  np.testing.assert_allclose(
    position, [0, 0.5, 1, 1.5, 0, 0.5, 1, 1.5, 2], rtol=1e-6
  )


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ((4.0, 0.0, 0.5), "rate_hz is 0.0"),
    ((0.001, 50.0, 0.5), "is 0 time steps"),
    ((4.0, 50.0, 1.0), "overlap is 1.0"),
  ],
)
def test_windows_that_cannot_be_cut_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    windows.lengths(*options)
