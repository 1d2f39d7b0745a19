r"""What a defender minimises against an adversary that learns beside it.

The adversary is a player of its own (`config.players`), minimises
`classification.cross_entropy` on the private label over its own parameters,
and gives its logits to these terms of the defender.  A defence tuned against
one adversary is judged by others, trained anew.
"""

import jax
import jax.numpy as jnp

from hybridpriv.losses import classification

__all__ = ["negative_entropy", "reversed_cross_entropy"]


def reversed_cross_entropy(
  *, logits: jax.Array, labels: jax.Array
) -> jax.Array:
  """Compute minus the adversary's cross-entropy: gradient reversal, censoring.

  The defender raises what the adversary lowers; both see one forward pass.  An
  adversary that is always wrong is as good for it as one that guesses, which is
  what `negative_entropy` mends.

  Args:
    logits: the adversary's `[b n]`.
    labels: `[b]`, the private label; -1 for the objective to mask.

  Returns:
    `[b]` float32, 0 or less.

  References:
    Edwards and Storkey 2016, arXiv 1511.05897; Ganin and Lempitsky 2015,
    arXiv 1409.7495.
  """
  return -classification.cross_entropy(logits=logits, labels=labels)


def negative_entropy(*, logits: jax.Array) -> jax.Array:
  r"""Compute minus the entropy of the adversary's answer, in nats.

  $\sum_c p_c \ln p_c$, least where all classes are held equally likely: the
  adversary is to know nothing, rather than to be wrong.  It needs no private
  label of the defender's own.

  Args:
    logits: the adversary's `[b n]`.

  Returns:
    `[b]` float32, from -ln n to 0.

  References:
    Roy and Boddeti 2019, arXiv 1904.05514 (MaxEnt-ARL).
  """
  logs = jax.nn.log_softmax(logits.astype(jnp.float32))
  return jnp.sum(jnp.exp(logs) * logs, axis=-1)
