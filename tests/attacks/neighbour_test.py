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


@pytest.mark.parametrize("block", [1, 8, 45, 4096])
@pytest.mark.parametrize("few", [1, 7, 200])
def test_codes_are_compared_with_a_long_list_part_by_part(
  few, block, monkeypatch
):
  attack = neighbour.nearest(neighbours=(5,))
  expected = fit_and_score(attack, attack.grid[0])
  monkeypatch.setattr(neighbour, "_BLOCK", block)
  monkeypatch.setattr(neighbour, "_TOGETHER", few * min(block, len(CODES)))
  found = fit_and_score(attack, attack.grid[0])
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def _attacker(codes, votes, k):
  """Makes an attacker of codes that are in units of the spread already."""
  width = codes.shape[1]
  return {
    "codes": jnp.asarray(codes, jnp.float32),
    "mean": jnp.zeros(width),
    "spread": jnp.ones(width),
    "votes": jnp.asarray(votes, jnp.float32),
    "neighbours": jnp.float32(k),
  }


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("block", [16, 50, 64, 4096])
def test_ties_vote_all_as_by_brute_force_block_by_block(k, block, monkeypatch):
  monkeypatch.setattr(neighbour, "_BLOCK", block)
  monkeypatch.setattr(neighbour, "_TOGETHER", 3 * block)
  rng = np.random.default_rng(k)
  # Small whole numbers: distances are exact, and many are equal.
  codes, asked = (rng.integers(4, size=(n, 3)) for n in (150, 20))
  votes = np.eye(4)[rng.integers(4, size=150)] * 2.0 ** -rng.integers(
    4, size=(150, 1)
  )
  votes[::7] = 0  # padding
  codes[5] = 10**6  # so far that a sum with others would round
  found = neighbour.nearest().score(
    _attacker(codes, votes, k), jnp.asarray(asked, jnp.float32)
  )
  distance = ((asked[:, None] - codes[None]) ** 2).sum(-1).astype(float)
  distance[:, votes.sum(1) == 0] = np.inf
  order = np.sort(distance, axis=1)
  near = distance <= order[:, k - 1 : k]
  assert (near.sum(1) > k).any()  # there are ties
  first = distance <= order[:, :1]
  np.testing.assert_allclose(found, (near + 1e-3 * first) @ votes, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 7, 30, 40])
def test_without_ties_as_many_vote_as_are_asked_for(k, monkeypatch):
  # The distances of both passes have to be the same to the last bit.
  monkeypatch.setattr(neighbour, "_BLOCK", 256)
  monkeypatch.setattr(neighbour, "_TOGETHER", 256 * 64)
  rng = np.random.default_rng(0)
  codes, asked = rng.normal(size=(2000, 5)), rng.normal(size=(500, 5))
  codes[::100] *= 1e6  # far ones do not widen what is near
  score = jax.jit(neighbour.nearest().score)
  found = score(
    _attacker(codes, np.ones((2000, 1)), k), jnp.asarray(asked, jnp.float32)
  )
  np.testing.assert_allclose(found, k + 1e-3, rtol=1e-6)


def _shapes(million):
  """What an attacker with so many own codes is made of."""

  def shape(*size):
    return jax.ShapeDtypeStruct(size, jnp.float32)

  attacker = {
    "codes": shape(million, 8),
    "mean": shape(8),
    "spread": shape(8),
    "votes": shape(million, 4),
    "neighbours": shape(),
  }
  return attacker, shape(5000, 8)


def _largest(jaxpr):
  """Finds the most numbers of one value of a program."""
  most = 0
  for eqn in jaxpr.eqns:
    most = max([most, *(np.prod(v.aval.shape) for v in eqn.outvars)])
    for value in eqn.params.values():
      for part in value if isinstance(value, (tuple, list)) else (value,):
        if hasattr(part, "jaxpr"):
          most = max(most, _largest(part.jaxpr))
  return most


def test_a_gallery_of_a_million_codes_is_attacked_in_bounded_memory():
  score = neighbour.nearest().score
  few, many = (
    jax.make_jaxpr(score)(*_shapes(num)).jaxpr for num in (20_000, 10**6)
  )
  # Neither the matrix nor a column of it: the same tiles, however many.
  assert _largest(few) == _largest(many) < 2 * neighbour._TOGETHER < 10**6
  compiled = jax.jit(score).lower(*_shapes(10**6)).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 2**23


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
