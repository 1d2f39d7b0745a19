"""Fine-tuning behind a frozen prefix, which is run each step or once.

Behind the 10th block of the face recognizer, as `configs/lfw_recognizer.py`
trains it, and behind the 12th, as `lfw_defences.py` does; on noise, as nothing
depends on what pictures show. Reading the batch, of samples or of stored
outputs, is part of a step.
"""

import functools
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import measure
import numpy as np

from benches import _steps
from configs import lfw_recognizer
from hybridpriv.data import dataset, kept
from hybridpriv.networks import staged
from hybridpriv.study import compiled, stored, training
from hybridpriv.study import setup as setup_lib
from hybridpriv.train import features, loop
from hybridpriv.train import step as step_lib


class Size(NamedTuple):
  """How much work.

  Attributes:
    pictures: how many there are.
    side: of each, in pixels.
    batch_size: samples in a step.
    steps: in each round.
    rounds: how often each side is timed.
  """

  pictures: int
  side: int
  batch_size: int
  steps: int
  rounds: int


FULL = Size(512, 150, 128, 2, 5)
QUICK = Size(256, 150, 128, 2, 3)
STARTS = ("block10", "block12")
_FEW = 3  # rounds of what takes seconds


class Work(NamedTuple):
  """Ways to fine-tune, and the way to what one of them reads.

  Attributes:
    given: the study.
    keep: computes the stored outputs anew.
    stored: fine-tunes on them for some steps; gives the last loss.
    frozen: runs the prefix in each step, as a part of its program; likewise.
    apart: runs it before each step, as a program of its own; likewise.
    compute: the same outputs in memory, then in a file.
  """

  given: setup_lib.Setup
  keep: Callable[[], Any]
  stored: Callable[[], float]
  frozen: Callable[[], float]
  apart: Callable[[], float]
  compute: Callable[[], Any]


def run(quick: bool) -> Iterator[measure.Part]:
  """Measure a step both ways, what keeping costs, and its memory.

  Args:
    quick: whether to take the first start alone, fewer pictures and rounds.
  """
  size = QUICK if quick else FULL
  for start in STARTS[:1] if quick else STARTS:
    rows = functools.partial(_rows, size, start)
    yield measure.Part(f"resnet29_dlib behind {start}", rows)


def _rows(size: Size, start: str) -> Iterator[measure.Row]:
  """Measure behind one stage."""
  with tempfile.TemporaryDirectory() as folder:
    work = make(size, pathlib.Path(folder), start)
    what = f"resnet29_dlib behind {start}"
    yield from measure.compare(
      f"{what}: {size.steps} steps of fine-tuning, batches of"
      f" {size.batch_size}, on stored outputs",
      measure.Side("", work.stored),
      [
        measure.Side("the frozen prefix in the step's program", work.frozen),
        measure.Side("the frozen prefix before every step", work.apart),
      ],
      rounds=size.rounds,
    )
    if start == STARTS[0]:
      yield from _keeping(work, size, what)


def _keeping(work: Work, size: Size, what: str) -> Iterator[measure.Row]:
  """Measure the time and the memory to store the outputs."""
  yield measure.row(
    f"{what}: to compute and write the outputs of {size.pictures} pictures",
    "what they save in an epoch: they have paid after 1 / ratio epochs",
    "s",
    _cost(work, size),
  )
  peaks = [measure.peak(run) for run in (work.keep, work.compute)]
  yield measure.row(
    f"{what}: memory to do so, at most",
    "all of them in memory, then written",
    "bytes of arrays",
    np.array([peaks]),
  )


def make(size: Size, folder: pathlib.Path, start: str) -> Work:
  """Draw pictures and weights, and compile both ways.

  Args:
    size: how much work.
    folder: for the pictures and what is stored.
    start: last stage of the prefix.
  """
  config = lfw_recognizer.get_config("small").to_dict()
  config["data"] |= {"desired": "gender", "private": "identity"}
  config["input_shape"] = (size.side, size.side, 3)
  config["train"]["batch_size"] = size.batch_size
  config["train"]["finetune"]["start"] = start
  # Weights are drawn, which a study would not freeze before any training.
  config["weights"], config["train"]["base"]["start"] = {"function": ""}, ""
  config["features"] = str(folder / "stored")
  given = _steps.setup(config, _pictures(size, folder))
  whole = _steps.state(given, "base").variables
  constants = setup_lib.constants(given, 0)
  own = setup_lib.spec(given, "finetune")
  step, state = step_lib.make_step(own), _steps.state(given, "finetune")
  prefix, _ = staged.split_variables(whole, given.network, start)
  client = compiled.stages(given.network, own.shape, None, start)

  def keep() -> np.ndarray:
    shutil.rmtree(config["features"], ignore_errors=True)
    return stored.features_of(given, whole, constants, start)

  def compute() -> None:
    every = np.arange(len(given.data))
    found = features.compute(
      lambda x: client(prefix, constants, x), given.data.inputs, every
    )
    np.save(folder / "computed.npy", found)

  def frozen(state: Any, batch: Any, key: jax.Array, prefix: Any) -> Any:
    outputs = client(prefix, constants, batch["inputs"])
    return step(state, {**batch, "inputs": outputs}, key)

  one = loop.compile_step(step, vmapped=False)
  other = jax.jit(frozen, donate_argnums=0)

  def apart(state: Any, batch: Any, key: jax.Array) -> Any:
    outputs = client(prefix, constants, batch["inputs"])
    return one(state, {**batch, "inputs": outputs}, key)

  def batches(inputs: np.ndarray) -> Callable[[int], Any]:
    return training.make_batches(given, 0, 0, inputs, "finetune")

  outputs, samples = keep(), given.data.inputs
  return Work(
    given,
    keep,
    lambda: _steps.run(one, state, batches(outputs), size.steps),
    lambda: _steps.run(
      lambda *x: other(*x, prefix), state, batches(samples), size.steps
    ),
    lambda: _steps.run(apart, state, batches(samples), size.steps),
    compute,
  )


def _pictures(size: Size, folder: pathlib.Path) -> dataset.DataSet:
  """Make noise for pictures, in a file as sources keep them."""
  shape = (size.pictures, size.side, size.side, 3)
  rng = np.random.default_rng(0)
  inputs = kept.array(
    folder,
    "pictures",
    bytes(32),
    shape,
    np.uint8,
    lambda: (
      rng.integers(0, 256, shape[1:], np.uint8) for _ in range(shape[0])
    ),
  )
  number = np.arange(size.pictures, dtype=np.int32)
  return dataset.DataSet(
    name="noise",
    kind="image",
    inputs=inputs,
    labels={"gender": number % 2, "identity": number // 2},
    classes={
      "gender": ("a", "b"),
      "identity": tuple(map(str, range(size.pictures // 2))),
    },
    identity="identity",
    recording=number,
    position=np.zeros(size.pictures, np.float32),
    span=0.0,
    licence="none",
    citation="none",
    synthetic=True,
  )


def _cost(work: Work, size: Size) -> np.ndarray:
  """Time, by round, to keep the outputs and what an epoch with them saves."""
  sides = (work.keep, work.frozen, work.apart, work.stored)
  keep, frozen, apart, stored = measure.rounds(sides, _FEW).T
  epoch = size.pictures / (size.batch_size * size.steps)
  saved = np.minimum(frozen, apart) - stored
  return np.stack([keep, saved * epoch], axis=1)
