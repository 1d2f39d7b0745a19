import dataclasses
import json

import numpy as np
import pytest

from hybridpriv.data import dataset, partition

DESIRED = ("task",)


def made_up(people=30, *, seed=0, most=12, identity="person", split=None):
  """People with 1 .. most samples each, in mixed order."""
  rng = np.random.default_rng(seed)
  number = rng.integers(1, most + 1, size=people)
  person = rng.permutation(np.repeat(np.arange(people), number))
  n = len(person)
  labels = {
    "task": rng.integers(2, size=n).astype(np.int32),
    "person": person.astype(np.int32),
  }
  classes = {
    "task": ("no", "yes"),
    "person": tuple(f"p{i}" for i in range(people)),
  }
  if split is not None:
    names = tuple(sorted(set(split)))
    labels["split"] = np.array([names.index(split[p]) for p in person], "i4")
    classes["split"] = names
  return dataset.DataSet(
    name="made up",
    kind="image",
    inputs=np.zeros((n, 1, 1, 3), np.uint8),
    labels=labels,
    classes=classes,
    identity=identity,
    recording=np.arange(n, dtype=np.int32),
    position=np.zeros(n, np.float32),
    span=0.0,
    licence="none",
    citation="none",
  )


def people_of(fold, data):
  return {
    part: set(data.person[getattr(fold, part)]) for part in partition.PARTS
  }


def assert_divides(fold, data, parts=partition.PARTS):
  """Every person with all samples in exactly one of the parts."""
  index = np.concatenate([getattr(fold, part) for part in parts])
  np.testing.assert_array_equal(np.sort(index), np.arange(len(data)))
  people = people_of(fold, data)
  assert sum(len(people[part]) for part in parts) == len(set(data.person))
  for part in partition.PARTS:
    index = getattr(fold, part)
    assert index.dtype == np.int64 and (np.diff(index) > 0).all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("identity", ["person", None])
def test_people_are_divided_by_the_fractions(seed, identity):
  data = made_up(40, seed=seed, identity=identity)
  (fold,) = partition.make(data, desired=DESIRED, seed=seed)
  assert_divides(fold, data)
  people = people_of(fold, data)
  total = len(set(data.person))
  for part, share in zip(partition.PARTS, (0.5, 0.1, 0.15, 0.25), strict=True):
    assert abs(len(people[part]) - share * total) <= 1


@pytest.mark.parametrize("people", range(4, 12))
def test_few_people_leave_no_part_empty(people):
  data = made_up(people, most=30)
  (fold,) = partition.make(data, desired=DESIRED)
  assert_divides(fold, data)
  assert min(len(found) for found in people_of(fold, data).values()) >= 1


def test_the_seed_decides():
  data = made_up()
  a, b, c = (
    partition.make(data, desired=DESIRED, seed=seed)[0] for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(a.train, b.train)
  assert set(a.train) != set(c.train)


@pytest.mark.parametrize("seed", range(4))
def test_people_with_many_samples_are_audited_and_nobody_else(seed):
  data = made_up(60, seed=seed, most=20)
  (fold,) = partition.make(data, desired=DESIRED, min_audit=12, seed=seed)
  assert_divides(fold, data)
  number = np.bincount(data.person)
  assert people_of(fold, data)["audit"] == set(np.flatnonzero(number >= 12))


@pytest.mark.parametrize("folds", [2, 3, 10])
def test_folds_audit_every_person_once(folds):
  data = made_up(10, most=20)
  result = partition.make(data, desired=DESIRED, folds=folds)
  assert len(result) == folds
  for fold in result:
    assert_divides(fold, data, ("train", "validation", "audit"))
    np.testing.assert_array_equal(fold.test, fold.audit)
  audited = np.concatenate([fold.audit for fold in result])
  np.testing.assert_array_equal(np.sort(audited), np.arange(len(data)))


def test_cap_bounds_the_audit_samples_of_a_person():
  data = made_up(20, most=20)
  (whole,) = partition.make(data, desired=DESIRED)
  (capped,) = partition.make(data, desired=DESIRED, cap=5)
  before = np.bincount(data.person[whole.audit], minlength=20)
  after = np.bincount(data.person[capped.audit], minlength=20)
  np.testing.assert_array_equal(after, np.minimum(before, 5))
  np.testing.assert_array_equal(whole.train, capped.train)
  assert set(capped.audit) <= set(whole.audit)


@pytest.mark.parametrize(
  "parts",
  [
    ("train", "validation", "test", "audit"),
    ("train", "test"),
    ("train", "audit"),
    ("train", "validation", "audit"),
  ],
)
def test_split_column_is_kept_and_its_missing_parts_are_made(parts):
  side = [parts[p % len(parts)] for p in range(40)]
  data = made_up(40, split=side)
  (fold,) = partition.make(data, desired=DESIRED, split="split")
  assert_divides(fold, data)
  people = people_of(fold, data)
  assert min(len(found) for found in people.values()) >= 1
  origin = {"validation": "train", "test": "audit", "audit": "test"}
  for part, found in people.items():
    allowed = {part} if part in parts else {origin[part]}
    assert {side[p] for p in found} == allowed


def test_a_person_on_two_sides_is_refused():
  data = made_up(8, split=["train", "test"] * 4)
  data.labels["split"][np.flatnonzero(data.person == 2)[0]] ^= 1
  with pytest.raises(ValueError, match="person 'p2' is in both test and train"):
    partition.make(data, desired=DESIRED, split="split")


def without_class(data, part):
  values = data.labels["task"].copy()
  values[part] = np.where(values[part] == 1, -1, values[part])
  return dataclasses.replace(data, labels={**data.labels, "task": values})


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"folds": 2, "min_audit": 3}, "two ways to divide people"),
    ({"fractions": (0.5, 0.5)}, "expected four positive shares"),
    ({"folds": 1}, "folds is 1, expected 2 .. 30"),
    ({"min_audit": 99}, "no person of made up has min_audit=99 samples"),
    ({"split": "side"}, "no label 'side' to divide by"),
    ({"split": "task"}, r"holds \['no', 'yes'\], expected only"),
  ],
)
def test_divisions_that_cannot_be_made_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    partition.make(made_up(), desired=DESIRED, **options)


def test_a_split_without_strangers_is_refused():
  data = made_up(8, split=["train", "validation"] * 4)
  with pytest.raises(ValueError, match="at least one of test and audit"):
    partition.make(data, desired=DESIRED, split="split")


def test_three_people_are_too_few():
  with pytest.raises(ValueError, match="3 people cannot be divided into 4"):
    partition.make(made_up(3), desired=DESIRED)


def test_one_class_only_in_train_is_refused():
  data = made_up()
  (fold,) = partition.make(data, desired=DESIRED)
  with pytest.raises(ValueError, match=r"'task' takes only \['no'\]"):
    partition.make(without_class(data, fold.train), desired=DESIRED)


def test_counts_are_of_samples_and_people():
  data = made_up(10)
  (fold,) = partition.make(data, desired=DESIRED)
  counts = partition.counts(fold, data)
  assert sum(part["samples"] for part in counts.values()) == len(data)
  assert sum(part["people"] for part in counts.values()) == 10
  unnamed = dataclasses.replace(data, identity=None)
  (fold,) = partition.make(unnamed, desired=DESIRED)
  assert partition.counts(fold, unnamed)["train"]["people"] == 0


def test_json_gives_the_same_folds_and_knows_its_data():
  data = made_up(10)
  folds = partition.make(data, desired=DESIRED, folds=3)
  value = json.loads(json.dumps(partition.to_json(folds, data)))
  for a, b in zip(folds, partition.from_json(value, data), strict=True):
    for part in partition.PARTS:
      np.testing.assert_array_equal(getattr(a, part), getattr(b, part))
      assert getattr(b, part).dtype == np.int64
  names = value["folds"][0]["audit"]["people"]
  assert names == [f"p{i}" for i in sorted(set(data.person[folds[0].audit]))]
  with pytest.raises(ValueError, match="use a new workdir"):
    partition.from_json(value, made_up(10, seed=1))
