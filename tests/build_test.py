"""Names and knobs of a configuration become objects, or one clear error."""

import copy

import jax.numpy as jnp
import pytest

from configs import spar_activity
from hybridpriv import attacks, build, losses, networks, privatizers
from hybridpriv.data import sources
from hybridpriv.losses import siamese


@pytest.fixture(scope="module")
def defaults():
  return spar_activity.get_config("tiny").to_dict()


@pytest.fixture
def config(defaults):
  return copy.deepcopy(defaults)


def test_a_function_is_found_by_module_and_name():
  found = build.function(losses, "siamese.contrastive")
  assert found is siamese.contrastive


def test_a_function_outside_the_clone_is_found(tmp_path, monkeypatch):
  (tmp_path / "outside_of_here.py").write_text("def mine():\n  return 7\n")
  monkeypatch.syspath_prepend(tmp_path)
  assert build.function(losses, "outside_of_here:mine")() == 7


@pytest.mark.parametrize(
  "package, name, known",
  [
    (losses, "siamese.contrasting", "siamese.contrastive"),
    (losses, "contrastive", "siamese.contrastive"),
    (networks, "vgg.vgg17", "vgg.vgg16"),
    (privatizers, "pca", "project.pca"),
    (attacks, "attribute.mpl", "attribute.mlp"),
    (losses, "no_such_module:loss", "my_package.my_module:my_function"),
    (losses, ":loss", "my_package.my_module:my_function"),
  ],
)
def test_an_unknown_name_lists_the_known_ones(package, name, known):
  with pytest.raises(ValueError, match="is not known") as error:
    build.function(package, name)
  assert repr(name) in str(error.value)
  assert known in str(error.value)


def test_an_import_that_fails_inside_ones_own_module_is_not_hidden(
  tmp_path, monkeypatch
):
  (tmp_path / "broken_inside.py").write_text("import no_such_thing_at_all\n")
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(ModuleNotFoundError, match="no_such_thing_at_all"):
    build.function(losses, "broken_inside:loss")


def test_an_unknown_knob_says_what_is_taken(config):
  config["network"]["widht"] = 2.0
  with pytest.raises(ValueError, match=r"config\.network: .*widht.*width"):
    build.network(config, 7)


def test_an_unknown_option_of_a_source_says_what_is_taken(config):
  config["data"]["windows"] = 4
  with pytest.raises(ValueError, match=r"config\.data: .*windows.*window_s"):
    build.load_data(config)


def test_an_unknown_source_is_an_error(config):
  config["data"]["source"] = "spa"
  with pytest.raises(ValueError, match=r"'spa.load' is not known"):
    build.load_data(config)
  assert build.function(sources, "spar.load")


@pytest.mark.parametrize("role", ["desired", "private"])
def test_a_role_that_nobody_plays_is_an_error(config, role):
  config["data"][role] = " , "
  with pytest.raises(ValueError, match=rf"config\.data\.{role} is empty"):
    build.roles(config)


def test_roles_are_comma_separated(config):
  config["data"] |= {"desired": "a, b", "unforeseen": ""}
  assert build.roles(config) == (("a", "b"), ("person",), ())


@pytest.mark.parametrize(
  "cut, start, message",
  [
    ("pool9", "", "no stage 'pool9'.*conv1, pool1"),
    ("", "", "no stage ''"),
    ("pool1", "pool9", "no stage 'pool9'"),
    ("pool1", "conv2", "'conv2', which comes after the cut 'pool1'"),
  ],
)
def test_a_cut_that_the_network_lacks_is_an_error(config, cut, start, message):
  config["cut"] = cut
  config["train"]["finetune"]["start"] = start
  with pytest.raises(ValueError, match=message):
    build.network(config, 7)


def test_rows_are_trainings_times_privatizers_over_the_grid(config):
  config["privatizers"]["noise"] |= {"k": (2, 4), "sigma": (0.5, 2.0)}
  names = [row.name for row in build.rows(config)]
  for training in ("simple", "siamese"):
    assert [n for n in names if n.startswith(training)] == [
      f"{training}/identity",
      f"{training}/project",
      f"{training}/noise k=2 sigma=0.5",
      f"{training}/noise k=2 sigma=2",
      f"{training}/noise k=4 sigma=0.5",
      f"{training}/noise k=4 sigma=2",
    ]


def test_every_member_of_a_chain_gets_its_own_knobs(config):
  config["privatizers"] = {
    "all": {
      "chain": ("clip.norm", "project.pca", "noise.isotropic"),
      "clip_norm": 1.0,
      "k": 3,
      "sigma": (0.5,),
      "relative": False,
    }
  }
  row = build.rows(config)[0]
  assert row.stages == (
    ("clip.norm", (("clip_norm", 1.0),)),
    ("project.pca", (("k", 3),)),
    ("noise.isotropic", (("relative", False), ("sigma", 0.5))),
  )
  assert [s.name for s in row.privatizer.stages] == [n for n, _ in row.stages]


def test_a_grid_keeps_its_order_from_weak_to_strong(config):
  config["privatizers"] = {
    "few": {"chain": ("project.pca",), "k": (8, 2, 4)},
  }
  names = [r.name for r in build.rows(config) if r.training == "simple"]
  assert names == ["simple/few k=8", "simple/few k=2", "simple/few k=4"]


def test_a_privatizer_goes_with_the_trainings_it_names(config):
  config["trainings"] = {"simple": {}, "other": {}}
  config["privatizers"] = {
    "identity": {"chain": ()},
    "few": {"chain": ("project.pca",), "k": 2, "trainings": ("other",)},
  }
  names = [r.name for r in build.rows(config)]
  assert names == ["simple/identity", "other/identity", "other/few"]
  config["privatizers"]["few"]["trainings"] = ("simpel",)
  with pytest.raises(ValueError, match="names .'simpel'.; the trainings are"):
    build.rows(config)


def test_a_grid_of_words_has_names(config):
  config["privatizers"] = {"noise": {"chain": (), "law": ("a", "b")}}
  with pytest.raises(ValueError, match=r"takes \['law'\]"):
    build.rows(config)
  assert build._short("a") == "a"


def test_a_knob_that_no_member_takes_is_an_error(config):
  config["privatizers"]["project"]["sigma"] = 1.0
  with pytest.raises(
    ValueError, match=r"privatizers\.project: no member .* takes \['sigma'\]"
  ):
    build.rows(config)


def test_a_knob_that_a_member_lacks_is_an_error(config):
  del config["privatizers"]["project"]["k"]
  with pytest.raises(ValueError, match=r"privatizers\.project: .*'k'"):
    build.rows(config)


def test_a_term_is_made_for_every_desired_label(config):
  config["data"]["desired"] = "exercise,side"
  terms, knobs = build.terms(config)
  by_name = {t.name: t for t in terms}
  assert set(by_name) == {"task", "task/side", "siamese", "siamese/side"}
  assert dict(by_name["task"].inputs)["logits"] == "logits/exercise"
  assert dict(by_name["task/side"].inputs)["labels"] == "labels/side"
  assert by_name["siamese/side"].knobs == ("margin",)
  assert knobs["task/weight"] == knobs["task/side/weight"] == 1.0


def test_a_knob_of_a_training_reaches_the_copies_of_its_term(config):
  config["data"]["desired"] = "exercise,side"
  _, knobs = build.terms(config)
  assert build.copies(knobs, "siamese/weight") == [
    "siamese/weight",
    "siamese/side/weight",
  ]


@pytest.mark.parametrize("name", ["siamse/weight", "siamese/wieght", "weight"])
def test_a_knob_that_the_objective_lacks_is_an_error(config, name):
  _, knobs = build.terms(config)
  with pytest.raises(ValueError, match=rf"sets '{name}'.*siamese/margin"):
    build.copies(knobs, name)


def test_a_term_without_a_weight_is_an_error(config):
  del config["objective"]["task"]["weight"]
  with pytest.raises(ValueError, match=r"config\.objective\.task has no weigh"):
    build.terms(config)


def test_a_ramp_grows_linearly_to_one(config):
  config["objective"]["siamese"]["ramp_steps"] = 4
  terms, knobs = build.terms(config)
  ramp = next(t.schedule for t in terms if t.name == "siamese")
  steps = jnp.arange(7)
  assert ramp(steps).tolist() == [0, 0.25, 0.5, 0.75, 1, 1, 1]
  assert "siamese/ramp_steps" not in knobs


PLAYER = {"input": "feature", "hidden": (8,), "optimizer": {}}


@pytest.mark.parametrize(
  "entry", [{}, {"label": "height"}, {"label": "person", "size": 8}]
)
def test_an_adversary_names_one_label_or_restores(config, entry):
  config["players"] = {"spy": {**PLAYER, **entry}}
  data = build.load_data(config)
  with pytest.raises(
    ValueError, match=r"config\.players\.spy has .*size.*label.*person"
  ):
    build.players(config, data)


def test_an_adversary_that_restores_has_the_shape_of_its_target(config):
  optimizer = {"name": "adam", "learning_rate": 0.01}
  entry = {**PLAYER, "size": 20, "optimizer": optimizer}
  config["players"] = {"artist": entry}
  data = build.load_data(config)
  (artist,), optimizers = build.players(config, data)
  # The network takes windows of 200 samples of 6 channels.
  assert artist.network.shape == (20, 6)
  assert (artist.output, list(optimizers)) == ("restored", ["artist"])
  config["players"]["artist"]["size"] = 300
  with pytest.raises(ValueError, match="'inputs/300' is asked .*200 at most"):
    build.players(config, data)


def test_attacks_are_named_by_family_and_entry(config):
  entries = {"wide": {"function": "attribute.mlp", "width": 9}}
  attack = build.build_attacks(entries, "config.audit.attacks")[0]
  assert attack.name == "attribute.wide"


def test_an_unknown_knob_of_an_attack_is_an_error():
  with pytest.raises(ValueError, match=r"config\.audit\.attacks\.a: .*'x'"):
    build.build_attacks(
      {"a": {"function": "attribute.mlp", "x": 1}}, "config.audit.attacks"
    )


def test_an_unknown_augmentation_is_an_error():
  with pytest.raises(ValueError, match="'flip' is not known.*crop_mirror"):
    build.augment("flip")


def test_logits_are_the_classes_of_all_desired_labels(config):
  config["data"] |= {"desired": "exercise,side", "unforeseen": ""}
  assert build.num_logits(config, build.load_data(config)) == 9
