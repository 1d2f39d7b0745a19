"""Attacks that restore pictures, as a study grants and names them."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from hybridpriv import build, study
from hybridpriv.study import auditing, fitting, granting, inverting
from hybridpriv.study.setup import key

SIZE = 12
ALL = {
  "decoder": {"function": "inversion.decoder"},
  "ridge": {"function": "ridge.linear"},
  "pixels": {"function": "descent.pixels", "iterations": 8, "weight": 0.1},
  "eigenfaces": {"function": "prior.eigenfaces", "iterations": 8},
  "vae": {"function": "prior.vae", "iterations": 8, "latents": 8},
  "shadow": {"function": "surrogate.shadow"},
  "aligned": {"function": "surrogate.aligned"},
}


def _config(of_pictures, **options):
  inversion = {
    "steps": 20,
    "width": 0.0625,
    "max_held_out": 10,
    "max_attacked": 12,
    "queries": 3,
    "size": SIZE,
  }
  config = of_pictures(audit={"inversion": inversion | options})
  # What is cut out, less its part of the mean image.
  config["input_shape"] = (SIZE, SIZE, 3)
  config["input_mean"] = ("image",)
  # Frozen up to the cut: the client must be run from the picture all the same.
  config["train"]["finetune"]["start"] = "inner"
  return config


@pytest.fixture(scope="module")
def fitted(of_pictures, quiet, tmp_path_factory):
  config = _config(of_pictures, attacks=ALL)
  folder = tmp_path_factory.mktemp("inverted")
  study.run(config, folder, "fit", say=quiet)
  setup = study.prepare(config, folder)
  return setup, build.rows(config), auditing.list_problems(setup)


@pytest.fixture(scope="module", autouse=True)
def no_recognizer():
  """Does without: it would take most of the time."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(inverting, "_judge", lambda: lambda images: None)
    yield


def _run(fitted):
  """Attacks the noisy operating point."""
  setup, _, asked = fitted
  return inverting.run(setup, [_selected(fitted, True)], asked)


@pytest.fixture(scope="module")
def measured(fitted):
  return _run(fitted)


def _selected(fitted, noisy):
  setup, rows, _ = fitted
  read = fitting.read_rows(setup)
  return next(
    row
    for row in rows
    if read[row.name]["selected"] and row.privatizer.is_random is noisy
  )


@pytest.mark.parametrize("noisy", [False, True])
def test_the_client_and_the_cloud_granted_are_those_of_the_study(fitted, noisy):
  setup, _, asked = fitted
  row = _selected(fitted, noisy)
  problem = inverting.attacked(setup, asked)
  chosen = granting.choose(setup, problem)
  knowledge, sent = granting.of_row(setup, row, problem.fold, chosen)
  victim = knowledge.sample.args[0]
  places = np.arange(len(chosen.index))
  clean = victim.clean(places)
  # Pictures are as large as inputs here.
  found = knowledge.client(jnp.asarray(chosen.images))
  np.testing.assert_allclose(found, clean, atol=1e-3 * np.abs(clean).max())
  slope = jax.grad(lambda x: jnp.sum(knowledge.client(x) ** 2))(
    jnp.asarray(chosen.images[:2])
  )
  assert np.any(slope)
  law = fitting.read_law(setup, 0, 0, row)
  system = fitting.load_system(
    setup, 0, 0, study.training.chosen(setup)[0][row.training]["chosen"]
  )
  if not noisy:
    want = fitting.answer(
      system,
      row.privatizer,
      law,
      system.features(chosen.index),
      key(setup, 0, 0, "any"),
    )
    answers = knowledge.cloud(clean)
    assert set(answers) == {"answer"}
    np.testing.assert_allclose(answers["answer"], want["answer"][:, 0], 1e-3)
  # The mean of three codes has a third of the variance of one.
  assert knowledge.num_queries == (3 if noisy else 1)
  audit = setup.folds[0].audit
  exact = np.asarray(
    knowledge.client(
      jnp.asarray(granting.pictures(setup, audit[chosen.test], SIZE))
    )
  )
  std = np.sqrt(np.mean((sent - exact) ** 2))
  want = float(law[-1]["std"]) / np.sqrt(3) if noisy else 0.0
  assert std == pytest.approx(want, rel=0.3, abs=1e-2)


def test_nobody_is_both_attacked_and_known(fitted):
  setup, _, asked = fitted
  chosen = granting.choose(setup, inverting.attacked(setup, asked))
  audit = setup.folds[0].audit
  assert len(chosen.test) == 12 and len(chosen.held_out) == 10
  for part in (chosen.test, chosen.others):
    assert not np.intersect1d(audit[part], chosen.index).size
  assert not np.intersect1d(chosen.test, chosen.others).size
  parts = [chosen.test, chosen.others, chosen.gallery]
  assert sorted(np.concatenate(parts)) == list(range(len(audit)))
  held_out = chosen.index[chosen.held_out]
  assert set(held_out) <= set(setup.folds[0].validation)


def test_every_attack_is_measured(fitted, measured):
  row = _selected(fitted, True)
  assert set(measured) == {row.name}
  found = {(m["attack"], m["metric"]): m for m, _ in measured[row.name]}
  assert {a for a, _ in found} == {f"inversion.{name}" for name in ALL}
  for (_, metric), m in found.items():
    assert m["num_queries"] == 3
    assert (m["validation"] is None) == (metric != "psnr")
    assert m["low"] <= m["value"] <= m["high"]
  with np.load(fitted[0].folder / "audit" / "pictures.npz") as saved:
    assert set(saved) == {"original", f"{row.name}/restored"}


def test_results_say_what_was_granted(fitted, measured):
  own = "pictures of task-train people and a gallery of the audited"
  found = {
    m["attack"].partition(".")[2]: m["auxiliary"]
    for m, _ in measured[_selected(fitted, True).name]
  }
  assert found["decoder"] == found["ridge"] == own
  assert found["pixels"] == found["vae"] == f"{own}; the client half"
  assert found["aligned"] == (
    f"{own}; no codes of these; codes of others as received, without their"
    " pictures"
  )
  assert "; the cloud half; their desired labels; codes" in found["shadow"]


def test_people_are_matched_with_other_pictures_of_them(
  fitted, measured, monkeypatch
):
  seen = []

  def colour(images):
    # What tells a person in these pictures.
    seen.append(images)
    return images[:, :, SIZE // 2 :].mean(axis=(1, 2))

  monkeypatch.setattr(inverting, "_judge", lambda: colour)
  row = _selected(fitted, True).name
  found = {(m["attack"], m["metric"]): m for m, _ in _run(fitted)[row]}
  setup, _, asked = fitted
  chosen = granting.choose(setup, inverting.attacked(setup, asked))
  audit = setup.folds[0].audit
  truth = granting.pictures(setup, audit[chosen.test], SIZE)
  gallery = seen[0]
  assert len(gallery) == len(chosen.gallery) > 0
  same = np.all(gallery[:, None] == truth[None], axis=(2, 3, 4))
  assert not same.any()
  person = setup.data.person[audit]
  assert set(person[chosen.test]) <= set(person[chosen.gallery])
  for m in found.values():
    told = m["auxiliary"].endswith(
      "; other pictures of the attacked people, by name, to compare with"
    )
    assert told == (m["metric"] == "matched")
  m = found["inversion.decoder", "matched"]
  assert m["target"] == "person" and m["original"] > 0.9 > m["chance"]


def test_what_was_restored_is_not_restored_again(fitted, measured, monkeypatch):
  def fail(*_):
    raise AssertionError("an attack was run again")

  monkeypatch.setattr(inverting, "_attack", fail)
  again = _run(fitted)
  for name, found in measured.items():
    assert [m for m, _ in again[name]] == [m for m, _ in found]


def test_the_default_attacks_are_a_decoder_and_a_ridge_regression():
  config = default.get_config().to_dict()
  config["audit"]["inversion"]["steps"] = 7
  found = inverting.list_attacks(config)
  assert [attack.name for attack, _ in found] == [
    "inversion.decoder",
    "inversion.ridge",
  ]
  assert found[0][1] == {
    "function": "inversion.decoder",
    "steps": 7,
    "width": 0.25,
  }


@pytest.mark.parametrize(
  "attacks, message",
  [
    ({}, "attacks is empty"),
    (
      {"mine": {"function": "attribute.linear"}},
      r"attacks\.mine: attribute\.linear is no attack that restores.*decoder",
    ),
    (
      {"mine": {"function": "inversion.decoder", "lost": "ssim"}},
      r"attacks\.mine: .*'lost'.*loss",
    ),
    ({"mine": {"function": "inversion.encoder"}}, "inversion.decoder"),
    (
      {"mine": {"function": "inversion.decoder", "loss": "lpips"}},
      "loss='lpips'.*squared, absolute, ssim",
    ),
  ],
)
def test_a_wrong_attack_is_one_clear_error(
  attacks, message, of_pictures, tmp_path
):
  config = _config(of_pictures)
  config["audit"]["inversion"]["attacks"] = copy.deepcopy(attacks)
  with pytest.raises(ValueError, match=message):
    study.prepare(config, tmp_path)
  assert not list(tmp_path.iterdir())
