import numpy as np
import pytest

from hybridpriv.guarantees import bounds, guarantee, pac
from hybridpriv.privatizers import clip, noise, privatizer, project, quantize


def features(num=3000, seed=0):
  mix = np.random.default_rng(9).normal(size=(6, 6))
  return np.random.default_rng(seed).normal(size=(num, 6)) @ mix


def fitted(key, *stages, num=3000):
  chain = privatizer.chain(*stages)
  own = features(num).astype("f4")
  state = chain.fit(key, {"features": own})
  prefix, _ = privatizer.split_random(chain)
  first, _ = privatizer.split_state(chain, state)
  return chain, state, lambda x: prefix.encode(first, key, x.astype("f4"))


@pytest.mark.parametrize("budget", [0.05, 0.5, 3.0])
def test_a_budget_is_kept_and_on_other_people_nearly(key, budget):
  chain, state, clean = fitted(key, project.pca(k=4), noise.pac(budget=budget))
  own = pac.of(chain, state, clean(features()))
  assert own.information == pytest.approx(budget, rel=2e-3)
  other = pac.of(chain, state, clean(features(seed=1)))
  assert other.information == pytest.approx(budget, rel=0.1)
  gap = abs(other.information - own.information)
  assert gap < 4 * np.hypot(own.standard_error, other.standard_error)
  assert own.case == "estimate, average over the population"
  # And no guarantee is made of it.
  assert guarantee.of(chain, state, size=4) is None


@pytest.mark.parametrize(
  "stage",
  [
    noise.isotropic(sigma=0.7),
    noise.covariance(scale=0.3),
    noise.pac(budget=1.0),
  ],
  ids=lambda stage: stage.name,
)
def test_the_information_is_that_of_determinants(key, stage):
  single = stage.fit(key, {"features": features().astype("f4")})
  found = pac.of(stage, single, features(500, seed=2), num_queries=3)
  clean = np.cov(features(500, seed=2).T)
  if "factor" in single:
    law = np.asarray(single["factor"] @ single["factor"].T, "f8")
  else:
    law = float(single["std"]) ** 2 * np.eye(6)
  expected = 0.5 * np.log(
    np.linalg.det(np.eye(6) + 3 * np.linalg.inv(law) @ clean)
  )
  assert found.information == pytest.approx(expected, rel=1e-4)
  assert (found.num_samples, found.num_queries) == (500, 3)
  # Several codes of one input tell at most so many times what one tells.
  once = pac.of(stage, single, features(500, seed=2))
  assert once.information < found.information < 3 * once.information


def test_levels_of_each_component_are_read(key):
  stage = noise.learned(weight=0.0)
  std = np.asarray([[0.5, 1.0, 2.0], [3.0, 1.0, 1.0]], "f4")
  state = {"std": std, "shift": np.zeros_like(std)}
  codes = features(400).reshape(400, 2, 3)
  found = pac.of(stage, state, codes)
  expected = bounds.gaussian_information(
    np.cov(features(400).T), np.diag(std.ravel() ** 2.0)
  )
  assert found.information == pytest.approx(expected)


def test_the_error_is_that_of_many_samples(key):
  """One from a sample is the spread over samples, of heavy tails too."""
  stage = noise.isotropic(sigma=1.0, relative=False)
  state = stage.fit(key, {})

  def estimate(seed, each):
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(400 // each), each)
    codes = rng.standard_t(6, size=(400 // each, 2))[person]
    return pac.of(stage, state, codes, person=person)

  for each in (1, 4):
    made = [estimate(seed, each) for seed in range(300)]
    spread = np.std([own.information for own in made])
    error = np.mean([own.standard_error for own in made])
    assert error == pytest.approx(spread, rel=0.2)
  # Who takes the samples of a person for four people is too sure.
  codes = np.random.default_rng(0).normal(size=(100, 2)).repeat(4, axis=0)
  person = np.arange(100).repeat(4)
  wide = pac.of(stage, state, codes, person=person).standard_error
  assert wide == pytest.approx(
    2 * pac.of(stage, state, codes).standard_error, rel=1e-6
  )


def test_nobody_does_better_on_average_than_the_bound(key):
  """The best guess of a Gaussian secret, which is known, stays below it."""
  rng = np.random.default_rng(0)
  secret = 2 * rng.integers(2, size=200_000) - 1
  codes = (secret + 0.2 * rng.normal(size=200_000))[:, None]
  stage = noise.isotropic(sigma=1.5, relative=False)
  state = stage.fit(key, {})
  own = pac.of(stage, state, codes)
  guess = codes[:, 0] + 1.5 * rng.normal(size=200_000) > 0
  reached = np.mean(guess == (secret > 0))
  bound = own.success([0.5, 0.5])
  assert 0.7 < reached < bound < 0.9
  assert own.success([0.5, 0.5], errors=2.0) > bound


@pytest.mark.parametrize(
  "stages",
  [
    (project.pca(k=4),),
    (clip.norm(clip_norm=1.0), quantize.toward_zero(levels=9))
    + (noise.discrete(sigma=2.0),),
    (noise.isotropic(sigma=0.0),),
    (project.pca(k=4), noise.covariance(scale=0.0)),
  ],
  ids=["no noise", "other noise", "silent", "nothing"],
)
def test_what_has_no_noise_everywhere_has_no_estimate(key, stages):
  chain, state, clean = fitted(key, *stages, num=50)
  assert pac.of(chain, state, clean(features(50))) is None


def test_too_few_codes_are_refused(key):
  stage = noise.isotropic(sigma=1.0, relative=False)
  for shape in ((1, 3), (2, 4097)):
    with pytest.raises(ValueError, match=f"{shape[0]} codes of {shape[1]}"):
      pac.of(stage, stage.fit(key, {}), np.zeros(shape))
