"""Channels that are not sent."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.privatizers import context as context_lib
from hybridpriv.privatizers import moments, privatizer

__all__ = ["channels"]


def channels(
  *, drop: float, private: str, private_weight: float = 1.0
) -> privatizer.Privatizer:
  """Build the privatizer that drops the channels that tell on people most.

  A channel is an entry of the last axis. Channels are sorted by

    mean over desired labels of R(label) - private_weight R(private),

  R the share of a channel's variance, over all its positions, that lies
  between the classes of a label, corrected for chance (below 0 where it is
  less than chance gives). The lowest are not sent; the cloud half gets their
  mean on task-train. The state holds `kept [m]`, the indices, ascending, and
  `mean`, in the feature's shape. Weights stack and vmap.

  This is the scored, not the learned, form of DISCO, whose pruner is a network
  that picks channels anew for each input, against an adversary. A score looks
  at one channel at a time: what only several tell together it does not see.

  Guarantee: none. What a channel that is kept tells, it tells in full.

  Args:
    drop: share of the channels, 0 to below 1; 0 changes nothing.
    private: name of the label to hide, seen on task-train only.
    private_weight: 0 or more; 0 asks what the desired label needs, and no
      private label is read.

  Raises:
    ValueError: a knob is out of range; in `fit`, no channel is left, or a
      label is missing or has no class with two samples.

  References:
    Singh et al. 2021, arXiv 2012.11025 (DISCO); Kelley 1935 for the
    correction (epsilon squared).
  """
  if not 0 <= drop < 1:
    raise ValueError(f"drop={drop}; expected a share from 0 to below 1.")
  if not 0 <= private_weight < math.inf:
    raise ValueError(
      f"private_weight={private_weight}; expected a finite number, 0 or more."
    )

  def fit(key: jax.Array, context: Mapping[str, Any]) -> privatizer.State:
    del key  # nothing is random
    features = moments.features_of(context)
    width = features.shape[-1]
    num_kept = width - round(drop * width)
    if not num_kept:
      raise ValueError(
        f"prune.channels: drop={drop} leaves none of {width} channels."
      )
    desired = context_lib.desired(context)
    centre = moments.mean(features)
    score = np.zeros(width)
    for name, label in desired.items():
      score += _between(features, centre, label, name) / len(desired)
    if private_weight:
      label = context_lib.labels(context, private)
      score -= private_weight * _between(features, centre, label, private)
    kept = np.sort(np.argsort(-score, kind="stable")[:num_kept])
    return {
      "kept": jnp.asarray(kept, jnp.int32),
      "mean": jnp.asarray(centre.reshape(features.shape[1:]), jnp.float32),
    }

  return privatizer.Privatizer(
    name="prune.channels",
    fit=fit,
    encode=_encode,
    decode=_decode,
    radius=lambda state, r: r,
  )


def _encode(
  state: privatizer.State, key: jax.Array, feature: jax.Array
) -> jax.Array:
  """Take the kept channels `[b ... m]` of features `[b ... c]`."""
  del key
  shape = state["mean"].shape
  if feature.shape[1:] != shape:
    raise ValueError(
      f"prune.channels was fitted on features {shape} and got"
      f" {feature.shape[1:]}."
    )
  return jnp.take(jnp.asarray(feature, jnp.float32), state["kept"], axis=-1)


def _decode(state: privatizer.State, code: jax.Array) -> jax.Array:
  """Put kept channels `[b ... m]` among the means of the others."""
  mean = state["mean"]
  feature = jnp.broadcast_to(mean[None], (code.shape[0], *mean.shape))
  return feature.at[..., state["kept"]].set(code)


def _between(
  features: Any, centre: np.ndarray, label: np.ndarray, name: str
) -> np.ndarray:
  """Compute a label's share of each channel's variance, epsilon squared.

  1 - (within / (n - K)) / (total / (n - 1)), with the sums of squares within
  the K classes and in total added up over the positions of a channel.
  Unknown labels (-1) are left out; a constant channel has 0.

  Args:
    features: `[n ... c]`, read in chunks.
    centre: near their mean `[D]`, so that nothing cancels.
    label: `[n]`.
    name: of the label.

  Returns:
    `[c]`, at most 1.
  """
  known = label >= 0
  classes, dense = np.unique(label[known], return_inverse=True)
  counts = np.bincount(dense)
  place = np.full(len(label), -1)
  place[known] = dense
  count = len(dense)
  if count <= len(classes):
    raise ValueError(
      f"prune.channels: no class of label {name!r} has two samples, so that"
      " nothing is known of what differs within one."
    )
  sums = np.zeros((len(classes), len(centre)))
  square, start = np.zeros(len(centre)), 0
  for chunk, num_rows in moments.chunks(features):
    own = place[start : start + num_rows]
    start += num_rows
    moved = (chunk[:num_rows] - centre)[own >= 0]
    present, rows = np.unique(own[own >= 0], return_inverse=True)
    member = np.arange(len(present))[:, None] == rows[None]
    sums[present] += member.astype(np.float64) @ moved
    square += np.sum(moved**2, axis=0)
  between = np.sum(sums**2 / counts[:, None], axis=0)
  total = _by_channel(square - np.sum(sums, axis=0) ** 2 / count, features)
  within = _by_channel(square - between, features)
  # What is left of equal values is rounding.
  varies = total > 1e-9 * max(total.max(), 1e-30)
  ratio = within / np.where(varies, total, 1.0)
  share = 1 - ratio * (count - 1) / (count - len(classes))
  return np.where(varies, share, 0.0)


def _by_channel(values: np.ndarray, features: Any) -> np.ndarray:
  """Add up values `[D]` over the positions of each channel, `[c]`."""
  return np.maximum(values, 0).reshape((-1, features.shape[-1])).sum(axis=0)
