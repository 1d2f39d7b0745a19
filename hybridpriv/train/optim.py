"""Optimizers from plain numbers, with learning rates by group of parameters."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import optax


def path_name(path: tuple[Any, ...]) -> str:
  """Name a leaf by its place in the tree, "conv1_1/kernel"."""
  return "/".join(str(getattr(p, "key", getattr(p, "idx", p))) for p in path)


def scale_by_path(multipliers: Mapping[str, float]) -> Any:
  """Multiply the updates of parameters whose path matches a pattern.

  Args:
    multipliers: regular expression over paths such as "fc6/kernel" -> factor.
      The first that matches the whole path counts; others keep factor 1.

  Returns:
    A stateless optax transformation.
  """
  patterns = [(re.compile(k), v) for k, v in multipliers.items()]

  def factor(path: tuple[Any, ...]) -> float:
    name = path_name(path)
    return next((v for p, v in patterns if p.fullmatch(name)), 1.0)

  def update(updates: Any, params: Any = None) -> Any:
    del params
    return jax.tree_util.tree_map_with_path(
      lambda path, u: u * factor(path), updates
    )

  return optax.stateless(update)


def make(
  *,
  name: str,
  learning_rate: float,
  num_steps: int,
  schedule: str = "cosine",
  warmup_steps: int = 0,
  momentum: float = 0.9,
  weight_decay: float = 0.0,
  clip_norm: float = 0.0,
  multipliers: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
  """Build an optimizer.

  Args:
    name: "adam", "adamw" or "sgd".
    learning_rate: peak learning rate.
    num_steps: length of the training, for the schedule.
    schedule: "cosine" (to 0 at the end) or "constant".
    warmup_steps: linear warm-up.
    momentum: of sgd.
    weight_decay: decoupled for adamw, added to the gradient for sgd.
    clip_norm: largest norm of the gradient, 0 for no limit.
    multipliers: see `scale_by_path`.

  Raises:
    ValueError: for an unknown name or schedule.
  """
  if schedule == "cosine":
    rate = optax.warmup_cosine_decay_schedule(
      0.0 if warmup_steps else learning_rate,
      learning_rate,
      warmup_steps,
      max(num_steps, warmup_steps + 1),
    )
  elif schedule == "constant":
    rate = optax.linear_schedule(
      0.0 if warmup_steps else learning_rate, learning_rate, warmup_steps
    )
  else:
    raise ValueError(f"schedule {schedule!r} is not one of cosine, constant")
  if name == "adam":
    optimizer = optax.adam(rate)
  elif name == "adamw":
    optimizer = optax.adamw(rate, weight_decay=weight_decay)
  elif name == "sgd":
    optimizer = optax.chain(
      optax.add_decayed_weights(weight_decay),
      optax.sgd(rate, momentum=momentum),
    )
  else:
    raise ValueError(f"optimizer {name!r} is not one of adam, adamw, sgd")
  parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
  parts.append(optimizer)
  if multipliers:
    parts.append(scale_by_path(multipliers))
  return optax.chain(*parts)
