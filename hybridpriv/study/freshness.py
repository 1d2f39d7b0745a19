"""Whether several draws of a code differ by fresh noise, and by no more."""

import numpy as np
from scipy import stats

_ALIKE = 0.5  # share of samples whose draws repeat, above which noise is stale


def stale(codes: np.ndarray) -> str:
  """Say why the noise of codes [n, draws, k] is not seen to be fresh, or ""."""
  if codes.shape[1] == 1:
    return "there is one draw of each sample"
  share, why = alike(codes)
  return why if share > _ALIKE else ""


def alike(codes: np.ndarray) -> tuple[float, str]:
  """Say in what share of the samples of codes [n, draws, k] noise comes again.

  Returns:
    The largest share, and what comes again, in words; 0.0 and "" for none.
  """
  found = [(0.0, "")]
  # Whole numbers may meet by chance, but not the same two draws everywhere.
  for lag in range(1, codes.shape[1]):
    same = (codes[:, lag:] == codes[:, :-lag]).all(-1).mean(axis=0).max()
    found.append((float(same), f"draws repeat in {same:.0%} of the samples"))
  for other in range(1, codes.shape[1]):
    pair = codes[:, [0, other]].astype(np.float64)
    noise = pair[:, 1] - pair[:, 0]
    # Of each value by itself: one that is huge says nothing about others.
    rounding = 8 * np.finfo(np.float32).eps * np.abs(pair).max(axis=1)
    room = 1e-5 * np.median(np.abs(noise), axis=0) + rounding
    near = np.abs(noise - np.median(noise, axis=0)) <= room
    same = float(np.mean(near.all(axis=1)))
    found.append((same, f"{same:.0%} of the samples have the same noise"))
  return max(found, key=lambda one: one[0])


def commonest(codes: np.ndarray) -> float:
  """Say what share of all codes [n, draws, k] the most frequent one has."""
  flat = np.ascontiguousarray(codes.reshape(-1, codes.shape[-1]))
  whole = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1])))
  _, counts = np.unique(whole, return_counts=True)
  return float(counts.max() / len(flat))


def unlike(codes: np.ndarray) -> str:
  """Say in what draws of codes [n, draws, k] are not alike, or "".

  Over many samples the mean of a value is the same in every draw, up to the
  spread of the noise; in a feature map it is not.
  """
  num, draws, size = codes.shape
  if draws == 1:
    return ""
  mean = codes.mean(axis=0, dtype=np.float64)  # [draws, k]
  within = codes.var(axis=1, ddof=1, dtype=np.float64).mean(axis=0)
  excess = (draws - 1) * mean.var(axis=0, ddof=1) * num
  ratio = excess / np.maximum(within, 1e-30)
  limit = stats.chi2.isf(1e-9 / size, draws - 1)
  worst = int(np.argmax(ratio))
  if ratio[worst] <= limit:
    return ""
  return f"the mean of value {worst} changes from draw to draw"
