import itertools
import math

import numpy as np
import pytest
from scipy import optimize, special

from hybridpriv.guarantees import bounds


def brute_force(prior, ratio):
  """Maximise over the simplex directly, over logits."""
  prior = np.asarray(prior)

  def loss(logits):
    q = special.softmax(np.append(logits, 0.0))
    return -(prior @ special.ndtr(ratio + special.ndtri(q)))

  start = np.log(prior[:-1] / prior[-1])
  found = optimize.minimize(loss, start, method="Nelder-Mead", tol=1e-12)
  return -found.fun


PRIORS = [(0.5, 0.5), (0.77, 0.23), (0.5, 0.3, 0.2), (0.9, 0.06, 0.03, 0.01)]


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0, 2.0])
def test_the_maximum_over_the_simplex_is_found(prior, ratio):
  bound = bounds.gaussian_success(prior, ratio=ratio)
  best = brute_force(prior, ratio)
  # Never below what any q gives, and no higher than need be.
  assert best <= bound <= best + 1e-6


@pytest.mark.parametrize("num", [2, 5, 1000])
@pytest.mark.parametrize("ratio", [1e-6, 0.25, 1.0, 5.0])
def test_a_uniform_prior_has_the_closed_form(num, ratio):
  bound = bounds.gaussian_success(np.full(num, 1 / num), ratio=ratio)
  closed = special.ndtr(ratio + special.ndtri(1 / num))
  assert bound == pytest.approx(closed, abs=2e-8)


def test_numbers_of_the_literature():
  # Computed by hand elsewhere: a binary attribute, one of a thousand people.
  uniform = lambda num: np.full(num, 1 / num)  # noqa: E731
  for ratio, two, thousand in [
    (0.25, 0.599, 0.0023),
    (0.5, 0.692, 0.0048),
    (1.0, 0.841, 0.0183),
    (2.0, 0.977, 0.138),
  ]:
    assert bounds.gaussian_success(uniform(2), ratio=ratio) == pytest.approx(
      two, abs=1e-3
    )
    assert bounds.gaussian_success(uniform(1000), ratio=ratio) == pytest.approx(
      thousand, abs=1e-3
    )
  # A prior of 0.77 allows less than Phi(1 + Phi^-1(0.77)) = 0.959.
  skewed = bounds.gaussian_success([0.77, 0.23], ratio=1.0)
  assert skewed == pytest.approx(0.879, abs=1e-3)
  # Utility: a balanced binary answer of 0.93 needs C / sigma of 1.48.
  assert bounds.gaussian_success([0.5, 0.5], ratio=1.48) > 0.93
  assert bounds.gaussian_success([0.5, 0.5], ratio=1.47) < 0.93


@pytest.mark.parametrize("prior", PRIORS)
def test_the_ends_are_guessing_and_certainty(prior):
  for bound in (
    lambda r: bounds.gaussian_success(prior, ratio=r),
    lambda r: bounds.information_success(prior, information=r),
    lambda r: bounds.renyi_success(prior, rho=r),
  ):
    assert bound(0.0) == max(prior)
    assert bound(math.inf) == 1.0
    values = [bound(r) for r in (0.0, 1e-4, 0.1, 0.5, 1.0, 3.0, 30.0)]
    assert values == sorted(values)


@pytest.mark.parametrize(
  ("prior", "ratio", "queries"),
  [((0.5, 0.5), 0.7, 1), ((0.77, 0.23), 1.0, 1), ((0.6, 0.4), 0.3, 9)],
)
def test_two_classes_at_the_ends_of_the_ball_reach_the_bound(
  prior, ratio, queries
):
  """The likelihood attack on extremal data is as good as any may be."""
  num, size, sigma = 400_000, 3, 2.0
  rng = np.random.default_rng(0)
  secret = rng.random(num) < prior[1]
  clean = np.where(secret, ratio, -ratio)[:, None] * sigma * np.eye(size)[:1]
  noise = sigma * rng.normal(size=(queries, num, size))
  mean = clean + noise.mean(axis=0)
  # log p(z | 1) - log p(z | 0) of the mean of n codes.
  score = 2 * queries * mean[:, 0] * ratio * sigma / sigma**2
  right = ((score + math.log(prior[1] / prior[0])) > 0) == secret
  bound = bounds.gaussian_success(
    prior,
    ratio=bounds.ratio(
      clip_norm=ratio * sigma, sigma=sigma, num_queries=queries
    ),
  )
  error = 5 * math.sqrt(bound * (1 - bound) / num)
  assert bound - error < right.mean() < bound + error


def test_no_attacker_passes_the_bounds():
  """Best answers to codes on a circle, for several priors, by integration."""
  sigma = 1.0
  x = np.linspace(-8, 8, 401)
  grid = np.stack(np.meshgrid(x, x), -1).reshape(-1, 2)
  cell = (x[1] - x[0]) ** 2
  for prior, ratio in itertools.product(PRIORS, (0.3, 1.0, 2.0)):
    angle = 2 * np.pi * np.arange(len(prior)) / len(prior)
    clean = ratio * sigma * np.stack([np.cos(angle), np.sin(angle)], -1)
    distance = ((grid[None] - clean[:, None]) ** 2).sum(-1)
    density = np.exp(-distance / 2 / sigma**2) / (2 * np.pi * sigma**2)
    joint = np.asarray(prior)[:, None] * density
    success = joint.max(axis=0).sum() * cell
    exact = bounds.gaussian_success(prior, ratio=ratio)
    marginal = joint.sum(axis=0)
    information = (
      special.rel_entr(joint, np.asarray(prior)[:, None] * marginal).sum()
      * cell
    )
    assert success <= exact + 1e-4  # the error of the grid
    assert success <= bounds.information_success(
      prior, information=bounds.worst_information(ratio)
    )
    # The information is what it is said to be bounded by, and Fano holds.
    capacity = bounds.mutual_information(
      size=2, clip_norm=ratio, sigma=sigma, num_queries=1, same=True
    )
    assert information <= capacity <= bounds.worst_information(ratio)
    assert success <= bounds.information_success(prior, information=information)
    assert 1 - success >= bounds.fano_error(prior, information=information)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
def test_discrete_noise_keeps_to_its_own_bound(sigma):
  """On integers the continuous form may be passed, the other never is."""
  whole = np.arange(-400, 401)
  passed = 0.0
  for radius, first in itertools.product((1, 2, 6), (0.5, 0.6, 0.9)):
    law = np.stack(
      [np.exp(-((whole - u) ** 2) / 2 / sigma**2) for u in (-radius, radius)]
    )
    law /= law.sum(axis=1, keepdims=True)
    prior = np.asarray([first, 1 - first])
    success = (prior[:, None] * law).max(axis=0).sum()
    ratio = bounds.ratio(clip_norm=radius, sigma=sigma)
    rho = bounds.worst_information(ratio)
    proved = bounds.renyi_success(prior, rho=rho)
    assert success <= proved
    assert proved <= bounds.information_success(prior, information=rho)
    passed = max(passed, success - bounds.gaussian_success(prior, ratio=ratio))
  assert passed > 1e-4  # why the continuous form is not printed there


@pytest.mark.parametrize("num", [2, 62, 1000])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0, 2.0])
def test_divergences_alone_prove_nearly_as_much(num, ratio):
  """Never less than the exact bound for the continuous law, and not much more.

  Both hold there, so that a smaller one would be wrong.
  """
  prior = np.full(num, 1 / num)
  exact = bounds.gaussian_success(prior, ratio=ratio)
  proved = bounds.renyi_success(prior, rho=bounds.worst_information(ratio))
  # Twice as many at most, of which the odds say more.
  assert exact < proved < 2 * exact
  one = bounds.information_success(
    prior, information=bounds.worst_information(ratio)
  )
  assert proved < one


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [1.05, 2.0, 8.0])
def test_a_shift_on_integers_tells_no_more_than_its_order_says(sigma, alpha):
  """What the bound rests on, from both ends; below 1 it would not hold."""
  whole = np.arange(-200, 201)
  noise = special.log_softmax(-(whole**2) / 2 / sigma**2)
  shifted = special.log_softmax(-((whole - 1) ** 2) / 2 / sigma**2)
  rho = bounds.worst_information(1 / sigma)

  def divergence(a, b, order):
    return special.logsumexp(order * a + (1 - order) * b) / (order - 1)

  for a, b in ((noise, shifted), (shifted, noise)):
    assert divergence(a, b, alpha) <= alpha * rho * (1 + 1e-9)
  if sigma < 0.5:
    assert divergence(noise, shifted, 0.5) > 0.5 * rho


def test_information_of_a_covariance():
  rng = np.random.default_rng(0)
  mix = rng.normal(size=(4, 4))
  clean = mix @ mix.T
  expected = 0.5 * np.log(np.linalg.det(np.eye(4) + clean / 0.5))
  found = bounds.gaussian_information(clean, 0.5)
  assert found == pytest.approx(expected)
  noise = np.diag([1.0, 2.0, 3.0, 4.0])
  expected = 0.5 * np.log(
    np.linalg.det(np.eye(4) + np.linalg.inv(noise) @ clean)
  )
  assert bounds.gaussian_information(clean, noise) == pytest.approx(expected)


def test_queries_of_one_input_share_what_those_of_many_do_not():
  told = {
    same: bounds.mutual_information(
      size=8, clip_norm=2.0, sigma=1.0, num_queries=100, same=same
    )
    for same in (True, False)
  }
  one = bounds.mutual_information(
    size=8, clip_norm=2.0, sigma=1.0, num_queries=1, same=True
  )
  assert told[False] == pytest.approx(100 * one)
  assert one < told[True] < told[False]
  assert told[True] == pytest.approx(4 * math.log1p(100 * 4 / 8))


def test_fano_is_tight_for_a_symmetric_channel():
  # Ten classes, errors spread evenly: H(s | z) = h(e) + e ln 9 exactly.
  error, num = 0.3, 10
  left = special.entr(error) + special.entr(1 - error) + error * math.log(9)
  information = math.log(num) - left
  found = bounds.fano_error(np.full(num, 1 / num), information=information)
  assert found == pytest.approx(error, abs=1e-6) and found <= error
  assert bounds.fano_error([0.5, 0.5], information=0.0) == pytest.approx(0.5)
  assert bounds.fano_error([0.5, 0.5], information=5.0) == 0.0
  # Values that never occur are no excuse.
  some, all_ = (
    bounds.fano_error(prior, information=0.5)
    for prior in ([0.25] * 4, [0.25] * 4 + [0.0] * 60)
  )
  assert all_ == some > 0.25


def test_a_ratio_has_limits():
  assert bounds.ratio(clip_norm=2, sigma=4, num_queries=9) == 1.5
  assert bounds.ratio(clip_norm=2, sigma=0) == math.inf
  assert bounds.ratio(clip_norm=0, sigma=0) == 0


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: bounds.ratio(clip_norm=-1, sigma=1), "clip_norm=-1"),
    (lambda: bounds.ratio(clip_norm=1, sigma=math.nan), "sigma=nan"),
    (
      lambda: bounds.ratio(clip_norm=1, sigma=1, num_queries=0),
      "num_queries=0",
    ),
    (lambda: bounds.gaussian_success([0.5, 0.4], ratio=1), "adds up to 0.9"),
    (lambda: bounds.gaussian_success([1.5, -0.5], ratio=1), "probabilities"),
    (lambda: bounds.gaussian_success([0.5, 0.5], ratio=-1), "ratio is -1"),
    (lambda: bounds.fano_error([1.0], information=-1), "information is -1"),
  ],
)
def test_what_makes_no_sense_is_said(call, message):
  with pytest.raises(ValueError, match=message):
    call()
