"""The contract between attacks that restore pictures and the study.

An attack is fitted to one defence with what it is granted, and then restores
the pictures behind codes as they were sent.  It says beforehand what of the
system it needs, and is given no more.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.privatizers import privatizer as privatizer_lib

# What may be granted, in words, beside the pictures and the law of the noise.
GRANTS = {
  "sample": "codes of these",
  "client": "the client half",
  "cloud": "the cloud half",
  "labels": "their desired labels",
  "received": "codes of others as received, without their pictures",
}


@dataclasses.dataclass(frozen=True)
class Knowledge:
  """What an attacker has; None for what it is not granted.

  Functions take their arrays bound by `jax.tree_util.Partial`, so that these
  are arguments of compiled programs and not part of them.

  Attributes:
    images: its own pictures, 0 to 1, float [n, s, s, c].
    index: places of those to learn from.
    held_out: places of those of other people, for knobs and stopping only.
    noise: the random part of the privatizer; the empty chain for none.
    law: its state.
    num_queries: how many codes of one input are averaged.
    sample: (key, places [b]) -> codes [b, ...] of its own pictures as sent,
      the mean of `num_queries`, with new noise for a new key.
    client: pictures [b, s, s, c] -> codes without noise [b, ...], with
      gradients: the client half and the part of the privatizer before noise.
    cloud: codes as sent [b, ...] -> logits [b, n] by desired label.
    labels: classes of its own pictures [n] by desired label, -1 if unknown.
    received: codes as sent [m, ...], none of its own pictures.
  """

  images: np.ndarray
  index: np.ndarray
  held_out: np.ndarray
  noise: privatizer_lib.Privatizer
  law: Any
  num_queries: int = 1
  sample: Any = None
  client: Any = None
  cloud: Any = None
  labels: Any = None
  received: Any = None

  def granting(self, needs: tuple[str, ...]) -> "Knowledge":
    """Take away everything of `GRANTS` that is not in `needs`.

    Raises:
      ValueError: something needed is not there, or not known.
    """
    for name in needs:
      if name not in GRANTS or getattr(self, name) is None:
        raise ValueError(
          f"an attack needs {name!r}, which is not to be had; there are"
          f" {', '.join(g for g in GRANTS if getattr(self, g) is not None)}"
        )
    gone = dict.fromkeys(set(GRANTS) - set(needs))
    return dataclasses.replace(self, **gone)


class Inversion(NamedTuple):
  """An adversary that restores pictures.

  Attributes:
    name: "module.function"; results have "inversion.<entry of the config>".
    fit: (key, knowledge) -> attacker.
    restore: (attacker, codes as sent [m, ...]) -> pictures [m, s, s, c], NumPy;
      the caller cuts them to 0 .. 1.
    needs: what it must be granted, of `GRANTS`.
  """

  name: str
  fit: Callable[[jax.Array, Knowledge], Any]
  restore: Callable[[Any, np.ndarray], np.ndarray]
  needs: tuple[str, ...]


def check(images: np.ndarray, index: np.ndarray, held_out: np.ndarray) -> None:
  """Refuse pictures that are none, or nothing to learn or choose from.

  Raises:
    ValueError: if so.
  """
  if images.ndim != 4 or not np.issubdtype(images.dtype, np.floating):
    raise ValueError(
      f"images are {images.dtype} {images.shape}; expected floating-point"
      " numbers from 0 to 1 [n, s, s, c]: divide pixels by 255"
    )
  if not len(index) or not len(held_out):
    raise ValueError(
      f"{len(index)} images to train on and {len(held_out)} held out; expected"
      " some of both"
    )
  if both := np.intersect1d(index, held_out).size:
    raise ValueError(
      f"{both} images are both trained on and held out; divide them, by person"
    )


def is_additive(noise: privatizer_lib.Privatizer) -> bool:
  """Say whether noise is added to codes, and at most rounded afterwards.

  With additive noise of mean 0 the mean of the squared distance between a
  received code and what a picture may be sent as is, up to a constant, the
  squared distance to what it is without noise.
  """
  return all(
    stage.name.startswith("noise.") or stage.name == "quantize.saturate"
    for stage in noise.stages
  )


@functools.cache
def with_gradients(
  chain: privatizer_lib.Privatizer,
) -> privatizer_lib.Privatizer:
  """Give roundings, whose gradient is 0, that of what they round.

  Codes are the same.  An attacker who took the gradient at its word would not
  move, and a defence would look strong for it.

  References:
    Athalye et al. 2018, arXiv 1802.00420 (BPDA).
  """

  def through(stage: privatizer_lib.Privatizer) -> privatizer_lib.Privatizer:
    if not stage.name.startswith("quantize."):
      return stage

    def encode(state: Any, key: jax.Array, feature: jax.Array) -> jax.Array:
      exact = stage.encode(state, key, feature).astype(jnp.float32)
      # Of so many units of a code the cloud makes one.
      unit = stage.decode(state, jnp.ones(()))
      smooth = feature.astype(jnp.float32) / unit
      return smooth + jax.lax.stop_gradient(exact - smooth)

    return stage._replace(encode=encode)

  return privatizer_lib.chain(*(through(stage) for stage in chain.stages))
