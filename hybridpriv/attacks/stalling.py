"""Training that ends when nothing better has been seen for long."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm


def train(
  state: Any,
  step: Callable[[Any, int], Any],
  look: Callable[[Any, int], float],
  *,
  steps: int,
  look_every: int,
  patience: int,
  name: str = "",
) -> Any:
  """Train, and keep the state of the best look.

  Args:
    state: where it starts, a tree of arrays.
    step: (state, number from 1) -> state; it may give its argument away.
    look: (state, number) -> error on held-out samples.
    steps: the most steps.
    look_every: steps between two looks; there is one at the end.
    patience: looks without a new best before it stops.
    name: shown by the progress bar; "" for none.

  Returns:
    The state of the look with the lowest error; the first one if none has any.
  """
  # The step gives its arguments away.
  best, lowest, since = jax.tree.map(jnp.copy, state), np.inf, 0
  bar = tqdm.trange(
    1, steps + 1, desc=name, leave=False, disable=None if name else True
  )
  for number in bar:
    state = step(state, number)
    if number % look_every and number != steps:
      continue
    now = look(state, number)
    bar.set_postfix(error=now, lowest=lowest)
    since += 1
    if now < lowest:
      best, lowest, since = jax.tree.map(jnp.copy, state), now, 0
    if since >= patience:
      break
  bar.close()
  return best
