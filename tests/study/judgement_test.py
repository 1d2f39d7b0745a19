"""Controls fail when they should, and comparisons are drawn in pairs."""

import pathlib

import numpy as np
import pytest

from configs import spar_activity
from hybridpriv.audit import engine, problems, statistics
from hybridpriv.data import partition
from hybridpriv.data.dataset import DataSet
from hybridpriv.study import comparisons, pairs, ranking, results
from hybridpriv.study.setup import Setup

PEOPLE, EACH = 20, 6


def _study(identity="person"):
  """Makes a study of people who are tall or short, all of them audited."""
  person = np.repeat(np.arange(PEOPLE, dtype=np.int32), EACH)
  n = len(person)
  data = DataSet(
    name="made up",
    kind="signal",
    inputs=np.zeros((n, 2, 1), np.float32),
    labels={"person": person, "tall": person % 2},
    classes={"person": tuple("abcdefghijklmnopqrst"), "tall": ("no", "yes")},
    identity=identity,
    recording=np.arange(n, dtype=np.int32),
    position=np.zeros(n, np.float32),
    span=0.0,
    licence="",
    citation="",
  )
  index = np.arange(n)
  fold = partition.Fold(index, index, index, index)
  return Setup(
    spar_activity.get_config("tiny").to_dict(),
    None,
    data,
    (fold,),
    None,
    pathlib.Path(),
  )


def _judge(study, name, right):
  """Judges one control whose attacker was right so often on every sample."""
  role = np.full(len(study.data), problems.TEST, np.int8)
  role[:EACH], role[EACH : 2 * EACH] = problems.TRAIN, problems.VALIDATION
  label = study.data.labels["tall"]
  asked = [problems.Problem("tall", 0, label, role, 2, "attribute")]
  shares = np.broadcast_to(right, (2, int(np.sum(role == problems.TEST))))
  outcome = engine.Outcome(
    right=shares,
    rank=2 - shares,
    log_rank=np.log(2 - shares),
    validation=0.5,
    knobs={},
  )
  found = {"attribute.linear": {((name, 0, 0), 0): outcome}}
  listed, saved = results.controls(study, asked, found)
  control = next(c for c in listed if c["name"] == f"control/{name}")
  return control, saved


@pytest.mark.parametrize("name", ["constant", "shuffled labels"])
def test_a_control_at_chance_passes_and_one_that_leaks_fails(name):
  control, _ = _judge(_study(), name, 0.5)
  assert control["passed"] and control["expected"] == "chance"
  control, _ = _judge(_study(), name, 0.9)
  assert not control["passed"]
  assert control["leakage"][0]["value"] == pytest.approx(0.9)


def test_a_planted_leak_must_be_found():
  assert _judge(_study(), "planted leak", 1.0)[0]["passed"]
  assert not _judge(_study(), "planted leak", 0.8)[0]["passed"]


def test_a_control_that_nobody_attacked_has_not_passed():
  listed, _ = results.controls(_study(), [], {})
  judged = [c for c in listed if c["expected"] != "reference"]
  assert judged and not any(c["passed"] for c in judged)


def test_the_values_of_a_control_name_the_people():
  _, saved = _judge(_study(), "constant", 0.5)
  assert saved["controls/0/leakage/0/people"].tolist() == list(
    "cdefghijklmnopqrst"
  )


def test_the_unit_is_the_sample_where_nobody_is_named():
  assert _judge(_study(), "constant", 0.5)[0]["leakage"][0]["unit"] == "person"
  control, _ = _judge(_study(identity=None), "constant", 0.5)
  assert control["leakage"][0]["unit"] == "sample"
  assert control["leakage"][0]["num_units"] == (PEOPLE - 2) * EACH


def _table(value, spread=0.0):
  """Makes a table of people who are right so often, on average."""
  swing = np.where(np.arange(PEOPLE) % 2, spread, -spread)
  right = np.repeat(value + swing, EACH)[None, None]
  person = np.repeat(np.arange(PEOPLE), EACH)
  return statistics.tabulate(right, None, person)


def _faced(attack, leakage):
  """Makes the measurement of one attack."""
  return {
    "target": "person",
    "attack": attack,
    "metric": "balanced_accuracy",
    "num_queries": 1,
    "value": leakage,
    "validation": leakage,
    "floor": 0.1,
    "chance": 0.05,
  }


def _rows(*given):
  rows, tables = [], {}
  for name, training, chain, utility, leakage in given:
    rows.append(
      {
        "name": name,
        "training": training,
        "embedding": name.split("/")[1].split()[0],
        "privatizer": chain,
        "selected": True,
        "utility": [{"target": "gender", "value": utility}],
        "leakage": [_faced("attribute.mlp", leakage)],
        "worst": {"person": 0},
      }
    )
    tables[name, "utility", 0] = _table(utility, spread=0.02)
    tables[name, "leakage", 0] = _table(leakage, spread=0.05)
  return rows, tables


def test_defences_are_compared_with_none_and_at_equal_utility():
  noise = [{"name": "noise.isotropic"}]
  rows, tables = _rows(
    ("simple/identity", "simple", [], 0.92, 0.90),
    ("simple/noise sigma=1", "simple", noise, 0.90, 0.60),
    ("simple/noise sigma=2", "simple", noise, 0.80, 0.50),
    ("siamese/identity", "siamese", [], 0.92, 0.90),
    ("siamese/noise sigma=1", "siamese", noise, 0.90, 0.40),
    ("siamese/noise sigma=2", "siamese", noise, 0.80, 0.30),
  )
  found = comparisons.compare(rows, tables, ["person"])
  against_none = {c["a"]: c for c in found if "undefended" in c["what"]}
  first = against_none["simple/noise sigma=1"]
  assert first["difference"] == pytest.approx(-0.3) and not first["tie"]
  equal = against_none["siamese/identity"]
  assert equal["difference"] == pytest.approx(0) and equal["tie"]
  matched = [c for c in found if "at equal utility" in c["what"]]
  assert [c["what"].split(", ")[1][:8] for c in matched] == [
    "2 points",
    "5 points",
    "10 point",
  ]
  for c in matched:
    # Both curves fall by 0.1 between the two levels, 0.2 apart.
    assert c["difference"] == pytest.approx(-0.2)
    assert (c["a"], c["b"]) == ("siamese, noise grid", "simple, noise grid")


def test_what_no_attack_could_be_run_on_is_in_no_pair():
  noise = [{"name": "noise.isotropic"}]
  rows, tables = _rows(
    ("simple/identity", "simple", [], 0.92, 0.90),
    ("simple/noise sigma=1", "simple", noise, 0.90, 0.60),
    ("siamese/identity", "siamese", [], 0.92, 0.80),
    ("siamese/noise sigma=1", "siamese", noise, 0.90, 0.40),
  )
  del rows[1]["worst"]["person"]
  found = comparisons.compare(rows, tables, ["person"])
  assert {(c["a"], c["b"]) for c in found} == {
    ("siamese/identity", "simple/identity"),
    ("siamese/noise sigma=1", "simple/identity"),
  }
  del rows[0]["worst"]["person"]
  assert comparisons.compare(rows, tables, ["person"]) == []


PCA, NOISE = {"name": "project.pca", "k": 2}, {"name": "noise.isotropic"}


def test_a_curve_begins_with_the_chain_without_its_last_member():
  rows, _ = _rows(
    ("simple/identity", "simple", [], 0.9, 0.9),
    ("simple/project", "simple", [PCA], 0.9, 0.8),
    ("simple/other", "simple", [{"name": "project.pca", "k": 3}], 0.9, 0.8),
    ("simple/noise sigma=1", "simple", [PCA, NOISE | {"sigma": 1}], 0.8, 0.4),
    ("simple/noise sigma=2", "simple", [PCA, NOISE | {"sigma": 2}], 0.7, 0.3),
    ("siamese/noise sigma=1", "siamese", [PCA, NOISE | {"sigma": 1}], 0.8, 0.4),
  )
  found = comparisons.curves(rows, "person")
  # The only one of siamese is no curve, and other components begin no other.
  assert {k: [r["name"] for r in v] for k, v in found.items()} == {
    "simple, noise grid": [
      "simple/project",
      "simple/noise sigma=1",
      "simple/noise sigma=2",
    ]
  }


def test_defences_are_ranked_by_utility_at_equal_leakage_worked_by_hand():
  def grid(training, *points):
    return [
      (f"{training}/noise sigma={i}", training, [NOISE | {"sigma": i}], *point)
      for i, point in enumerate(points)
    ]

  rows, tables = _rows(
    ("simple/identity", "simple", [], 0.95, 0.90),
    *grid("simple", (0.90, 0.60), (0.70, 0.20)),
    *grid("siamese", (0.90, 0.40), (0.80, 0.20)),
    *grid("equal", (0.90, 0.40), (0.80, 0.20)),
    *grid("quiet", (0.65, 0.15), (0.60, 0.12)),
    *grid("leaky", (0.95, 0.85), (0.90, 0.80)),
  )
  low, middle, high = ranking.rank(rows, tables, ["person"])
  # The undefended feature leaks 0.9, 0.8 above the floor: a quarter is 0.3.
  assert middle["leakage"] == pytest.approx(0.3)
  assert [low["share"], high["share"]] == [0.1, 0.5]
  ranked = {c["name"].split(",")[0]: c for c in middle["curves"]}
  assert list(ranked) == ["siamese", "equal", "simple", "quiet"]
  found = {name: c["utility"] for name, c in ranked.items()}
  assert found == pytest.approx(
    {"siamese": 0.85, "equal": 0.85, "simple": 0.75, "quiet": 0.65}
  )
  assert [c["tie"] for c in ranked.values()] == [True, True, False, False]
  assert ranked["simple"]["difference"] == pytest.approx(-0.1)
  assert middle["short"] == ["leaky, noise grid"]
  # At 0.18 only what leaks less than all others is there.
  assert [c["name"] for c in low["curves"]] == ["quiet, noise grid"]


def test_an_attack_on_one_setting_alone_makes_no_curve_look_worse():
  def grid(training, *points):
    return [
      (f"{training}/noise sigma={i}", training, [NOISE | {"sigma": i}], *point)
      for i, point in enumerate(points)
    ]

  rows, tables = _rows(
    ("simple/identity", "simple", [], 0.95, 0.90),
    *grid("simple", (0.90, 0.60), (0.70, 0.20)),
    *grid("siamese", (0.90, 0.40), (0.80, 0.20)),
  )
  ranked = ranking.rank(rows, tables, ["person"])
  against = comparisons.compare(rows, tables, ["person"])
  further = _faced("transfer.published", 0.85)
  row = next(r for r in rows if r["name"] == "siamese/noise sigma=1")
  row["leakage"].append(further)
  row["worst"]["person"] = 1  # the headline of the row itself
  tables[row["name"], "leakage", 1] = _table(0.85)
  assert ranking.rank(rows, tables, ["person"]) == ranked
  assert all(r["attacks"] == ["attribute.mlp"] for r in ranked)
  again = comparisons.compare(rows, tables, ["person"])
  equal = [
    [c for c in found if "equal utility" in c["what"]]
    for found in (against, again)
  ]
  assert equal[0] and equal[0] == equal[1]
  # Where nothing was tried on all, nothing is compared.
  row["leakage"] = [further]
  row["worst"]["person"] = 0
  assert ranking.rank(rows, tables, ["person"]) == []


def test_one_defence_is_not_ranked():
  rows, tables = _rows(
    ("simple/identity", "simple", [], 0.95, 0.90),
    ("simple/noise sigma=1", "simple", [NOISE | {"sigma": 1}], 0.9, 0.6),
    ("simple/noise sigma=2", "simple", [NOISE | {"sigma": 2}], 0.8, 0.3),
  )
  assert ranking.rank(rows, tables, ["person"]) == []


@pytest.mark.parametrize(
  "distance, inside, message",
  [
    (0.0, 0.5, "collapsed"),
    (1.0, 0.0, "no pair of different classes is inside"),
    (1.0, 1.0, "every pair of different classes is inside"),
    (1.0, 0.3, ""),
  ],
)
def test_a_dead_contrastive_term_is_named(distance, inside, message):
  found = pairs.degenerate(
    {"different_distance": distance, "inside_margin": inside}
  )
  assert message in found and bool(message) == bool(found)
