"""Networks whose weights do not change any more: the same answers, sooner."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.networks import (
  bottleneck,
  convolution,
  resnet,
  sensor,
  vgg,
  winograd,
)

_KNOWN = (resnet.ResNet, sensor.Sensor, vgg.Vgg)
_EPSILON = 1e-5  # added to variances by the BatchNorm

Prepared = dict[str, dict[str, jax.Array]]


def fold(
  network: Any, variables: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
  """Put BatchNorms into the layers before them.

  Args:
    network: a staged network.
    variables: of it, or of some of its stages.

  Returns:
    A network without these BatchNorms and its variables: in evaluation its
    answers are the same but for rounding, at every cut.  Of a narrow waist
    (`bottleneck`) the network around it is folded; what is no network of this
    package, or has no BatchNorm, comes back as it is.
  """
  if type(network) is bottleneck.Bottleneck:
    inner, folded = fold(network.inner, variables)
    return network.copy(inner=inner), folded
  if type(network) not in _KNOWN or network.norm != "batch":
    return network, dict(variables)
  params, left = dict(variables["params"]), {}
  for stage, seen in variables["batch_stats"].items():
    norms = {name: own for name, own in seen.items() if "mean" in own}
    if rest := {name: own for name, own in seen.items() if name not in norms}:
      left[stage] = rest
    for norm, own in norms.items():
      layers = dict(params[stage])
      layer, scale = _layer(norm), layers.pop(norm)
      gain = scale["scale"] / jnp.sqrt(own["var"] + _EPSILON)
      kernel = layers[layer]["kernel"]
      layers[layer] = {
        "kernel": kernel * gain.reshape((1,) * (kernel.ndim - 1) + (-1,)),
        "bias": scale["bias"] - own["mean"] * gain,
      }
      params[stage] = layers
  found = {"params": params} | ({"batch_stats": left} if left else {})
  return network.copy(norm="none"), found


def _layer(norm: str) -> str:
  """Name the layer before a BatchNorm, as all networks here do."""
  if norm.endswith("_norm"):
    return norm.removesuffix("_norm")
  return norm.replace("norm", "conv")


def prepare(network: vgg.Vgg, variables: Mapping[str, Any]) -> Prepared:
  """Fold a client half of VGG-16, and evaluate its kernels once.

  Args:
    network: the network, float32.
    variables: of its stages up to the cut, which is a convolution or a pool.

  Returns:
    What `run` takes: of each convolution its bias, and its kernels or, of
    wide layers, what `winograd.evaluate` makes of them.

  Raises:
    ValueError: the half ends behind the convolutions.
  """
  _, variables = fold(network, variables)
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
