import numpy as np
import pytest

from hybridpriv.data import batches

INDEX = np.arange(100, 117)


def draw(steps, batch_size, **options):
  return [
    batches.indices(
      INDEX, **({"seed": 0} | options), step=step, batch_size=batch_size
    )
    for step in range(steps)
  ]


@pytest.mark.parametrize("batch_size", [1, 4, 17, 40])
def test_batches_walk_through_whole_epochs(batch_size):
  found = draw(60, batch_size)
  assert all(batch.shape == (batch_size,) for batch in found)
  stream = np.concatenate(found)
  for start in range(0, len(stream) - 16, 17):
    np.testing.assert_array_equal(np.sort(stream[start : start + 17]), INDEX)


def test_a_batch_is_a_function_of_seed_and_step():
  a, b = draw(5, 8), draw(5, 8)
  np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(
    a[3], batches.indices(INDEX, seed=0, step=3, batch_size=8)
  )
  assert not np.array_equal(a[0], draw(1, 8, seed=1)[0])
  assert not np.array_equal(a[0], a[1])


@pytest.mark.parametrize("batch_size", [2, 8, 9, 31])
def test_classes_share_every_batch_equally(batch_size):
  balance = np.array([0] * 2 + [1] * 11 + [5] * 3 + [-1])
  of = dict(zip(INDEX, balance, strict=True))
  found = draw(90, batch_size, balance=balance)
  total = np.zeros(3, int)
  for batch in found:
    assert batch.shape == (batch_size,)
    classes = [of[i] for i in batch]
    number = np.array([classes.count(c) for c in (0, 1, 5)])
    assert number.sum() == batch_size  # and so -1 is never drawn
    assert number.max() - number.min() <= 1
    total += number
  assert total.max() - total.min() <= 1
  # Each class walks through epochs of its own.
  stream = np.concatenate(found)
  for value in (0, 1, 5):
    own = INDEX[balance == value]
    number = [(stream == i).sum() for i in own]
    assert max(number) - min(number) <= 1


def test_classes_are_mixed_within_a_batch():
  balance = np.arange(17) % 2
  (batch,) = draw(1, 16, balance=balance)
  assert 0 < balance[batch - 100][:8].sum() < 8


def test_nothing_to_draw_from_is_refused():
  options = {"seed": 0, "step": 0, "batch_size": 4}
  with pytest.raises(ValueError, match="index is empty"):
    batches.indices(INDEX[:0], **options)
  with pytest.raises(ValueError, match="no class is known"):
    batches.indices(INDEX, balance=np.full(17, -1), **options)
  with pytest.raises(ValueError, match=r"shape \(3,\), expected \(17,\)"):
    batches.indices(INDEX, balance=np.zeros(3), **options)


@pytest.mark.parametrize("batch_size", [1, 5, 17, 30])
def test_evaluation_shows_every_sample_once_and_masks_the_rest(batch_size):
  found = list(batches.evaluation(INDEX, batch_size))
  assert all(i.shape == m.shape == (batch_size,) for i, m in found)
  seen = np.concatenate([i[m] for i, m in found])
  np.testing.assert_array_equal(seen, INDEX)
  assert all(np.isin(i, INDEX).all() for i, _ in found)
  assert not list(batches.evaluation(INDEX[:0], batch_size))


# --- Groups, such as people with several pictures.


def _groups(step, group, **more):
  index = 100 + np.arange(len(group))
  return batches.groups(
    index, seed=0, step=step, batch_size=8, group=np.asarray(group), **more
  )


def test_every_sample_of_a_batch_of_groups_meets_another_of_its_group():
  group = np.asarray([0, 1, 2, 3, 4, 5] * 3 + [6])  # 6 is alone
  for step in range(20):
    chosen = group[_groups(step, group) - 100]
    assert (np.bincount(chosen, minlength=7) % 2 == 0).all()
    assert 6 not in chosen


def test_samples_of_a_group_change_and_all_of_them_occur():
  group = np.repeat([0, 1, 2, 3], 5)
  seen = [_groups(step, group) for step in range(40)]
  assert set(np.concatenate(seen)) == set(range(100, 120))
  assert all(len(set(s)) == 8 for s in seen)
  np.testing.assert_array_equal(seen[3], _groups(3, group))


def test_groups_are_balanced_by_their_class():
  group = np.repeat(np.arange(12), 2)
  balance = (group >= 10).astype(int)  # 10 groups of one class, 2 of the other
  for step in range(10):
    chosen = group[_groups(step, group, balance=balance) - 100]
    assert np.sum(chosen >= 10) == 4


def test_groups_that_cannot_be_drawn_are_refused():
  with pytest.raises(ValueError, match="no group has 2 samples"):
    _groups(0, np.arange(20))
  with pytest.raises(ValueError, match="batch of 8 does not divide.* of 3"):
    _groups(0, np.repeat([0, 1], 5), size=3)
