import math

import dp_accounting
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dp_accounting import pld
from scipy import optimize, special

from hybridpriv.attacks import likelihood
from hybridpriv.guarantees import bounds, guarantee
from hybridpriv.privatizers import clip, noise, privatizer, project, quantize


def features(num=300, seed=0):
  rng = np.random.default_rng(seed)
  mix = rng.normal(size=(12, 12))
  return (1 + rng.normal(size=(num, 12)) @ mix).astype("f4")


def fitted(key, *stages):
  chain = privatizer.chain(*stages)
  return chain, chain.fit(key, {"features": features()})


def integers(levels=16, sigma=12.0):
  return (
    project.pca(k=4),
    clip.unit_ball(clip_norm=1.5),
    quantize.toward_zero(levels=levels),
    noise.discrete(sigma=sigma),
    quantize.saturate(bits=8),
  )


def test_a_clipped_code_with_noise_has_a_guarantee(key):
  chain, state = fitted(
    key,
    project.pca(k=4),
    clip.norm(clip_norm=2.0),
    noise.isotropic(sigma=4.0, relative=False),
  )
  found = guarantee.of(chain, state, size=4, num_queries=9)
  assert found == guarantee.Guarantee("gaussian", 2.0, 4.0, 4, 9)
  assert found.ratio == pytest.approx(1.5)
  assert found.success([0.5, 0.5]) == pytest.approx(special.ndtr(1.5), abs=1e-6)


def test_the_certified_path_counts_in_steps_of_its_grid(key):
  chain, state = fitted(key, *integers(levels=16, sigma=32.0))
  found = guarantee.of(chain, state, size=4)
  assert found == guarantee.Guarantee("discrete gaussian", 16.0, 32.0, 4)
  # 0.5^2 / 2 nats, and not the continuous form.
  assert found.success([0.5, 0.5]) == pytest.approx(
    bounds.renyi_success([0.5, 0.5], rho=0.125)
  )
  # What follows the noise is no matter to the likelihood attack either.
  _, suffix = privatizer.split_random(chain)
  assert likelihood.bayes().applies(suffix, (4,))
  assert found.success([0.5, 0.5]) > special.ndtr(0.5)


@pytest.mark.parametrize(
  "stages",
  [
    (project.pca(k=4), noise.isotropic(sigma=1.0)),
    (noise.isotropic(sigma=1.0), clip.norm(clip_norm=1.0)),
    (project.pca(k=4), clip.norm(clip_norm=1.0)),
    (clip.norm(clip_norm=1.0), noise.covariance(scale=1.0)),
    (clip.norm(clip_norm=9.0), noise.discrete(sigma=9.0)),
    (
      clip.norm(clip_norm=9.0),
      quantize.saturate(bits=8),
      noise.isotropic(sigma=9.0, relative=False),
    ),
    (clip.norm(clip_norm=9.0), noise.isotropic(sigma=0.0, relative=False)),
    (
      clip.norm(clip_norm=9.0),
      noise.isotropic(sigma=1.0)._replace(encode=lambda s, key, x: x),
    ),
    (
      noise.isotropic(sigma=1.0)._replace(
        is_random=False, radius=lambda state, r: 1.0
      ),
      noise.isotropic(sigma=1.0, relative=False),
    ),
    (),
  ],
  ids=[
    "no clip",
    "clip after noise",
    "no noise",
    "other noise",
    "no grid",
    "rounded",
    "silent",
    "fake noise",
    "fake bound",
    "nothing",
  ],
)
def test_what_is_not_bounded_has_no_guarantee(key, stages):
  chain, state = fitted(key, *stages)
  assert guarantee.of(chain, state, size=4) is None


def test_a_projection_behind_the_clip_moves_the_bound(key):
  """The mean that the projection takes off is no part of a clipped code."""
  chain, state = fitted(
    key,
    clip.norm(clip_norm=1.0),
    project.pca(k=4),
    noise.isotropic(sigma=1.0, relative=False),
  )
  assert guarantee.of(chain, state, size=4).clip_norm > 1.0


@pytest.mark.parametrize(
  "stage",
  [
    clip.norm(clip_norm=6.0),
    clip.unit_ball(clip_norm=0.2),
    project.pca(k=9),
    quantize.toward_zero(levels=7),
    quantize.saturate(bits=8),
  ],
  ids=lambda stage: stage.name,
)
def test_no_code_is_longer_than_its_radius(key, stage):
  """Every member that may stand between clip and noise keeps its word."""
  rng = np.random.default_rng(0)
  state = stage.fit(key, {"features": features()})
  inputs = rng.normal(size=(2000, 12)).astype("f4")
  inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
  for norm in (0.5, 3.0, 6.0):
    bound = float(stage.radius(state, jnp.float32(norm)))
    # Also where rounding adds most: all values a little above one half.
    half = np.full((1, 12), norm / np.sqrt(12), "f4")
    for x in (norm * inputs, half):
      code = np.asarray(stage.encode(state, key, x), "f8")
      assert np.linalg.norm(code, axis=1).max() <= bound * (1 + 1e-6)


def test_what_is_no_number_is_not_sent(key):
  stage = clip.unit_ball(clip_norm=1.0)
  state = stage.fit(key, {"features": features()})
  odd = jnp.zeros((3, 12)).at[:, 0].set(jnp.asarray([jnp.inf, jnp.nan, 1e38]))
  code = stage.encode(state, key, odd)
  assert np.isfinite(code).all()
  assert np.linalg.norm(code, axis=1).max() <= 1


def test_a_noise_alone_has_none(key):
  alone = noise.isotropic(sigma=1.0)
  state = alone.fit(key, {"features": features()})
  assert guarantee.of(alone, state, size=12) is None


def test_no_input_has_a_code_beyond_the_bound(key):
  """Search by gradient and by brute force for a whole number code above C."""
  *prefix, _, _ = integers(levels=7)
  chain, state = fitted(key, *prefix)
  bound = float(chain.radius(state, jnp.inf))
  assert bound == 7.0

  def square(x):
    code = np.asarray(chain.encode(state, key, x), np.int64)
    return (code**2).sum(axis=1)

  rng = np.random.default_rng(0)
  scale = np.logspace(-3, 8, 4000)[:, None].astype("f4")
  inputs = rng.normal(size=(4000, 12)).astype("f4") * scale
  # Codes whose components lie on the grid, where rounding up would show.
  corners = np.stack(
    np.meshgrid(*[np.arange(-7, 8)] * 4, indexing="ij"), -1
  ).reshape(-1, 4)
  corners = corners[(corners**2).sum(1) <= 49].astype("f4")
  outward = chain.decode(state, jnp.asarray(corners))
  for candidates in (inputs, outward, 1.0001 * outward, 50 * outward):
    assert square(jnp.asarray(candidates)).max() <= bound**2
  # It is nearly reached, so that the search had something to find.
  assert square(50 * outward).max() > 0.9 * bound**2


@pytest.mark.parametrize("law", ["gaussian", "discrete gaussian"])
def test_nobody_is_right_more_often_than_fano_allows(law):
  """One value as likely as a thousand others together: there it is the least.

  One value of a code, ten times as loud as its noise, tells 2.3 nats.
  """
  prior = np.append(0.5, np.full(1000, 0.5 / 1000))
  ratio = 10.0 if law == "gaussian" else math.sqrt(2 * math.log(101) / 2)
  own = guarantee.Guarantee(law, ratio, 1.0, 1)
  told = math.log(101) / 2
  assert own.information() == pytest.approx(told)
  left = math.log(2) + 0.5 * math.log(1000) - told
  error = optimize.brentq(
    lambda e: special.entr(e) + special.entr(1 - e) + e * math.log(1000) - left,
    0,
    0.5,
  )
  assert own.success(prior) <= 1 - error + 1e-6
  if law == "gaussian":
    assert own.success(prior) == pytest.approx(1 - error, abs=1e-6)


def test_epsilon_is_that_of_the_exact_formula():
  def delta_of(epsilon, apart):
    return special.ndtr(apart / 2 - epsilon / apart) - math.exp(
      epsilon
    ) * special.ndtr(-apart / 2 - epsilon / apart)

  for ratio, queries in [(0.25, 1), (0.5, 1), (0.25, 16)]:
    own = guarantee.Guarantee("gaussian", ratio, 1.0, 4, queries)
    apart = 2 * ratio * math.sqrt(queries)
    exact = optimize.brentq(lambda e, a=apart: delta_of(e, a) - 1e-5, 0, 100)
    assert own.epsilon(1e-5) == pytest.approx(exact, rel=1e-4)
    event = dp_accounting.GaussianDpEvent(1 / apart)
    accountant = pld.PLDAccountant().compose(event)
    # Theirs is rounded up as well.
    assert own.epsilon(1e-5) <= accountant.get_epsilon(1e-5) + 1e-9
    other = guarantee.Guarantee("discrete gaussian", ratio, 1.0, 4, queries)
    assert other.epsilon(1e-5) > own.epsilon(1e-5)
  assert guarantee.Guarantee("gaussian", 1.0, 0.0, 4).epsilon(1e-5) == math.inf
  # Large and small ones are no trouble.
  assert (
    800 < guarantee.Guarantee("gaussian", 20.0, 1.0, 4).epsilon(1e-5) < 1000
  )
  assert guarantee.Guarantee("gaussian", 1e-6, 1.0, 4).epsilon(1e-5) == 0.0
  with pytest.raises(ValueError, match="delta=2"):
    own.epsilon(2)


def test_the_law_of_discrete_noise_is_the_stated_one(key):
  """Its ratios of probabilities are what the bound is derived from."""
  sigma = 3.0
  stage = noise.discrete(sigma=sigma)
  state = stage.fit(key, {})
  drawn = stage.encode(state, key, jnp.zeros((400_000, 1)))
  values, counts = np.unique(np.asarray(drawn), return_counts=True)
  whole = np.arange(-40, 41)
  law = np.exp(-(whole**2) / 2 / sigma**2)
  law /= law.sum()
  expected = 400_000 * law[values.astype(int) + 40]
  common = expected > 20
  chi = ((counts - expected) ** 2 / expected)[common].sum()
  # 99.99 % of a chi-squared with as many degrees of freedom.
  assert chi < special.chdtri(common.sum() - 1, 1e-4)
  quiet = noise.discrete(sigma=0.0)
  silent = quiet.encode(quiet.fit(key, {}), key, jnp.arange(5)[:, None])
  np.testing.assert_array_equal(silent[:, 0], np.arange(5))


def test_the_table_behind_discrete_noise_is_exact(key):
  state = noise.discrete(sigma=1.5).fit(key, {})
  whole = np.arange(-2048, 2048)
  mass = np.exp(-(whole**2) / 2 / 1.5**2)
  below = np.cumsum(mass / mass.sum())
  np.testing.assert_allclose(
    np.asarray(state["table"], "f8") / 2**32, below, atol=2**-31
  )


def test_steps_that_do_not_fit_are_said(key):
  with pytest.raises(ValueError, match="sigma=900"):
    noise.discrete(sigma=900)
  with pytest.raises(ValueError, match="bits=7"):
    quantize.saturate(bits=7)
  with pytest.raises(ValueError, match="levels=0"):
    quantize.toward_zero(levels=0)
  with pytest.raises(ValueError, match="clip_norm=0"):
    clip.unit_ball(clip_norm=0)
  with pytest.raises(ValueError, match="all codes of task-train are zero"):
    clip.unit_ball(clip_norm=1.0).fit(key, {"features": np.zeros((5, 2))})


def test_the_certified_path_goes_there_and_back(key):
  """With fine steps and without noise only the clip is lost."""
  feature = features()
  stages = (
    project.pca(k=12),
    clip.unit_ball(clip_norm=100.0),
    quantize.toward_zero(levels=2**14),
    noise.discrete(sigma=0.0),
    quantize.saturate(bits=16),
  )
  chain = privatizer.chain(*stages)
  state = chain.fit(key, {"features": feature})
  code = jax.jit(chain.encode)(state, key, feature)
  assert code.dtype == jnp.int16
  back = chain.decode(state, code)
  spread = np.sqrt(((feature - feature.mean(0)) ** 2).sum(1).mean())
  assert np.abs(np.asarray(back) - feature).max() < 0.05 * spread


def test_codes_that_do_not_fit_the_wire_are_held(key):
  wire = quantize.saturate(bits=8)
  code = wire.encode({}, key, jnp.asarray([[-1000.0, -128, 0, 127, 128]]))
  np.testing.assert_array_equal(code, [[-128, -128, 0, 127, 127]])


def test_one_program_serves_a_grid_of_integer_noise(key):
  chains = [privatizer.chain(*integers(sigma=s)) for s in (1.0, 5.0)]
  states = [c.fit(key, {"features": features()}) for c in chains]
  assert privatizer.program(chains[0]) == privatizer.program(chains[1])
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *states)
  codes = jax.vmap(chains[0].encode, in_axes=(0, None, None))(
    stacked, key, features()[:8]
  )
  for code, state in zip(codes, states, strict=True):
    np.testing.assert_array_equal(
      code, chains[0].encode(state, key, features()[:8])
    )
