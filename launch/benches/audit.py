"""A thousand adversaries, as the audit trains them.

The audit's engine runs them: 125 questions (25 noise levels, five divisions of
the people), each with a grid of four settings and four more seeds of the best.
All take the same number of steps; an audit stops those that learn no more.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import measure
import numpy as np

from hybridpriv.attacks import adversary, attribute
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.audit import engine, problems
from hybridpriv.privatizers import noise, privatizer

_NUMBERS = 8  # of a code
_CLASSES = 10
SEEDS = 5  # attackers of the chosen setting
_DRAWS = 4  # codes sent for every sample when scored
NETWORKS: dict[str, tuple[int, ...]] = {"linear": (), "MLP": (64, 64)}


class Size(NamedTuple):
  """How much work it is.

  Attributes:
    victims: noise levels.
    divisions: of the samples into the attacker's own and the attacked.
    samples: how many there are.
    steps: of each adversary, a multiple of 25.
    batch_size: samples a step.
    rounds: how often everything is timed.
    alone: questions that PyTorch is timed on, one adversary after another.
    stacked: questions that it is timed on with many at a time.
  """

  victims: int = 25
  divisions: int = 5
  samples: int = 1000
  steps: int = 1000
  batch_size: int = 128
  rounds: int = 5
  alone: int = 1
  stacked: int = 25

  @property
  def pairs(self) -> list[tuple[int, int]]:
    """The questions: which victim is asked with which division."""
    ways = range(self.divisions)
    return [(v, q) for v in range(self.victims) for q in ways]


FULL = Size()
QUICK = Size(steps=50, alone=4)


def run(quick: bool) -> Iterator[measure.Part]:
  """Measure both networks against PyTorch.

  Args:
    quick: whether to take few steps.
  """
  size = QUICK if quick else FULL
  for name in NETWORKS:
    rows = functools.partial(_compare, name, size)
    yield measure.Part(f"{name} adversaries", rows)


def _compare(name: str, size: Size) -> list[measure.Row]:
  """Measure one network."""
  made, hidden = make(size), NETWORKS[name]
  attack = dense(hidden, size)
  num = engine.num_jobs(attack, len(size.pairs), SEEDS)
  each = num // len(size.pairs)
  what = (
    f"{num:,} {name} adversaries, {_NUMBERS} numbers a code, batches of"
    f" {size.batch_size}, {size.steps:,} steps"
  )

  def other(way: str, text: str, questions: int) -> measure.Side:
    part = size.pairs[:questions]
    against = f"PyTorch, {text}; {len(part) * each} of {num:,} timed"
    try:
      from references import torch_adversaries
    except ModuleNotFoundError as error:
      if error.name != "torch":
        raise
      why = "torch is not installed: pip install torch"
      return measure.Side(against, lambda: None, skipped=why)
    device = torch_adversaries.device(backend := jax.default_backend())
    if not device:
      why = f"JAX is on {backend}, PyTorch has none: JAX_PLATFORMS=cpu"
      return measure.Side(against, lambda: None, skipped=why)
    work = for_torch(torch_adversaries, made, hidden, size)._replace(
      device=device
    )
    run, setting = torch_adversaries.fastest(work, way, part)
    scale = len(size.pairs) / len(part)
    return measure.Side(f"{against}, {setting}", run, scale)

  return measure.compare(
    what,
    measure.Side("", lambda: ours(attack, made, size.pairs)),
    [
      other("alone", "one adversary after another", size.alone),
      other("stacked", "torch.func.vmap over many", size.stacked),
    ],
    rounds=size.rounds,
  )


class Made(NamedTuple):
  """What the adversaries are trained on.

  Attributes:
    victims: codes with more and more noise.
    asked: the question, with one division of the samples each.
  """

  victims: engine.Victims
  asked: list[problems.Problem]


def make(size: Size, leak: float = 1.0) -> Made:
  """Make codes up: a mean for every class, and normal spread around it.

  Args:
    size: how many.
    leak: distance of the means, in spreads.
  """
  rng = np.random.default_rng(0)
  label = rng.integers(_CLASSES, size=size.samples)
  means = leak * rng.normal(size=(size.victims, _CLASSES, _NUMBERS))
  spread = rng.normal(size=(size.victims, size.samples, _NUMBERS))
  std = np.linspace(0.1, 2.0, size.victims)
  parts = np.array([problems.TRAIN] * 3 + [problems.VALIDATION, problems.TEST])
  role = parts[np.arange(size.samples) % len(parts)]
  return Made(
    engine.Victims(
      names=[f"noise {s:.2f}" for s in std],
      fold=np.zeros(size.victims, int),
      codes=(means[:, label] + spread).astype(np.float32),
      law=({"std": jnp.asarray(std, jnp.float32)},),
      noise=privatizer.chain(noise.isotropic(sigma=1.0)),
    ),
    [
      problems.Problem("made up", 0, label, np.roll(role, r), _CLASSES, "")
      for r in range(size.divisions)
    ],
  )


def dense(hidden: tuple[int, ...], size: Size) -> attack_lib.Attack:
  """Make the audit's attack by a dense network, for a fixed number of steps.

  `attribute.linear` and `attribute.mlp` take batches of 64 and stop early; but
  for these two it is the same attack, which a test holds.

  Args:
    hidden: units of its layers.
    size: steps and batches.
  """
  init, logits = adversary.dense(hidden)

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    return adversary.learn(
      key,
      victim,
      auxiliary,
      init=init,
      logits=logits,
      learning_rate=knobs["learning_rate"],
      weight_decay=knobs["weight_decay"],
      batch_size=size.batch_size,
      max_steps=size.steps,
      patience=size.steps,
    )

  like = attribute.mlp() if hidden else attribute.linear()
  return like._replace(fit=fit)


def for_torch(
  reference: Any, made: Made, hidden: tuple[int, ...], size: Size
) -> Any:
  """Describe the same work to PyTorch.

  Args:
    reference: `references.torch_adversaries`, which may be missing.
    made: codes and questions.
    hidden: units of the layers.
    size: steps and batches.
  """
  return reference.Work(
    codes=made.victims.codes,
    std=np.asarray(made.victims.law[0]["std"]),
    asked=problems.pad(made.asked),
    num_classes=_CLASSES,
    hidden=hidden,
    grid=dense(hidden, size).grid,
    seeds=SEEDS,
    draws=_DRAWS,
    steps=size.steps,
    batch_size=size.batch_size,
  )


def ours(
  attack: attack_lib.Attack, made: Made, pairs: list[tuple[int, int]]
) -> dict[tuple[int, int], engine.Outcome]:
  """Run the engine.

  Args:
    attack: the attack.
    made: codes and questions.
    pairs: which to ask.
  """
  return engine.attack_all(
    attack,
    made.victims,
    made.asked,
    pairs,
    key=jax.random.key(0),
    seeds=SEEDS,
    draws=_DRAWS,
  )
