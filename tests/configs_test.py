"""Every experiment builds in every size, and runs in the smallest."""

import collections
import csv
import importlib
import inspect
import json
import pathlib

import jax
import jsonschema
import numpy as np
import pytest

from hybridpriv import build, study
from hybridpriv.audit import problems, results
from hybridpriv.study import auditing, setup
from hybridpriv.train import optim

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMES = sorted(
  ".".join(p.relative_to(ROOT / "configs").with_suffix("").parts)
  for p in ROOT.glob("configs/**/*.py")
  if p.stem not in ("default", "audit_codes")  # which trains no network
)
SWEEPS = [name for name in NAMES if name.startswith("ablations.")]
VARIANTS = ("full", "small", "tiny")
# These take a published recognizer as it is.
UNTRAINED = ("lfw_verification", "ablations.untuned_lfw")


def _config(name, variant):
  module = importlib.import_module(f"configs.{name}")
  config = module.get_config(variant).to_dict()
  if not config["data"]["desired"]:
    config["data"] |= {"desired": "this", "private": "that"}
  return config


def _builds(name, config):
  """Builds what a study is made of and returns its rows."""
  network = build.network(config, 3)
  assert config["cut"] in network.stage_names()
  assert network.dtype == config["network"]["dtype"] == "float32"
  half = {**config, "network": {**config["network"], "dtype": "bfloat16"}}
  assert build.network(half, 3).dtype == "bfloat16"
  for section in ("attacks", "floor_attacks"):
    assert build.build_attacks(config["audit"][section], section)
  for phase in ("base", "finetune", "retune"):
    published = name in UNTRAINED and phase != "retune"
    assert (config["train"][phase]["steps"] > 0) != published
  for trial in setup.trials(config):
    for knob, _ in trial.knobs:
      assert build.copies(build.terms(config)[1], knob)
  return build.rows(config)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_every_variant_builds(name, variant):
  config = _config(name, variant)
  rows = _builds(name, config)
  if "defences" in name:
    _compares(config, variant)
    return
  if name == "lfw_restored":
    _tries(config, variant)
    assert {r.embedding for r in rows} == {"identity"}
    assert config["audit"]["inversion"]["steps"]
    return
  # A bottleneck leaves nothing to project; a published recognizer is asked to
  # verify as it is.
  dpfe = config["network"]["function"] == "bottleneck.dpfe"
  special = "dpfe" if dpfe else "siamese"
  if name in UNTRAINED:
    special = None
  projected = set() if dpfe else {"project"}
  shipped = {"certified"} if name == "synthetic_faces" else set()
  assert {r.embedding for r in rows} == {"identity", "noise"} | projected | (
    shipped
  )
  assert {r.training for r in rows} == {"simple"} | {special} - {None}
  terms, knobs = build.terms(config)
  assert {t.name for t in terms} == {"task", special or "siamese"}
  assert knobs[f"{special or 'siamese'}/weight"] == 0
  if special and variant != "tiny":
    # The rule of the choice is not worth its name with fewer; the published
    # recipe has one weight and nothing to choose.
    trials = [t for t in setup.trials(config) if t.training == special]
    assert len(trials) >= 4 or "gender_vgg16" in name
  if variant != "tiny":
    assert config["audit"]["attack_seeds"] >= 5


def _tries(config, variant):
  """Checks that all defences have as many trials, and all terms are off."""
  by_training = {}
  for trial in setup.trials(config):
    by_training.setdefault(trial.training, []).append(trial)
  assert len(by_training.pop("simple")) == 1
  numbers = {len(own) for own in by_training.values()}
  assert numbers == {4} if variant != "tiny" else len(numbers) == 1
  terms, knobs = build.terms(config)
  own = [t.name for t in terms if t.player == "defender" and t.name != "task"]
  assert own and not any(knobs[f"{name}/weight"] for name in own)
  return own


def _compares(config, variant):
  """Checks that defences are tried alike and have as many settings."""
  own = _tries(config, variant)
  # Every curve has as many settings: the projection is the weak end of those
  # that begin with it.
  rows = [r for r in build.rows(config) if r.training == "simple"]
  sizes = collections.Counter(r.embedding for r in rows)
  del sizes["identity"], sizes["project"]
  sizes["noise"] += 1
  sizes["learned"] += 1
  assert len(set(sizes.values())) == 1 and len(sizes) == 4
  # Every one of them is turned on by a training.
  tried = {k for t in setup.trials(config) for k, v in t.knobs if v}
  if variant != "tiny":
    assert {f"{name}/weight" for name in own} <= tried
    assert config["audit"]["attack_seeds"] >= 5


@pytest.mark.parametrize("name", NAMES)
def test_the_source_takes_the_options_of_the_data(name):
  data = _config(name, "full")["data"]
  load = importlib.import_module(f"hybridpriv.data.sources.{data['source']}")
  assert set(data) - {"source"} <= set(inspect.signature(load.load).parameters)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_undefended_simple_network_is_the_reference(name, variant):
  # Of both the choice of trials and that of noise; the order is that of the
  # file, although most sections of a configuration are sorted.
  config = _config(name, variant)
  assert build.rows(config)[0].name == "simple/identity"
  first = setup.trials(config)[0]
  assert first.training == "simple" and first.strength == 0


def _changed(config, changes, where="config"):
  """Applies the changes of a run, all of them to keys that there are."""
  made = dict(config)
  for key, value in changes.items():
    assert key in config, f"{where}.{key}"
    nested = isinstance(value, dict) and isinstance(config[key], dict)
    below = f"{where}.{key}"
    made[key] = _changed(config[key], value, below) if nested else value
  return made


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", SWEEPS)
def test_every_run_of_a_sweep_changes_what_there_is_and_builds(name, variant):
  config = _config(name, variant)
  runs = config.pop("sweep")
  made = [_changed(config, changes) for changes in runs.values()]
  assert len(made) > 1
  for own in made:
    assert _builds(name, own)
  assert not any(a == b for i, a in enumerate(made) for b in made[:i])


def test_the_layer_sweep_has_the_published_numbers_of_components():
  config = _config("ablations.layers_lfw", "full")
  assert {
    (own["cut"], own["privatizers"]["noise"]["k"])
    for own in config["sweep"].values()
  } == {("block11", 8), ("block12", 6), ("block13", 4)}


def test_the_published_recipe_has_the_network_of_the_paper():
  config = _config("paper.gender_vgg16", "full")
  lines = {
    x.split()[0]: x.split() for x in study.describe(config, 2).splitlines()
  }
  assert lines["all"][1] == "134,268,738"
  assert lines["conv5_1"][1:3] == ["14x14x512", "100,352"]


def test_the_published_recipe_has_the_rates_of_the_paper():
  # Dense layers learn ten times as fast as convolutions, biases twice.
  config = _config("paper.gender_vgg16", "full")
  network = build.network(config, 2)
  shape = jax.ShapeDtypeStruct((1, *config["input_shape"]), "float32")
  params = jax.eval_shape(
    lambda x: network.init(jax.random.key(0), x, train=False), shape
  )["params"]
  ones = jax.tree.map(lambda leaf: np.ones([]), params)
  for phase in ("base", "finetune"):
    rates = optim.scale_by_path(
      config["train"][phase]["optimizer"]["multipliers"]
    )
    scaled, _ = rates.update(ones, rates.init(ones))
    for path, factor in jax.tree_util.tree_leaves_with_path(scaled):
      stage, *_, kind = optim.path_name(path).split("/")
      expected = {"kernel": 1, "bias": 2}[kind]
      if stage.startswith("fc"):
        expected *= 10
      assert factor == expected, optim.path_name(path)


@pytest.mark.parametrize("name", NAMES)
def test_the_full_size_is_the_default_and_others_are_named(name):
  module = importlib.import_module(f"configs.{name}")
  assert module.get_config() == module.get_config("full")
  with pytest.raises(ValueError, match="'tinny' is not known; known are full"):
    module.get_config("tinny")


@pytest.mark.parametrize("name", NAMES)
def test_headline_claims_have_three_trainings(name):
  config = _config(name, "full")
  drawn = sum(config["train"][p]["steps"] for p in ("base", "finetune"))
  assert config["train"]["seeds"] >= 3 or not drawn


@pytest.mark.parametrize("variant", ["full", "tiny"])
@pytest.mark.parametrize("name", NAMES)
def test_the_network_takes_the_input(name, variant):
  config = _config(name, variant)
  lines = study.describe(config, 2).splitlines()
  assert f"cut after {config['cut']}" in lines[0]
  assert any(line.startswith("- device") for line in lines)


def test_attackers_from_the_other_arm_have_signals_of_one_arm(tmp_path):
  made = study.prepare(_config("spar_shifted", "tiny"), tmp_path)
  shifted = [p for p in auditing.list_problems(made) if p.is_shifted]
  assert {p.fold for p in shifted} == {0, 1}
  left = made.data.classes["side"].index("left")
  for p in shifted:
    side = made.data.labels["side"][made.folds[p.fold].audit]
    own = np.isin(p.role, (problems.TRAIN, problems.VALIDATION))
    assert np.all(side[own] == left)
    assert np.all(side[p.role == problems.TEST] != left)
    assert p.num_classes == 5  # everybody has both


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


def _ranks(row):
  """Returns the levels at which a row's samples are ranked."""
  return {m.attack for m in row.leakage if m.attack.startswith("rank.")}


def test_lfw_ranks_people_beside_pictures(lfw):
  _, found = lfw
  for row in found.rows:
    assert _ranks(row) == {"rank.image", "rank.person"}
    by_level = {m.attack: m for m in row.leakage if m.metric == "rank"}
    # Six people are audited, as many women as men, who have 20 pictures each:
    # who knows the gender alone has three to choose from, or 60 pictures.
    assert by_level["rank.person"].chance == pytest.approx(1 - 3.5 / 6)
    assert by_level["rank.person"].floor == pytest.approx(1 - 2 / 6)
    assert by_level["rank.image"].chance == pytest.approx(1 - 60.5 / 120)
    assert by_level["rank.image"].floor == pytest.approx(1 - 30.5 / 120)
    assert by_level["rank.person"].floor_of == "desired label"


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
  for row in found.rows:
    assert _ranks(row) == {"rank.image"}
  report = (folder / "report" / "report.md").read_text()
  assert "Units are samples, not people" in report


@pytest.fixture(scope="module")
def compared(launch, tmp_path_factory):
  """Several defences, each with attackers of all kinds."""
  folder = tmp_path_factory.mktemp("compared")
  return folder, _run(launch, folder, "spar_defences")


def test_defences_are_ranked_at_equal_leakage(compared):
  folder, found = compared
  ranked = [r for r in found.rankings if r["target"] == "person"]
  assert ranked
  for one in ranked:
    names = {c["name"] for c in one["curves"]} | set(one["short"])
    assert names == {
      f"{name} grid"
      for name in (
        "simple, noise",
        "simple, pruned",
        "simple, active",
        "simple, learned",
        "siamese_reversal, noise",
        "entropy, noise",
      )
    }
  text = (folder / "report" / "report.md").read_text()
  assert "## Ranked at equal leakage\n" in text
