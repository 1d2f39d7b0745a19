"""Pictures for a training step: decoded, or read from what was decoded once.

Drawn faces as JPEG files of LFW's size. The step is that of
`configs/lfw_gender.py:small`, with its crop, size and augmentation.
"""

import functools
import itertools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import measure
import numpy as np
from PIL import Image

from benches import _steps
from configs import lfw_gender
from hybridpriv.data import batches, dataset, pictures
from hybridpriv.data.sources import synthetic_faces, table
from hybridpriv.study import setup as setup_lib
from hybridpriv.study import training
from hybridpriv.train import loop
from hybridpriv.train import step as step_lib

DECODES = "decodes with our decoder"
_WORKERS = 2  # processes of PyTorch's loader
_DRAWN = 32  # faces; each file shows one of them, shifted


class Size(NamedTuple):
  """How much work.

  Attributes:
    pictures: files.
    side: of each, in pixels.
    steps: of training, in each round.
    rounds: how often each side is timed.
  """

  pictures: int
  side: int
  steps: int
  rounds: int


FULL = Size(1024, 250, 4, 7)
QUICK = Size(512, 250, 2, 3)


class Files(NamedTuple):
  """Picture files, and the options with which they are read."""

  folder: pathlib.Path
  config: dict[str, Any]

  def load(
    self, cache: str | pathlib.Path = "", engine: str = ""
  ) -> dataset.DataSet:
    """Read the table and its pictures as a study does."""
    own = self.config["data"]
    return table.load(
      path=str(self.folder),
      desired=("beard",),
      private=("person",),
      identity="person",
      size=own["size"],
      crop=own["crop"],
      cache=cache,
      engine=engine,
    )


def run(quick: bool) -> Iterator[measure.Part]:
  """Measure decoding, reading what is kept, and the step's need.

  Args:
    quick: whether to take fewer pictures and rounds.
  """
  rows = functools.partial(_rows, QUICK if quick else FULL)
  yield measure.Part("pictures for a step", rows)


def _rows(size: Size) -> Iterator[measure.Row]:
  """Measure on one set of files."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    files = draw(size, folder / "files")
    cache, again = folder / "cache", folder / "again"
    data = files.load(cache)
    batch_size = files.config["train"]["batch_size"]
    what = f"{size.pictures} JPEG files of {size.side} x {size.side} pixels"

    def fresh() -> None:
      shutil.rmtree(again, ignore_errors=True)
      files.load(again)

    def reopened() -> None:
      os.utime(next(cache.iterdir()))  # not the file that was checked before
      files.load(cache)

    loaders = _loaders(files, cache, batch_size)
    decoders = [side for side in loaders if DECODES in side.against]
    yield from measure.compare(
      f"{what}: decoded and kept, at the first start",
      measure.Side("", fresh),
      decoders,
      rounds=size.rounds,
    )
    yield from measure.compare(
      f"{what}: checked and opened, at every other start",
      measure.Side("", reopened),
      [measure.Side("decoded in threads", files.load)],
      rounds=size.rounds,
    )
    yield from measure.compare(
      f"{what}: an epoch in random order, batches of {batch_size}",
      measure.Side("", functools.partial(walk, data, batch_size)),
      [measure.Side("decoded in threads", files.load), *loaders],
      rounds=size.rounds,
    )
    yield from _against_step(files, data, size)
    peaks = [measure.peak(run) for run in (fresh, files.load)]
    yield measure.row(
      f"{what}: memory to decode them, at most",
      "all of them in memory",
      "bytes of arrays and tables",
      np.array([peaks]),
    )


def draw(size: Size, folder: pathlib.Path) -> Files:
  """Draw the files, and read how they are trained on.

  Args:
    size: how many.
    folder: for the files.
  """
  faces = synthetic_faces.load(
    people=_DRAWN, images_per_person=1, size=size.side
  )
  (folder / "images").mkdir(parents=True)
  lines = ["path,person,beard"]
  for number in range(size.pictures):
    one = number % _DRAWN
    face = np.roll(faces.inputs[one], number // _DRAWN, axis=1)
    path = f"{number:05}.jpg"
    Image.fromarray(face).save(folder / "images" / path, quality=90)
    lines.append(f"{path},{one},{'yes' if one % 2 else 'no'}")
  (folder / "labels.csv").write_text("\n".join(lines) + "\n")
  config = lfw_gender.get_config("small").to_dict()
  config["data"] |= {"desired": "beard", "private": "person", "unforeseen": ""}
  return Files(folder, config)


def epoch_of(num: int, batch_size: int) -> list[np.ndarray]:
  """List the samples of each batch of an epoch."""
  return [
    batches.indices(np.arange(num), seed=0, step=step, batch_size=batch_size)
    for step in range(num // batch_size)
  ]


def walk(data: dataset.DataSet, batch_size: int) -> int:
  """Read an epoch in batches; give how many samples they had."""
  own = epoch_of(len(data), batch_size)
  return sum(len(data.inputs[chosen]) for chosen in own)


def _loaders(
  files: Files, cache: pathlib.Path, batch_size: int
) -> list[measure.Side]:
  """Make those of others: of the files, and of the file that is kept."""
  own = files.config["data"]
  paths = sorted((files.folder / "images").iterdir())
  given = paths, own["size"], own["crop"]
  (path,) = cache.iterdir()

  def torch_of(kept: bool, workers: int) -> Callable[[], int]:
    from references import torch_pictures

    source = torch_pictures.Rows(path) if kept else torch_pictures.Files(*given)
    loader = torch_pictures.batches(source, size=batch_size, workers=workers)
    return lambda: torch_pictures.epoch(loader)

  def grain_of() -> Callable[[], int]:
    import grain  # noqa: F401

    return functools.partial(walk, files.load(engine="grain"), batch_size)

  torch_name, found = "PyTorch's DataLoader", []
  for what, package, make in (
    (
      f"{torch_name}, {DECODES}, {_WORKERS} processes",
      "torch",
      lambda: torch_of(False, _WORKERS),
    ),
    (f"Grain, {DECODES}, in threads", "grain", grain_of),
    (
      f"{torch_name} on the same kept file",
      "torch",
      lambda: torch_of(True, 0),
    ),
  ):
    try:
      found.append(measure.Side(what, make()))
    except ModuleNotFoundError as error:
      if error.name != package:
        raise
      why = f"{package} is not installed: pip install {package}"
      found.append(measure.Side(what, lambda: None, skipped=why))
  return found


def _against_step(
  files: Files, data: dataset.DataSet, size: Size
) -> list[measure.Row]:
  """Hold the time to make a batch against that of the step that takes it."""
  given = _steps.setup(files.config, data)
  step = loop.compile_step(
    step_lib.make_step(setup_lib.spec(given, "base")), vmapped=False
  )
  state = _steps.state(given, "base")
  batch = training.make_batches(given, 0, 0, data.inputs, "base")
  one = batch(0)
  number = itertools.count()
  paths = sorted((files.folder / "images").iterdir())
  own = files.config["data"]

  def decoded() -> None:
    chosen = epoch_of(len(data), len(one["inputs"]))
    some = chosen[next(number) % len(chosen)]
    pictures.load(
      [pictures.Picture("", "", paths[i].read_bytes) for i in some],
      size=own["size"],
      crop=own["crop"],
    )

  def train() -> None:
    _steps.run(step, state, lambda _: one, size.steps)

  def read() -> None:
    for _ in range(size.steps):
      batch(next(number))

  def decode() -> None:
    for _ in range(size.steps):
      decoded()

  sides = (train, read, decode)
  times = measure.rounds(sides, size.rounds) / size.steps
  what = f"a batch of {len(one['inputs'])} for a step of lfw_gender:small"
  against = "the training step that takes it, alone"
  return [
    measure.row(f"{what}: {way}", against, "s", times[:, [place, 0]])
    for place, way in ((1, "read from what is kept"), (2, "decoded anew"))
  ]
