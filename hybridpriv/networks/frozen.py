"""VGG-16 whose weights do not change any more: the same answers, sooner."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.networks import convolution, vgg, winograd

_EPSILON = 1e-5  # added to variances by the BatchNorm

Prepared = dict[str, dict[str, jax.Array]]


def fold(variables: Mapping[str, Any]) -> dict[str, Any]:
  """Put the BatchNorm of a VGG into its convolutions.

  Args:
    variables: of `vgg.vgg16(norm="batch")`, or of some of its stages.

  Returns:
    Those of the same network with norm="none": in evaluation its answers are
    the same but for rounding.
  """
  stages = {}
  for name, own in variables["params"].items():
    stages[name] = own
    if "norm" in own:
      seen = variables["batch_stats"][name]["norm"]
      gain = own["norm"]["scale"] / jnp.sqrt(seen["var"] + _EPSILON)
      kernel = own["conv"]["kernel"] * gain[None, None, None]
      bias = own["norm"]["bias"] - seen["mean"] * gain
      stages[name] = {"conv": {"kernel": kernel, "bias": bias}}
  return {"params": stages}


def prepare(network: vgg.Vgg, variables: Mapping[str, Any]) -> Prepared:
  """Fold a client half, and evaluate its kernels once.

  Args:
    network: the network, float32.
    variables: of its stages up to the cut, which is a convolution or a pool.

  Returns:
    What `run` takes: of each convolution its bias, and its kernels or, of
    wide layers, what `winograd.evaluate` makes of them.

  Raises:
    ValueError: the half ends behind the convolutions.
  """
  if network.norm == "batch":
    variables = fold(variables)
  prepared: Prepared = {}
  for name, own in variables["params"].items():
    if not name.startswith("conv"):
      raise ValueError(
        f"A prepared half has convolutions and pools, not {name!r}; cut"
        " before fc6."
      )
    kernel, bias = own["conv"]["kernel"], own["conv"]["bias"]
    if min(kernel.shape[2:]) < convolution.CHANNELS:
      prepared[name] = {"kernel": kernel, "bias": bias}
    else:
      prepared[name] = {"points": winograd.evaluate(kernel), "bias": bias}
  return prepared


def run(
  network: vgg.Vgg, upto: str, prepared: Prepared, x: jax.Array
) -> jax.Array:
  """Run what `prepare` has made.

  Args:
    network: as given there.
    upto: last stage to run.
    prepared: weights of the stages up to it.
    x: images `[b h w c]`.

  Returns:
    What the network gives in evaluation but for rounding, `[b h' w' c']`.
  """
  names = network.stage_names()
  for name in names[: names.index(upto) + 1]:
    if name.startswith("pool"):
      x = network.stage(name, x, train=False)
      continue
    own = prepared[name]
    if "points" in own:
      x = winograd.slide_evaluated(x, own["points"])
    else:
      x = jax.lax.conv_general_dilated(
        x,
        own["kernel"],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
      )
    x = jnp.maximum(x + own["bias"][None, None, None], 0)
  return x
