"""Codes of other systems: from a file to the card."""

import json
import re

import jsonschema
import numpy as np
import pytest

from configs import audit_codes
from hybridpriv import study
from hybridpriv.data.sources import codes as source
from hybridpriv.study import codes, freshness, workdir

SCHEMA = "hybridpriv/audit/results.schema.json"
PEOPLE, EACH, DRAWS = 18, 12, 20


def _arrays():
  """A secret of a person in the first value, noise of deviation 1 on it."""
  rng = np.random.default_rng(0)
  person = np.repeat(np.arange(PEOPLE), EACH)
  secret = person % 2
  clean = np.zeros((len(person), 3))
  clean[:, 0] = 2.0 * secret
  sent = clean[:, None] + rng.normal(size=(len(person), DRAWS, 3))
  return {
    "codes": sent.astype("f4"),
    "private": np.where(secret, "yes", "no"),
    "desired": rng.integers(0, 2, len(person)),
    "person": person,
    "unforeseen": rng.integers(0, 2, (len(person), 1)),
  }


@pytest.fixture(scope="module")
def audit(tmp_path_factory, quiet):
  """Returns a function that audits arrays; it gives results and report."""

  def run(**arrays):
    folder = tmp_path_factory.mktemp("codes")
    np.savez(folder / "codes.npz", **arrays)
    config = audit_codes.get_config("tiny").to_dict()
    config["data"]["path"] = str(folder / "codes.npz")
    config["audit"] |= {
      "attacks": {
        "linear": {"function": "attribute.linear", "max_steps": 300},
        "centroid": {"function": "neighbour.centroid"},
        "fisher": {"function": "discriminant.linear"},
      },
      "floor_attacks": {"centroid": {"function": "neighbour.centroid"}},
      "attack_seeds": 2,
      "draws": 4,
      "queries": (10, 100),
    }
    page = study.run(config, folder / "work", "audit", say=quiet)
    results = json.loads(
      (folder / "work" / "audit" / "results.json").read_text()
    )
    return results, (page.parent / "report.md").read_text()

  return run


@pytest.fixture(scope="module")
def audited(audit):
  return audit(**_arrays())


def _found(results, target, metric="balanced_accuracy"):
  return {
    (m["attack"], m["num_queries"]): m
    for m in results["rows"][0]["leakage"]
    if m["target"] == target and m["metric"] == metric
  }


def test_codes_get_the_same_card(audited, repository):
  results, page = audited
  jsonschema.validate(results, json.loads((repository / SCHEMA).read_text()))
  assert results["study"]["roles"] == {
    "desired": ["desired"],
    "private": ["private"],
    "unforeseen": ["unforeseen 1"],
  }
  for name in ("What was found", "Controls", "Leakage by attack", "The threat"):
    assert f"## {name}" in page, name
  assert "knows nothing of the system" in page
  # Nothing is known of how these are bounded, or of what their noise is.
  (row,) = results["rows"]
  assert row["guarantees"] == row["estimates"] == []
  assert "No bound on attackers is proved" in page
  assert all(c["passed"] for c in results["controls"])
  assert {c["name"] for c in results["controls"]} == {
    "control/constant",
    "control/equal-energy noise",
    "control/shuffled labels",
    "control/planted leak",
    "control/leak in the smallest direction",
  }


def test_the_known_rate_is_found_and_nothing_in_noise(audited):
  results, _ = audited
  # Two Gaussians, two deviations apart: Phi(1) = 0.841.
  for (attack, num), m in _found(results, "private").items():
    if num == 1:
      assert m["value"] == pytest.approx(0.841, abs=0.04), attack
  for m in _found(results, "unforeseen 1").values():
    assert m["low"] <= 0.5 <= m["high"]


def test_means_of_different_draws_tell_more(audited):
  results, page = audited
  found = _found(results, "private")
  # Ten draws of 20 make two means; a hundred are not there.
  assert {num for _, num in found} == {1, 10}
  for (attack, num), m in found.items():
    if num == 10:  # Phi(sqrt(10)) = 0.999
      assert m["value"] > 0.97, attack
  assert (
    "Means of 100 codes of one input are not scored: an attacker needs two of"
    " each input or more, 200 draws, and there are 20." in page
  )


@pytest.mark.parametrize(
  ("draws", "scored", "said"),
  [
    (2, [], "Means of 2, 3 and 10 codes of one input are not scored"),
    (19, [2, 3], "or more, 20 draws, and there are 19."),
    (20, [2, 3, 10], ""),
  ],
)
def test_fewer_draws_than_two_means_are_said(
  tmp_path, monkeypatch, draws, scored, said
):
  arrays = _arrays()
  np.savez(
    tmp_path / "codes.npz", **(arrays | {"codes": arrays["codes"][:, :draws]})
  )
  config = audit_codes.get_config("tiny").to_dict()
  config["data"]["path"] = str(tmp_path / "codes.npz")
  config["audit"]["queries"] = (2, 3, 10)
  setup = codes.prepare(config, tmp_path / "w")
  asked = {}

  def stop(setup, tasks, problems):
    asked["queries"] = sorted({t.num_queries for t in tasks} - {1})
    raise RuntimeError

  monkeypatch.setattr(codes.attacking, "run_all", stop)
  with pytest.raises(RuntimeError):
    codes.run(setup, "")
  assert asked["queries"] == scored
  text = codes._describe(setup, "", asked["queries"])["threat"]["text"]
  assert said in text and "\n" not in text
  assert ("not scored" in text) == (len(scored) < 3)


def test_one_draw_is_no_proof_of_fresh_noise(audit):
  arrays = _arrays()
  arrays["codes"] = arrays["codes"][:, 0]
  del arrays["desired"], arrays["unforeseen"]
  results, page = audit(**arrays)
  assert {num for _, num in _found(results, "private")} == {1}
  assert "Noise not verified fresh" in page
  row = results["rows"][0]
  assert row["guarantees"] == row["estimates"] == []
  assert all(m["floor_of"] == "chance" for m in row["leakage"])
  assert results["study"]["roles"]["desired"] == []
  assert "must answer" not in page


def test_without_people_samples_are_the_units(audit):
  arrays = _arrays()
  del arrays["person"]
  results, page = audit(**arrays)
  assert {m["unit"] for m in results["rows"][0]["leakage"]} == {"sample"}
  assert "Units are samples, not people" in page


def test_a_private_person_is_looked_for_in_a_gallery(audit):
  arrays = _arrays()
  rng = np.random.default_rng(1)
  corner = 4 * rng.normal(size=(PEOPLE, 3))[arrays["person"]]
  arrays["codes"] = (corner[:, None] + arrays["codes"]).astype("f2")
  arrays["private"] = arrays["person"] + 100  # other names, the same people
  results, _ = audit(**arrays)
  assert results["study"]["roles"]["private"] == ["person"]
  worst = results["rows"][0]["worst"]["person"]
  m = results["rows"][0]["leakage"][worst]
  assert m["chance"] == pytest.approx(1 / PEOPLE) and m["value"] > 0.5
  assert "gallery" in m["auxiliary"]
  assert results["rows"][0]["num_bytes"] == 6  # as in the file


@pytest.mark.parametrize(
  ("draws", "why"),
  [
    (lambda c: c[:, :1], "one draw"),
    (lambda c: np.repeat(c[:, :1], 5, axis=1), "draws repeat in 100%"),
    (lambda c: c[:, :1] + (c[:1] - c[:1, :1]), "the same noise"),
    (lambda c: c, ""),
    (np.round, ""),  # whole numbers meet now and then
  ],
)
def test_stale_noise_is_seen(draws, why):
  found = freshness.stale(draws(_arrays()["codes"]))
  assert (why in found) if why else found == "", found


def test_one_huge_value_makes_no_fresh_noise_look_stale():
  fresh = np.array(_arrays()["codes"])
  fresh[3, 0, 0] = np.finfo(np.float32).min  # as for what is missing
  assert freshness.stale(fresh) == ""


def test_the_share_of_the_commonest_code():
  codes = np.random.default_rng(0).normal(size=(50, 4, 3)).astype("f4")
  assert freshness.commonest(codes) == 1 / 200
  codes[:, 1:] = 0.0
  assert freshness.commonest(codes) == 0.75


def test_codes_that_are_mostly_one_are_said(audit):
  arrays = _arrays()
  arrays["codes"] = np.array(arrays["codes"])
  arrays["codes"][::2] = 0.0
  _, page = audit(**arrays)
  assert "50% of all codes are one and the same" in page


def test_who_cannot_see_a_leak_in_the_codes_is_told_by_a_control(audit):
  # Large noise in one direction, and attackers who scale value by value.
  arrays = _arrays()
  rng = np.random.default_rng(2)
  noise = rng.normal(size=(len(arrays["private"]), 1, 2)) * [300, 1]
  arrays["codes"] = noise @ (np.array([[1, 1], [1, -1]]) / 2**0.5)
  found = {}
  results, _ = audit(**arrays)
  name = "control/leak in the smallest direction"
  control = next(c for c in results["controls"] if c["name"] == name)
  assert control["expected"] == "reference"
  for m in control["leakage"]:
    if m["target"] == "private":
      found[m["attack"]] = m["value"]
  assert found["discriminant.fisher"] > 0.97
  assert found["neighbour.centroid"] < 0.75


def test_large_whole_numbers_keep_their_last_digit(tmp_path):
  arrays = _arrays()
  secret = (arrays["private"] == "yes").astype(int)
  arrays["codes"] = (10**9 + secret)[:, None]
  np.savez(tmp_path / "codes.npz", **arrays)
  data = source.load(path=str(tmp_path / "codes.npz"))
  assert len(np.unique(data.inputs[secret == 0])) == 1
  assert data.inputs[secret == 1].min() > data.inputs[secret == 0].max()


def test_a_feature_map_is_not_taken_for_draws(tmp_path):
  rng = np.random.default_rng(0)
  fresh = _arrays()["codes"]
  assert (
    freshness.unlike(fresh) == "" and freshness.unlike(np.round(fresh)) == ""
  )
  # A place in a picture has a mean of its own.
  places = rng.normal(size=(216, 7, 3)) + rng.normal(size=(1, 7, 3))
  assert "from draw to draw" in freshness.unlike(places)
  np.savez(tmp_path / "codes.npz", **(_arrays() | {"codes": places}))
  config = audit_codes.get_config("tiny").to_dict()
  config["data"]["path"] = str(tmp_path / "codes.npz")
  with pytest.raises(ValueError, match=r"lay a feature map out as \[n, k\]"):
    codes.prepare(config, tmp_path / "w")


def test_what_makes_numbers_look_better_is_said(audit):
  arrays = _arrays()
  secret = (arrays["private"] == "yes").astype(int)
  kept = np.where(np.arange(216) % 4, 1.0, 0.0)[:, None, None]
  sent = arrays["codes"]
  sent = kept * sent + (1 - kept) * sent[:, :1]  # noise is kept for a quarter
  told = {"codes": sent, "person": arrays["person"]}
  told |= {"private": np.where(np.arange(216) % 5, secret, -1)}
  results, page = audit(**told, desired=secret)
  assert "20% of the samples have no private" in page
  assert "desired tells private" in page
  assert "draws repeat in 25% of the samples" in page
  assert "Utility was not measured" in page
  assert "Rows left out" in page
  assert len(results["study"]["data"]["warnings"]) == 4


def test_codes_of_the_same_people_are_known_to_be(audited, audit):
  def people(results):
    return results["study"]["data"]["people"]

  arrays = _arrays()
  noisier, _ = audit(**(arrays | {"codes": 2 * arrays["codes"]}))
  assert people(noisier) == people(audited[0])
  turned = arrays["private"][::-1].copy()
  others, _ = audit(**(arrays | {"private": turned}))
  assert people(others) != people(audited[0])


def test_other_codes_are_not_taken_for_those_audited(tmp_path, quiet):
  config = audit_codes.get_config("tiny").to_dict()
  path = tmp_path / "codes.npz"
  config["data"]["path"] = str(path)
  config["audit"] |= {
    "attacks": {"centroid": {"function": "neighbour.centroid"}},
    "floor_attacks": {"centroid": {"function": "neighbour.centroid"}},
    "attack_seeds": 1,
  }
  np.savez(path, **_arrays())
  study.run(config, tmp_path / "w", "audit", say=quiet)
  study.run(config, tmp_path / "w", "audit", say=quiet)
  np.savez(path, **(_arrays() | {"codes": np.ones((216, 2))}))
  # Nor is another audit of them one of the same codes.
  other = config | {"audit": config["audit"] | {"attack_seeds": 2}}
  for asked in (config, other):
    with pytest.raises(workdir.Conflict, match="is of other codes"):
      study.run(asked, tmp_path / "w", "audit", say=quiet)
  assert not (tmp_path / "w" / "earlier").exists()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"codes": np.zeros((5, 2))}, r"private has shape \(216,\)"),
    ({"codes": np.full((216, 2), np.nan)}, "216 of 216 samples are not finite"),
    ({"codes": np.zeros(216)}, r"expected numbers \[n, k\]"),
    ({"codes": np.zeros((216, 7, 7, 8))}, "a feature map is laid out as"),
    (
      {"codes": (2**40 * (np.arange(216) // 2) + np.arange(216) % 2)[:, None]},
      "of which float32 keeps",
    ),
    ({"private": np.zeros(216, int)}, r"private has 1 class\(es\), \['0'\]"),
    ({"private": np.linspace(0, 1, 216)}, "bin what is continuous"),
    ({"person": np.full(216, -1)}, r"person has 0 class\(es\)"),
    ({"secret": np.zeros(216)}, "has secret; known are codes"),
    ({"private": None}, "needed are private and codes"),
    ({"inputs": np.zeros((216, 2))}, r"needed are private and codes"),
  ],
)
def test_what_does_not_fit_is_said_in_a_line(tmp_path, change, message):
  arrays = {k: v for k, v in {**_arrays(), **change}.items() if v is not None}
  np.savez(tmp_path / "codes.npz", **arrays)
  with pytest.raises(ValueError, match=message) as error:
    source.load(path=str(tmp_path / "codes.npz"))
  assert "\n" not in str(error.value)


def test_no_file_and_no_archive_are_said(tmp_path):
  with pytest.raises(ValueError, match="there is no such file"):
    source.load(path=str(tmp_path / "none.npz"))
  (tmp_path / "text.npz").write_text("codes")
  with pytest.raises(ValueError, match=re.escape("cannot be read as .npz")):
    source.load(path=str(tmp_path / "text.npz"))
  np.savez(tmp_path / "objects.npz", codes=np.array([{}]), private=[1])
  with pytest.raises(ValueError, match="without objects in it"):
    source.load(path=str(tmp_path / "objects.npz"))


def test_there_is_nothing_to_train(tmp_path, quiet):
  config = audit_codes.get_config("tiny").to_dict()
  with pytest.raises(ValueError, match="there is nothing to train"):
    study.run(config, tmp_path / "w", "train", say=quiet)
