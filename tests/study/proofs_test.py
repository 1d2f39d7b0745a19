import copy
import json
import pathlib

import jsonschema
import numpy as np
import pytest

from hybridpriv import study
from hybridpriv.audit import assemble, problems, results
from hybridpriv.guarantees import bounds
from hybridpriv.study import proofs

SCHEMA = "hybridpriv/audit/results.schema.json"
CHAIN = (
  "project.pca",
  "clip.unit_ball",
  "quantize.toward_zero",
  "noise.discrete",
  "quantize.saturate",
)


@pytest.fixture(scope="module")
def config(of_pictures):
  return of_pictures(
    privatizers={
      "certified": {
        "chain": CHAIN,
        "k": 4,
        "clip_norm": 1.0,
        "levels": 16,
        "sigma": (2.0, 16.0),
        "bits": 8,
      },
      "continuous": {
        "chain": ("project.pca", "clip.unit_ball", "noise.isotropic"),
        "k": 4,
        "clip_norm": 1.0,
        "sigma": 1.0,
        "relative": False,
      },
    },
    audit={"queries": (10,), "query_attacks": ("neighbour.nearest",)},
  )


@pytest.fixture(scope="module")
def audited(config, quiet, tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("proved")
  study.run(config, folder, say=quiet)
  return folder


@pytest.fixture(scope="module")
def found(audited):
  return json.loads((audited / "audit" / "results.json").read_text())


def test_only_what_is_bounded_has_a_guarantee(found, repository):
  jsonschema.validate(found, json.loads((repository / SCHEMA).read_text()))
  proved = {row["name"]: row["guarantees"] for row in found["rows"]}
  for name, guarantees in proved.items():
    certified = "certified" in name or "continuous" in name
    assert [g["num_queries"] for g in guarantees] == certified * [1, 10], name
  one, ten = proved["simple/certified sigma=16"]
  assert (one["law"], one["clip_norm"], one["sigma"]) == (
    "discrete gaussian",
    16.0,
    16.0,
  )
  assert ten["ratio"] == pytest.approx(np.sqrt(10) * one["ratio"])
  assert ten["epsilon"] > one["epsilon"] > 0
  assert proved["simple/continuous"][0]["law"] == "gaussian"
  # Four channels that share a power of 1; ten codes of one input, or of ten.
  one, ten = (g["information_bits"] for g in proved["simple/continuous"])
  assert one["one input"] == one["different inputs"]
  assert one["one input"] == pytest.approx(2 * np.log2(1 + 1 / 4))
  assert ten["one input"] == pytest.approx(2 * np.log2(1 + 10 / 4))
  assert ten["different inputs"] == pytest.approx(20 * np.log2(1 + 1 / 4))


def test_what_is_proved_is_in_the_terms_of_what_is_measured(found):
  """Five people equally often, and one secret of two, at C / sigma = 1."""
  row = next(r for r in found["rows"] if r["name"] == "simple/continuous")
  one = row["guarantees"][0]
  for target, num in (("person", 5),):
    bound = bounds.gaussian_success(np.full(num, 1 / num), ratio=1.0)
    told = one["leakage"][target]["balanced_accuracy"]
    assert told <= bound + 1e-6
    assert told > 1 / num
  for desired, bound in one["utility"].items():
    utility = next(m for m in row["utility"] if m["target"] == desired)
    # Guessing, less than certain, and the service did not pass it.
    assert utility["chance"] < bound["balanced_accuracy"] < 1
    assert utility["low"] <= bound["balanced_accuracy"]


def test_codes_of_a_byte_are_sent_and_counted(found):
  rows = {row["name"]: row for row in found["rows"]}
  assert rows["simple/certified sigma=16"]["num_bytes"] == 4
  assert rows["simple/continuous"]["num_bytes"] == 16


def test_no_attack_passes_and_the_card_says_so(found, audited):
  (control,) = (
    c for c in found["controls"] if c["name"].endswith("guarantees")
  )
  assert control["passed"] and not control["above"]
  proofs.check(found)
  page = (audited / "report" / "report.md").read_text()
  section = page[page.index("## Guarantees") :]
  assert "proved | measured" in section and "certified sigma=16" in section
  assert "what is proved" in page


def test_an_attack_above_its_bound_is_found(found, audited):
  """Halving what is proved makes an honest audit contradict it."""
  wrong = copy.deepcopy(found)
  with np.load(audited / "audit" / "values.npz") as saved:
    values = dict(saved)
  tables = {}
  for r, row in enumerate(wrong["rows"]):
    for g in row["guarantees"]:
      for by_metric in g["leakage"].values():
        for metric in by_metric:
          by_metric[metric] = 0.01
    for kind in ("utility", "leakage"):
      for i, _ in enumerate(row[kind]):
        name = f"rows/{r}/{kind}/{i}"
        tables[row["name"], kind, i] = results.table(values, name)
  (control,) = proofs.controls(wrong["rows"], tables)
  assert not control["passed"] and control["above"]
  with pytest.raises(ValueError, match=r"no attack can pass 0\.010"):
    proofs.check({"controls": [control]})


def _problem(label, role, num):
  return problems.Problem(
    "who", 0, np.asarray(label), np.asarray(role), num, "attribute"
  )


def test_an_attacker_knows_which_classes_a_problem_has():
  """Two folds, of which one holds one class only."""
  test = problems.TEST
  asked = [
    _problem([0, 0, 1, 1], [test] * 4, 2),
    _problem([1, 1, -1], [test] * 3, 2),
  ]
  question = assemble.questions(asked, [np.arange(4), np.arange(4, 7)])[0]
  plain = proofs.priors(question, asked, "accuracy")
  assert [w for w, _ in plain] == pytest.approx([4 / 6, 2 / 6])
  np.testing.assert_allclose(plain[0][1], [0.5, 0.5])
  np.testing.assert_allclose(plain[1][1], [0.0, 1.0])
  balanced = proofs.priors(question, asked, "balanced_accuracy")
  # Class 0 counts half and lies in the first; of class 1 half lies there.
  assert [w for w, _ in balanced] == pytest.approx([0.75, 0.25])
  np.testing.assert_allclose(balanced[0][1], [2 / 3, 1 / 3])
  np.testing.assert_allclose(balanced[1][1], [0.0, 1.0])
