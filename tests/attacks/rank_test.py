import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from hybridpriv.attacks import rank


def brute_force(observed, clean):
  """Average ranks by distances in float64, one pair after the other."""
  ranks = []
  for i, z in enumerate(observed.astype("f8")):
    d = [np.sum((z - u) ** 2) for u in clean.astype("f8")]
    less = sum(x < d[i] for x in d)
    equal = sum(x == d[i] for x in d)
    ranks.append(less + (equal + 1) / 2)
  return np.array(ranks)


@pytest.mark.parametrize("width", [1, 2, 3, 31, 513])
@pytest.mark.parametrize("num", [1, 5, 16, 50])
def test_ranks_are_those_of_brute_force_with_many_ties(width, num):
  rng = np.random.default_rng(100 * width + num)
  different = rng.normal(size=(max(num // 4, 1), width))
  clean = different[rng.integers(len(different), size=num)].astype("f4")
  observed = clean + rng.normal(size=clean.shape).astype("f4")
  for sent in (clean, observed):
    found = rank.by_distance(sent, clean, block=16)
    np.testing.assert_array_equal(found, brute_force(sent, clean))


def test_different_codes_at_one_distance_tie():
  clean = np.array([[1.0], [-1.0], [2.0], [-3.0]])
  found = rank.by_distance(np.zeros((4, 1)), clean)
  np.testing.assert_array_equal(found, [1.5, 1.5, 3, 4])


@pytest.mark.parametrize("block", [1, 16, 48, 128, 1000])
def test_blocks_and_their_padding_change_nothing(block):
  rng = np.random.default_rng(0)
  clean = rng.integers(3, size=(150, 2, 3)).astype("f4")
  observed = clean + rng.integers(-1, 2, size=clean.shape).astype("f4")
  found = rank.by_distance(observed, clean, block=block)
  expected = brute_force(observed.reshape(150, -1), clean.reshape(150, -1))
  np.testing.assert_array_equal(found, expected)


def test_zeros_of_either_sign_are_one_code():
  clean = np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, 2.0]])
  np.testing.assert_array_equal(rank.by_distance(clean, clean), [1.5, 1.5, 1])
  own = np.arange(3)
  np.testing.assert_array_equal(
    rank.by_person(clean, clean, own, std=0.0), [1.5, 1.5, 1]
  )


def test_clean_codes_rank_first_and_constant_ones_in_the_middle():
  clean = np.random.default_rng(0).normal(size=(40, 3))
  np.testing.assert_array_equal(rank.by_distance(clean, clean), 1.0)
  same = np.full((40, 3), 0.1)
  np.testing.assert_array_equal(rank.by_distance(same + 1, same), 20.5)


def test_memory_grows_with_the_candidates_and_not_with_their_square():
  def temporary(num):
    block = jax.ShapeDtypeStruct((1, 128, 64), jnp.float32)
    blocks = jax.ShapeDtypeStruct((num // 128, 1, 128, 64), jnp.float32)
    number = jax.ShapeDtypeStruct((), jnp.int32)
    compiled = rank._rank_block.lower(number, block, blocks).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  small, large = temporary(1280), temporary(12800)
  # A row of distances for every observed code would be 5 MB.
  assert large - small < 10 * 4 * 12800
  assert large < 2**20


def test_codes_that_do_not_fit_are_one_clear_error():
  with pytest.raises(ValueError, match=r"\(3, 2\) and candidates \(4, 2\)"):
    rank.by_distance(np.zeros((3, 2)), np.zeros((4, 2)))
  with pytest.raises(ValueError, match="not finite"):
    rank.by_distance(np.array([[np.nan], [0.0]]), np.zeros((2, 1)))


def likelihoods(observed, clean, person, std):
  """Log of the mean density of every person's codes, by SciPy."""
  flat, size = clean.reshape(len(clean), -1), clean[0].size
  law = np.eye(size) * std**2
  found = []
  for p in np.unique(person):
    own = [
      stats.multivariate_normal.logpdf(
        observed.reshape(len(observed), -1), u, law
      )
      for u in flat[person == p]
    ]
    found.append(special.logsumexp(own, axis=0) - np.log(len(own)))
  return np.stack(found, axis=1)


@pytest.mark.parametrize("std", [0.2, 1.0, 30.0])
@pytest.mark.parametrize("block", [7, 128])
def test_people_rank_by_the_mean_likelihood_of_their_codes(std, block):
  rng = np.random.default_rng(0)
  person = rng.integers(9, size=60) * 10 - 3  # unequal shares, any names
  clean = rng.normal(size=(60, 2, 2)).astype("f4")
  observed = (clean + std * rng.normal(size=clean.shape)).astype("f4")
  found = rank.by_person(observed, clean, person, std=std, block=block)
  score = likelihoods(observed, clean, person, std)
  true = np.searchsorted(np.unique(person), person)
  expected = stats.rankdata(-score, axis=1)[np.arange(60), true]
  np.testing.assert_array_equal(found, expected)
  assert len(np.unique(found)) > 1


@pytest.mark.parametrize("std", [1e-200, 1e-3, 1e-2])
def test_far_people_are_ordered_where_all_densities_underflow(std):
  clean = np.array([[0.0], [50.0], [100.0], [-20.0], [70.0]])
  person = np.array([0, 1, 2, 3, 2])
  observed = np.array([[48.0], [3.0], [-30.0], [90.0], [0.0]])
  assert stats.norm.pdf(38.0 / 1e-2) == 0
  found = rank.by_person(observed, clean, person, std=std)
  np.testing.assert_array_equal(found, [3, 3, 4, 4, 4])


def test_without_noise_people_rank_by_their_nearest_code():
  rng = np.random.default_rng(0)
  person = np.arange(50) % 7
  clean = rng.integers(3, size=(50, 3)).astype("f4")  # with many ties
  observed = clean + rng.integers(-1, 2, size=clean.shape).astype("f4")
  for sent in (observed, clean):
    squared = ((sent[:, None] - clean[None]) ** 2).sum(-1)
    nearest = np.stack([squared[:, person == p].min(1) for p in range(7)], 1)
    expected = stats.rankdata(nearest, axis=1)[np.arange(50), person]
    found = rank.by_person(sent, clean, person, std=0.0)
    np.testing.assert_array_equal(found, expected)
    assert np.any(found % 1 != 0)
  # The observed sample's own code is among its person's.
  np.testing.assert_array_equal(
    rank.by_person(clean + 0.1, clean, np.arange(50), std=0.0),
    rank.by_distance(clean + 0.1, clean),
  )


@pytest.mark.parametrize("width", [1, 3, 40])
def test_people_with_the_same_codes_tie_exactly(width):
  rng = np.random.default_rng(width)
  own = rng.normal(size=(5, width)).astype("f4")
  # One has the codes in another order, one has each of them three times.
  clean = np.concatenate([own, own[::-1], own[[3, 0, 4, 1, 2] * 3], own + 9])
  person = np.repeat([0, 1, 2, 3], [5, 5, 15, 5])
  observed = clean + rng.normal(size=clean.shape).astype("f4")
  found = rank.by_person(observed, clean, person, std=0.7)
  np.testing.assert_array_equal(found[:25], 2.0)


def test_a_single_code_a_person_ranks_by_distance():
  rng = np.random.default_rng(0)
  clean = rng.normal(size=(40, 5)).astype("f4")
  observed = clean + rng.normal(size=clean.shape).astype("f4")
  for std in (0.0, 0.3, 1e4):
    np.testing.assert_array_equal(
      rank.by_person(observed, clean, np.arange(40), std=std),
      rank.by_distance(observed, clean),
    )


def test_people_that_do_not_fit_are_one_clear_error():
  codes = np.zeros((4, 2))
  with pytest.raises(ValueError, match="4 codes need as many people.*got 3"):
    rank.by_person(codes, codes, np.zeros(3), std=1.0)
  for std in (-1.0, np.nan, np.inf):
    with pytest.raises(ValueError, match="std="):
      rank.by_person(codes, codes, np.zeros(4), std=std)
  with pytest.raises(ValueError, match="same shape"):
    rank.by_person(codes, codes[:3], np.zeros(4), std=1.0)


def test_scores_give_the_chance_to_be_right_and_the_average_rank():
  scores = jnp.array(
    [
      [3.0, 2.0, 1.0, 0.0],
      [3.0, 2.0, 1.0, 0.0],
      [2.0, 2.0, 2.0, 1.0],
      [3.0, 2.0, 2.0, 1.0],
      [1.0, 1.0, 1.0, 1.0],
      [2.0, 1.0, -np.inf, -np.inf],
    ]
  )
  label = jnp.array([0, 2, 1, 1, 3, 2])
  right, ranks = rank.of_scores(scores, label)
  np.testing.assert_allclose(right, [1, 0, 1 / 3, 0, 1 / 4, 0])
  np.testing.assert_allclose(ranks, [1, 3, 2, 2.5, 2.5, 3.5])


def test_scores_that_are_no_numbers_are_no_knowledge():
  scores = jnp.array([[np.nan] * 4, [np.nan, 1.0, 0.0, 0.5]])
  right, ranks = rank.of_scores(scores, jnp.array([2, 0]))
  np.testing.assert_allclose(right, [1 / 4, 0])
  np.testing.assert_allclose(ranks, [2.5, 4])


@pytest.mark.parametrize("counts", [(30,), (20, 10), (24, 5, 1)])
def test_the_ceiling_is_what_a_code_of_the_label_alone_gives(counts):
  label = np.repeat(np.arange(len(counts)), counts)
  # Every candidate of a class is equally far: ranks are the class's average.
  code = (10.0 * label)[:, None]
  ranks = rank.by_distance(code, code)
  np.testing.assert_allclose(rank.ceiling(label), np.mean(ranks) / len(label))
  # The same by throwing dice: a uniform place within the own class.
  rng = np.random.default_rng(0)
  size = np.asarray(counts)[label]
  thrown = rng.integers(1, size[None] + 1, size=(4000, len(label)))
  np.testing.assert_allclose(
    rank.ceiling(label), thrown.mean() / len(label), rtol=0.01
  )


def test_the_ceiling_of_a_long_list_is_half_the_sum_of_squared_shares():
  label = np.repeat([0, 1, -1], [6000, 3000, 1000])
  assert abs(rank.ceiling(label) - (0.36 + 0.09 + 0.01) / 2) < 2e-4


@pytest.mark.parametrize("std", [0.0, 1.0])
def test_the_ceiling_of_people_is_what_a_code_of_the_label_alone_gives(std):
  rng = np.random.default_rng(0)
  label_of = np.array([0, 0, 0, 0, 1, 1, -1])  # by person
  person = np.concatenate([np.arange(7), rng.integers(7, size=60)])
  label = label_of[person]
  code = (10.0 * label)[:, None]
  ranks = rank.by_person(code, code, person, std=std)
  ceiling = rank.person_ceiling(person, label)
  np.testing.assert_allclose(ceiling, np.mean(ranks) / 7)
  assert ceiling != rank.ceiling(label)
  # With one code each, people are samples.
  np.testing.assert_allclose(
    rank.person_ceiling(np.arange(67), label), rank.ceiling(label)
  )


def test_a_person_of_two_labels_has_no_ceiling():
  with pytest.raises(ValueError, match="person 5 has codes of 2 labels"):
    rank.person_ceiling(np.array([4, 5, 5, 5]), np.array([0, 0, 1, 1]))
