"""Beside the worst attack: groups, shifted data, less of it, and the habit."""

import json

import jsonschema
import numpy as np
import pytest

from hybridpriv import study
from hybridpriv.audit import results as results_lib

SCHEMA = "hybridpriv/audit/results.schema.json"
SHIFTED = "person (auxiliary: answer "


@pytest.fixture(scope="module")
def audited(of_pictures, quiet, tmp_path_factory):
  config = of_pictures(
    partition={"fractions": (0.3, 0.1, 0.2, 0.4)},
    trainings={
      "simple": {"siamese": {"weight": 0.0}},
      "siamese": {"siamese": {"weight": 1.0}},
    },
    audit={
      "attacks": {
        "nearest": {"function": "neighbour.nearest"},
        "mlp": {
          "function": "attribute.mlp",
          "learning_rate": 0.01,
          "weight_decay": 0.001,
          "max_steps": 100,
        },
        "frozen_mlp": {"function": "habit.frozen_mlp", "max_steps": 50},
      },
      "shift": "answer",
      "inputs": (2, 500),
      "means": (2, 500),
      "query_attacks": ("neighbour.nearest",),
      "queries": (3,),
      "saturation": {"shares": (0.25, 0.5), "widths": (4,)},
    },
  )
  folder = tmp_path_factory.mktemp("thorough")
  study.run(config, folder, say=quiet)
  return folder


@pytest.fixture(scope="module")
def results(audited):
  return json.loads((audited / "audit" / "results.json").read_text())


@pytest.fixture(scope="module")
def page(audited):
  return (audited / "report" / "report.md").read_text()


def test_the_results_follow_the_schema(results, repository):
  jsonschema.validate(results, json.loads((repository / SCHEMA).read_text()))
  # What is read is written again as it was.
  again = results_lib.to_json(results_lib.from_json(results))
  assert again["rankings"] == results["rankings"]
  for own, row in zip(again["rows"], results["rows"], strict=True):
    for name in ("groups", "saturation"):
      assert own[name] == row[name]


def test_an_attacker_with_other_data_is_a_target_of_its_own(results):
  (target,) = {t for t in results["rows"][0]["worst"] if t.startswith(SHIFTED)}
  for row in results["rows"]:
    own = row["leakage"][row["worst"][target]]
    same = row["leakage"][row["worst"]["person"]]
    # Half of the pictures are of the other answer; not everybody has some.
    assert own["low"] <= own["value"] <= own["high"]
    assert 2 <= own["num_units"] <= same["num_units"]
    assert own["auxiliary"].endswith("; all of one class of another label")


@pytest.mark.parametrize("averaged", ["", ", averaged"])
def test_inputs_of_one_person_are_joined(results, page, averaged):
  of = f"different inputs of one person{averaged}"
  found = [
    m
    for row in results["rows"]
    for m in row["leakage"]
    if m.get("queries") == of
  ]
  # Nobody has 500.
  assert {(m["target"], m["num_queries"]) for m in found} == {("person", 2)}
  assert {m["attack"] for m in found} == {"neighbour.nearest"}
  assert {m["floor_of"] for m in found} <= {"cloud answer", "desired label"}
  assert all(
    ("means of codes" in m["auxiliary"]) == bool(averaged) for m in found
  )
  assert f"| {of} |" in page


def test_attacks_that_are_named_get_codes_of_one_input(results):
  for row in results["rows"]:
    found = {
      (m["attack"], m["target"].partition(" (")[0])
      for m in row["leakage"]
      if m["num_queries"] == 3
    }
    noisy = row["selected"] and row["embedding"] == "noise"
    assert found == ({("neighbour.nearest", "person")} if noisy else set())


def test_every_group_of_a_chosen_row_is_measured(results):
  for row in results["rows"]:
    groups = {
      (g["kind"], g["target"], g["label"], g["group"]): g
      for g in row["groups"]
      if g["target"] in ("answer", "person")
    }
    assert set(groups) == (
      {
        (kind, target, "answer", answer)
        for kind, target in (("utility", "answer"), ("leakage", "person"))
        for answer in ("no", "yes")
      }
      if row["selected"]
      else set()
    )
    if row["selected"]:
      # The share of right answers to one class, and the mean over classes.
      own = [groups["utility", "answer", "answer", a] for a in ("no", "yes")]
      (whole,) = (
        m for m in row["utility"] if m["metric"] == "balanced_accuracy"
      )
      assert np.mean([g["value"] for g in own]) == pytest.approx(
        whole["value"], abs=1e-6
      )
      assert all(g["low"] <= g["value"] <= g["high"] for g in own)


def test_less_data_finds_no_more_than_all_of_it(results):
  noisy = [r for r in results["rows"] if r["selected"] and r["privatizer"]]
  assert noisy
  for row in noisy:
    found = {(p["what"], p["at"]): p for p in row["saturation"]}
    # And the audit's own perceptron, with all of it and at its width.
    assert set(found) == {
      ("share", 0.25),
      ("share", 0.5),
      ("share", 1.0),
      ("width", 4.0),
      ("width", 64.0),
    }
    assert all(p["target"] == "person" for p in found.values())
    whole = next(
      m
      for m in row["leakage"]
      if (m["attack"], m["target"], m["metric"])
      == ("attribute.mlp", "person", "balanced_accuracy")
    )
    assert found["share", 0.25]["value"] < whole["value"] + 0.1
    assert found["share", 1.0]["value"] == whole["value"]
    assert found["width", 64.0]["value"] == whole["value"]
  assert all(
    not r["saturation"] for r in results["rows"] if not r["privatizer"]
  )


def test_trainings_are_ranked_where_they_leak_the_same(results, page):
  for ranked in results["rankings"]:
    names = {c["name"] for c in ranked["curves"]} | set(ranked["short"])
    assert names == {"simple, noise grid", "siamese, noise grid"}
    found = [c["utility"] for c in ranked["curves"]]
    assert found == sorted(found, reverse=True)
  assert results["rankings"] and "## Ranked at equal leakage\n" in page


@pytest.mark.parametrize(
  "heading",
  [
    "One attacker beside the worst",
    "By group",
    "Would a larger attacker have found more?",
  ],
)
def test_the_report_has_it(page, heading):
  assert f"## {heading}\n" in page


def test_a_shift_by_an_unknown_label_is_one_line(of_pictures, quiet, tmp_path):
  config = of_pictures(audit={"shift": "mood"})
  with pytest.raises(ValueError, match="audit.shift is 'mood'; the labels are"):
    study.run(config, tmp_path, say=quiet)
