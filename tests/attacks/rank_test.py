import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from hybridpriv.attacks import gallery, people, rank


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


def by_definition(observed, clean, index):
  """Average ranks by distances that are rounded as `attacks.gallery` says."""

  def distances(a, b):
    total = np.float32(0)
    for start in range(0, len(a), 512):
      part = np.float32(0)
      for k in range(start, min(start + 512, len(a))):
        part = part + (a[k] - b[k]) * (a[k] - b[k])
      total = total + part
    return total

  ranks = []
  for z, own in zip(observed, index, strict=True):
    d = distances(z[:, None], clean.T)
    assert d.dtype == np.float32
    less, equal = np.sum(d < d[own]), np.sum(d == d[own])
    ranks.append(less + (equal + 1) / 2)
  return np.array(ranks)


# Tenths are rounded: codes at one distance are, or are not, to the last bit.
@pytest.mark.parametrize("width", [1, 2, 7, 16, 17, 512, 1030])
def test_ranks_are_those_of_the_definition_to_the_last_bit(width):
  rng = np.random.default_rng(width)
  shape = (300, width)
  clean = (rng.integers(-3, 4, size=shape) * 0.1).astype("f4")
  clean[rng.integers(300, size=40)] = clean[0]
  clean[clean == 0] = rng.choice([0.0, -0.0], size=np.sum(clean == 0))
  noise = rng.integers(-3, 4, size=shape) * 0.1
  observed = (clean + noise).astype("f4")
  found = rank.by_distance(observed, clean)
  index = np.arange(300)
  expected = by_definition(observed, clean, index)
  np.testing.assert_array_equal(found, expected)
  index = rng.integers(300, size=20)
  found = rank.by_distance(observed[:20], clean, index=index)
  expected = by_definition(observed[:20], clean, index)
  np.testing.assert_array_equal(found, expected)


def _on_disk(folder, name, codes):
  np.save(folder / name, codes)
  return np.load(folder / name, mmap_mode="r")


@pytest.mark.parametrize("dtype", ["f4", "f8", "i1"])
def test_codes_on_disk_are_read_in_pieces(tmp_path, monkeypatch, dtype):
  rng = np.random.default_rng(0)
  clean = rng.integers(-4, 5, size=(400, 3, 2)).astype(dtype)
  observed = (clean + rng.integers(-1, 2, size=clean.shape)).astype(dtype)
  person = rng.integers(40, size=400)
  own = np.arange(400)
  kept = [
    _on_disk(tmp_path, f"{i}.npy", x) for i, x in enumerate((observed, clean))
  ]
  expected = brute_force(observed.reshape(400, 6), clean.reshape(400, 6))
  without = brute_force(clean.reshape(400, 6), clean.reshape(400, 6))
  by_person = rank.by_person(observed, clean, person, std=0.7)
  held = []
  real = gallery.flat

  def flat(codes):
    held.append(len(codes))
    return real(codes)

  monkeypatch.setattr(gallery, "flat", flat)
  monkeypatch.setattr(gallery, "_PIECE", 40 * 6)
  monkeypatch.setattr(people, "_PIECE", 40 * 16)
  same = [kept[1]] * 2
  for found, wanted in (
    (rank.by_distance(*kept, block=16), expected),
    (rank.by_distance(*same, block=16), without),
    (rank.by_person(*kept, own, std=0.0, block=16), expected),
    (rank.by_person(*kept, person, std=0.7, block=16), by_person),
  ):
    np.testing.assert_array_equal(found, wanted)
  assert len(held) > 40 and max(held) <= 4 * 40


def test_memory_does_not_grow_with_the_candidates():
  def temporary(num):
    tile = jax.ShapeDtypeStruct((8, 256), jnp.float32)
    piece = jax.ShapeDtypeStruct((num // 256, 8, 256), jnp.float32)
    ones = jax.ShapeDtypeStruct((), jnp.int32)
    compiled = gallery._places.lower(tile, tile, piece, ones).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  small, large = temporary(2560), temporary(25600)
  assert large - small < 2**14
  assert large < 2**21


def test_copies_are_found_where_their_sums_collide(monkeypatch):
  rng = np.random.default_rng(0)
  clean = rng.integers(2, size=(50, 3)).astype("f4")
  expected = brute_force(clean, clean)
  np.testing.assert_array_equal(rank.by_distance(clean, clean), expected)
  monkeypatch.setattr(gallery, "_hash", lambda x: np.zeros(len(x), np.uint64))
  np.testing.assert_array_equal(rank.by_distance(clean, clean), expected)
  # Some of the gallery, and each of its own copies.
  index = np.array([3, 3, 7])
  np.testing.assert_array_equal(
    rank.by_distance(clean[index], clean, index=index), expected[index]
  )


def test_codes_that_do_not_fit_are_one_clear_error():
  with pytest.raises(ValueError, match=r"\(3, 2\) and candidates \(4, 2\)"):
    rank.by_distance(np.zeros((3, 2)), np.zeros((4, 2)))
  with pytest.raises(ValueError, match="not finite"):
    rank.by_distance(np.array([[np.nan], [0.0]]), np.zeros((2, 1)))
  for index in (np.array([0, 4, 1]), np.array([0, -1, 1]), np.arange(4)):
    with pytest.raises(ValueError, match="as many places, from 0 to 3"):
      rank.by_distance(np.zeros((3, 2)), np.zeros((4, 2)), index=index)
  with pytest.raises(ValueError, match="same shape"):
    rank.by_distance(np.zeros((1, 2)), np.zeros((4, 3)), index=np.zeros(1, int))


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


@pytest.mark.parametrize("width", [1, 3, 40, 70])
def test_people_with_the_same_codes_tie_exactly(width):
  rng = np.random.default_rng(width)
  own = rng.normal(size=(5, width)).astype("f4")
  # One has the codes in another order, one has each of them three times.
  clean = np.concatenate([own, own[::-1], own[[3, 0, 4, 1, 2] * 3], own + 9])
  person = np.repeat([0, 1, 2, 3], [5, 5, 15, 5])
  observed = clean + rng.normal(size=clean.shape).astype("f4")
  found = rank.by_person(observed, clean, person, std=0.7)
  np.testing.assert_array_equal(found[:25], 2.0)


@pytest.mark.parametrize("std", [0.0, 0.3, 30.0])
def test_wide_codes_rank_people_as_direct_differences_do(std, monkeypatch):
  rng = np.random.default_rng(0)
  clean = rng.integers(-2, 3, size=(120, 80)).astype("f4") + 100
  clean[:40] = clean[40:80]  # ties, which a matrix product does not see
  person = np.repeat([0, 1, 2], 40) * 20 + np.arange(120) % 20
  observed = (clean + rng.integers(-9, 10, size=clean.shape)).astype("f4")
  found = rank.by_person(observed, clean, person, std=std)
  monkeypatch.setattr(people, "_NARROW", 80)
  np.testing.assert_array_equal(
    found, rank.by_person(observed, clean, person, std=std)
  )
  score = np.stack(
    [
      people.log_likelihood(
        observed.astype("f8"), clean[person == p].astype("f8"), std
      )
      for p in np.unique(person)
    ],
    axis=1,
  )
  true = score[np.arange(120), person][:, None]
  equal = np.isclose(score, true, rtol=1e-12, atol=0)
  expected = 0.5 + np.sum((score > true) & ~equal, 1) + np.sum(equal, 1) / 2
  np.testing.assert_array_equal(found, expected)
  assert np.any(found % 1 != 0) and found.max() > 2


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
