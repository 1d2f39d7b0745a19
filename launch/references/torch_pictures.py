"""Batches of pictures by PyTorch's DataLoader, with our decoder or our file."""

import pathlib
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils import data

from hybridpriv.data import images


class Files(data.Dataset):
  """Picture files, decoded whenever they are read."""

  def __init__(self, paths: Sequence[pathlib.Path], size: int, crop: float):
    self.paths, self.size, self.crop = paths, size, crop

  def __len__(self) -> int:
    return len(self.paths)

  def __getitem__(self, i: int) -> torch.Tensor:
    content = self.paths[i].read_bytes()
    found = images.decode(content, size=self.size, crop=self.crop)
    return torch.from_numpy(found.copy())


class Rows(data.Dataset):
  """The rows of a file that `numpy` maps."""

  def __init__(self, path: pathlib.Path):
    self.rows = np.load(path, mmap_mode="r")

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, i: int) -> torch.Tensor:
    return torch.from_numpy(self.rows[i].copy())


def batches(given: data.Dataset, *, size: int, workers: int) -> data.DataLoader:
  """Make the loader; an epoch is one walk through it, in random order."""
  return data.DataLoader(
    given,
    size,
    shuffle=True,
    num_workers=workers,
    persistent_workers=workers > 0,
    # JAX has threads, which a fork would not take along.
    multiprocessing_context="spawn" if workers else None,
  )


def epoch(loader: data.DataLoader) -> int:
  """Walk through all batches; give how many samples they had."""
  return sum(len(batch) for batch in loader)
