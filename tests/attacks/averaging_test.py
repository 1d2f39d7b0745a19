"""Repeat queries in front of every attack: means to learn from and to ask."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import (
  attribute,
  averaging,
  decensoring,
  density,
  habit,
  likelihood,
  linkage,
  neighbour,
)
from hybridpriv.audit import engine, mates
from hybridpriv.audit.problems import TEST, TRAIN, VALIDATION, Problem
from hybridpriv.audit.problems import _linked as linked
from hybridpriv.privatizers import noise, privatizer

LEARNING = {"learning_rate": 0.03, "weight_decay": 0.001, "max_steps": 300}
SLOWLY = {**LEARNING, "learning_rate": 0.005}
# Attack, the shape of its codes.
ATTACKS = {
  "linear": (attribute.linear(**LEARNING), (3,)),
  "mlp": (attribute.mlp(width=16, **SLOWLY), (3,)),
  "conv": (attribute.conv(width=8, **SLOWLY), (3, 1)),
  "nearest": (neighbour.nearest(neighbours=(60,)), (3,)),
  "centroid": (neighbour.centroid(), (3,)),
  "kde": (density.kde(), (3,)),
  "ridge": (decensoring.ridge(weight_decay=0.001, max_steps=300), (3,)),
  "bayes": (likelihood.bayes(bandwidth=(0.2,)), (3,)),
}
SOME = ("linear", "mlp", "nearest")  # one of each family
LINKS = {
  "cosine": linkage.cosine(),
  "two_covariance": linkage.two_covariance(),
  "metric": linkage.metric(max_steps=300),
}
NOISE = privatizer.chain(noise.isotropic(sigma=1.0))
SYSTEMS = ("gaussian", "planted", "noise")
STD, NUM = 2.0, 16
PEOPLE, EACH = 330, 16
PERSON = np.repeat(np.arange(PEOPLE), EACH)
LABEL = PERSON % 2
ROLE = np.select([PERSON < 80, PERSON < 130], [TRAIN, VALIDATION], TEST)
QUESTION = Problem("side", 0, LABEL, ROLE, 2, "attribute")


def _codes(spread, apart=1.0):
  """Clean codes [v, n, 3]: what tells the class is their first value."""
  rng = np.random.default_rng(0)
  made = np.zeros((3, len(PERSON), 3))
  made[0, :, 0] = apart * LABEL + spread * rng.normal(size=len(PERSON))
  made[1, :, 0] = 40 * LABEL
  return made.astype("f4")


def _victims(codes, shape=(3,), chain=NOISE, law=None, std=STD):
  states = ({"std": jnp.full(len(codes), std)},) if law is None else law
  # Uncensored, inputs tell the class as well as their codes do.
  own = codes.mean(axis=2) if chain is not NOISE else codes
  return engine.Victims(
    list(SYSTEMS),
    np.zeros(len(codes), int),
    codes.reshape(*codes.shape[:-1], *shape),
    states,
    chain,
    reference=own.reshape(*own.shape[:2], -1),
  )


def _run(attack, victims, question=QUESTION, **options):
  found = engine.attack_all(
    attack,
    victims,
    [question],
    [(v, 0) for v in range(len(victims.names))],
    key=jax.random.key(0),
    seeds=1,
    draws=2,
    **options,
  )
  return {name: found[v, 0] for v, name in enumerate(victims.names)}


def _rate(distance, std):
  """The most that can be right of two Gaussians so far apart."""
  return stats.norm.cdf(distance / 2 / std)


@pytest.mark.parametrize("name", ATTACKS)
def test_codes_of_one_input_are_averaged_to_the_best_rate(name):
  attack, shape = ATTACKS[name]
  victims = _victims(_codes(0.0), shape)
  many = _run(attack, victims, num_queries=NUM)
  # Noise of 2 is one of 1/2: 0.84, and 0.60 for a single code.
  best = _rate(1, STD / NUM**0.5)
  for found in (many["gaussian"].right.mean(), many["gaussian"].validation):
    assert found == pytest.approx(best, abs=0.04)
  assert many["planted"].right.mean() > 0.99
  assert many["noise"].right.mean() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("name", SOME)
def test_codes_of_several_inputs_are_averaged_to_the_best_rate(name):
  attack, shape = ATTACKS[name]
  spread, apart = 1.5, 2.0  # of inputs, beside a deviation of noise of 2
  question, at = mates.deal(QUESTION, PERSON, 8, np.random.default_rng(0))
  group = _codes(spread, apart)[:, at]
  law = (({"std": jnp.full(3, STD)},),)
  victims = _victims(group, shape, averaging.of_inputs(NOISE, 8), law)
  found = _run(attack, victims, question)
  best = _rate(apart, np.hypot(spread, STD) / 8**0.5)  # 0.87; of one code 0.66
  assert found["gaussian"].right.mean() == pytest.approx(best, abs=0.06)
  assert found["planted"].right.mean() > 0.99
  assert found["noise"].right.mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
  ("name", "num"), [("linear", 1), *((name, NUM) for name in SOME)]
)
def test_an_attacker_learns_from_what_it_is_asked(name, num, key):
  attack, _ = ATTACKS[name]
  own = np.flatnonzero(ROLE != TEST)
  victims = _victims(_codes(0.0))
  victim = attack_lib.Victim(
    jnp.asarray(victims.codes),
    victims.law,
    jnp.int32(2),
    jnp.asarray(own),
    NOISE,
    num,
  )
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(LABEL[own]),
    jnp.ones(np.sum(ROLE == TRAIN)),
    jnp.ones(np.sum(ROLE == VALIDATION)),
    2,
  )
  knobs = {k: jnp.float32(v) for k, v in attack.grid[0].items()}
  attacker = attack.fit(key, victim, auxiliary, knobs)
  spread = attacker["spread" if name == "nearest" else "std"]
  np.testing.assert_allclose(spread, STD / num**0.5, rtol=0.15)


def test_one_untuned_attacker_stores_means_too():
  attack = habit.frozen_mlp(max_steps=100)
  many = _run(attack, _victims(_codes(0.0)), num_queries=400)
  assert many["gaussian"].right.mean() > 0.95  # 0.6 for single codes
  assert many["noise"].right.mean() == pytest.approx(0.5, abs=0.04)


def test_the_law_of_one_code_says_nothing_of_means_of_several_inputs():
  chain = averaging.of_inputs(NOISE, 2)
  law = (({"std": jnp.full(3, STD)},),)
  victims = _victims(
    _codes(0.0)[:, :, None].repeat(2, axis=2), (3,), chain, law
  )
  assert not engine.applies(ATTACKS["bayes"][0], victims)
  assert all(engine.applies(ATTACKS[n][0], victims) for n in ("mlp", "kde"))
  assert engine.code_shape(victims) == (3,)


# --- Links.

BETWEEN, WITHIN = np.diag([4.0, 0.5, 0.0]), np.diag([0.2, 3.0, 1.0])


def _area(ratio, label):
  """All pairs of a true and a false link, counted; none with itself."""
  areas = []
  for i in range(len(label)):
    others = np.arange(len(label)) != i
    same = ratio[i][others & (label == label[i])]
    other = ratio[i][others & (label != label[i])]
    areas.append(np.mean(same[:, None] > other[None]))
  return np.mean(areas)


def _best(codes, label, own):
  """Area of the likelihood ratio with the true covariances."""
  a, b = np.broadcast_arrays(codes[0][:, None], codes[1][None])
  pairs, zero = np.concatenate([a, b], axis=-1), np.zeros(6)
  joint = np.block([[BETWEEN + own, BETWEEN], [BETWEEN, BETWEEN + own]])
  apart = np.kron(np.eye(2), BETWEEN + own)
  ratio = stats.multivariate_normal.logpdf(pairs, zero, joint)
  return _area(
    ratio - stats.multivariate_normal.logpdf(pairs, zero, apart), label
  )


@pytest.fixture(scope="module")
def profiles():
  """People with eight samples, clean codes of three systems, and questions."""
  rng = np.random.default_rng(0)
  person = np.repeat(np.arange(120), 8)
  of = rng.multivariate_normal(np.zeros(3), BETWEEN, 120)[person]
  own = rng.multivariate_normal(np.zeros(3), WITHIN, len(person))
  corner = 20 * rng.normal(size=(120, 3))[person]
  codes = np.stack([of + own, corner, 0 * own]).astype("f4")
  return person, codes, linked(person, 0, "person", rotations=3, seed=0)


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("inputs", [1, 2])
def test_means_are_linked_as_well_as_can_be(profiles, name, inputs):
  """Of sixteen codes of one input, or of one code of each of two."""
  person, codes, asked = profiles
  rng, num = np.random.default_rng(1), NUM if inputs == 1 else 1
  law = ({"std": jnp.full(3, STD)},)
  if inputs == 1:
    parts, sent = asked, codes
    victims = [_victims(codes)._replace(reference=None)] * len(asked)
  else:
    dealt = [mates.deal(p, person, inputs, rng) for p in asked]
    parts = [p for p, _ in dealt]
    chain = averaging.of_inputs(NOISE, inputs)
    groups = [codes[:, at] for _, at in dealt]
    victims = [_victims(g, (3,), chain, (law,)) for g in groups]
    sent = groups[0].mean(axis=2)
  areas = {system: [] for system in SYSTEMS}
  for own, question in zip(victims, parts, strict=True):
    found = _run(LINKS[name], own, question, num_queries=num)
    for system, outcome in found.items():
      areas[system].append(outcome.right.mean())
  areas = {system: np.mean(of) for system, of in areas.items()}
  assert areas["planted"] > 0.97
  assert areas["noise"] == pytest.approx(0.5, abs=0.03)
  std = STD / (NUM if inputs == 1 else inputs) ** 0.5
  at = [np.flatnonzero(p.role == TEST) for p in parts]
  if inputs == 2:
    at = at[:1]
  best = np.mean(
    [
      _best(
        [sent[0, a] + std * rng.normal(size=(len(a), 3)) for _ in range(2)],
        person[a],
        WITHIN / inputs + std**2 * np.eye(3),
      )
      for a in at
    ]
  )
  near = {"two_covariance": 0.04, "metric": 0.08, "cosine": 0.3}[name]
  assert best - near < areas["gaussian"] < best + 0.04


# --- Who is averaged with whom.


@pytest.mark.parametrize("kind", ["attribute", "identity", "linkage"])
def test_means_are_of_one_person_part_and_class(kind):
  rng = np.random.default_rng(0)
  person = np.repeat(np.arange(12), 20)
  if kind == "linkage":
    asked = linked(person, 0, "person", rotations=3, seed=0)[0]
  elif kind == "attribute":
    role = np.select([person < 4, person < 8], [TRAIN, VALIDATION], TEST)
    asked = Problem("side", 0, person % 2, role, 2, kind)
  else:
    role = np.tile(np.repeat([TRAIN, VALIDATION, TEST], [8, 2, 10]), 12)
    asked = Problem("person", 0, person, role, 12, kind)
  question, at = mates.deal(asked, person, 3, rng)
  assert at.shape == (240, 3)
  for role, own in itertools.product((TRAIN, VALIDATION, TEST), range(12)):
    means = at[(question.role == role) & (person == own)]
    assert np.all(person[means] == own) and np.all(asked.role[means] == role)
    before = np.sum((asked.role == role) & (person == own))
    if role == TEST or kind == "linkage":
      assert len(means) == before // 3  # 8 of a person are linked: two means
      assert len(np.unique(means)) == means.size
    else:
      assert len(means) == before  # each sample has a mean
      distinct = min(before, 3)
      assert all(len(np.unique(one)) == distinct for one in means)
  stood = np.flatnonzero(question.role)
  np.testing.assert_array_equal(at[stood, 0], stood)


def test_who_has_too_few_inputs_is_not_asked_about():
  rng = np.random.default_rng(0)
  assert mates.deal(QUESTION, PERSON, EACH + 1, rng) is None
  # A label that changes within a person is not the person's.
  changing = QUESTION._replace(label=np.arange(len(PERSON)) % 2)
  assert mates.deal(changing, PERSON, 2, rng) is None
  # Two means of a person make a link.
  links = linked(PERSON, 0, "person", rotations=3, seed=0)[0]
  assert mates.deal(links, PERSON, 4, rng) is not None
  assert mates.deal(links, PERSON, 5, rng) is None
