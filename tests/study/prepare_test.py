"""What cannot work stops with one clear error before training starts."""

import collections
import csv
import io
import json
import shutil
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

from configs import own_data, spar_activity
from hybridpriv import study
from hybridpriv.data import partition


def _write(folder, rows):
  with open(folder / "labels.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)


@pytest.fixture
def folder(faces_folder, tmp_path):
  return shutil.copytree(faces_folder, tmp_path / "faces")


@pytest.fixture
def rows(folder):
  with open(folder / "labels.csv", newline="") as file:
    return list(csv.DictReader(file))


@pytest.fixture
def config(folder):
  config = own_data.get_config("tiny").to_dict()
  config["data"] |= {
    "path": str(folder),
    "desired": "gender",
    "private": "identity",
    "unforeseen": "emotion",
    "identity": "identity",
  }
  return config


def _refused(config, workdir, message):
  with pytest.raises(ValueError, match=message):
    study.run(config, workdir, "train", say=lambda line: None)
  assert not (workdir / "checkpoints").exists()
  # What was mended can be run with the same workdir.
  assert not (workdir / "config.json").exists()


def test_an_image_that_cannot_be_read_is_named_with_its_row(
  config, folder, rows, tmp_path
):
  text = io.BytesIO()
  Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(text, format="jpeg")
  with zipfile.ZipFile(folder / "images.zip", "a") as pictures:
    pictures.writestr("broken.jpg", text.getvalue()[:200])
  rows[17]["path"] = "broken.jpg"
  _write(folder, rows)
  _refused(config, tmp_path / "w", r"labels\.csv line 19.*broken\.jpg")


def test_an_image_that_is_not_there_is_named_with_its_row(
  config, folder, rows, tmp_path
):
  rows[3]["path"] = "nowhere.jpg"
  _write(folder, rows)
  _refused(config, tmp_path / "w", r"labels\.csv line 5.*nowhere\.jpg")


def test_a_missing_column_lists_the_columns(config, tmp_path):
  config["data"]["desired"] = "sex"
  _refused(config, tmp_path / "w", "no column 'sex'.*gender")


def test_a_label_with_one_class_is_refused(config, folder, rows, tmp_path):
  for row in rows:
    row["gender"] = "female"
  _write(folder, rows)
  _refused(config, tmp_path / "w", "'gender'.*female")


def test_a_person_on_two_sides_is_named(config, folder, rows, tmp_path):
  for number, row in enumerate(rows):
    person = row["identity"]
    row["part"] = "test" if person > "Person_16" else "train"
    if number == 1:
      row["part"] = "test"
  _write(folder, rows)
  config["data"]["split"] = "part"
  _refused(config, tmp_path / "w", "'Person_00'.*(train|test)")


def test_people_without_a_gallery_are_missed_before_training(
  config, folder, rows, tmp_path
):
  seen = collections.Counter()
  kept = []
  for row in rows:
    seen[row["identity"]] += 1
    if seen[row["identity"]] <= 2:
      kept.append(row)
  _write(folder, kept)
  _refused(config, tmp_path / "w", "attacker on 'identity'.*no train samples")


def test_a_split_column_divides_the_people(config, folder, rows, tmp_path):
  for row in rows:
    row["part"] = "test" if row["identity"] < "Person_12" else "train"
  _write(folder, rows)
  config["data"]["split"] = "part"
  setup = study.prepare(config, tmp_path / "w")
  names = setup.data.classes["identity"]
  parts = {
    part: {names[i] for i in setup.data.person[getattr(setup.folds[0], part)]}
    for part in partition.PARTS
  }
  assert max(parts["test"] | parts["audit"]) < "Person_12"
  assert min(parts["train"] | parts["validation"]) >= "Person_12"
  assert all(parts.values())


def test_a_missing_folder_is_refused(config, tmp_path):
  config["data"]["path"] = str(tmp_path / "nowhere")
  _refused(config, tmp_path / "w", "nowhere.*no folder")


@pytest.mark.parametrize(
  "key, value, message",
  [
    ("input_shape", (32, 32), r"shape \(36, 36, 3\)"),
    ("input_shape", (64, 64, 3), "ask for at most that much"),
    ("cut", "conv9", "no stage 'conv9'"),
  ],
)
def test_a_network_that_does_not_fit_is_refused(
  config, tmp_path, key, value, message
):
  config[key] = value
  _refused(config, tmp_path / "w", message)


def test_misspelt_names_are_found_before_the_data_are_read(config, tmp_path):
  config["data"]["path"] = "not looked at"
  config["audit"]["query_attacks"] = ("likelihood.bias",)
  _refused(config, tmp_path / "w", "query_attacks names likelihood.bias")
  config["audit"]["query_attacks"] = ()
  config["trainings"]["siamese"] = {"siamse": {"weight": 1.0}}
  _refused(config, tmp_path / "w", "sets 'siamse/weight'")
  config["trainings"]["siamese"] = {}
  config["audit"]["floor_attacks"] = {"a": {"function": "attribute.no"}}
  _refused(config, tmp_path / "w", "'attribute.no' is not known")


def test_the_partition_is_made_once(tmp_path):
  config = spar_activity.get_config("tiny").to_dict()
  first = study.prepare(config, tmp_path)
  path = tmp_path / "partition.json"
  saved = json.loads(path.read_text())
  # What is written counts, also where it would be drawn differently today.
  fold = saved["folds"][0]
  fold["train"], fold["validation"] = fold["validation"], fold["train"]
  path.write_text(json.dumps(saved))
  second = study.prepare(config, tmp_path)
  np.testing.assert_array_equal(
    second.folds[0].train, first.folds[0].validation
  )


def test_data_that_changed_do_not_fit_the_partition(config, folder, tmp_path):
  study.prepare(config, tmp_path / "w")
  text = (folder / "labels.csv").read_text().splitlines()
  (folder / "labels.csv").write_text("\n".join(text[:-6]) + "\n")
  with pytest.raises(ValueError, match="does not fit"):
    study.prepare(config, tmp_path / "w")


@pytest.mark.parametrize(
  "backend, dtype", [("cpu", "float32"), ("gpu", "bfloat16")]
)
def test_other_types_are_for_accelerators(
  config, tmp_path, monkeypatch, backend, dtype
):
  config["network"]["dtype"] = "bfloat16"
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  prepared = study.prepare(config, tmp_path / "w")
  assert prepared.network.dtype == dtype
  assert prepared.config["network"]["dtype"] == "bfloat16"


def test_a_type_that_no_network_computes_in_is_refused(config, tmp_path):
  config["network"]["dtype"] = "bf16"
  _refused(config, tmp_path / "w", "dtype is 'bf16'; expected 'float32' or")
