"""Data, a network and weights that configurations of tests name."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from hybridpriv.data.dataset import DataSet
from hybridpriv.networks import staged


def _data(kind, inputs, person, answer):
  return DataSet(
    name="made up",
    kind=kind,
    inputs=inputs,
    labels={"person": person, "answer": answer},
    classes={
      "person": tuple(f"p{i}" for i in range(person.max() + 1)),
      "answer": ("no", "yes"),
    },
    identity="person",
    recording=np.arange(len(person), dtype=np.int32),
    position=np.zeros(len(person), np.float32),
    span=0.0,
    licence="none",
    citation="",
    synthetic=True,
  )


def signals(*, desired, private, unforeseen, people=10, each=12):
  """Makes signals: the answer is the sign, the person the offset."""
  rng = np.random.default_rng(0)
  person = np.repeat(np.arange(people, dtype=np.int32), each)
  answer = rng.integers(2, size=len(person), dtype=np.int32)
  offset = rng.normal(size=(people, 1, 3))[person]
  inputs = offset + (2 * answer - 1)[:, None, None]
  inputs = inputs + 0.3 * rng.normal(size=(len(person), 16, 3))
  return _data("signal", inputs.astype(np.float32), person, answer)


def pictures(*, desired, private, unforeseen, people=12, each=12):
  """Makes pictures of 16 x 16 pixels.

  The answer is the brightness of the left half and the person the colour of
  the right one; a bright square is anywhere, as nothing else tells.
  """
  rng = np.random.default_rng(0)
  person = np.repeat(np.arange(people, dtype=np.int32), each)
  answer = rng.integers(2, size=len(person), dtype=np.int32)
  inputs = np.empty((len(person), 16, 16, 3))
  inputs[:, :, :8] = (60 + 100 * answer)[:, None, None, None]
  colour = rng.integers(40, 200, size=(people, 3))[person]
  inputs[:, :, 8:] = colour[:, None, None]
  for picture, (row, column) in zip(
    inputs, rng.integers(11, size=(len(person), 2)), strict=True
  ):
    picture[row : row + 5, column : column + 5] += 60
  inputs += rng.normal(scale=4, size=inputs.shape)
  inputs = inputs.clip(0, 255).astype(np.uint8)
  return _data("image", inputs, person, answer)


class Network(staged.Staged):
  """Two dense stages, so that it compiles in no time."""

  def stage_names(self):
    return ("inner", "outer")

  def stage(self, name, x, *, train):
    if name == "outer":
      return nn.Dense(self.num_classes, name="dense")(x)
    return nn.relu(nn.Dense(96, name="dense")(x.reshape(x.shape[0], -1)))


def weights(
  *,
  network: Any,
  input_shape: tuple[int, ...],
  seed: int = 0,
  width: float = 0.0,
) -> tuple[dict[str, Any], str]:
  """Draws what stands for published weights, of another width if given."""
  inner = getattr(network, "inner", network)
  if width:
    inner = inner.clone(width=width)
  x = jnp.zeros((1, *input_shape))
  drawn = inner.init(jax.random.key(seed), x, train=False)
  return dict(drawn), f"drawn from seed {seed}"
