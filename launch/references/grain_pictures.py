"""Batches of pictures by Grain, with our decoder."""

import pathlib
from collections.abc import Callable, Sequence

import grain
import numpy as np

from hybridpriv.data import images

_THREADS, _BATCHES = 4, 8  # at work, and made ahead


class Files:
  """Picture files, decoded whenever they are read."""

  def __init__(self, paths: Sequence[pathlib.Path], size: int, crop: float):
    self.paths, self.size, self.crop = paths, size, crop

  def __len__(self) -> int:
    return len(self.paths)

  def __getitem__(self, i: int) -> np.ndarray:
    content = self.paths[i].read_bytes()
    return images.decode(content, size=self.size, crop=self.crop)


def epoch(given: Files, size: int) -> Callable[[], int]:
  """Make the walk through all batches; it gives how many samples they had."""
  options = grain.ReadOptions(
    num_threads=_THREADS, prefetch_buffer_size=_BATCHES
  )
  batches = grain.MapDataset.source(given).shuffle(seed=0).batch(size)
  return lambda: sum(len(x) for x in batches.to_iter_dataset(options))
