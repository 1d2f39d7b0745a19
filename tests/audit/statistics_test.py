"""The value, the interval and the paired differences of clustered scores."""

import math

import numpy as np
import pytest

from hybridpriv.audit import resampling, statistics


def _table(scores, label=None, person=None, num_classes=1):
  scores = np.asarray(scores, float)
  scores = scores.reshape((1,) * (3 - scores.ndim) + scores.shape)
  if person is None:
    person = np.arange(scores.shape[2])
  return statistics.tabulate(scores, label, np.asarray(person), num_classes)


def _unseen(num):
  return 1 - 0.025 ** (1 / num)


def test_tabulate_sums_by_person_and_class():
  table = statistics.tabulate(
    np.array([[[1.0, 0.0, 1.0, 0.5]]]),
    np.array([0, 0, 1, 1]),
    np.array(["b", "b", "a", "b"]),
    2,
  )
  assert table.people.tolist() == ["a", "b"]
  np.testing.assert_array_equal(table.count, [[0, 1], [2, 1]])
  np.testing.assert_array_equal(table.sum[0, 0], [[0, 1], [1, 0.5]])


def test_value_is_the_mean_over_classes_and_seeds_worked_by_hand():
  # Class 0: 1 of 2, then 2 of 2; class 1: 1 of 1, then 0 of 1.
  scores = np.array([[[1, 0, 1]], [[1, 1, 0]]], float)
  table = _table(scores, np.array([0, 0, 1]), [5, 6, 6], 2)
  assert statistics.value(table) == pytest.approx(
    ((0.5 + 1) / 2 + (1 + 0) / 2) / 2
  )
  assert statistics.value(_table(scores, None, [5, 6, 6])) == pytest.approx(
    4 / 6
  )


def test_value_leaves_out_classes_without_queries():
  table = _table([1, 0, 1, 1], [0, 0, 2, 2], [0, 1, 0, 1], 4)
  assert statistics.value(table) == pytest.approx(0.75)


def test_interval_of_a_mean_has_the_width_of_student_t():
  rng = np.random.default_rng(0)
  score = rng.uniform(size=12)
  low, high = statistics.interval(_table(score), resamples=20000)
  half = 2.2010 * score.std(ddof=1) / math.sqrt(12)
  assert low == pytest.approx(score.mean() - half, abs=0.12 * half)
  assert high == pytest.approx(score.mean() + half, abs=0.12 * half)


def test_interval_counts_people_not_queries():
  score = np.random.default_rng(1).uniform(size=20)
  alone = statistics.interval(_table(score))
  repeated = statistics.interval(
    _table(np.repeat(score, 50), None, np.repeat(np.arange(20), 50))
  )
  assert repeated == pytest.approx(alone, abs=1e-6)


def test_interval_over_seeds_is_wider_when_seeds_differ():
  score = np.random.default_rng(2).uniform(0.4, 0.6, size=40)
  same = np.stack([score] * 3)[:, None]
  apart = same + np.array([-0.3, 0.0, 0.3])[:, None, None]
  narrow = statistics.interval(_table(same))
  wide = statistics.interval(_table(apart))
  # The seeds' own standard error is 0.3/sqrt(3) = 0.17.
  assert narrow[1] - narrow[0] < 0.06
  assert wide[1] - wide[0] > 0.4


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_all_or_none_right_gives_the_clopper_pearson_limit(right):
  low, high = statistics.interval(
    _table(np.full(30, right), None, np.arange(30) // 3)
  )
  if right:
    assert (low, high) == (pytest.approx(1 - _unseen(10)), 1.0)
  else:
    assert (low, high) == (0.0, pytest.approx(_unseen(10)))


def test_a_constant_answer_still_has_an_interval_around_chance():
  # Balanced over two classes: one class always right, the other never.
  label, person = np.tile([0, 1], 10), np.arange(20) // 2
  low, high = statistics.interval(_table(label * 1.0, label, person, 2))
  assert low == pytest.approx(0.5 - _unseen(10) / 2)
  assert high == pytest.approx(0.5 + _unseen(10) / 2)


def test_one_person_alone_says_almost_nothing():
  low, high = statistics.interval(_table([1, 1, 1, 0], None, [0] * 4))
  assert low < 0.05 and high > 0.95


def test_identity_classes_are_resampled_with_their_person():
  # Each class is one person's: the same numbers as a mean over people.
  rng = np.random.default_rng(3)
  right = rng.uniform(size=(10, 6)) < rng.uniform(size=(10, 1))
  person = np.repeat(np.arange(10), 6)
  by_class = _table(right.ravel() * 1.0, person, person, 10)
  plain = _table(right.ravel() * 1.0, None, person)
  assert statistics.value(by_class) == pytest.approx(statistics.value(plain))
  assert statistics.interval(by_class) == pytest.approx(
    statistics.interval(plain), abs=1e-6
  )


def test_a_class_that_resamples_miss_does_not_move_the_value():
  # One person alone carries class 1 and is always wrong.
  label = np.array([0] * 9 + [1])
  table = _table(1.0 - label, label, np.arange(10), 2)
  draws = resampling.replicates([resampling.unnest(table)], 0, 500)[0]
  np.testing.assert_allclose(draws, 0.5)
  low, high = statistics.interval(table)
  assert low < 0.5 and high > 0.9


def test_the_same_seed_gives_the_same_interval():
  table = _table(np.random.default_rng(4).uniform(size=(2, 3, 30)))
  assert statistics.interval(table, seed=7) == statistics.interval(
    table, seed=7
  )
  assert statistics.interval(table, seed=7) != statistics.interval(
    table, seed=8
  )


def _clustered(rng, seeds, people, queries):
  """Draw right/wrong scores whose rate differs by person and by seed."""
  rate = np.clip(
    rng.beta(6, 4, size=(1, 1, people, 1))
    + rng.normal(0, 0.05, size=(seeds[0], 1, 1, 1)),
    0,
    1,
  )
  drawn = rng.uniform(size=(*seeds, people, queries)) < rate
  return _table(
    drawn.reshape(*seeds, -1) * 1.0,
    None,
    np.repeat(np.arange(people), queries),
  )


@pytest.mark.parametrize(
  "seeds, people", [((1, 1), 10), ((3, 2), 20), ((5, 3), 40)]
)
def test_the_interval_covers_the_truth_as_often_as_it_says(seeds, people):
  rng = np.random.default_rng(5)
  truth, runs = 0.6, 200
  inside = 0
  for run in range(runs):
    low, high = statistics.interval(
      _clustered(rng, seeds, people, 8), seed=run, resamples=300
    )
    inside += low <= truth <= high
  assert 0.88 <= inside / runs <= 0.99


@pytest.mark.parametrize("people", [10, 62])
@pytest.mark.parametrize("comparisons", [13, 78])
def test_limits_corrected_for_many_comparisons_lie_beyond_the_resamples(
  people, comparisons
):
  level = 1 - 0.05 / comparisons
  rng = np.random.default_rng(0)
  found = {
    num: resampling.percentiles(rng.normal(size=num), people, level)
    for num in (2000, 200_000)
  }
  t = resampling.student_quantile((1 + level) / 2, people - 1)
  for low, high in found.values():
    assert low == pytest.approx(-t, rel=0.15)
    assert high == pytest.approx(t, rel=0.15)
  draws = np.linspace(-1, 1, 2000)
  low, high = resampling.percentiles(draws, people, level)
  assert low < -1 and high > 1


def test_limits_that_resamples_tell_are_their_percentiles():
  draws = np.random.default_rng(0).exponential(size=1000)
  found = resampling.percentiles(draws, 1000, 0.95)
  np.testing.assert_allclose(found, np.quantile(draws, [0.025, 0.975]))


def test_a_paired_difference_is_far_tighter_than_its_parts():
  rng = np.random.default_rng(6)
  a = rng.uniform(0.1, 0.8, size=(3, 1, 40))
  b = a + 0.1 + rng.normal(0, 0.005, size=a.shape)
  difference, low, high = statistics.paired_difference(_table(b), _table(a))
  assert difference == pytest.approx(0.1, abs=0.01)
  assert 0.09 < low < difference < high < 0.11
  alone = statistics.interval(_table(a))
  assert alone[1] - alone[0] > 0.1


def test_the_difference_of_a_table_to_itself_is_a_tie():
  table = _table(np.random.default_rng(7).uniform(size=20))
  assert statistics.paired_difference(table, table) == (0, 0, 0)
  ones = _table(np.ones(10))
  difference, low, high = statistics.paired_difference(ones, ones)
  assert difference == 0
  assert (low, high) == pytest.approx((-_unseen(10), _unseen(10)))


def test_people_are_paired_by_name_not_by_place():
  score = np.random.default_rng(8).uniform(size=15)
  a = _table(score)
  turned = statistics.Table(a.sum[:, :, ::-1], a.count[::-1], a.people[::-1])
  assert statistics.paired_difference(a, turned) == (0, 0, 0)


def test_a_pairing_of_different_people_is_an_error():
  with pytest.raises(ValueError, match="1 of them in both"):
    statistics.paired_difference(
      _table([1, 0], None, [0, 1]), _table([1, 0], None, [1, 2])
    )


def _curve(points, people=20):
  """One table for each point, all people alike but for a small spread."""
  spread = np.linspace(-0.01, 0.01, people)
  return [_table(np.full(people, point) + spread) for point in points]


def test_equal_utility_is_read_off_the_curves_worked_by_hand():
  a = _curve([0.5, 0.7, 0.9]), _curve([0.2, 0.4, 0.8])
  b = _curve([0.6, 0.9]), _curve([0.3, 0.9])
  difference, low, high = statistics.at_equal_utility(*a, *b, 0.8)
  # First: halfway between 0.4 and 0.8. Second: two thirds from 0.3 to 0.9.
  assert difference == pytest.approx(0.6 - 0.7, abs=1e-6)
  assert low <= difference <= high < 0


def test_equal_utility_does_not_depend_on_the_order_of_settings():
  u, v = _curve([0.5, 0.7, 0.9]), _curve([0.2, 0.4, 0.8])
  other = _curve([0.6, 0.9]), _curve([0.3, 0.9])
  assert statistics.at_equal_utility(u, v, *other, 0.8) == (
    statistics.at_equal_utility(u[::-1], v[::-1], *other, 0.8)
  )


def test_equal_utility_makes_a_dented_curve_monotone():
  dented = _curve([0.5, 0.6, 0.8]), _curve([0.2, 0.6, 0.5])
  level = _curve([0.5, 0.8]), _curve([0.0 + 0.2, 0.2])
  difference, _, _ = statistics.at_equal_utility(*dented, *level, 0.7)
  assert difference == pytest.approx(0.6 - 0.2, abs=1e-6)


def test_equal_utility_of_a_method_with_itself_is_a_tie():
  a = _curve([0.5, 0.7]), _curve([0.2, 0.4])
  assert statistics.at_equal_utility(*a, *a, 0.6) == pytest.approx((0, 0, 0))


def test_a_utility_out_of_reach_names_the_range():
  a = _curve([0.5, 0.7]), _curve([0.2, 0.4])
  with pytest.raises(ValueError, match="share 0.5000 to 0.7000"):
    statistics.at_equal_utility(*a, *a, 0.9)


def test_equal_leakage_is_read_off_the_curves_worked_by_hand():
  a = _curve([0.2, 0.4, 0.8]), _curve([0.5, 0.7, 0.9])
  b = _curve([0.3, 0.9]), _curve([0.6, 0.9])
  difference, low, high = statistics.at_equal_leakage(*a, *b, 0.6)
  # First: halfway between 0.7 and 0.9. Second: halfway between 0.6 and 0.9.
  assert difference == pytest.approx(0.8 - 0.75, abs=1e-6)
  assert low <= difference <= high
  assert statistics.utility_at(*a, 0.6) == pytest.approx(0.8, abs=1e-6)
  # What leaks less at all of its settings counts with the most useful one.
  quiet = _curve([0.1, 0.2]), _curve([0.5, 0.65])
  difference, *_ = statistics.at_equal_leakage(*quiet, *b, 0.6)
  assert difference == pytest.approx(0.65 - 0.75, abs=1e-6)


def test_a_leakage_below_all_settings_of_a_method_is_an_error():
  a = _curve([0.2, 0.4]), _curve([0.5, 0.7])
  b = _curve([0.3, 0.4]), _curve([0.5, 0.7])
  with pytest.raises(ValueError, match="leaks 0.3000 at least"):
    statistics.at_equal_leakage(*a, *b, 0.25)


@pytest.mark.parametrize(
  "value, label, person, message",
  [
    ([[[1.5]]], [0], [0], r"expected \[0, 1\]"),
    ([[[1.0]]], [-1], [0], "not known"),
    ([[[1.0]]], [0, 1], [0], "label has shape"),
    ([[1.0]], [0], [0], r"expected \[S, A, n\]"),
  ],
)
def test_malformed_scores_are_errors(value, label, person, message):
  with pytest.raises(ValueError, match=message):
    statistics.tabulate(
      np.array(value), np.array(label), np.array(person), num_classes=2
    )


@pytest.mark.parametrize(
  "freedom, expected", [(1, 12.706), (2, 4.303), (4, 2.776), (61, 1.9996)]
)
def test_student_quantiles_match_the_printed_tables(freedom, expected):
  assert resampling.student_quantile(0.975, freedom) == pytest.approx(
    expected, abs=2e-3
  )


def test_a_pair_of_unequal_train_seeds_is_compared_on_the_common_ones():
  rng = np.random.default_rng(0)
  three = rng.uniform(size=(3, 2, 40))
  person = np.repeat(np.arange(20), 2)
  a = statistics.tabulate(three, None, person)
  one = statistics.tabulate(three[:1] - 0.0, None, person)
  difference, low, high = statistics.paired_difference(one, a)
  assert difference == 0 and low <= 0 <= high
  assert statistics.value(one) != pytest.approx(statistics.value(a), abs=1e-6)
