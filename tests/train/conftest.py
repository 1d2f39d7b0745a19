"""A network that compiles in no time, and trainings of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from hybridpriv.losses import classification
from hybridpriv.networks import staged
from hybridpriv.train import loop, objective
from hybridpriv.train import state as state_lib
from hybridpriv.train import step as step_lib

SHAPE = (4, 2)
CLASSES = 3


class Tiny(staged.Staged):
  """Three dense stages; batch statistics in the first two, if wanted."""

  norm: bool = False
  dropout: float = 0.0

  def stage_names(self):
    return ("one", "two", "three")

  def stage(self, name, x, *, train):
    if name == "three":
      return nn.Dense(self.num_classes, name="dense")(x)
    # No bias before a norm: its gradient would be rounding alone.
    dense = nn.Dense(5, use_bias=not self.norm, name="dense")
    x = dense(x.reshape((x.shape[0], -1)))
    if self.norm:
      x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
    return nn.Dropout(self.dropout, deterministic=not train)(nn.tanh(x))


@dataclasses.dataclass(frozen=True)
class Made:
  """A training: what it is, where it starts, what it is fed."""

  spec: step_lib.Spec
  state: Any
  batch: Callable[..., dict[str, np.ndarray]]


TASK = objective.Term(
  "task",
  classification.cross_entropy,
  (("logits", "logits/answer"), ("labels", "labels/answer")),
)


def batch_of(number: int, size: int = 8) -> dict[str, np.ndarray]:
  """Draw batch `number`: the answer is hidden in the inputs."""
  rng = np.random.default_rng(number)
  answer = rng.integers(CLASSES, size=size)
  inputs = rng.normal(size=(size, *SHAPE)) + answer[:, None, None]
  return {
    "inputs": inputs.astype(np.float32),
    "mask": np.ones(size, np.float32),
    "labels/answer": answer.astype(np.int32),
    "labels/person": (np.arange(size) % 2).astype(np.int32),
  }


@pytest.fixture(scope="session")
def make() -> Callable[..., Made]:
  """Returns a function that makes a training; it takes fields of `Spec`."""
  # Parameters are drawn once: that is most of what a test would compile.
  drawn: dict[Any, Any] = {}

  def made(*, knobs=None, law=None, norm=False, dropout=0.0, **fields):
    fields = {
      "network": Tiny(num_classes=CLASSES, norm=norm, dropout=dropout),
      "answers": (("answer", CLASSES),),
      "cut": "one",
      "shape": SHAPE,
      "optimizers": {"defender": optax.sgd(0.1)},
      "terms": (TASK,),
      **fields,
    }
    spec = step_lib.Spec(**fields)
    kind = norm, spec.start, tuple(spec.players)
    if kind not in drawn:
      drawn[kind] = step_lib.initialise(
        dataclasses.replace(spec, privatizer=None),
        jax.random.key(0),
        knobs={},
        constants={"mean": jnp.zeros(2), "std": jnp.ones(2)},
      )
    first = drawn[kind]
    extra = {} if law is None else {"privatizer": law}
    state = state_lib.create(
      first.params,
      first.model_state,
      spec.optimizers,
      {"task/weight": 1.0, **(knobs or {})},
      {**first.constants, **extra},
    )
    return Made(spec, state, batch_of)

  return made


@pytest.fixture(scope="module")
def made(make):
  """Everything that a resumed training must bring back: moments of Adam,
  batch statistics, the place in the random stream.
  """
  optimizers = {"defender": optax.adam(0.01)}
  return make(norm=True, dropout=0.3, optimizers=optimizers)


@pytest.fixture(scope="module")
def step(made):
  return loop.compile_step(step_lib.make_step(made.spec), vmapped=False)


@pytest.fixture(scope="module")
def vmapped(made):
  return loop.compile_step(step_lib.make_step(made.spec), vmapped=True)
