import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import neighbour
from hybridpriv.privatizers import privatizer

RNG = np.random.default_rng(0)
NUM, PADDING = 40, 5
LABEL = np.concatenate([np.arange(NUM) % 7 % 4, [0] * PADDING])  # unbalanced
OFFSET = 1e3  # far from the origin
CODES = RNG.normal(size=(NUM + PADDING, 3)) * [1, 10, 0.1] + OFFSET
CODES[:NUM, 1] += 8 * LABEL[:NUM]
CODES[NUM:] = 1e6  # padding
ASKED = RNG.normal(size=(200, 3)) * [1, 15, 0.1] + OFFSET + [0, 10, 0]
WEIGHT = 1 / np.bincount(LABEL[:NUM])[LABEL[:NUM]] / 4


def fit_and_score(attack, knobs, *, num_classes=5):
  victim = attack_lib.Victim(
    jnp.asarray(CODES, jnp.float32)[None],
    (),
    jnp.int32(0),
    jnp.arange(NUM + PADDING),
    privatizer.chain(),
  )
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(np.append(LABEL, 0)),
    jnp.asarray(np.arange(NUM + PADDING) < NUM, jnp.float32),
    jnp.ones(1),
    num_classes,
  )

  @jax.jit
  def run(knobs):
    attacker = attack.fit(jax.random.key(0), victim, auxiliary, knobs)
    return attack.score(attacker, jnp.asarray(ASKED, jnp.float32))

  return np.asarray(run({k: jnp.float32(v) for k, v in knobs.items()}))


def scaled():
  """The attacker's and the attacked codes in units of the spread."""
  own = CODES[:NUM].astype("f4").astype("f8")
  mean = WEIGHT @ own
  spread = np.sqrt(WEIGHT @ (own - mean) ** 2)
  return own / spread, ASKED.astype("f4").astype("f8") / spread


@pytest.mark.parametrize("k", [1, 5, 100])
def test_the_k_nearest_vote_by_class_weight(k):
  attack = neighbour.nearest(neighbours=(k,))
  scores = fit_and_score(attack, attack.grid[0])
  own, asked = scaled()
  distance = ((asked[:, None] - own[None]) ** 2).sum(-1)
  order = np.argsort(distance, axis=1)
  votes = np.zeros((len(asked), 5))
  for i, near in enumerate(order[:, :k]):
    np.add.at(votes[i], LABEL[near], WEIGHT[near])
  # A tie goes to the class of the nearest.
  votes[np.arange(len(asked)), LABEL[order[:, 0]]] += 1e-4
  np.testing.assert_allclose(scores, votes, atol=3e-4)
  np.testing.assert_array_equal(scores.argmax(1), votes.argmax(1))


@pytest.mark.parametrize("few", [1, 7, 200])
def test_codes_are_compared_with_a_long_list_a_few_at_a_time(few, monkeypatch):
  attack = neighbour.nearest(neighbours=(5,))
  expected = fit_and_score(attack, attack.grid[0])
  monkeypatch.setattr(neighbour, "_TOGETHER", few * len(CODES))
  found = fit_and_score(attack, attack.grid[0])
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_gallery_of_a_million_codes_is_attacked_in_bounded_memory():
  def shape(*size):
    return jax.ShapeDtypeStruct(size, jnp.float32)

  million = 10**6
  attacker = {
    "codes": shape(million, 8),
    "mean": shape(8),
    "spread": shape(8),
    "votes": shape(million, 4),
    "neighbours": shape(),
  }
  score = jax.jit(neighbour.nearest().score)
  compiled = score.lower(attacker, shape(5000, 8)).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 2**29


def test_the_class_of_the_nearest_mean_wins():
  attack = neighbour.centroid(draws=1)
  scores = fit_and_score(attack, attack.grid[0])
  own, asked = CODES[:NUM], ASKED
  means = np.stack([own[LABEL[:NUM] == c].mean(0) for c in range(4)])
  within = np.sqrt(WEIGHT @ (own - means[LABEL[:NUM]]) ** 2)
  distance = (((asked[:, None] - means[None]) / within) ** 2).sum(-1)
  np.testing.assert_allclose(scores[:, :4], -distance, rtol=1e-2, atol=1e-2)
  np.testing.assert_array_equal(scores.argmax(1), (-distance).argmax(1))
  np.testing.assert_array_equal(scores[:, 4], -np.inf)  # without a sample


@pytest.mark.parametrize("k", [1, 2, 7, 30, 99])
def test_the_kth_smallest_is_bounded_from_above_and_closely(k):
  values = np.random.default_rng(k).exponential(size=(50, 30))
  values[::2, 10:20] = values[::2, :1]  # ties
  values[:, 25:] = np.inf
  found = neighbour._kth_smallest(jnp.asarray(values.T), jnp.float32(k))
  finite = np.sort(np.where(np.isfinite(values), values, -1.0), axis=1)[:, 5:]
  expected = finite[:, min(k, 25) - 1]
  assert np.all(found >= expected * (1 - 1e-6))
  assert np.all(found <= expected + 2e-6 * finite.max(1) + 1e-6)


@pytest.mark.parametrize("far", [1e5, 1e7, 1e30])
def test_far_codes_do_not_widen_the_bound(far):
  values = np.random.default_rng(0).uniform(1, 2, (500, 3)).astype(np.float32)
  expected = np.sort(values, axis=0)[9]
  values[7] = far
  found = neighbour._kth_smallest(jnp.asarray(values), jnp.float32(10))
  assert np.all(found >= np.sort(values, axis=0)[9])
  np.testing.assert_allclose(found, np.sort(values, axis=0)[9], rtol=1e-5)
  assert np.all(found <= 1.02 * expected)


def test_more_draws_of_the_own_codes_are_other_draws():
  def encode(state, key, code):
    return code + jax.random.normal(key, code.shape)

  stage = privatizer.Privatizer(
    "noise.test", None, encode, None, None, is_random=True
  )
  victim = attack_lib.Victim(
    jnp.zeros((1, 3, 2)),
    ({},),
    jnp.int32(0),
    jnp.arange(3),
    privatizer.chain(stage),
  )
  auxiliary = attack_lib.Auxiliary(
    jnp.array([0, 1, 1, 0]), jnp.ones(3), jnp.ones(1), 2
  )
  attack = neighbour.nearest(draws=4)
  knobs = {"neighbours": jnp.float32(1)}
  fit = jax.jit(attack.fit)
  found = fit(jax.random.key(0), victim, auxiliary, knobs)
  assert len(np.unique(found["codes"])) == 4 * 3 * 2
  np.testing.assert_allclose(found["votes"].sum(0), [2.0, 2.0])
