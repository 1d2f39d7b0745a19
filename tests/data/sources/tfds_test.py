import importlib
import pathlib
import sys

import numpy as np
import pytest

from hybridpriv.data.sources import tfds

ROLES = {
  "desired": ("attributes/Male",),
  "private": ("identity/Identity_No",),
  "identity": "identity/Identity_No",
  "size": 8,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
  data_dir = tmp_path_factory.mktemp("tfds")
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(pathlib.Path(__file__).parent)
    module = importlib.import_module("small_faces")
    builder = module.SmallFaces(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare()
  return data_dir / "small_faces" / "1.0.0"


def test_nested_labels_belong_to_their_pictures(folder):
  data = tfds.load(
    path=str(folder), unforeseen=("attributes/mood", "attributes/age"), **ROLES
  )
  # Record 0 has no person.
  assert len(data) == 23 and data.inputs.shape[1:] == (8, 8, 3)
  number = data.inputs[:, 0, 0, 0].astype(int)
  assert set(number) == set(range(1, 24))
  names = {
    name: np.array(data.classes[name])[values]
    for name, values in data.labels.items()
  }
  expected = {
    "attributes/Male": ["no" if i % 2 else "yes" for i in number],
    "attributes/age": [str(i % 3) for i in number],
    "attributes/mood": [("sad", "glad")[i // 2 % 2] for i in number],
    "identity/Identity_No": [f"person {i // 4}" for i in number],
  }
  assert {name: list(value) for name, value in names.items()} == expected
  assert data.classes["attributes/mood"] == ("sad", "glad")
  assert data.citation == "made up" and data.licence == "not stated"
  assert data.notes == (
    "1 records name no person ('identity/Identity_No'): dropped",
  )


def test_splits_can_be_joined_and_cut(folder):
  data = tfds.load(path=str(folder), split_name="train+test", **ROLES)
  assert len(data) == 31
  data = tfds.load(path=str(folder), max_samples=10, **ROLES)
  assert 2 < len(data) <= 10
  assert len(set(data.person)) >= 3


def test_tensorflow_is_not_needed(folder):
  tfds.load(path=str(folder), **ROLES)
  assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"desired": ("Male",)}, "nothing at 'Male'; its paths are: .*butes/Male"),
    ({"desired": ("weight",)}, "'weight' is float.* expected one integer"),
    ({"image": "weight"}, "'weight' of small_faces/1.0.0 is no image"),
    ({"split_name": "rest"}, r"its splits are \['test', 'train'\]"),
    ({"name": "mnist"}, "give one of them"),
    ({"path": "no/such/folder"}, "holds no features.json"),
    ({"path": "", "name": "no_such_data"}, "TFDS cannot open 'no_such_data'"),
  ],
)
def test_what_is_not_there_is_named(folder, options, message):
  with pytest.raises(ValueError, match=message):
    tfds.load(**({"path": str(folder)} | ROLES | options))


def test_an_unknown_name_is_no_list_of_all_names():
  with pytest.raises(ValueError, match="no_such_data not found") as caught:
    tfds.load(name="no_such_data", **ROLES)
  assert len(str(caught.value)) < 200
