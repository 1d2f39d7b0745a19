r"""The objective: a weighted sum of named terms for every player.

A *term* is a loss function, where its inputs come from, a weight, a mask and
the player who minimises it.  Every player $p$ minimises

$$ L_p(\theta_p) = \sum_{t : player(t) = p} w_t \, mean_t(loss_t(context)) $$

over its own parameters only.  A new defence is a term, never a branch in the
trainer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hybridpriv.train import state as state_lib

Context = Mapping[str, Any]


class Term(NamedTuple):
  """One named loss of one player.

  Attributes:
    name: name in metrics and knobs.
    function: keyword-only loss; returns [b], pairs [b, b] or a statistic [].
    inputs: pairs (argument, name in the context).
    knobs: further arguments, read from the state's knobs as "<name>/<knob>".
      The weight always is the knob "<name>/weight".
    schedule: function of the step that multiplies the weight.
    mask: context name of a [b] mask of samples that count.
    player: who minimises it.
  """

  name: str
  function: Callable[..., jax.Array]
  inputs: tuple[tuple[str, str], ...]
  knobs: tuple[str, ...] = ()
  schedule: Callable[[jax.Array], jax.Array] | None = None
  mask: str = "mask"
  player: str = state_lib.DEFENDER


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
  """Average per-sample [b] or per-pair [b, b] values over what counts.

  Self-pairs never count.  With nothing to count the mean is 0.

  Args:
    values: [b], [b, b], or [] (returned as it is).
    mask: [b], true or positive where a sample counts.

  Returns:
    The mean, float32 [].

  Raises:
    ValueError: for any other shape of `values`.
  """
  mask = (mask > 0).astype(jnp.float32)
  if values.ndim == 0:
    return values
  if values.shape == (mask.shape[0],) * 2:
    mask = mask[:, None] * mask[None, :] * (1.0 - jnp.eye(mask.shape[0]))
  elif values.shape != mask.shape:
    raise ValueError(
      f"a loss returned {values.shape} for a batch of {mask.shape[0]}: expected"
      f" one value per sample {mask.shape}, per pair, or a scalar"
    )
  # where, not a product: a masked value may be infinite or NaN.
  total = jnp.sum(jnp.where(mask > 0, values, 0.0))
  return total / jnp.maximum(jnp.sum(mask), 1.0)


def value(term: Term, context: Context) -> jax.Array:
  """Compute one term's masked mean, without its weight.

  Raises:
    ValueError: if the term reads a name that the context lacks.
  """
  arguments, mask = read(context, term.inputs, term.mask, f"term {term.name!r}")
  for knob in term.knobs:
    arguments[knob] = _find(
      context, f"knobs/{term.name}/{knob}", f"term {term.name!r}"
    )
  return masked_mean(term.function(**arguments), mask)


def read(
  context: Context, inputs: Sequence[tuple[str, str]], mask: str, who: str
) -> tuple[dict[str, jax.Array], jax.Array]:
  """Take a function's arguments out of the context.

  A label of -1 is not known: the mask loses such a sample, and the function
  gets label 0 for it.

  Args:
    context: named arrays.
    inputs: pairs (argument, name in the context).
    mask: context name of the mask [b].
    who: who asks, for the error.

  Returns:
    (arguments, mask [b]).

  Raises:
    ValueError: if the context lacks a name.
  """
  counts, arguments = _find(context, mask, who) > 0, {}
  for argument, name in inputs:
    arguments[argument] = _find(context, name, who)
    if name.startswith("labels/"):
      counts &= arguments[argument] >= 0
      arguments[argument] = jnp.maximum(arguments[argument], 0)
  return arguments, counts


def _find(context: Context, name: str, who: str) -> jax.Array:
  if name not in context:
    raise ValueError(f"{who} reads {name!r}; the context has {sorted(context)}")
  return context[name]


def evaluate(
  terms: Sequence[Term], context: Context, step: jax.Array
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
  """Sum the terms of every player.

  Args:
    terms: all terms of all players.
    context: named arrays of this step, knobs under "knobs/<term>/<knob>".
    step: number of the step, for schedules.

  Returns:
    (totals by player, unweighted values by term).
  """
  totals: dict[str, jax.Array] = {}
  values: dict[str, jax.Array] = {}
  for term in terms:
    values[term.name] = value(term, context)
    weight = _find(context, f"knobs/{term.name}/weight", f"term {term.name!r}")
    if term.schedule is not None:
      weight = weight * term.schedule(step)
    totals[term.player] = (
      totals.get(term.player, jnp.zeros([])) + weight * values[term.name]
    )
  return totals, values
