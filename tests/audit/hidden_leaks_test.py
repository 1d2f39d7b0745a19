"""A plain leak is found whatever was put over it."""

import jax
import numpy as np
import pytest

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
from hybridpriv.privatizers import privatizer

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SIDE = RNG.integers(0, 2, 600)
TELLS = SIDE + 0.1 * RNG.normal(size=600)
OTHER = RNG.normal(size=(2, 600))
# A leak that a threshold reads, and what was put over it.
HIDDEN = {
  "a component in other units": np.stack([TELLS, 1e9 * OTHER[0]], 1),
  "one code in a hundred far out": np.stack(
    [np.where(np.arange(600) % 100 == 7, 1e12, TELLS), OTHER[0]], 1
  ),
  "a third of the codes far out": np.stack(
    [TELLS, np.where(np.arange(600) % 3 == 1, 1e6, OTHER[0])], 1
  ),
  "the largest float where something is missing": np.stack(
    [TELLS, np.where(np.arange(600) % 100 == 7, np.finfo("f4").min, 0)], 1
  ),
  "large noise in a direction of its own": np.stack(
    [300 * OTHER[1] + TELLS, 300 * OTHER[1] - TELLS], 1
  ),
}
# Attack, how many of these it reads, and how well: a mean is moved by few.
AGAINST = {
  "linear": (attribute.linear(max_steps=500), 5, 0.97),
  "mlp": (attribute.mlp(width=16, max_steps=500), 5, 0.97),
  "kde": (density.kde(), 5, 0.97),
  "fisher": (discriminant.linear(), 5, 0.9),
  "nearest": (neighbour.nearest(), 4, 0.97),
  "histogram": (histogram.bayes(), 4, 0.95),
  "bayes": (likelihood.bayes(), 4, 0.97),
  "centroid": (neighbour.centroid(), 3, 0.85),
}


@pytest.mark.parametrize("name", AGAINST)
def test_a_plain_leak_cannot_be_hidden_by_what_is_large(name):
  attack, num, least = AGAINST[name]
  kinds = list(HIDDEN)[:num]  # the last takes an attack that turns codes
  codes = np.stack([HIDDEN[kind] for kind in kinds]).astype("f4")
  role = np.repeat([TRAIN, VALIDATION, TEST], 200)
  problem = Problem("side", 0, SIDE, role, 2, "attribute")
  own = engine.Victims(kinds, np.zeros(num, int), codes, (), privatizer.chain())
  pairs = [(v, 0) for v in range(num)]
  found = engine.attack_all(
    attack, own, [problem], pairs, key=KEY, seeds=1, draws=1
  )
  for v, kind in enumerate(kinds):
    assert found[v, 0].right.mean() >= least, kind


def test_what_stands_inside_a_far_cluster_is_not_drawn_in_for_good():
  # A sixth of the codes lie together, thirty spreads from the others: two
  # classes side by side, of which a logarithm would leave one.
  label = np.where(np.arange(600) % 6 == 0, np.arange(600) // 6 % 2, 2)
  codes = np.where(label == 2, 0.0, 29.0 + 2 * label)
  codes = (codes + 0.3 * RNG.normal(size=600)).astype("f4")
  codes = np.stack([codes, RNG.normal(size=600)], 1).astype("f4")[None]
  role = np.repeat([TRAIN, VALIDATION, TEST], 200)
  problem = Problem("side", 0, label, role, 3, "attribute")
  own = engine.Victims(
    ["code"], np.zeros(1, int), codes, (), privatizer.chain()
  )
  attack = attribute.mlp(width=16, learning_rate=0.02, max_steps=500)
  found = engine.attack_all(
    attack, own, [problem], [(0, 0)], key=KEY, seeds=2, draws=1
  )
  right, asked = found[0, 0].right, label[role == TEST]
  assert all(right[:, asked == c].mean() > 0.95 for c in range(3))
