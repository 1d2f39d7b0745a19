"""Both benches of input: all sides read the same, and train the same."""

import numpy as np
import pytest
from benches import cache
from benches import input as reading

from configs import lfw_recognizer


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  size = reading.QUICK._replace(pictures=96, side=144)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reading, "_DRAWN", 8)
    return reading.draw(size, tmp_path_factory.mktemp("bench") / "files")


def test_kept_pictures_are_those_of_the_files_in_every_epoch(files, tmp_path):
  data, kept = files.load(), files.load(tmp_path)
  np.testing.assert_array_equal(kept.inputs, data.inputs)
  epoch = reading.epoch_of(96, 32)
  np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(96))
  first, second = (np.unique(own.inputs[:32], axis=0) for own in (data, kept))
  assert len(first) == 32  # other faces
  np.testing.assert_array_equal(first, second)


def test_pytorch_reads_the_same_pictures(files, tmp_path):
  pytest.importorskip("torch", reason="PyTorch is not installed")
  from references import torch_pictures

  data, own = files.load(tmp_path), files.config["data"]
  paths = sorted((files.folder / "images").iterdir())
  (path,) = tmp_path.iterdir()
  want = np.sort(data.inputs.reshape(96, -1).sum(1, dtype=int))
  for given in (
    torch_pictures.Files(paths, own["size"], own["crop"]),
    torch_pictures.Rows(path),
  ):
    np.testing.assert_array_equal(given[7], data.inputs[7])
    loader = torch_pictures.batches(given, size=32, workers=0)
    found = [x.numpy().reshape(len(x), -1).sum(1, dtype=int) for x in loader]
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), want)
    assert torch_pictures.epoch(loader) == 96


def test_grain_reads_the_same_pictures(files):
  pytest.importorskip("grain", reason="Grain is not installed")
  data, streaming = files.load(), files.load(engine="grain")
  np.testing.assert_array_equal(streaming.inputs[[7, 3]], data.inputs[[7, 3]])
  assert reading.walk(streaming, 32) == reading.walk(data, 32) == 96


def test_stored_outputs_train_as_the_prefix_in_every_step(
  tmp_path, monkeypatch
):
  config = lfw_recognizer.get_config("small")
  # The recognizer itself compiles for a minute.
  config.network = {"function": "tests.study.made_up:Network"}
  config.cut = "inner"
  monkeypatch.setattr(lfw_recognizer, "get_config", lambda _: config)
  size = cache.Size(pictures=8, side=16, batch_size=4, steps=5, rounds=1)
  work = cache.make(size, tmp_path, "inner")
  found = work.stored()
  # Rounding: the compiler puts the prefix together with what follows.
  np.testing.assert_allclose(found, work.frozen(), rtol=1e-3)
  np.testing.assert_allclose(found, work.apart(), rtol=1e-3)
  assert np.isfinite(found) and found != 0
  outputs = np.array(work.keep())
  work.compute()
  np.testing.assert_allclose(
    np.load(tmp_path / "computed.npy"), outputs, rtol=1e-4, atol=1e-5
  )
