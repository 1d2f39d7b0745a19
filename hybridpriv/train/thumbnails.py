"""Small copies of the inputs, for losses that compare with what went in.

A term that reads "inputs/16" gets what the network sees, standardised and
reduced to 16 pixels a side, or to 16 samples of a signal.  Where a training
starts from stored features, which do not hold the inputs any more, its batches
bring these arrays along.
"""

from collections.abc import Sequence

import jax

from hybridpriv.train import objective

_PREFIX = "inputs/"


def asked(terms: Sequence[objective.Term]) -> dict[str, int]:
  """List the small copies that terms read: context name -> size.

  Raises:
    ValueError: for a name that gives no size.
  """
  found = {}
  for term in terms:
    for _, name in term.inputs:
      if not name.startswith(_PREFIX):
        continue
      size = name.removeprefix(_PREFIX)
      if not size.isdecimal() or not int(size):
        raise ValueError(
          f"term {term.name!r} reads {name!r}: what follows {_PREFIX!r} is a"
          " number of pixels a side, as in 'inputs/16'"
        )
      found[name] = int(size)
  return found


def shape(full: tuple[int, ...], size: int) -> tuple[int, ...]:
  """Give the shape of a small copy.

  Args:
    full: of what the network takes, (h, w, c) or (t, c).
    size: of every axis but the last.

  Raises:
    ValueError: if an axis is shorter than that.
  """
  if min(full[:-1]) < size:
    raise ValueError(
      f"'{_PREFIX}{size}' is asked of inputs of shape {full}: give a size of"
      f" {min(full[:-1])} at most"
    )
  return (*(size for _ in full[:-1]), full[-1])


def make(x: jax.Array, size: int) -> jax.Array:
  """Reduce what the network sees, [b h w c] or [b t c], to a size.

  Every value is an average over what it stands for, with weights that fall off
  linearly, so that nothing finer is left.
  """
  return jax.image.resize(
    x, (x.shape[0], *shape(x.shape[1:], size)), "linear", antialias=True
  )
