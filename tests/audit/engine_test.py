from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import (
  attribute,
  density,
  discriminant,
  histogram,
  likelihood,
  neighbour,
)
from hybridpriv.audit import engine
from hybridpriv.audit.problems import TEST, TRAIN, VALIDATION, Problem
from hybridpriv.privatizers import noise, privatizer, project

RNG = np.random.default_rng(0)
NUM = 90
LABEL = np.arange(NUM) % 3
ROLE = np.repeat([TRAIN, VALIDATION, TEST], NUM // 3)
PROBLEMS = [
  Problem("side", 0, LABEL, ROLE, 3, "attribute"),
  # Fewer samples, fewer classes.
  Problem(
    "side",
    0,
    np.where(LABEL == 2, -1, LABEL),
    np.roll(ROLE, 30),
    2,
    "attribute",
  ),
]
# Component 1 tells the class, and component 0 nothing.
CLEAN = RNG.normal(size=(3, NUM, 2)).astype("f4")
CLEAN[:, :, 1] = 2.0 * LABEL
CLEAN[2] = 0.0
PAIRS = [(v, q) for v in range(3) for q in range(2)]
NOISE = privatizer.chain(noise.isotropic(sigma=1.0))


def victims(codes=CLEAN, std=(0.0, 1.0, 1.0), chain=NOISE):
  law = ({"std": jnp.asarray(std, jnp.float32)},) if chain.stages else ()
  fold = np.zeros(len(codes), int)
  return engine.Victims(list("abc"), fold, codes, law, chain)


def component_attack(traces=None):
  """Nearest class mean in one component of the code; the knob says which."""

  def fit(key, victim, auxiliary, knobs):
    if traces is not None:
      traces.append(victim.codes.shape)
    codes = victim.sample(key, auxiliary.train_index)
    own = auxiliary.train_weights[:, None] * jax.nn.one_hot(
      auxiliary.label[auxiliary.train_index], auxiliary.num_classes
    )
    means = (own.T @ codes) / jnp.maximum(own.sum(0), 1e-9)[:, None]
    return {"means": means, "at": knobs["at"], "known": own.sum(0) > 0}

  def score(attacker, codes):
    at = attacker["at"].astype(int)
    far = jnp.abs(codes[:, at][:, None] - attacker["means"][:, at][None])
    return jnp.where(attacker["known"][None], -far, -jnp.inf)

  grid = ({"at": 0.0}, {"at": 1.0})
  return attack_lib.Attack("test.component", fit, score, grid)


ATTACK = component_attack()


def run(problems=PROBLEMS, pairs=PAIRS, attack=ATTACK, key=0, **changes):
  own = changes.pop("victims", victims())
  options = {"seeds": 3, "draws": 4, **changes}
  return engine.attack_all(
    attack, own, problems, pairs, key=jax.random.key(key), **options
  )


def assert_same(a, b):
  assert a.keys() == b.keys()
  for pair in a:
    for x, y in zip(a[pair], b[pair], strict=True):
      if isinstance(x, dict):
        assert x == y
      else:
        np.testing.assert_allclose(x, y, rtol=1e-6)


BLOCK_SIZE = engine._block_size


@pytest.fixture(scope="module")
def outcomes():
  return run()


@pytest.fixture(autouse=True)
def one_block_size(monkeypatch):
  """Lets tests share programs; `outcomes` comes from another size."""
  monkeypatch.setattr(engine, "_block_size", lambda *_: 8)


def test_outcomes_are_by_seed_and_attacked_sample(outcomes):
  assert outcomes.keys() == set(PAIRS)
  for (_, q), found in outcomes.items():
    p = PROBLEMS[q]
    num = np.sum((p.role == TEST) & (p.label >= 0))
    assert found.right.shape == found.rank.shape == (3, num)
    assert found.log_rank.shape == (3, num)
    assert np.all((found.rank >= 1) & (found.rank <= p.num_classes))
    assert np.all(np.abs(4 * found.right % 1) < 1e-5)  # shares of four draws


def test_what_is_known_beforehand_is_found(outcomes):
  for q, classes in ((0, 3), (1, 2)):
    silent, noisy, empty = (outcomes[v, q] for v in range(3))
    np.testing.assert_array_equal(silent.right, 1.0)
    np.testing.assert_array_equal(silent.rank, 1.0)
    assert silent.validation == 1.0
    assert 1 / classes + 0.1 < noisy.right.mean() < 0.95
    assert abs(empty.right.mean() - 1 / classes) < 0.1


def test_knobs_are_chosen_on_validation(outcomes):
  for v in (0, 1):
    assert outcomes[v, 0].knobs == {"at": 1.0}
  # Where component 0 tells more on validation, that one is taken, whatever it
  # is worth on the attacked samples.
  codes = CLEAN.copy()
  codes[:, ROLE != TEST] = codes[:, ROLE != TEST, ::-1]
  found = run(PROBLEMS, [(0, 0)], victims=victims(codes))[0, 0]
  assert found.knobs == {"at": 0.0} and found.validation == 1.0
  assert found.right.mean() < 0.6


def test_attacked_samples_change_neither_knobs_nor_validation(outcomes):
  test = ROLE == TEST
  label = LABEL.copy()
  label[test] = (label[test] + 1) % 3
  codes = CLEAN.copy()
  codes[:, test] = 1e3 * RNG.normal(size=codes[:, test].shape)
  pairs = [(v, 0) for v in range(3)]
  for changed, other in (
    ([PROBLEMS[0]._replace(label=label), PROBLEMS[1]], victims()),
    (PROBLEMS, victims(codes)),
  ):
    found = run(changed, pairs, victims=other)
    for pair in pairs:
      assert found[pair].knobs == outcomes[pair].knobs
      assert found[pair].validation == outcomes[pair].validation
      if pair != (2, 0):
        assert np.any(found[pair].right != outcomes[pair].right)


@pytest.mark.parametrize("block", [1, 5])
def test_results_do_not_depend_on_the_size_of_a_block(
  outcomes, monkeypatch, block
):
  monkeypatch.setattr(engine, "_block_size", lambda *_: block)
  assert_same(run(), outcomes)


def test_results_do_not_depend_on_what_is_asked_together(outcomes):
  found = run(pairs=PAIRS[:1]) | run(pairs=PAIRS[:0:-1])
  assert_same({pair: found[pair] for pair in PAIRS}, outcomes)


def test_a_trained_attacker_does_not_depend_on_those_beside_it():
  # Each stops when its own validation stalls, and waits for the others.
  attack = attribute.linear(learning_rate=(0.03,), max_steps=300)
  options = {"attack": attack, "seeds": 1}
  pairs = [(v, 0) for v in range(3)]
  together = run(pairs=pairs, **options)
  for pair in pairs:
    assert_same(run(pairs=[pair], **options), {pair: together[pair]})
  assert together[0, 0].right.mean() > 0.95


def test_the_same_key_gives_the_same_and_another_key_another_noise(outcomes):
  assert_same(run(), outcomes)
  other = run(key=1)
  assert np.any(other[1, 0].right != outcomes[1, 0].right)
  # And so does another seed.
  first, second, _ = outcomes[1, 0].right
  assert np.any(first != second)


def test_one_program_serves_all_victims_problems_knobs_and_seeds():
  traces = []
  attack = component_attack(traces)
  run(attack=attack)
  run(attack=attack, victims=victims(2 * CLEAN, (3.0, 2.0, 1.0)), key=1)
  assert len(traces) == 1
  run(attack=attack, victims=victims(CLEAN[:, :, :1].repeat(3, axis=2)))
  assert len(traces) == 2  # codes of another shape


def test_silent_codes_are_drawn_once():
  silent = victims(std=(), chain=privatizer.chain())
  found = run(victims=silent)
  assert set(np.unique(found[0, 0].right)) <= {0.0, 1.0}
  np.testing.assert_array_equal(found[0, 0].right, 1.0)


@pytest.mark.parametrize(
  "attack",
  [ATTACK, attribute.linear(max_steps=50), discriminant.shrinkage()],
  ids=lambda attack: attack.name,
)
def test_jobs_of_long_codes_find_together_what_they_do_alone(
  monkeypatch, attack
):
  long = RNG.normal(size=(3, NUM, 1100)).astype("f4")
  long[:, :, :2] = CLEAN
  long[0, ::9, 0] = 1e6  # far out: looked at both ways
  own = victims(long, std=(), chain=privatizer.chain())
  done, program = [], mock.Mock(wraps=engine.job.program)
  monkeypatch.setattr(engine.job, "program", program)
  found = run(attack=attack, victims=own, seeds=5, progress=done.append)
  assert sum(done) == 6 * len(attack.grid) + (not attack.is_fixed) * 6 * 4
  monkeypatch.setattr(engine, "_LONG", 2000)
  assert_same(run(attack=attack, victims=own, seeds=5), found)
  shared = [call.kwargs["is_shared"] for call in program.call_args_list]
  assert shared == [True, False]


@pytest.mark.parametrize("chain", [privatizer.chain(), None])
def test_one_attacker_stands_for_all_only_where_nothing_is_random(chain):
  own = victims() if chain is None else victims(std=(), chain=chain)
  attack, done = neighbour.centroid(), []
  assert attack.is_fixed
  found = run(attack=attack, victims=own, progress=done.append)
  each = run(attack=attack._replace(is_fixed=False), victims=own)
  for pair, outcome in found.items():
    jax.tree.map(np.testing.assert_array_equal, outcome, each[pair])
  assert sum(done) == len(PAIRS) * (3 if chain is None else 1)


@pytest.mark.parametrize(
  "attack",
  [
    discriminant.linear(),
    discriminant.shrinkage(),
    histogram.bayes(),
    histogram.digits(),
    likelihood.bayes(),
    neighbour.nearest(),
    density.kde(),
  ],
  ids=lambda attack: attack.name,
)
def test_what_is_fixed_depends_on_no_seed(attack):
  silent = victims(std=(), chain=privatizer.chain())
  found = run(attack=attack._replace(is_fixed=False), victims=silent)
  assert attack.is_fixed
  for outcome in found.values():
    for seed in range(1, 3):
      np.testing.assert_array_equal(outcome.rank[seed], outcome.rank[0])


def test_averaged_queries_tell_more(outcomes):
  many = run(num_queries=25, pairs=[(1, 0)])[1, 0]
  assert many.right.mean() > 0.95 > outcomes[1, 0].right.mean() + 0.1


def test_progress_adds_up_to_the_jobs():
  done = []
  run(progress=done.append)
  assert sum(done) == engine.num_jobs(ATTACK, len(PAIRS), 3) == 6 * (2 + 2)


def test_blocks_are_small_where_codes_are_wide(monkeypatch):
  def size(width, jobs):
    wide = victims(np.zeros((1, NUM, width), "f4"))
    padded = engine.problems_lib.pad(PROBLEMS)
    return BLOCK_SIZE(wide, padded, 3, jobs)

  for backend, most in (("cpu", 128), ("gpu", 512)):
    monkeypatch.setattr(engine.jax, "default_backend", lambda b=backend: b)
    assert [size(2, n) for n in (1, 16, 17, 128, 129, 5000)] == (
      [8, 8, 32, 32, 128, most]
    )
    with monkeypatch.context() as tight:
      for name in ("_MEMORY", "_CACHE"):
        tight.setattr(engine, name, 2**10)
      # On a CPU attackers of longer ones push each other out of the cache.
      assert size(1024, 5000) == 8
      assert size(1025, 5000) == {"cpu": 2, "gpu": 8}[backend]
  for name in ("_MEMORY", "_CACHE"):  # of an accelerator, of a CPU
    monkeypatch.setattr(engine, name, 2**22)
  assert size(2, 5000) > size(500, 5000) == 8


def test_any_encoder_can_be_attacked(key):
  inputs = np.eye(3, dtype=np.float32)[LABEL]

  def encode(key, x):
    return 5 * x + jax.random.normal(key, x.shape)

  blind, seen = (
    engine.attack_encoder(
      ATTACK, encode, x, LABEL, ROLE, key=key, seeds=2, draws=8
    )
    for x in (0 * inputs, inputs)
  )
  assert seen.right.shape == blind.right.shape == (2, 30)
  assert seen.right.mean() > 0.6 and abs(blind.right.mean() - 1 / 3) < 0.12
  assert np.any((blind.right > 0) & (blind.right < 1))  # noise drawn afresh


def test_an_encoder_does_not_tell_the_law_of_its_noise(key):
  with pytest.raises(ValueError, match="likelihood.bayes needs the law"):
    engine.attack_encoder(
      likelihood.bayes(), lambda key, x: x, CLEAN[0], LABEL, ROLE, key=key
    )


def test_an_attack_on_short_codes_is_told_the_shape_that_is_sent(key):
  kde, long = density.kde(), np.zeros((3, NUM, 4, 5), np.float32)
  assert engine.applies(kde, victims())
  assert not engine.applies(kde, victims(long))
  # Noise first: what is sent is what a projection makes of it.
  law = (
    {"std": jnp.ones(3)},
    {"mean": jnp.zeros((3, 4, 5)), "components": jnp.zeros((3, 2, 20))},
  )
  chain = privatizer.chain(noise.isotropic(sigma=1.0), project.pca(k=2))
  sent = engine.Victims(list("abc"), np.zeros(3, int), long, law, chain)
  assert engine.code_shape(sent) == (2,) and engine.applies(kde, sent)
  with pytest.raises(ValueError, match=r"density.kde.*\(4, 5\)"):
    engine.attack_encoder(kde, lambda key, x: x, long[0], LABEL, ROLE, key=key)


# --- Features that nobody censored.

UNCENSORED = np.eye(3, dtype=np.float32)[LABEL][None].repeat(3, axis=0)


def reading_attack():
  """Keeps the features it was given, and answers as told by the knob."""

  def fit(key, victim, auxiliary, knobs):
    own = victim.reference(jnp.arange(len(auxiliary.label)))
    # What is taken from the right rows says the label of each of them.
    right = jnp.argmax(own, axis=1) == auxiliary.label
    return {"right": jnp.all(right), "rows": victim.uncensored.shape[1]}

  def score(attacker, codes):
    # A sure answer where everything was as it should be, and else no answer.
    sure = jnp.where(attacker["right"] & (attacker["rows"] == 60), 1.0, 0.0)
    return codes[:, 1:] * 0 + sure * jnp.asarray([1.0, 0.0, 0.0])[None]

  return attack_lib.Attack(
    "test.reading", fit, score, ({"none": 0.0},), needs_reference=True
  )


def test_an_attacker_reads_the_features_of_its_own_samples_only():
  # Of attacked samples they are not even numbers, and wrong.
  features = UNCENSORED.copy()
  features[:, ROLE == TEST] = np.nan
  own = victims()._replace(reference=features)
  found = run(
    PROBLEMS[:1], [(v, 0) for v in range(3)], reading_attack(), victims=own
  )
  for outcome in found.values():
    np.testing.assert_array_equal(
      outcome.right[0] == 1, LABEL[ROLE == TEST] == 0
    )


def test_each_victim_has_features_of_its_own():
  features = UNCENSORED.copy()
  features[1] = np.roll(features[1], 1, axis=-1)
  own = victims()._replace(reference=features)
  found = run(PROBLEMS[:1], [(0, 0), (1, 0)], reading_attack(), victims=own)
  assert np.any(found[0, 0].right == 1) and not np.any(found[1, 0].right == 1)


def test_without_features_an_attack_that_needs_them_does_not_apply(key):
  attack = reading_attack()
  assert not engine.applies(attack, victims())
  assert engine.applies(attack, victims()._replace(reference=UNCENSORED))
  with pytest.raises(ValueError, match="test.reading needs features"):
    run(attack=attack)
  with pytest.raises(ValueError, match="or features of an uncensored one"):
    engine.attack_encoder(
      attack, lambda key, x: x, CLEAN[0], LABEL, ROLE, key=key
    )
  # Others do not care.
  assert engine.applies(ATTACK, victims()._replace(reference=UNCENSORED))


def test_features_change_nothing_for_attacks_that_do_not_read_them(outcomes):
  assert_same(run(victims=victims()._replace(reference=UNCENSORED)), outcomes)
