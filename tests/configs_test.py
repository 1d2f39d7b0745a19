"""Every experiment builds in every size, and runs in the smallest."""

import csv
import importlib
import json
import pathlib

import jsonschema
import pytest

from hybridpriv import build, study
from hybridpriv.audit import results
from hybridpriv.study import setup

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMES = sorted(p.stem for p in ROOT.glob("configs/*.py") if p.stem != "default")
VARIANTS = ("full", "small", "tiny")


def _config(name, variant):
  module = importlib.import_module(f"configs.{name}")
  config = module.get_config(variant).to_dict()
  if not config["data"]["desired"]:
    config["data"] |= {"desired": "this", "private": "that"}
  return config


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_every_variant_builds(name, variant):
  config = _config(name, variant)
  rows = build.rows(config)
  assert rows[0].embedding == "identity"
  assert {r.embedding for r in rows} == {"identity", "project", "noise"}
  assert {r.training for r in rows} == {"simple", "siamese"}
  network = build.network(config, 3)
  assert config["cut"] in network.stage_names()
  terms, knobs = build.terms(config)
  assert {t.name for t in terms} == {"task", "siamese"}
  assert knobs["siamese/weight"] == 0
  for section in ("attacks", "floor_attacks"):
    assert build.build_attacks(config["audit"][section], section)
  for phase in ("base", "finetune", "retune"):
    assert config["train"][phase]["steps"] > 0
  if variant != "tiny":
    # The rule of the choice is not worth its name with fewer.
    assert sum(t.training == "siamese" for t in setup.trials(config)) >= 4
    assert config["audit"]["attack_seeds"] >= 5


@pytest.mark.parametrize("name", NAMES)
def test_the_full_size_is_the_default_and_others_are_named(name):
  module = importlib.import_module(f"configs.{name}")
  assert module.get_config() == module.get_config("full")
  with pytest.raises(ValueError, match="'tinny' is not known; known are full"):
    module.get_config("tinny")


@pytest.mark.parametrize("name", NAMES)
def test_headline_claims_have_three_trainings(name):
  assert _config(name, "full")["train"]["seeds"] >= 3


@pytest.mark.parametrize("variant", ["full", "tiny"])
@pytest.mark.parametrize("name", NAMES)
def test_the_network_takes_the_input(name, variant):
  config = _config(name, variant)
  lines = study.describe(config, 2).splitlines()
  assert f"cut after {config['cut']}" in lines[0]
  assert any(line.startswith("- device") for line in lines)


def _run(launch, folder, config, *flags):
  """Runs a tiny study and returns its results, read and checked."""
  launch(
    "run", f"--config=configs/{config}.py:tiny", f"--workdir={folder}", *flags
  )
  path = ROOT / "hybridpriv" / "audit" / "results.schema.json"
  value = json.loads((folder / "audit" / "results.json").read_text())
  jsonschema.validate(value, json.loads(path.read_text()))
  assert (folder / "report" / "index.html").stat().st_size > 100_000
  return results.read(folder)


@pytest.fixture(scope="module")
def lfw(launch, faces_folder, tmp_path_factory):
  folder = tmp_path_factory.mktemp("lfw")
  path = f"--config.data.path={faces_folder}"
  return folder, _run(launch, folder, "lfw_gender", path)


def test_lfw_audits_the_people_with_many_pictures(lfw, faces_folder):
  folder, found = lfw
  assert found.targets == ("identity", "emotion")
  saved = json.loads((folder / "partition.json").read_text())["folds"][0]
  with open(faces_folder / "labels.csv", newline="") as file:
    number = {
      row["identity"]: int(row["n_images_of_identity"])
      for row in csv.DictReader(file)
    }
  audited = set(saved["audit"]["people"])
  assert audited == {name for name, n in number.items() if n == 20}
  for part in ("train", "validation", "test"):
    assert saved[part]["people"] and not audited & set(saved[part]["people"])


def test_lfw_attackers_find_the_planted_person(lfw):
  # The right half of a picture has one colour for each person.
  _, found = lfw
  raw = next(c for c in found.controls if c.name == "control/raw input")
  assert raw.leakage_of("identity").value > 0.9
  undefended = found.rows[0].leakage_of("identity")
  assert undefended.value > undefended.chance


@pytest.fixture(scope="module")
def synthetic(launch, tmp_path_factory):
  """Two desired labels at once."""
  folder = tmp_path_factory.mktemp("synthetic")
  roles = "--config.data.desired=beard,expression"
  unforeseen = "--config.data.unforeseen=glasses"
  return folder, _run(launch, folder, "synthetic_faces", roles, unforeseen)


def test_several_desired_labels_are_answered_at_once(synthetic):
  folder, found = synthetic
  for row in found.rows:
    for label in ("beard", "expression"):
      assert row.utility_of(label).chance == 0.5
  text = (folder / "metrics.jsonl").read_text().splitlines()
  last = json.loads(text[-1])
  assert {
    "train/task",
    "train/task/expression",
    "train/siamese/expression",
  } <= (set(last))
  for label in ("beard", "expression"):
    assert f"validation/{label}/balanced_accuracy" in last


def test_synthetic_data_are_called_so(synthetic):
  folder, found = synthetic
  assert found.study["data"]["synthetic"]
  report = (folder / "report" / "report.md").read_text()
  assert report.count("ynthetic") > 3


@pytest.fixture(scope="module")
def own(launch, faces_folder, tmp_path_factory):
  """Nobody is named."""
  folder = tmp_path_factory.mktemp("own")
  flags = (
    f"--config.data.path={faces_folder}",
    "--config.data.desired=gender",
    "--config.data.private=emotion",
    "--config.data.group={'emotion': {'neutral': 'calm', 'happiness': 'glad'}}",
    "--config.data.keep={'split_view1': ('test', 'train')}",
  )
  return folder, _run(launch, folder, "own_data", *flags)


def test_groups_of_values_are_given_in_a_command(own):
  _, found = own
  assert found.study["data"]["classes"]["emotion"] == ["calm", "glad"]


def test_where_nobody_is_named_samples_are_the_units(own):
  folder, found = own
  assert found.study["data"]["identity"] is None
  for row in (*found.rows, *found.controls):
    for m in (*row.utility, *row.leakage):
      assert m.unit == "sample" and "over samples" in m.interval
  report = (folder / "report" / "report.md").read_text()
  assert "Units are samples, not people" in report
