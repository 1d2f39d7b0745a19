"""Features of many samples: computed once, in padded batches of one shape."""

from collections.abc import Callable, Generator
from typing import Any

import jax
import numpy as np
import tqdm

from hybridpriv.data import batches


def compute(
  function: Callable[..., Any],
  inputs: np.ndarray,
  index: np.ndarray,
  *,
  batch_size: int = 256,
  name: str = "",
) -> Any:
  """Apply `function` to the samples at `index`, batch by batch.

  Args:
    function: compiled function from a batch [b, ...] to a pytree of arrays
      whose first axis is the batch.
    inputs: all samples [n, ...].
    index: which ones, in the order of the result.
    batch_size: samples in a call; the last call is padded, so there is one
      compiled program.
    name: shown by the progress bar; "" for none.

  Returns:
    The pytree of NumPy arrays, first axis len(index).
  """
  parts = list(
    stream(function, inputs, index, batch_size=batch_size, name=name)
  )
  return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def stream(
  function: Callable[..., Any],
  inputs: np.ndarray,
  index: np.ndarray,
  *,
  batch_size: int = 256,
  name: str = "",
) -> Generator[Any]:
  """Give what `compute` does one batch after the other, and hold no other.

  Args:
    function: as in `compute`.
    inputs: as in `compute`.
    index: as in `compute`.
    batch_size: as in `compute`.
    name: as in `compute`.

  Yields:
    The pytree of NumPy arrays for the next samples.
  """
  calls = list(batches.evaluation(index, min(batch_size, max(len(index), 1))))
  for chosen, mask in tqdm.tqdm(
    calls, desc=name, leave=False, disable=None if name else True
  ):
    out = jax.device_get(function(inputs[chosen]))
    yield jax.tree.map(lambda x, m=mask: x[np.asarray(m) > 0], out)
