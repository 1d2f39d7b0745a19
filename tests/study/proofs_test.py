import copy
import json
import math
import pathlib

import jsonschema
import numpy as np
import pytest
from scipy import optimize, special

from hybridpriv import study
from hybridpriv.audit import assemble, problems, results, statistics
from hybridpriv.guarantees import bounds, guarantee
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
    audit={
      "queries": (10,),
      "inputs": (3,),
      "query_attacks": ("neighbour.nearest",),
    },
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
    assert [g["num_queries"] for g in guarantees] == certified * [1, 3, 10]
  one, _, ten = proved["simple/certified sigma=16"]
  assert (one["law"], one["clip_norm"], one["sigma"]) == (
    "discrete gaussian",
    16.0,
    16.0,
  )
  assert ten["ratio"] == pytest.approx(np.sqrt(10) * one["ratio"])
  assert ten["epsilon"] > one["epsilon"] > 0
  assert proved["simple/continuous"][0]["law"] == "gaussian"
  # Four channels that share a power of 1; ten codes of one input, or of ten.
  one, _, ten = (g["information_bits"] for g in proved["simple/continuous"])
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


def _entropy(e):
  return special.entr(e) + special.entr(1 - e)


@pytest.mark.parametrize(
  ("name", "nats"),
  [
    # C / sigma = 1 in four values: a capacity, of one input or of each of ten.
    ("simple/continuous", lambda n, m: m * 2 * math.log1p(n / 4)),
    # Whole numbers: n C^2 / (2 sigma^2) whichever inputs these are.
    ("simple/certified sigma=16", lambda n, m: n * m / 2),
  ],
)
def test_errors_are_those_of_fano_by_hand(found, name, nats):
  """One of five people, equally often; queries of one input and of others."""
  row = next(r for r in found["rows"] if r["name"] == name)
  for g in row["guarantees"]:
    num = g["num_queries"]
    for of, told in (
      ("one input", nats(num, 1)),
      ("different inputs", nats(1, num)),
    ):
      assert g["information_bits"][of] == pytest.approx(told / math.log(2))
      stated = g["fano_error"][of]["person"]
      left = math.log(5) - told
      least = 0.0
      if left > 0:
        least = optimize.brentq(
          lambda e, left=left: _entropy(e) + e * math.log(4) - left, 0, 0.8
        )
      assert stated["classes"] == [5]
      assert stated["balanced_accuracy"] == pytest.approx(least, abs=1e-6)
    assert {"unit", "case", "assumes"} <= g["information"].keys()
    assert "clips" in g["information"]["assumes"]
  # Where it says something at all, and where it no longer does.
  first, last = row["guarantees"][0], row["guarantees"][-1]
  assert first["fano_error"]["one input"]["person"]["balanced_accuracy"] > 0.2
  assert last["fano_error"]["different inputs"]["person"]["accuracy"] == 0


def test_several_inputs_are_held_against_their_own_bound(found):
  row = next(r for r in found["rows"] if r["name"] == "simple/continuous")
  several = [m for m in row["leakage"] if "queries" in m]
  assert {(m["target"], m["num_queries"]) for m in several} == {("person", 3)}
  (three,) = (g for g in row["guarantees"] if g["num_queries"] == 3)
  own = three["different_inputs"]
  bound = bounds.gaussian_success(np.full(5, 0.2), ratio=math.sqrt(3))
  told = own["leakage"]["person"]["balanced_accuracy"]
  assert told == pytest.approx(bound)
  assert {"unit", "case", "assumes", "prior"} <= own.keys()
  for m in several:
    assert m["low"] <= told


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
  # The codes of three inputs stand beside their own bound.
  (line,) = (
    line
    for line in section.splitlines()
    if line.startswith("| simple/continuous | 3 | different inputs | 1 |")
  )
  bound = 100 * bounds.gaussian_success(np.full(5, 0.2), ratio=math.sqrt(3))
  assert f"| leakage: person | {bound:.1f} | 40.0 [" in line
  # And how often any attacker errs, of 2.32 bits: with 0.64 of them, and more.
  said = section.replace("\\", "")
  assert (
    "| simple/continuous | 1 | one input | 0.644 | person | 5 | 36.5 |" in said
  )
  assert "| 10 | different inputs | 6.44 | person | 5 | says nothing |" in said
  assert "what is proved" in page


def _tables(report, audited):
  with np.load(audited / "audit" / "values.npz") as saved:
    values = dict(saved)
  return {
    (row["name"], kind, i): results.table(values, f"rows/{r}/{kind}/{i}")
    for r, row in enumerate(report["rows"])
    for kind in ("utility", "leakage")
    for i in range(len(row[kind]))
  }


def test_an_attack_above_its_bound_is_found(found, audited):
  """Halving what is proved makes an honest audit contradict it."""
  wrong = copy.deepcopy(found)
  for row in wrong["rows"]:
    for g in row["guarantees"]:
      for by_metric in g["leakage"].values():
        for metric in by_metric:
          by_metric[metric] = 0.01
  (control,) = proofs.controls(wrong["rows"], _tables(wrong, audited))
  assert not control["passed"] and control["above"]
  with pytest.raises(ValueError, match=r"no attack can pass 0\.010"):
    proofs.check({"controls": [control]})


def test_several_inputs_above_their_bound_are_found(found, audited):
  wrong = copy.deepcopy(found)
  for row in wrong["rows"]:
    for g in row["guarantees"]:
      for by_metric in g["different_inputs"]["leakage"].values():
        # Five people leave no lower limit above 0.
        by_metric["balanced_accuracy"] = -0.01
  (control,) = proofs.controls(wrong["rows"], _tables(wrong, audited))
  assert {
    (a["row"], a["attack"], a["guarantee"]) for a in control["above"]
  } == {
    (name, "neighbour.nearest", -0.01)
    for name in ("simple/continuous", "simple/certified sigma=2")
  }


@pytest.mark.parametrize("num", [2, 10])
def test_an_attack_on_extremal_inputs_tells_a_wrong_number(num):
  """Codes at opposite ends of the ball, from as many inputs as there are.

  The likelihood reaches what is proved for n different inputs and does not
  pass it; it passes what would be proved for fewer of them.
  """
  people, clip_norm, sigma = 3000, 0.5, 1.0
  rng = np.random.default_rng(0)
  secret = np.arange(people) % 2
  codes = clip_norm * (2 * secret - 1)[:, None]
  codes = codes + sigma * rng.normal(size=(people, num))
  # The sum of the logarithms of the likelihood ratio of each code.
  guess = (2 * clip_norm / sigma**2 * codes).sum(axis=1) > 0
  right = (guess == secret)[None, None].astype(float)
  table = statistics.tabulate(right, secret, np.arange(people), 2)
  measurement = assemble.measurement(
    target="secret",
    attack="likelihood",
    metric="balanced_accuracy",
    table=table,
    chance=0.5,
    floor=0.5,
    floor_of="chance",
    auxiliary="",
    num_queries=num,
    queries="different inputs of one person",
  )
  known = {"secret": {"balanced_accuracy": [(1.0, np.full(2, 0.5))]}}

  def passed(counted):
    own = guarantee.Guarantee("gaussian", clip_norm, sigma, 1, counted)
    entry = proofs.state(own, known, known, {}) | {"num_queries": num}
    row = {"name": "row", "guarantees": [entry], "utility": []}
    row |= {"leakage": [measurement]}
    (control,) = proofs.controls([row], {("row", "leakage", 0): table})
    bound = entry["different_inputs"]["leakage"]["secret"]["balanced_accuracy"]
    return control["passed"], bound

  ok, bound = passed(num)
  assert ok
  assert bound == pytest.approx(special.ndtr(clip_norm * math.sqrt(num)))
  assert measurement["value"] == pytest.approx(bound, abs=0.02)
  assert not passed(num - 1 if num == 2 else num // 2)[0]
  assert not passed(1)[0]


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
