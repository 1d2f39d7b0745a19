import numpy as np
import pytest

from hybridpriv.audit import problems
from hybridpriv.audit.problems import TEST, TRAIN, VALIDATION, Problem
from hybridpriv.data import dataset

PEOPLE, RECORDINGS, WINDOWS = 9, 4, 14


def made_up(kind="signal"):
  """Nine people with four recordings each; the side goes by the recording."""
  person = np.repeat(np.arange(PEOPLE), RECORDINGS * WINDOWS).astype(np.int32)
  recording = np.repeat(np.arange(PEOPLE * RECORDINGS), WINDOWS)
  n = len(person)
  image = kind == "image"
  return dataset.DataSet(
    name="made up",
    kind=kind,
    inputs=np.zeros((n, 2, 2, 1), np.uint8)
    if image
    else np.zeros((n, 2, 1), np.float32),
    labels={
      "person": person,
      "side": (recording % 2).astype(np.int32),
      "beard": np.where(person == 0, -1, person % 3 % 2).astype(np.int32),
    },
    classes={
      "person": tuple("abcdefghi"),
      "side": ("left", "right"),
      "beard": ("no", "yes"),
    },
    identity="person",
    recording=(np.arange(n) if image else recording).astype(np.int32),
    position=np.tile(2.0 * np.arange(WINDOWS), PEOPLE * RECORDINGS).astype("f4")
    * (not image),
    span=0.0 if image else 4.0,
    licence="none",
    citation="none",
  )


def make(data, targets, people=range(PEOPLE)):
  audit = np.flatnonzero(np.isin(data.person, list(people)))
  found = problems.make(data, audit, 1, targets, rotations=4, seed=0)
  return found, audit


def test_an_identity_is_asked_by_time_and_across_recordings():
  data = made_up()
  found, audit = make(data, ("person",), (2, 5, 7))
  assert [p.target for p in found] == ["person", "person (across recordings)"]
  for p in found:
    assert p.kind == "identity" and p.fold == 1 and p.num_classes == 3
    np.testing.assert_array_equal(
      np.array([2, 5, 7])[p.label], data.person[audit]
    )
    for person in range(3):
      assert set(p.role[p.label == person]) >= {TRAIN, VALIDATION, TEST}
  by_time, across = (
    [set(data.recording[audit][p.role == r]) for r in (TRAIN, VALIDATION, TEST)]
    for p in found
  )
  assert by_time[0] == by_time[1] == by_time[2]
  assert not across[0] & across[2] and not across[1] & (across[0] | across[2])


def test_images_are_asked_once():
  found, _ = make(made_up("image"), ("person",))
  assert [p.target for p in found] == ["person"]
  assert found[0].num_classes == PEOPLE


def test_people_without_a_gallery_are_no_candidates():
  data = made_up("image")
  one = np.flatnonzero(data.person == 3)[0]
  audit = np.sort(np.append(np.flatnonzero(data.person != 3), one))
  (found,) = problems.make(data, audit, 0, ("person",), rotations=4, seed=0)
  assert found.num_classes == PEOPLE - 1
  assert found.label[audit == one] == -1
  assert set(found.label) == set(range(-1, PEOPLE - 1))


@pytest.mark.parametrize("target", ["side", "beard"])
def test_an_attribute_is_asked_about_strangers_and_about_each_person_once(
  target,
):
  data = made_up()
  found, audit = make(data, (target,))
  person, label = data.person[audit], data.labels[target][audit]
  tested = []
  for p in found:
    assert p.kind == "attribute" and p.num_classes == 2 and p.target == target
    np.testing.assert_array_equal(p.label, label)
    parts = [set(person[p.role == r]) for r in (TRAIN, VALIDATION, TEST)]
    assert all(parts)
    assert not parts[0] & parts[1] and not parts[2] & (parts[0] | parts[1])
    assert np.all(label[p.role > 0] >= 0)
    tested += sorted(parts[2])
  known = {p for p in range(PEOPLE) if target == "side" or p != 0}
  assert sorted(tested) == sorted(known)


def problem(role, label, **changes):
  p = Problem("side", 0, np.asarray(label), np.asarray(role), 3, "attribute")
  return p._replace(**changes)


SMALL = problem([1, 1, 2, 3, 0, 3], [0, 1, 2, 1, 2, 0])
LARGE = problem([2, 1, 1, 2, 3, 1, 1], [2, -1, 1, 1, 0, 0, 1], target="beard")


def test_problems_are_padded_to_one_shape_and_masked():
  found = problems.pad([SMALL, LARGE])
  assert found.rows.shape == found.label.shape == (2, 3 + 2)
  for p, rows, label, train, validation, test, answer, mask, _ in zip(
    [SMALL, LARGE], *found, strict=True
  ):
    parts = (
      (TRAIN, rows[:3], label[:3], train),
      (VALIDATION, rows[3:], label[3:], validation),
      (TEST, test, answer, mask),
    )
    for role, at, own, counts in parts:
      expected = np.flatnonzero((p.role == role) & (p.label >= 0))
      np.testing.assert_array_equal(at[counts > 0], expected)
      np.testing.assert_array_equal(own[counts > 0], p.label[expected])
      # Padding shows samples of the same role, and none that is not known.
      assert set(at) == set(expected)
      np.testing.assert_array_equal(own, p.label[at])
      assert set(counts) <= {0.0, 1.0}


@pytest.mark.parametrize(
  "role, what", [(1, "train"), (2, "validation"), (3, "test")]
)
def test_a_problem_without_samples_of_a_role_is_one_clear_error(role, what):
  lacking = SMALL._replace(role=np.where(SMALL.role == role, 0, SMALL.role))
  message = rf"the attacker on 'side' \(fold 0\) has no {what} samples"
  with pytest.raises(ValueError, match=message):
    problems.pad([LARGE, lacking])


def test_shuffled_labels_are_dealt_to_people_and_the_truth_stays():
  data = made_up()
  found, audit = make(data, ("beard",))
  person, changed = data.person[audit], 0
  for p in found:
    before = p.label.copy()
    mixed = problems.shuffled(p, person, np.random.default_rng(0))
    np.testing.assert_array_equal(p.label, before)
    np.testing.assert_array_equal(mixed.role, p.role)
    own = (p.role == TRAIN) | (p.role == VALIDATION)
    np.testing.assert_array_equal(mixed.label[~own], p.label[~own])

    def by_person(label, own=own):
      found = {a: set(label[own & (person == a)]) for a in set(person[own])}
      assert all(len(x) == 1 for x in found.values())  # one label a person
      return sorted(x.pop() for x in found.values())

    assert by_person(mixed.label) == by_person(p.label)
    changed += np.sum(mixed.label != p.label)
  assert changed


def test_joined_samples_are_of_one_person_and_no_other_is_asked_about():
  data = made_up()
  found, audit = make(data, ("person", "beard"))
  for problem in found:
    person = data.person[audit]
    rng = np.random.default_rng(0)
    many = problems.joined(problem, person, 4, rng)
    asked = many.role == TEST
    assert (
      asked.sum()
      and (many.role[~asked] == problem.role[~asked])[
        problem.role[~asked] != TEST
      ].all()
    )
    numbers, counts = np.unique(many.together[asked], return_counts=True)
    assert (counts == 4).all() and numbers.min() >= 0
    for number in numbers:
      own = asked & (many.together == number)
      assert len(np.unique(person[own])) == len(np.unique(many.label[own])) == 1
    # As many groups as there are samples for: fewer than four are left.
    for own in np.unique(person[asked]):
      mine = (problem.role == TEST) & (person == own)
      assert (asked & mine).sum() == mine.sum() // 4 * 4
    assert problems.joined(problem, person, 10_000, rng) is None


def test_samples_are_not_joined_by_a_secret_that_changes_between_them():
  # The side goes by the recording: who is told which codes belong together
  # would be told which are of one side.
  data = made_up()
  found, audit = make(data, ("side",))
  rng = np.random.default_rng(0)
  for problem in found:
    assert problems.joined(problem, data.person[audit], 2, rng) is None


def test_padded_places_are_joined_with_themselves():
  data = made_up()
  found, audit = make(data, ("person",), (2, 5, 7))
  person = data.person[audit]
  many = problems.joined(found[0], person, 3, np.random.default_rng(0))
  padded = problems.pad([found[0], many])
  size = padded.test_rows.shape[1]
  np.testing.assert_array_equal(padded.together[0], np.arange(size))
  own, known = padded.together[1], padded.test_mask[1] > 0
  np.testing.assert_array_equal(own[~known], np.arange(size)[~known])
  numbers = many.together[padded.test_rows[1][known]]
  for a in range(known.sum()):
    np.testing.assert_array_equal(own[known] == own[a], numbers == numbers[a])


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_share_of_the_data_is_one_of_each_class(share):
  data = made_up()
  found, audit = make(data, ("person", "beard"))
  person = data.person[audit]
  for problem in found:
    rng = np.random.default_rng(0)
    few = problems.with_share(problem, person, share, rng)
    # People of an attribute, all of their samples; samples of an identity.
    unit = np.arange(len(person)) if problem.kind == "identity" else person
    for c in range(problem.num_classes):
      before, after = (
        set(unit[(p.role == TRAIN) & (p.label == c)]) for p in (problem, few)
      )
      assert after <= before
      assert len(after) == max(1, round(share * len(before)))
      kept = np.isin(unit, list(after)) & (problem.label == c)
      kept &= problem.role == TRAIN
      assert (few.role[kept] == TRAIN).all()
    changed = few.role != problem.role
    assert (problem.role[changed] == TRAIN).all()


def test_a_shifted_attacker_has_one_class_and_attacks_the_others():
  data = made_up()
  audit = np.arange(len(data.person))
  found = problems.make(
    data, audit, 0, ("person", "side"), rotations=3, seed=0, shift="side"
  )
  shifted = [p for p in found if p.is_shifted]
  # As many are left as right; the first of equals.
  assert {p.target for p in shifted} == {
    "person (auxiliary: side left)",
    "person (across recordings) (auxiliary: side left)",
  }
  side = data.labels["side"]
  for p in shifted:
    own = np.isin(p.role, (TRAIN, VALIDATION)) & (p.label >= 0)
    attacked = (p.role == TEST) & (p.label >= 0)
    assert len(np.unique(side[own])) == 1
    assert set(side[attacked]).isdisjoint(side[own]) and attacked.any()


@pytest.mark.parametrize("target", ["person", "beard"])
def test_a_shift_that_leaves_no_two_classes_to_attack_is_named(target):
  data = made_up()
  audit = np.flatnonzero(data.labels["side"] == 0)
  if target == "beard":
    # Of the right side there is only one beard left, and the left has both.
    left = (data.labels["side"] == 0) | (data.labels["beard"] == 1)
    audit = np.flatnonzero(left)
  with pytest.raises(ValueError, match="shift='side' leaves the attacker on"):
    problems.make(data, audit, 0, (target,), rotations=3, seed=0, shift="side")
