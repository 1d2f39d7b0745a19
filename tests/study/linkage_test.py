"""Linkage as a part of a study: from the config to the report."""

import json

import jsonschema
import pytest

from hybridpriv import study

SCHEMA = "hybridpriv/audit/results.schema.json"
TARGET = "person (linkage)"


@pytest.fixture(scope="module")
def audited(of_pictures, quiet, tmp_path_factory):
  config = of_pictures(
    data={"source": "tests.study.made_up:pictures"},
    partition={"fractions": (0.2, 0.1, 0.1, 0.6)},
    audit={
      "attacks": {
        "nearest": {"function": "neighbour.nearest"},
        "cosine": {"function": "linkage.cosine"},
        "covariance": {"function": "linkage.two_covariance"},
      },
      "rotations": 3,
      "query_attacks": ("linkage.cosine",),
      "queries": (10,),
      "inputs": (),
      "means": (2,),
    },
    privatizers={
      "noise": {
        "chain": ("project.pca", "clip.unit_ball", "noise.isotropic"),
        "k": 4,
        "clip_norm": 1.0,
        "sigma": (0.5, 2.0),
      },
    },
  )
  folder = tmp_path_factory.mktemp("linked")
  study.run(config, folder, say=quiet)
  return folder


@pytest.fixture(scope="module")
def results(audited):
  return json.loads((audited / "audit" / "results.json").read_text())


def test_links_are_a_target_of_their_own(results, repository):
  jsonschema.validate(results, json.loads((repository / SCHEMA).read_text()))
  row = results["rows"][0]
  found = {
    m["attack"]: m
    for m in row["leakage"]
    if m["target"] == TARGET and m["metric"] == "auc"
  }
  assert "linkage.cosine" in found and "neighbour.nearest" not in found
  for m in found.values():
    assert m["chance"] == 0.5 and 0 <= m["low"] <= m["value"] <= m["high"] <= 1
    assert m["floor_of"] in ("cloud answer", "desired label")
  worst = row["leakage"][row["worst"][TARGET]]
  assert worst["metric"] == "auc"
  # Colours tell people apart, and the feature keeps them.
  assert worst["value"] > 0.6
  (links,) = (
    m
    for m in row["leakage"]
    if m["metric"] == "tpr_at_1_fpr" and m["attack"] == worst["attack"]
  )
  assert links["chance"] == 0.01 and links["value"] > links["chance"]


def test_attacks_on_people_do_not_answer_for_links(results):
  for row in results["rows"]:
    for m in row["leakage"]:
      if m["attack"]:
        links = m["target"] == TARGET
        assert m["attack"].startswith("linkage.") == links, m["attack"]


def test_its_controls_come_out_as_they_must(results):
  controls = {c["name"]: c for c in results["controls"]}
  for name in ("constant", "shuffled labels", "planted leak"):
    control = controls[f"control/{name}"]
    own = [m for m in control["leakage"] if m["target"] == TARGET]
    assert own and control["passed"], name


def test_links_are_looked_for_between_means_as_well(results):
  noisy = [
    r
    for r in results["rows"]
    if r["selected"] and r["privatizer"] and r["training"] == "simple"
  ]
  assert noisy
  for row in noisy:
    found = {
      (m["num_queries"], m.get("queries", "one input")): m
      for m in row["leakage"]
      if (m["attack"], m["metric"]) == ("linkage.cosine", "auc")
    }
    averaged = "different inputs of one person, averaged"
    assert set(found) == {(1, "one input"), (10, "one input"), (2, averaged)}
    assert {m["chance"] for m in found.values()} == {0.5}
    # Noise is of half a code's deviation and more.
    assert found[10, "one input"]["value"] > found[1, "one input"]["value"]


def test_nothing_is_proved_of_links(results):
  """Nor of links between means, of whose owners something is."""
  proved = [g for row in results["rows"] for g in row["guarantees"]]
  assert {g["num_queries"] for g in proved} == {1, 2, 10}
  for own in proved:
    assert "person" in own["different_inputs"]["leakage"]
    assert TARGET not in own["different_inputs"]["leakage"]
    assert TARGET not in own["fano_error"]["different inputs"]


def test_the_report_has_it(audited):
  page = (audited / "report" / "report.md").read_text()
  assert TARGET in page and "linkage.cosine" in page
