import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.privatizers import (
  clip,
  identity,
  noise,
  privatizer,
  project,
  prune,
  quantize,
)


def features(num=60, seed=0):
  rng = np.random.default_rng(seed)
  mix = rng.normal(size=(12, 12))
  return (1 + rng.normal(size=(num, 12)) @ mix).astype("f4").reshape(-1, 2, 6)


def ask(weights, feature):
  flat = feature.reshape((feature.shape[0], -1))
  return {"answer": flat @ weights}


def context(feature, seed=0):
  """All that a privatizer may be fitted to."""
  rng = np.random.default_rng(seed)
  weights = jnp.asarray(rng.normal(size=(12, 3)), jnp.float32)
  return {
    "features": feature,
    "labels": {
      "answer": rng.integers(3, size=len(feature)),
      "secret": rng.integers(2, size=len(feature)),
    },
    "desired": ("answer",),
    "cloud": jax.tree_util.Partial(ask, weights),
  }


def members():
  return (
    project.pca(k=4),
    clip.norm(clip_norm=2.0),
    noise.isotropic(sigma=0.5),
    noise.covariance(scale=0.1),
  )


ATOMS = {
  "identity": identity.identity(),
  "pca": project.pca(k=3),
  "clip": clip.norm(clip_norm=1.0),
  "isotropic": noise.isotropic(sigma=1.0),
  "raw": noise.isotropic(sigma=1.0, relative=False),
  "covariance": noise.covariance(scale=1.0),
  "ball": clip.unit_ball(clip_norm=1.5),
  "integers": quantize.toward_zero(levels=8),
  "discrete": noise.discrete(sigma=2.0),
  "active": project.active_subspace(k=2),
  "pruned": prune.channels(drop=0.5, private="secret"),
  "learned": noise.learned(weight=0.1, num_steps=20),
  "budget": noise.pac(budget=1.0),
  "chain": privatizer.chain(*members()),
  "fitted chain": privatizer.chain(
    prune.channels(drop=0.3, private="secret"),
    project.active_subspace(k=3),
    noise.learned(weight=0.1, num_steps=20),
    noise.pac(budget=1.0),
  ),
  "empty": privatizer.chain(),
}
each_privatizer = pytest.mark.parametrize("name", ATOMS)


@each_privatizer
def test_decode_restores_the_shape_of_the_feature(key, name):
  feature = features()
  state = ATOMS[name].fit(key, context(feature))
  code = jax.jit(ATOMS[name].encode)(state, key, feature[:5])
  assert code.dtype == jnp.float32
  assert ATOMS[name].decode(state, code).shape == (5, 2, 6)


@each_privatizer
def test_states_are_arrays_that_survive_a_file(key, name):
  feature = features()
  state = ATOMS[name].fit(key, context(feature))
  leaves, tree = jax.tree.flatten(state)
  assert all(isinstance(leaf, jax.Array) for leaf in leaves)
  file = io.BytesIO()
  np.savez(file, *leaves)
  file.seek(0)
  with np.load(file) as stored:
    loaded = jax.tree.unflatten(tree, [stored[key] for key in stored])
  np.testing.assert_array_equal(
    ATOMS[name].encode(loaded, key, feature),
    ATOMS[name].encode(state, key, feature),
  )


@each_privatizer
def test_stacked_states_vmap(key, name):
  feature = features()
  parts = [
    ATOMS[name].fit(key, context(part, seed))
    for seed, part in enumerate((feature[:30], feature[30:]))
  ]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
  keys = jax.random.split(key, 2)
  encode = jax.vmap(ATOMS[name].encode, (0, 0, None))
  codes = encode(stacked, keys, feature)
  for index, state in enumerate(parts):
    alone = ATOMS[name].encode(state, keys[index], feature)
    np.testing.assert_allclose(codes[index], alone, rtol=1e-4, atol=1e-4)


@each_privatizer
def test_prefix_then_suffix_is_the_whole(key, name):
  whole = ATOMS[name]
  feature = features()
  state = whole.fit(key, context(feature))
  prefix, suffix = privatizer.split_random(whole)
  first, second = privatizer.split_state(whole, state)
  assert not prefix.is_random
  assert suffix.is_random == whole.is_random
  clean = prefix.encode(first, key, feature)
  # Not in distribution only: the same key draws the same noise.
  code = whole.encode(state, key, feature)
  np.testing.assert_array_equal(suffix.encode(second, key, clean), code)
  restored = prefix.decode(first, suffix.decode(second, code))
  np.testing.assert_array_equal(restored, whole.decode(state, code))


def test_the_prefix_is_the_longest_without_noise():
  chained = privatizer.chain(*members())
  prefix, suffix = privatizer.split_random(chained)
  assert prefix.name == "project.pca + clip.norm"
  assert suffix.name == "noise.isotropic + noise.covariance"


def test_a_chain_fits_member_after_member_on_encoded_features(key):
  feature = features()
  stages = members()
  state = privatizer.chain(*stages).fit(key, {"features": feature})
  projected = stages[0].encode(state[0], key, feature)
  clipped = stages[1].encode(state[1], key, projected)
  expected = 0.5 * np.sqrt(np.var(clipped, axis=0, ddof=1).mean())
  assert float(state[2]["std"]) == pytest.approx(expected, rel=1e-4)
  # The last is fitted on noisy codes.
  spread = np.cov(np.asarray(clipped), rowvar=False)
  spread = 0.1 * (spread + float(state[2]["std"]) ** 2 * np.eye(4))
  found = state[3]["factor"] @ state[3]["factor"].T
  np.testing.assert_allclose(found, spread, atol=0.5 * spread.max())
  assert np.trace(found) == pytest.approx(np.trace(spread), rel=0.5)


def test_a_member_is_fitted_to_the_cloud_behind_those_before_it(key):
  """Which decode in their order: the answers to a code are those to it."""
  seen = {}

  def spy(name):
    def fit(key, known):
      seen[name] = known
      return {}

    return identity.identity()._replace(fit=fit)

  feature = features()
  stages = (
    spy("first"),
    project.pca(k=5),
    spy("second"),
    clip.unit_ball(clip_norm=9.0),
    spy("third"),
  )
  chained = privatizer.chain(*stages)
  known = context(feature)
  state = chained.fit(key, known)
  code, restored = feature, feature
  for name, end in (("first", 1), ("second", 3), ("third", 5)):
    prefix = privatizer.chain(*stages[:end])
    code = prefix.encode(state[:end], key, feature)
    restored = prefix.decode(state[:end], code)
    np.testing.assert_allclose(
      seen[name]["cloud"](code)["answer"],
      known["cloud"](restored)["answer"],
      atol=1e-4,
    )
    assert seen[name]["labels"] is known["labels"]
    np.testing.assert_allclose(seen[name]["features"][:9], code[:9], atol=1e-5)
  assert code.shape == (60, 5)


def test_clouds_behind_members_of_one_kind_share_a_program(key):
  traced = []

  @jax.jit
  def answers(cloud, code):
    traced.append(1)
    return cloud(code)

  feature = features()
  for seed, bound in enumerate((1.0, 2.0)):
    stage = clip.unit_ball(clip_norm=bound)  # its decode is a new function
    known = context(feature, seed)
    state = stage.fit(key, known)
    cloud = privatizer.behind(stage, state, known["cloud"])
    code = stage.encode(state, key, feature)
    expected = known["cloud"](stage.decode(state, code))["answer"]
    found = answers(cloud, code)["answer"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
  assert len(traced) == 1
  other = quantize.toward_zero(levels=3)
  answers(privatizer.behind(other, other.fit(key, {}), known["cloud"]), code)
  assert len(traced) == 2


def test_members_that_compute_otherwise_are_other_programs():
  class Scaled:
    def __init__(self, factor):
      self.factor = factor

    def encode(self, state, key, feature):
      return self.factor * feature

  def scaled(factor):
    def encode(state, key, feature, *, factor=factor):
      return factor * feature

    return encode

  plain = clip.unit_ball(clip_norm=1.0)

  def program(encode):
    return privatizer.program(plain._replace(encode=encode))

  encodes = [scaled(2.0), scaled(2.0), scaled(3.0)]
  for function in (*encodes, Scaled.encode):
    function.__module__ = "hybridpriv.made_up"
  same, again, other = map(program, encodes)
  assert same == again != other
  assert program(Scaled(2.0).encode) != program(Scaled(3.0).encode)


def test_members_of_a_chain_draw_different_noise(key):
  stage = noise.isotropic(sigma=1.0, relative=False)
  chained = privatizer.chain(stage, stage)
  state = chained.fit(key, {})
  drawn = np.asarray(chained.encode(state, key, jnp.zeros((20_000, 1))))
  # Equal noise twice would have variance 4.
  assert drawn.var() == pytest.approx(2, rel=0.05)


def test_a_chain_folds_the_radii(key):
  feature = features()
  chained = privatizer.chain(clip.norm(clip_norm=3.0), project.pca(k=2))
  state = chained.fit(key, {"features": feature})
  moved = state[1]["components"] @ state[1]["mean"].ravel()
  expected = 3.0 + np.linalg.norm(moved)
  assert float(chained.radius(state, np.inf)) == pytest.approx(expected)
  code = chained.encode(state, key, 100 * feature)
  assert np.linalg.norm(code, axis=1).max() <= expected
  noisy = privatizer.chain(chained, noise.isotropic(sigma=1.0))
  state = noisy.fit(key, {"features": feature})
  assert noisy.radius(state, 1.0) == np.inf


def test_the_empty_chain_is_the_identity(key):
  empty = privatizer.chain()
  feature = features()
  state = empty.fit(key, {"features": feature})
  assert state == () and not empty.is_random
  np.testing.assert_array_equal(empty.encode(state, key, feature), feature)
  np.testing.assert_array_equal(empty.decode(state, feature), feature)
  assert empty.radius(state, 2.0) == 2.0


def test_chains_within_chains_are_taken_apart(key):
  inner = privatizer.chain(*members()[:2])
  chained = privatizer.chain(inner, *members()[2:])
  assert chained.name == privatizer.chain(*members()).name
  state = chained.fit(key, {"features": features()})
  assert len(state) == len(chained.stages) == 4


def test_gradients_pass_through_a_chain(key):
  feature = features()
  chained = privatizer.chain(*members())
  state = chained.fit(key, {"features": feature})

  def total(state, feature):
    return (chained.encode(state, key, feature) ** 2).sum()

  for gradient in jax.tree.leaves(jax.grad(total, (0, 1))(state, feature)):
    assert np.isfinite(gradient).all()
