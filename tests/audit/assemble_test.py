import numpy as np
import pytest

from hybridpriv.audit import assemble, engine, statistics, worst
from hybridpriv.audit.problems import TEST, TRAIN, VALIDATION, Problem

# Fold 0 audits three people, fold 1 two; some are attacked more often.
PEOPLE = [np.array([4, 4, 4, 5, 5, 6, 6, 6]), np.array([8, 8, 8, 9, 9])]
ROLE = [
  np.array([TRAIN, TEST, TEST, VALIDATION, TEST, TEST, 0, TEST]),
  np.array([TEST, TEST, TEST, TEST, TRAIN]),
]
IDENTITY = [
  Problem(
    "person", 0, np.array([0, 0, 0, 1, 1, 2, 2, 2]), ROLE[0], 3, "identity"
  ),
  Problem("person", 1, np.array([0, 0, 0, 1, 1]), ROLE[1], 2, "identity"),
]
ATTRIBUTE = [
  Problem(
    "side", 0, np.array([1, 1, 0, 0, -1, 2, 0, 0]), ROLE[0], 4, "attribute"
  ),
  Problem("side", 1, np.array([0, 2, 1, 1, 1]), ROLE[1], 4, "attribute"),
]


@pytest.fixture
def questions():
  return assemble.questions([*IDENTITY, *ATTRIBUTE], PEOPLE)


def test_an_identity_counts_people_over_all_folds(questions):
  person = questions[0]
  assert (person.target, person.kind, person.problems) == (
    "person",
    "identity",
    [0, 1],
  )
  np.testing.assert_array_equal(person.person, [4, 4, 5, 6, 6, 8, 8, 8, 9])
  np.testing.assert_array_equal(person.label, [0, 0, 1, 2, 2, 3, 3, 3, 4])
  np.testing.assert_array_equal(person.size, [3] * 5 + [2] * 4)
  assert person.num_classes == 5


def test_chances_of_an_identity_by_hand(questions):
  chance = questions[0].chance
  # Each person once: three among three candidates, two among two.
  np.testing.assert_allclose(chance["balanced_accuracy"], (3 / 3 + 2 / 2) / 5)
  # Two of the five and three of the four are of the most frequent person.
  np.testing.assert_allclose(chance["accuracy"], (2 + 3) / 9)
  # The average rank among three is 2, among two 1.5.
  rank = (5 * (1 - 2 / 3) + 4 * (1 - 1.5 / 2)) / 9
  np.testing.assert_allclose(chance["rank"], rank)
  three = 1 - np.log([1, 2, 3]).mean() / np.log(3)
  log_rank = (5 * three + 4 * 0.5) / 9
  np.testing.assert_allclose(chance["log_rank"], log_rank)


def test_chances_are_what_guessing_scores(questions):
  rng = np.random.default_rng(0)
  outcomes = []
  for p in IDENTITY:
    size = 7000, np.sum(p.role == TEST)
    rank = rng.integers(1, p.num_classes + 1, size=size).astype(float)
    outcomes.append(
      engine.Outcome((rank == 1).astype(float), rank, np.log(rank), 0.5, {})
    )
  made = assemble.tables(questions[0], [outcomes])
  for metric in ("balanced_accuracy", "rank", "log_rank"):
    np.testing.assert_allclose(
      statistics.value(made[metric]), questions[0].chance[metric], atol=6e-3
    )


def test_an_attribute_counts_known_labels(questions):
  side = questions[1]
  np.testing.assert_array_equal(side.label, [1, 0, 2, 0, 0, 2, 1, 1])
  np.testing.assert_array_equal(side.person, [4, 4, 6, 6, 8, 8, 8, 9])
  assert side.num_classes == 4
  assert side.chance["balanced_accuracy"] == 1 / 3  # classes that occur
  np.testing.assert_allclose(side.chance["accuracy"], (2 + 2) / 8)


def outcome(right, rank=None, seeds=2):
  right = np.stack([right] * seeds).astype(float)
  rank = np.ones_like(right) if rank is None else np.stack([rank] * seeds)
  return engine.Outcome(right, rank, np.log(rank), 0.5, {})


def test_tables_hold_the_answers_by_person_and_class(questions):
  first = outcome([1, 0, 1, 0, 0]), outcome([1, 1, 0, 0])
  second = outcome([0, 0, 0, 0, 0]), outcome([0, 0, 0, 0])
  made = assemble.tables(questions[0], [first, second])
  assert set(made) == {"balanced_accuracy", "accuracy", "rank", "log_rank"}
  table = made["balanced_accuracy"]
  assert table.sum.shape == (2, 2, 5, 5)
  np.testing.assert_array_equal(table.people, [4, 5, 6, 8, 9])
  # By person 1/2, 1, 0, 2/3, 0 with the first train seed, else nothing.
  expected = (1 / 2 + 1 + 0 + 2 / 3 + 0) / 5 / 2
  np.testing.assert_allclose(statistics.value(table), expected, rtol=1e-6)
  accuracy = statistics.value(made["accuracy"])
  np.testing.assert_allclose(accuracy, 4 / 9 / 2, rtol=1e-6)


def test_ranks_are_scaled_by_the_candidates_of_their_problem(questions):
  ranks = np.array([1.0, 2, 3, 1, 2]), np.array([1.0, 2, 2, 1.5])
  made = assemble.tables(
    questions[0],
    [[outcome(r == 1, r) for r in ranks]],
  )
  expected = [1 - ranks[0] / 3, 1 - ranks[1] / 2]
  np.testing.assert_allclose(
    statistics.value(made["rank"]), np.mean(np.concatenate(expected)), rtol=1e-6
  )
  logs = [1 - np.log(ranks[0]) / np.log(3), 1 - np.log(ranks[1]) / np.log(2)]
  np.testing.assert_allclose(
    statistics.value(made["log_rank"]), np.mean(np.concatenate(logs)), rtol=1e-6
  )


def test_attributes_have_no_ranks(questions):
  made = assemble.tables(
    questions[1], [[outcome([1, 0, 1, 0]), outcome([1, 1, 0, 0])]]
  )
  assert set(made) == {"balanced_accuracy", "accuracy"}
  # Class 0: 0, 0, 1 of 3; class 1: 1, 0, 0 of 3; class 2: 1, 1 of 2.
  np.testing.assert_allclose(
    statistics.value(made["balanced_accuracy"]),
    (1 / 3 + 1 / 3 + 1) / 3,
    rtol=1e-6,
  )


def test_a_measurement_has_value_interval_chance_and_floor(questions):
  table = assemble.tables(
    questions[0], [[outcome([1, 0, 1, 0, 0]), outcome([1, 1, 0, 0])]]
  )["balanced_accuracy"]
  found = assemble.measurement(
    target="person",
    attack="attribute.mlp",
    metric="balanced_accuracy",
    table=table,
    chance=0.4,
    floor=0.41,
    floor_of="desired label",
    auxiliary="a gallery",
    validation=0.5,
  )
  assert found["low"] < found["value"] < found["high"]
  assert found["value"] == statistics.value(table)
  assert found["num_units"] == 5 and found["num_queries"] == 1
  assert found["interval"] == "95 % bootstrap over people and attack seeds"
  assert found["validation"] == 0.5


def measured(target, validation, value, metric="balanced_accuracy", num=1):
  return {
    "target": target,
    "metric": metric,
    "num_queries": num,
    "validation": validation,
    "value": value,
  }


def test_the_headline_is_chosen_on_validation_and_not_on_test():
  leakage = [
    measured("person", 0.6, 0.9),
    measured("person", 0.7, 0.5),  # the best on validation
    measured("side", 0.9, 0.9),
    measured("person", 0.8, 0.9, metric="accuracy"),
    measured("person", 0.9, 0.9, num=100),
  ]
  assert worst.by_target(leakage, ("person", "side", "beard")) == {
    "person": 1,
    "side": 2,
  }
