import numpy as np
import pytest

from hybridpriv.data import columns


def test_classes_are_in_natural_order():
  _, names = columns.encode(["P10", "P9", "", "10", "9", "a"])
  assert names == ("9", "10", "P9", "P10", "a")


def test_ids_name_their_class_and_empty_is_unknown():
  values = ["b", "", "a", "b"]
  ids, names = columns.encode(values)
  assert ids.dtype == np.int32
  assert [names[i] if i >= 0 else "" for i in ids] == values


def test_a_given_order_of_classes_is_kept():
  ids, names = columns.encode(["low", "high"], ["low", "high"])
  assert names == ("low", "high")
  np.testing.assert_array_equal(ids, [0, 1])


@pytest.mark.parametrize("edges", [(), (3, 3), (5, 1)])
def test_edges_that_do_not_rise_are_refused(edges):
  with pytest.raises(ValueError, match="expected numbers that rise"):
    columns.bin_names(edges)


@pytest.mark.parametrize("seed", range(10))
def test_subset_keeps_people_whole_but_two(seed):
  rng = np.random.default_rng(seed)
  person = rng.integers(60, size=500).astype(str)
  size = rng.integers(1, 4, size=500)
  kept = columns.subset(person, size, max_samples=400, seed=seed)
  total = size[kept].sum()
  assert 400 - size.max() < total <= 400
  assert (np.diff(kept) > 0).all()
  names, number = np.unique(person[kept], return_counts=True)
  whole = [
    (person == name).sum() == n for name, n in zip(names, number, strict=True)
  ]
  assert len(whole) - sum(whole) <= 1  # nobody here makes a tenth of 400
  again = columns.subset(person, size, max_samples=400, seed=seed)
  np.testing.assert_array_equal(kept, again)


def test_subset_keeps_few_people_alike():
  person = np.repeat(["a", "b", "c", "d"], 100)
  kept = columns.subset(person, np.ones(400), max_samples=40, seed=0)
  _, number = np.unique(person[kept], return_counts=True)
  np.testing.assert_array_equal(number, [10, 10, 10, 10])


def test_subset_without_people_takes_rows_and_zero_takes_all():
  size = np.ones(50, int)
  assert len(columns.subset(None, size, max_samples=7, seed=0)) == 7
  assert len(columns.subset(None, size, max_samples=0, seed=0)) == 50
  assert len(columns.subset(None, size, max_samples=50, seed=0)) == 50
  with pytest.raises(ValueError, match="max_samples is -1"):
    columns.subset(None, size, max_samples=-1, seed=0)
