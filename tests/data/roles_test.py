import numpy as np
import pytest

from hybridpriv.data import dataset, roles

SPAN = 4.0


def recordings(person, length, *, step=2.0, labels=None):
  """Windows of 4 s every `step` s; one recording for each person given."""
  starts = [np.arange(0, n - SPAN + 1e-6, step) for n in length]
  number = [len(s) for s in starts]
  recording = np.repeat(np.arange(len(person)), number).astype(np.int32)
  n = len(recording)
  own = {"person": np.asarray(person, np.int32)[recording]}
  classes = {"person": tuple(f"p{i}" for i in range(max(person) + 1))}
  for name, value in (labels or {}).items():
    own[name] = np.asarray(value, np.int32)[recording]
    classes[name] = tuple(f"c{i}" for i in range(max(value) + 1))
  return dataset.DataSet(
    name="made up",
    kind="signal",
    inputs=np.zeros((n, 1, 1), np.float32),
    labels=own,
    classes=classes,
    identity="person",
    recording=recording,
    position=np.concatenate(starts).astype(np.float32),
    span=SPAN,
    licence="none",
    citation="none",
  )


@pytest.mark.parametrize("length", [4, 8, 13, 18, 19, 24, 36, 52, 100.0])
@pytest.mark.parametrize("step", [0.5, 2.0, 4.0])
def test_parts_of_a_recording_share_no_time(length, step):
  data = recordings([0], [length], step=step)
  role = roles.closed_set(data, np.arange(len(data)), seed=0)
  end = data.position + SPAN
  half = end.max() / 2
  gallery, held = role == roles.TRAIN, data.position[role > roles.TRAIN]
  np.testing.assert_array_equal(gallery, end <= half + 1e-4)
  if len(held) and gallery.any():
    assert held.min() >= end[gallery].max() + SPAN  # a gap of one window
  validation, probe = role == roles.VALIDATION, role == roles.TEST
  if validation.any():
    assert probe.any()
    assert data.position[probe].min() >= end[validation].max()
  if length >= 24:
    assert gallery.any() and validation.any() and probe.any()


def test_time_of_a_recording_by_hand():
  data = recordings([0], [28.0])  # windows start at 0, 2, ..., 24
  role = roles.closed_set(data, np.arange(len(data)), seed=0)
  np.testing.assert_array_equal(role, [1] * 6 + [0, 0, 0, 2, 2, 0, 3])


def test_time_works_on_a_part_of_the_samples_in_any_order():
  data = recordings([0, 1], [28.0, 36.0])
  whole = roles.closed_set(data, np.arange(len(data)), seed=0)
  index = np.random.default_rng(0).permutation(len(data))
  mixed = roles.closed_set(data, index, seed=0)
  np.testing.assert_array_equal(mixed, whole[index])


@pytest.mark.parametrize("seed", range(5))
def test_recordings_of_a_person_are_in_one_part_each(seed):
  person = np.repeat([0, 1, 2, 3], [12, 5, 3, 2])
  data = recordings(person, [10.0] * len(person))
  index = np.arange(len(data))
  role = roles.closed_set(data, index, seed=seed, by="recording")
  for number in range(len(person)):
    assert len(set(role[data.recording == number])) == 1
  first = role[np.unique(data.recording, return_index=True)[1]]
  counts = [np.bincount(first[person == p], minlength=4) for p in range(4)]
  np.testing.assert_array_equal(
    counts, [[0, 6, 3, 3], [0, 3, 1, 1], [0, 1, 1, 1], [2, 0, 0, 0]]
  )
  again = roles.closed_set(data, index, seed=seed, by="recording")
  np.testing.assert_array_equal(role, again)


def test_closed_set_refuses_what_it_cannot_divide():
  data = recordings([0, 1], [28.0, 28.0])
  with pytest.raises(ValueError, match="by is 'trial'"):
    roles.closed_set(data, np.arange(4), seed=0, by="trial")
  object.__setattr__(data, "identity", None)
  with pytest.raises(ValueError, match="names no person"):
    roles.closed_set(data, np.arange(4), seed=0)


def rotate(data, label, num, seed=0):
  index = np.arange(len(data))
  return roles.rotations(data, index, label=label, num=num, seed=seed)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("num", [3, 5, 50])
def test_rotations_test_every_person_once_and_see_every_class(seed, num):
  # Rare classes: three people of the first, four of the last.
  label = np.random.default_rng(seed).permutation([0] * 3 + [1] * 9 + [2] * 4)
  data = recordings(range(16), [10.0] * 16, labels={"age": label})
  found = rotate(data, "age", num, seed)
  assert found.dtype == np.int8
  assert found.shape == (min(num, 16), len(data))
  np.testing.assert_array_equal((found == roles.TEST).sum(0), 1)
  np.testing.assert_array_equal((found == roles.VALIDATION).sum(0), 1)
  assert (found != roles.UNUSED).all()
  for role in found:
    for p in range(16):
      assert len(set(role[data.person == p])) == 1
    assert set(data.labels["age"][role == roles.TRAIN]) == {0, 1, 2}
  validated = [set(data.person[role == roles.VALIDATION]) for role in found]
  tested = [set(data.person[role == roles.TEST]) for role in found]
  assert validated == tested[1:] + tested[:1]


def test_unknown_labels_and_classes_of_two_people_are_left_out():
  label = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
  data = recordings(range(10), [10.0] * 10, labels={"age": label})
  data.labels["age"][data.person == 0] = -1
  found = rotate(data, "age", 4)
  out = np.isin(data.person, [0, 8, 9])
  assert (found[:, out] == roles.UNUSED).all()
  np.testing.assert_array_equal((found[:, ~out] == roles.TEST).sum(0), 1)


def test_a_label_that_changes_within_people_can_be_rotated():
  person = np.repeat(range(5), 2)
  data = recordings(person, [20.0] * 10, labels={"side": [0, 1] * 5})
  found = rotate(data, "side", 5)
  for role in found:
    assert set(data.labels["side"][role == roles.TRAIN]) == {0, 1}
    assert len(set(data.person[role == roles.TRAIN])) == 3


def test_rotations_refuse_what_cannot_be_learned():
  data = recordings(range(6), [10.0] * 6, labels={"age": [0, 0, 0, 0, 1, 1]})
  with pytest.raises(ValueError, match="two"):
    rotate(data, "age", 5)
  with pytest.raises(ValueError, match="expected at least three rotations"):
    rotate(data, "age", 2)
  with pytest.raises(ValueError, match="for who it is use closed_set"):
    rotate(data, "person", 5)


def shown_by(holders):
  """One recording for every class and person that shows it."""
  pairs = [(p, c) for c, people in enumerate(holders) for p in people]
  person, label = zip(*pairs, strict=True)
  return recordings(person, [10.0] * len(pairs), labels={"act": label})


@pytest.mark.parametrize("seed", range(20))
def test_people_who_show_two_rare_classes_are_dealt_until_it_fits(seed):
  data = shown_by([(0, 3, 4), (0, 1, 2)])
  for role in rotate(data, "act", 3, seed):
    assert set(data.labels["act"][role == roles.TRAIN]) == {0, 1}


def test_a_deal_that_cannot_fit_is_refused():
  # Two of the four people share a part, and some class has both of them.
  data = shown_by([(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)])
  with pytest.raises(ValueError, match="no deal of 4 people into 3 parts"):
    rotate(data, "act", 3)
  assert len(rotate(data, "act", 4)) == 4
