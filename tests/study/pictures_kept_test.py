"""A study decodes its pictures once; the next start reads what is kept."""

import numpy as np
import pytest

from configs import own_data
from hybridpriv import mesh, study
from hybridpriv.data import images
from hybridpriv.study import training


@pytest.fixture
def config(faces_folder):
  config = own_data.get_config("tiny").to_dict()
  config["data"] |= {
    "path": str(faces_folder),
    "desired": "gender",
    "private": "identity",
    "identity": "identity",
  }
  return config


def _refuse(*_, **__):
  raise AssertionError("a picture was decoded again")


def test_a_second_start_reads_what_the_first_decoded(
  config, tmp_path, monkeypatch
):
  first = study.prepare(config, tmp_path / "one")
  (path,) = (tmp_path / "one" / "features").iterdir()
  assert path.name.startswith("pictures-")
  monkeypatch.setattr(images, "decode", _refuse)
  again = study.prepare(config, tmp_path / "one")
  assert isinstance(again.data.inputs, np.memmap)
  assert not again.data.inputs.flags.writeable
  np.testing.assert_array_equal(again.data.inputs, first.data.inputs)


def test_studies_share_a_folder_and_see_their_own_rows(
  config, tmp_path, monkeypatch
):
  config["features"] = str(tmp_path / "shared")
  first = study.prepare(config, tmp_path / "one")
  config["cut"] = "conv4_1"
  with monkeypatch.context() as patch:
    patch.setattr(images, "decode", _refuse)
    study.prepare(config, tmp_path / "two")
  config["data"]["keep"] = {"emotion": ("neutral",)}
  third = study.prepare(config, tmp_path / "three")
  assert len(list((tmp_path / "shared").iterdir())) == 2
  assert len(third.data) < len(first.data)
  assert not (tmp_path / "one" / "features").exists()


class Recorded:
  """An array that notes which rows are asked for."""

  def __init__(self, array):
    self.array, self.rows = array, []

  def __getitem__(self, index):
    self.rows.append(index)
    return self.array[index]


def test_a_process_reads_its_own_part_of_a_batch_and_nothing_else(
  config, tmp_path, monkeypatch
):
  given = study.prepare(config, tmp_path)
  whole = training.make_batches(given, 0, 0, given.data.inputs, "base")(3)
  parts = []
  for process in range(2):
    monkeypatch.setattr(
      mesh, "own_part", lambda x, i=process: np.split(x, 2)[i]
    )
    inputs = Recorded(given.data.inputs)
    own = training.make_batches(given, 0, 0, inputs, "base")(3)
    (rows,) = inputs.rows
    assert len(rows) == config["train"]["batch_size"] // 2
    np.testing.assert_array_equal(own["inputs"], given.data.inputs[rows])
    parts.append(own["inputs"])
  np.testing.assert_array_equal(np.concatenate(parts), whole["inputs"])
