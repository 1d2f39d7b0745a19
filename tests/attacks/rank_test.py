import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
