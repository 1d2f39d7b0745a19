"""Which samples make up a batch: a pure function of (seed, step)."""

from collections.abc import Iterator

import numpy as np


def _stream(
  index: np.ndarray, first: int, num: int, seed: tuple[int, ...]
) -> np.ndarray:
  """Give items first .. first + num - 1 of endless epochs over `index`.

  Epoch e is a permutation seeded by (*seed, e), so that no state is kept.
  """
  n = len(index)
  parts = []
  for epoch in range(first // n, (first + num - 1) // n + 1):
    order = np.random.default_rng((*seed, epoch)).permutation(n)
    start = max(first - epoch * n, 0)
    stop = min(first + num - epoch * n, n)
    parts.append(index[order[start:stop]])
  return np.concatenate(parts) if parts else index[:0]


def indices(
  index: np.ndarray,
  *,
  seed: int,
  step: int,
  batch_size: int,
  balance: np.ndarray | None = None,
) -> np.ndarray:
  """Choose the samples of one training batch.

  Without `balance` the batches walk through one random order of `index` after
  the other, across their borders, so that every batch is full. With it every
  class walks through orders of its own and has an equal share of each batch;
  what cannot be divided goes round the classes.

  Args:
    index: int64 `[n]` sample numbers to draw from.
    seed: seed of the order.
    step: number of the batch, from 0.
    batch_size: samples in the batch.
    balance: int `[n]` class of each of `index`; -1 is never drawn.

  Returns:
    int64 `[batch_size]` sample numbers.

  Raises:
    ValueError: there is nothing to draw from.

  >>> indices(np.arange(4), seed=0, step=0, batch_size=4).sum()
  np.int64(6)
  """
  index = np.asarray(index, np.int64)
  if balance is None:
    if not len(index):
      raise ValueError("index is empty, expected samples to draw a batch from")
    return _stream(index, step * batch_size, batch_size, (seed, 0))
  balance = np.asarray(balance)
  if balance.shape != index.shape:
    raise ValueError(
      f"balance has shape {balance.shape}, expected {index.shape} as index"
    )
  classes = np.unique(balance[balance >= 0])
  if not len(classes):
    raise ValueError(
      f"no class is known for the {len(index)} samples, expected at least one "
      "to draw a balanced batch from"
    )
  share, extra = divmod(batch_size, len(classes))
  # Extras are dealt round the classes: `step * extra` of them before this step.
  dealt = step * extra
  parts = []
  for i, value in enumerate(classes):
    before = _dealt_to(i, dealt, len(classes))
    more = _dealt_to(i, dealt + extra, len(classes)) - before
    own = index[balance == value]
    parts.append(
      _stream(own, step * share + before, share + more, (seed, 1, int(value)))
    )
  batch = np.concatenate(parts)
  # Mixed, so that each device's slice of the batch holds all classes.
  return np.random.default_rng((seed, 2, step)).permutation(batch)


def groups(
  index: np.ndarray,
  *,
  seed: int,
  step: int,
  batch_size: int,
  group: np.ndarray,
  size: int = 2,
  balance: np.ndarray | None = None,
) -> np.ndarray:
  """Choose a batch of groups, such as people, with several samples of each.

  At random, two samples of one person hardly ever meet in a batch; losses on
  pairs of one person need such batches.

  Args:
    index: int64 `[n]` sample numbers to draw from.
    seed: seed of the order.
    step: number of the batch, from 0.
    batch_size: samples in the batch, a multiple of `size`.
    group: int `[n]` group of each of `index`; groups with fewer than `size`
      samples are never drawn.
    size: samples of a group, chosen anew each time.
    balance: int `[n]` class of each of `index`; a group has that of its first
      sample, and classes have equal shares of the groups.

  Returns:
    int64 `[batch_size]` sample numbers.

  Raises:
    ValueError: no group is large enough, or `size` does not divide the batch.
  """
  if size < 1 or batch_size % size:
    raise ValueError(
      f"a batch of {batch_size} does not divide into groups of {size}"
    )
  order = np.argsort(group, kind="stable")
  _, first, count = np.unique(
    group[order], return_index=True, return_counts=True
  )
  first, count = first[count >= size], count[count >= size]
  if not len(first):
    raise ValueError(f"no group has {size} samples, expected one at least")
  chosen = indices(
    np.arange(len(first)),
    seed=seed,
    step=step,
    batch_size=batch_size // size,
    balance=None if balance is None else balance[order[first]],
  )
  rng = np.random.default_rng((seed, 3, step))
  return np.concatenate(
    [index[order[first[g] + rng.permutation(count[g])[:size]]] for g in chosen]
  )


def _dealt_to(i: int, num: int, classes: int) -> int:
  """Count what class i got of `num` items dealt round `classes` classes."""
  return num // classes + (i < num % classes)


def evaluation(
  index: np.ndarray, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Walk through `index` once, in order, in batches of one size.

  Yields:
    int64 `[batch_size]` sample numbers and bool `[batch_size]`, False where the
    last batch was filled up with its first sample.
  """
  index = np.asarray(index, np.int64)
  for start in range(0, len(index), batch_size):
    part = index[start : start + batch_size]
    padding = np.full(batch_size - len(part), part[0])
    yield np.concatenate([part, padding]), np.arange(batch_size) < len(part)
