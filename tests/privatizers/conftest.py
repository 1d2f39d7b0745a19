"""Two labels planted in Gaussian features, each along a line of its own."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def ask(weights, flat):
  """A linear service with two classes, answered with plus or minus a value."""
  value = flat.reshape((flat.shape[0], -1)) @ weights
  return {"answer": jnp.stack([-value, value], axis=1)}


@pytest.fixture
def linear():
  """Returns a function: the linear cloud half of given weights."""
  return lambda weights: jax.tree_util.Partial(ask, jnp.asarray(weights))


@pytest.fixture
def toy(linear):
  """Returns a function that draws features, labels and a cloud half.

  Component `basis[0]` is `gap[0]` times the answer (1 or -1) plus noise of
  `spread[0]`, component `basis[1]` likewise for a secret; the others are noise
  alone. The service reads component 0.
  """

  def draw(
    num=4000, size=8, gap=(2.0, 2.0), spread=(1.0, 1.0), turned=True, seed=0
  ):
    rng = np.random.default_rng(seed)
    basis = np.eye(size)
    if turned:
      basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    answer, secret = rng.integers(2, size=(2, num))
    values = rng.normal(size=(num, size))
    values[:, :2] *= spread
    values[:, 0] += gap[0] * (2 * answer - 1)
    values[:, 1] += gap[1] * (2 * secret - 1)
    context = {
      "features": (3 + values @ basis).astype("f4"),
      "labels": {"answer": answer, "secret": secret},
      "desired": ("answer",),
      "cloud": linear(basis[0].astype("f4")),
    }
    return types.SimpleNamespace(basis=basis, **context), context

  return draw


@pytest.fixture
def told():
  """Returns a function: accuracy of the best line, on the second half."""

  def accuracy(codes, label):
    codes = np.asarray(codes, "f8").reshape(len(codes), -1)
    half = len(codes) // 2
    train, own = codes[:half], label[:half]
    means = np.stack([train[own == c].mean(axis=0) for c in (0, 1)])
    within = np.cov((train - means[own]).T) + 1e-9 * np.eye(codes.shape[1])
    line = np.linalg.solve(within, means[1] - means[0])
    guess = (codes[half:] - means.mean(axis=0)) @ line > 0
    return np.mean(guess == label[half:])

  return accuracy
