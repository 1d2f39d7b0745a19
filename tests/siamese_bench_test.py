import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benches import siamese as bench

from hybridpriv.losses import siamese as losses


@pytest.fixture(scope="module")
def reference():
  torch = pytest.importorskip("torch", reason="PyTorch is not installed")
  torch.set_num_threads(1)
  from references import torch_two_branches

  return torch_two_branches


def _sides(found):
  """Starts trainings whose looks give what is said."""
  taken = []

  def start(rate, seed):
    looks = iter(found)
    return (lambda: taken.append((rate, seed))), (lambda: next(looks))

  return start, taken


def test_a_race_ends_when_both_are_reached_at_one_look():
  accuracy, contrastive = bench.ACCURACY, bench.CONTRASTIVE
  start, taken = _sides(
    [
      (accuracy, contrastive + 1),
      (accuracy - 0.01, contrastive),
      (accuracy, contrastive),
    ]
  )
  spent, steps = bench.race(start, 0.5, 7)
  assert steps == len(taken) == 3 * bench._EVERY and 0 < spent < 1
  assert set(taken) == {(0.5, 7)}


def test_a_race_that_diverges_is_never_won():
  start, taken = _sides([(1.0, math.nan)])
  assert bench.race(start, 0.5, 7) == (math.inf, math.inf)
  assert len(taken) == bench._EVERY


def test_a_race_is_given_up_when_another_rate_was_sooner():
  start, taken = _sides([(0.0, 99.0)] * 3)
  assert bench.race(start, 0.5, 7, most=0.0) == (math.inf, math.inf)
  assert len(taken) == bench._EVERY


def test_the_rate_is_the_one_that_is_there_soonest(monkeypatch):
  times = {0.1: math.inf, 0.2: 3.0, 0.3: 4.0}
  monkeypatch.setattr(
    bench, "race", lambda start, rate, seed, most: (times[rate] + seed, 1.0)
  )
  assert bench.soonest(None, tuple(times)) == 0.2


def test_nothing_is_seen_of_the_people_that_are_looked_at():
  work = bench.make()
  (train, labels), (held, _) = work.train, work.held
  assert len(train) == 4000 and len(held) == 500
  assert abs(train.mean()) < 0.01 and abs(train.std() - 1) < 0.01
  assert 0.4 < labels.mean() < 0.6
  seen = {x.tobytes() for x in train}
  assert not any(x.tobytes() in seen for x in held)


@pytest.fixture(scope="module")
def tiny():
  """Little work, with a margin that has pairs on both sides."""
  rng = np.random.default_rng(0)
  images = rng.normal(size=(12, 32, 32, 3)).astype("f4")
  labels = np.arange(12) % 2
  return bench.Work(
    (images, labels), (images, labels), width=0.05, batch=4, margin=4.0
  )


def test_both_sides_have_the_same_parameters(reference, tiny):
  from references import torch_networks

  theirs = torch_networks.vgg16(side=32, num_classes=2, norm=True, width=0.25)
  ours = bench.compiled(tiny._replace(width=0.25), bench.SGD).init(
    jax.random.key(0)
  )[0]
  sizes = [
    sorted(int(np.prod(x.shape)) for x in leaves)
    for leaves in (jax.tree.leaves(ours), list(theirs.parameters()))
  ]
  assert sizes[0] == sizes[1]


def test_both_sides_have_the_same_loss_of_a_pair(reference):
  import torch

  rng = np.random.default_rng(0)
  feature = rng.normal(size=(8, 5)).astype("f4")
  labels = np.array([0, 1, 0, 0, 1, 1, 0, 1])
  expected = losses.lockstep(feature=feature, labels=labels, margin=3.0)[:4]
  found = reference.pair_loss(
    torch.as_tensor(((feature[:4] - feature[4:]) ** 2).sum(1)),
    torch.as_tensor(labels[:4] == labels[4:]),
    3.0,
  )
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_held_pairs_are_averaged_without_those_of_one_picture(tiny):
  feature = np.random.default_rng(1).normal(size=(12, 3)).astype("f4")
  pairs = losses.contrastive(
    feature=jnp.asarray(feature), labels=jnp.asarray(tiny.held[1]), margin=4.0
  )
  off = ~np.eye(12, dtype=bool)
  assert tiny.contrastive(feature) == pytest.approx(
    np.asarray(pairs)[off].mean()
  )


@pytest.mark.parametrize("name, clip", [("SGD", None), ("ADAM", bench.CLIP)])
def test_both_sides_take_steps_that_a_look_sees(reference, tiny, name, clip):
  from references import torch_networks

  programs = bench.compiled(tiny, getattr(bench, name))
  made = reference.make(tiny, torch_networks.LAST)
  starts = (
    bench.all_pairs(tiny, programs, 1e-3, 0),
    reference.start(tiny, made, clip, 1e-3, 0),
  )
  for step, look in starts:
    early = look()
    assert look() == early  # looking changes nothing
    step()
    accuracy, contrastive = look()
    assert 0 <= accuracy <= 1 and contrastive != early[1]


def test_a_training_in_pytorch_knows_nothing_of_the_one_before(reference, tiny):
  from references import torch_networks

  made = reference.make(tiny, torch_networks.LAST)
  seen = []
  for _ in range(2):
    step, look = reference.start(tiny, made, None, 1e-2, 3)
    early = look()
    step()
    seen.append((early, look()))
  assert seen[0] == seen[1] and seen[0][0] != seen[0][1]
