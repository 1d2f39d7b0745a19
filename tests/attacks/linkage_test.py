import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import linkage
from hybridpriv.audit import engine, problems
from hybridpriv.privatizers import noise, privatizer

ATTACKS = {
  "cosine": linkage.cosine(),
  "two_covariance": linkage.two_covariance(),
  "metric": linkage.metric(max_steps=300),
}
each_attack = pytest.mark.parametrize("name", ATTACKS)
PEOPLE, EACH = 90, 8
NOISE = privatizer.chain(noise.isotropic(sigma=1.0))
# People differ along one direction, samples of a person along another.
BETWEEN = np.diag([4.0, 0.5, 0.0])
WITHIN = np.diag([0.2, 3.0, 1.0])
STD = 0.5


def _areas(scores, label):
  """The oracle: all pairs of a true and a false link, counted."""
  found = []
  for i in range(len(label)):
    others = np.arange(len(label)) != i
    same = scores[i][others & (label == label[i])]
    other = scores[i][others & (label != label[i])]
    higher = same[:, None] > other[None]
    equal = same[:, None] == other[None]
    found.append(np.mean(higher + 0.5 * equal))
  return np.asarray(found)


@pytest.fixture(scope="module")
def person():
  return np.repeat(np.arange(PEOPLE), EACH)


@pytest.fixture(scope="module")
def asked(person):
  return problems._linked(person, 0, "person", rotations=3, seed=0)


@pytest.fixture(scope="module")
def codes(person):
  """Codes of five systems [v, n, 3], and the deviation of their noise [v]."""
  rng = np.random.default_rng(0)
  of = rng.multivariate_normal(np.zeros(3), BETWEEN, PEOPLE)[person]
  own = rng.multivariate_normal(np.zeros(3), WITHIN, len(person))
  corner = rng.normal(size=(PEOPLE, 3))[person]
  return {
    "constant": (np.full((len(person), 3), 0.3), 0.0),
    "noise": (np.zeros((len(person), 3)), 1.0),
    "planted": (20 * corner, 0.01),
    "gaussian": (of + own, STD),
  }


@pytest.fixture(scope="module")
def found(codes, asked):
  """Outcomes by attack, system and problem: compiled once for each attack."""
  victims = engine.Victims(
    names=list(codes),
    fold=np.zeros(len(codes), int),
    codes=np.stack([c for c, _ in codes.values()]).astype("f4"),
    law=({"std": jnp.asarray([s for _, s in codes.values()], jnp.float32)},),
    noise=NOISE,
  )
  pairs = list(itertools.product(range(len(codes)), range(len(asked))))
  made = {}
  for name, attack in ATTACKS.items():
    outcomes = engine.attack_all(
      attack, victims, asked, pairs, key=jax.random.key(0), seeds=2, draws=2
    )
    for v, system in enumerate(codes):
      made[name, system] = [outcomes[v, q] for q in range(len(asked))]
  return made


def _area(outcomes):
  return np.mean([o.right.mean() for o in outcomes])


def test_areas_and_links_found_are_those_of_all_pairs():
  rng = np.random.default_rng(0)
  label = np.repeat(np.arange(20), 6)
  # Few values, so that there are ties.
  scores = np.round(2 * rng.normal(size=(120, 120)) + (label[:, None] == label))
  assert np.any(np.signbit(scores) & (scores == 0))  # ties with what is +0
  # Padding, of people who are there, is nobody.
  wide = np.pad(scores, (0, 5), constant_values=99)
  areas, links, both = linkage.judge(
    jnp.asarray(wide),
    jnp.asarray(np.pad(label, (0, 5))),
    jnp.asarray(np.pad(np.ones(120), (0, 5))),
  )
  np.testing.assert_allclose(areas[:120], _areas(scores, label), rtol=1e-5)
  pair = ~np.eye(120, dtype=bool)
  same = pair & (label[:, None] == label)
  false = np.sort(scores[pair & ~same])[::-1]
  # No more than one in a hundred of the false ones is above.
  threshold = false[int(0.01 * len(false))]
  assert np.mean(false > threshold) <= 0.01
  expected = (same & (scores > threshold)).sum(1) / same.sum(1)
  np.testing.assert_allclose(links[:120], expected, rtol=1e-6)
  # Without one person the mean over the others' areas changes as they say.
  means = np.asarray(both)[:120].reshape(20, 6).mean(1)
  plain = np.asarray(areas)[:120].reshape(20, 6).mean(1)
  np.testing.assert_allclose(means.mean(), plain.mean(), rtol=1e-5)
  changes = []
  for person in range(20):
    kept = label != person
    left = _areas(scores[np.ix_(kept, kept)], label[kept])
    changes.append(left.mean() - plain.mean())
  influence = (means - means.mean()) / 20
  np.testing.assert_allclose(
    -np.asarray(changes), influence, rtol=0.2, atol=1e-4
  )


def test_intervals_know_that_a_person_is_among_the_others_too():
  num, each = 40, 4
  label = np.repeat(np.arange(num), each)
  judge = jax.jit(linkage.judge)
  drawn, alone, spread = [], [], []
  for seed in range(200):
    rng = np.random.default_rng(seed)
    of = np.repeat(rng.normal(size=(num, 1)), each, axis=0)
    codes = of + 0.7 * rng.normal(size=(num * each, 1))
    scores = -np.abs(codes - codes.T)
    areas, _, both = judge(
      jnp.asarray(scores, jnp.float32), jnp.asarray(label), jnp.ones(len(label))
    )
    drawn.append(np.mean(areas))
    for found, kept in ((areas, alone), (both, spread)):
      means = np.asarray(found).reshape(num, each).mean(1)
      kept.append(means.var(ddof=1) / num)
  assert np.mean(spread) == pytest.approx(np.var(drawn), rel=0.25)
  assert np.mean(alone) < 0.8 * np.var(drawn)  # as areas by themselves say


@each_attack
def test_nothing_is_found_where_nothing_is(found, name):
  for outcome in found[name, "constant"]:
    np.testing.assert_allclose(outcome.right, 0.5)
    np.testing.assert_allclose(outcome.rank, 0.0)
  # 90 people: a standard error of the area is about 0.01.
  assert _area(found[name, "noise"]) == pytest.approx(0.5, abs=0.03)
  links = np.mean([o.rank.mean() for o in found[name, "noise"]])
  assert links == pytest.approx(0.01, abs=0.01)


@each_attack
def test_a_planted_link_is_found(found, name):
  outcomes = found[name, "planted"]
  assert _area(outcomes) > 0.97
  assert min(o.validation for o in outcomes) > 0.95


def test_gaussian_codes_are_linked_as_well_as_can_be(found, codes, person):
  """The likelihood ratio with the true covariances is the best there is."""
  rng = np.random.default_rng(5)
  own = WITHIN + STD**2 * np.eye(3)
  clean, _ = codes["gaussian"]
  sent = [clean + STD * rng.normal(size=clean.shape) for _ in range(2)]
  joint = np.block([[BETWEEN + own, BETWEEN], [BETWEEN, BETWEEN + own]])
  apart = np.block(
    [
      [BETWEEN + own, np.zeros((3, 3))],
      [np.zeros((3, 3)), BETWEEN + own],
    ]
  )
  a, b = np.broadcast_arrays(sent[0][:, None], sent[1][None])
  pairs = np.concatenate([a, b], axis=-1)
  zero = np.zeros(6)
  ratio = stats.multivariate_normal.logpdf(pairs, zero, joint)
  ratio -= stats.multivariate_normal.logpdf(pairs, zero, apart)
  best = _areas(ratio, person).mean()
  area = _area(found["two_covariance", "gaussian"])
  assert best - 0.03 < area < best + 0.03
  # A learned distance cannot be a ratio of likelihoods, but knows directions.
  assert _area(found["metric", "gaussian"]) > best - 0.06
  assert _area(found["cosine", "gaussian"]) < area


def test_the_ratio_is_that_of_the_two_covariances(key, asked, codes):
  """Scores are the likelihood ratio, but for a constant."""
  attack = ATTACKS["two_covariance"]
  clean, std = codes["gaussian"]
  rows = np.flatnonzero(asked[0].role == problems.TRAIN)
  victim = attack_lib.Victim(
    jnp.asarray(clean, jnp.float32)[None],
    ({"std": jnp.asarray([std], jnp.float32)},),
    jnp.zeros([], jnp.int32),
    jnp.asarray(rows),
    NOISE,
  )
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(asked[0].label[rows]), jnp.ones(len(rows)), jnp.ones(0), PEOPLE
  )
  attacker = attack.fit(key, victim, auxiliary, {"shrink": 0.01})
  # Back from the basis in which W is 1 and B is diagonal.
  basis = np.asarray(attacker["to_basis"], "f8")
  within = np.linalg.inv(basis @ basis.T)
  inverse = np.linalg.inv(basis)
  between = inverse.T @ np.diag(attacker["ratio"]) @ inverse
  x = np.random.default_rng(0).normal(size=(2, 5, 3))
  a, b = (
    np.asarray(attacker["mean"])
    + np.asarray(attacker["std"]) * (np.asarray(attacker["middle"]) + v)
    for v in x
  )
  scores = attack.score(attacker, jnp.asarray(a), jnp.asarray(b))
  joint = np.block([[between + within, between], [between, between + within]])
  apart = np.kron(np.eye(2), between + within)
  expected = [
    [
      stats.multivariate_normal.logpdf(np.r_[u, v], np.zeros(6), joint)
      - stats.multivariate_normal.logpdf(np.r_[u, v], np.zeros(6), apart)
      for v in x[1]
    ]
    for u in x[0]
  ]
  difference = np.asarray(scores) - np.asarray(expected)
  np.testing.assert_allclose(difference, difference[0, 0], atol=1e-3)


@pytest.mark.parametrize(
  "name, sigma",
  # The last is seen once, and with noise at every step.
  [("cosine", 0.0), ("two_covariance", 0.0), ("metric", 0.0), ("metric", 0.01)],
)
def test_people_are_linked_by_small_directions_of_long_codes(
  name, sigma, person, asked
):
  # What varies most, thirty times as much, is alike for all people.
  rng = np.random.default_rng(1)
  large = 30 * rng.normal(size=(len(person), 10))
  small = rng.normal(size=(PEOPLE, 10))[person]
  small = small + 0.3 * rng.normal(size=small.shape)
  hidden = np.concatenate([large, small], 1)
  codes = hidden @ rng.normal(size=(20, 400)) / 20
  law = ({"std": jnp.full(1, sigma)},) if sigma else ()
  chain = NOISE if sigma else privatizer.chain()
  victim = engine.Victims(
    ["code"], np.zeros(1, int), codes.astype("f4")[None], law, chain
  )
  outcome = engine.attack_all(
    ATTACKS[name],
    victim,
    asked[:1],
    [(0, 0)],
    key=jax.random.key(0),
    seeds=1,
    draws=1,
  )[0, 0]
  # The angle knows no small direction from one of noise.
  assert outcome.validation > {"cosine": 0.9}.get(name, 0.97)


def test_people_are_in_one_part_and_tested_once(asked, person):
  tested = []
  for problem in asked:
    of = {
      role: set(person[problem.role == role])
      for role in (problems.TRAIN, problems.VALIDATION, problems.TEST)
    }
    assert not of[1] & of[2] and not of[1] & of[3] and not of[2] & of[3]
    tested += of[problems.TEST]
    count = np.bincount(person[problem.role == problems.TEST])
    assert set(count[count > 0]) <= set(range(2, 9))
  assert sorted(tested) == list(range(PEOPLE))


def test_many_samples_of_a_person_are_cut_and_one_is_left_out():
  person = np.repeat(np.arange(8), [1, 2, 3, 40, 40, 40, 40, 40])
  for problem in problems._linked(person, 0, "p", rotations=3, seed=0):
    count = np.bincount(person[problem.role == problems.TEST], minlength=8)
    assert count[0] == 0 and count.max() <= 8
    assert not np.any(problem.role[person == 0])


def test_shuffled_labels_link_nobody(codes, asked, person):
  """With so many people that real links would be seen."""
  rng = np.random.default_rng(0)
  mixed = [problems.shuffled(p, person, rng) for p in asked]
  for problem, true in zip(mixed, asked, strict=True):
    for role in (problems.TRAIN, problems.VALIDATION, problems.TEST):
      at = problem.role == role
      np.testing.assert_array_equal(
        np.sort(problem.label[at]), np.sort(true.label[at])
      )
  clean, _ = codes["planted"]
  victims = engine.Victims(
    ["planted"],
    np.zeros(1, int),
    clean[None].astype("f4"),
    ({"std": jnp.asarray([0.01], jnp.float32)},),
    NOISE,
  )
  outcomes = engine.attack_all(
    ATTACKS["cosine"],
    victims,
    mixed,
    [(0, q) for q in range(len(mixed))],
    key=jax.random.key(0),
    seeds=1,
    draws=2,
  )
  area = np.mean([o.right.mean() for o in outcomes.values()])
  assert area == pytest.approx(0.5, abs=0.03)


def test_mates_are_others_of_the_same_person(key):
  label = np.array([0, 0, 0, 1, 1, 2, 0, 1])
  train = np.array([1.0, 1, 1, 1, 1, 1, 0, 0])  # the last two are padding
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(label), jnp.asarray(train, jnp.float32), jnp.ones(0), 3
  )
  own = np.tile(np.arange(6), 500)
  mates = np.asarray(
    linkage._mates(
      key, jnp.asarray(own)[None], auxiliary, auxiliary.train_weights
    )
  )[0]
  np.testing.assert_array_equal(label[mates], label[own])
  assert train[mates].all()
  # Never itself, but for a person with one sample.
  np.testing.assert_array_equal(mates != own, label[own] != 2)
  # Each of the others comes as often.
  counts = np.bincount(mates[own == 0], minlength=6)
  assert counts[0] == 0 and abs(counts[1] - counts[2]) < 100


def test_too_few_people_are_said():
  with pytest.raises(ValueError, match="5 of 6 have two samples or more"):
    problems._linked(
      np.repeat(np.arange(6), [1, 2, 2, 2, 2, 2]), 0, "p", rotations=3, seed=0
    )
