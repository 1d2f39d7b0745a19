"""Signals to windows of one length."""

from collections.abc import Sequence

import numpy as np


def lengths(window_s: float, rate_hz: float, overlap: float) -> tuple[int, int]:
  """Give the length of a window and the step to the next, in time steps.

  Args:
    window_s: length of a window in seconds.
    rate_hz: time steps a second.
    overlap: share of a window that the next one repeats, 0 <= overlap < 1.

  Raises:
    ValueError: a window is shorter than one time step, or overlap is outside
      its range.
  """
  if rate_hz <= 0:
    raise ValueError(
      f"rate_hz is {rate_hz}, expected the time steps a second of the signals, "
      "such as rate_hz=50.0"
    )
  window = round(window_s * rate_hz)
  if window < 1:
    raise ValueError(
      f"window_s={window_s} at rate_hz={rate_hz} is {window} time steps, "
      "expected at least one"
    )
  if not 0 <= overlap < 1:
    raise ValueError(f"overlap is {overlap}, expected 0 <= overlap < 1")
  return window, max(1, round(window * (1 - overlap)))


def count(
  length: np.ndarray | Sequence[int], window: int, step: int
) -> np.ndarray:
  """Count the windows in recordings of `length` time steps.

  >>> count(np.array([199, 200, 299, 300]), window=200, step=100)
  array([0, 1, 1, 2])
  """
  length = np.asarray(length)
  return np.where(length < window, 0, (length - window) // step + 1)


def cut(signal: np.ndarray, window: int, step: int) -> np.ndarray:
  """Cut one recording `[t, c]` into windows `[m, window, c]`.

  Time steps after the last whole window are left out.

  >>> cut(np.arange(5)[:, None], window=2, step=2)[..., 0]
  array([[0, 1],
         [2, 3]])
  """
  if len(signal) < window:
    return np.empty((0, window, signal.shape[1]), signal.dtype)
  view = np.lib.stride_tricks.sliding_window_view(signal, window, axis=0)
  return np.moveaxis(view[::step], -1, 1)


def cut_all(
  recordings: Sequence[np.ndarray],
  *,
  window_s: float,
  rate_hz: float,
  overlap: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Cut recordings `[t, c]` into windows.

  Returns:
    float32 windows `[n, window, c]`, int32 number of the recording `[n]`, and
    float32 start of the window in seconds `[n]`.
  """
  window, step = lengths(window_s, rate_hz, overlap)
  number = count([len(r) for r in recordings], window, step)
  channels = recordings[0].shape[1]
  windows = np.empty((number.sum(), window, channels), np.float32)
  ends = np.cumsum(number)
  for recording, m, end in zip(recordings, number, ends, strict=True):
    windows[end - m : end] = cut(recording, window, step)
  recording = np.repeat(np.arange(len(recordings), dtype=np.int32), number)
  first = np.repeat(ends - number, number)
  position = (np.arange(len(windows)) - first) * step / rate_hz
  return windows, recording, position.astype(np.float32)
