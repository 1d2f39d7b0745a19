"""Parts of a network, compiled once for all its trainings.

Variables and constants are arguments, so that folds, seeds and trials share
one program.
"""

import functools
from typing import Any

import jax

from hybridpriv.train import step as step_lib


@functools.cache
def stages(
  network: Any,
  shape: tuple[int, ...],
  after: str | None = None,
  upto: str | None = None,
) -> Any:
  """Compile the stages after `after`, up to and including `upto`.

  Args:
    network: a staged network.
    shape: its input, without the batch axis.
    after: last stage that has run already; None starts at raw samples.
    upto: last stage to run; None runs to the logits.

  Returns:
    The compiled function (variables, constants, x) -> output, in evaluation
    mode.
  """

  @jax.jit
  def run(variables: Any, constants: Any, x: jax.Array) -> jax.Array:
    if after is None:
      x = step_lib.prepare(x, constants, shape=shape)
    return network.apply(variables, x, train=False, after=after, upto=upto)[0]

  return run
