"""What a fit may read beside features: the cloud half, and labels."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np


def cloud(context: Mapping[str, Any]) -> Callable[[jax.Array], Any]:
  """Return the cloud half that a privatizer is fitted to.

  Returns:
    A `jax.tree_util.Partial` from what the member's `decode` gives `[b ...]`
    to `{desired label: logits [b n]}`. Being a tree of arrays it is an
    argument of compiled programs, which serve every network of one kind.

  Raises:
    ValueError: there is none, or it is a bare function.
  """
  found = context.get("cloud")
  if not isinstance(found, jax.tree_util.Partial):
    raise ValueError(
      f"The context holds {sorted(context)}; this fit needs 'cloud', a"
      " jax.tree_util.Partial from features to {desired label: logits}."
    )
  return found


def desired(context: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Return the labels that the service asks about, by name.

  Raises:
    ValueError: there are none, as where the answer is an embedding.
  """
  names = tuple(context.get("desired", ()))
  if not names:
    raise ValueError(
      f"The context holds {sorted(context)}; this fit needs 'desired', the"
      " names of labels that the cloud answers with classes."
    )
  return {name: labels(context, name) for name in names}


def labels(context: Mapping[str, Any], name: str) -> np.ndarray:
  """Return the labels `[n]` of one name, -1 where unknown.

  Raises:
    ValueError: no such label, not one for each feature, or all unknown.
  """
  known = context.get("labels", {})
  if name not in known:
    raise ValueError(
      f"There is no label {name!r} to fit to; there are {sorted(known)}."
    )
  found, count = np.asarray(known[name]), context["features"].shape[0]
  if found.shape != (count,):
    raise ValueError(
      f"Got labels {name!r} of shape {found.shape} for {count} features."
    )
  if not (found >= 0).any():
    raise ValueError(f"All labels {name!r} are unknown (-1).")
  return found
