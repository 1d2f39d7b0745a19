import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from hybridpriv.losses import siamese


def features(num=7, shape=(2, 3), scale=1.0, seed=0):
  rng = np.random.default_rng(seed)
  return (scale * rng.normal(size=(num, *shape))).astype("f4")


LABELS = np.array([0, 1, 0, 2, 1, 1, 0])


def written_out(feature, labels, margin):
  """The loss as in the paper, one pair after the other."""
  flat = feature.reshape(len(feature), -1).astype("f8")
  loss = np.zeros((len(flat), len(flat)))
  for i in range(len(flat)):
    for j in range(len(flat)):
      distance = np.sqrt(np.sum((flat[i] - flat[j]) ** 2))
      if i == j:
        continue
      if labels[i] == labels[j]:
        loss[i, j] = distance**2 / 2
      else:
        loss[i, j] = max(margin - distance, 0) ** 2 / 2
  return loss


@pytest.mark.parametrize("margin", [0.0, 1.0, 3.0, 100.0])
def test_contrastive_is_the_written_out_loop(margin):
  feature = features()
  loss = siamese.contrastive(feature=feature, labels=LABELS, margin=margin)
  expected = written_out(feature, LABELS, margin)
  np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(loss, loss.T)


def test_contrastive_worked_by_hand():
  # Points at 0, 3 and 4i: distances 3, 4 and 5.
  feature = np.array([[0, 0], [3, 0], [0, 4]], "f4")
  loss = siamese.contrastive(
    feature=feature, labels=np.array([1, 1, 0]), margin=4.5
  )
  expected = [[0, 4.5, 0.125], [4.5, 0, 0], [0.125, 0, 0]]
  np.testing.assert_allclose(loss, expected, atol=1e-5)


def test_contrastive_does_not_depend_on_the_order_or_the_origin():
  feature, order = features(), np.array([3, 0, 6, 2, 5, 1, 4])

  def loss(feature, labels):
    return siamese.contrastive(feature=feature, labels=labels, margin=2.0)

  plain = loss(feature, LABELS)
  shuffled = loss(feature[order] + 5, LABELS[order])
  np.testing.assert_allclose(
    shuffled, plain[np.ix_(order, order)], rtol=1e-4, atol=1e-5
  )


def test_the_gradient_is_that_of_the_written_out_loop():
  feature = features()

  def total(feature, margin):
    loss = siamese.contrastive(feature=feature, labels=LABELS, margin=margin)
    return loss.sum()

  check_grads(total, (feature, 3.0), order=1, modes=["rev"], rtol=2e-2)
  gradient = np.asarray(jax.grad(total)(feature, 3.0), "f8")
  numeric, step = np.zeros_like(gradient), 1e-4
  for place in np.ndindex(feature.shape):
    moved = [feature.astype("f8") for _ in range(2)]
    moved[0][place] += step
    moved[1][place] -= step
    up, down = (written_out(part, LABELS, 3.0).sum() for part in moved)
    numeric[place] = (up - down) / (2 * step)
  np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e3, -0.1])
def test_equal_features_have_a_finite_loss_and_no_gradient(value):
  feature = np.full((6, 4), value, "f4")
  labels = np.array([0, 0, 1, 1, 2, 2])

  def total(feature):
    loss = siamese.contrastive(feature=feature, labels=labels, margin=10.0)
    return loss.sum(), loss

  gradient, loss = jax.jit(jax.grad(total, has_aux=True))(feature)
  same = labels[:, None] == labels[None, :]
  np.testing.assert_array_equal(loss[same], 0)
  np.testing.assert_allclose(loss[~same], 50, rtol=1e-4)
  np.testing.assert_allclose(gradient, 0, atol=1e-2)


def test_a_duplicate_across_classes_adds_no_gradient():
  feature = features(6, (5,), scale=3.0)
  feature[1] = feature[0]
  labels = np.array([0, 1, 0, 1, 0, 1])

  def total(feature):
    return siamese.contrastive(
      feature=feature, labels=labels, margin=10.0
    ).sum()

  expected = np.zeros(feature.shape)
  for i, j in np.ndindex(6, 6):
    if i != j and {i, j} != {0, 1}:  # there is no direction between these
      difference = feature[i].astype("f8") - feature[j]
      distance = np.linalg.norm(difference)
      push = max(10 - distance, 0) / distance
      expected[i] += 2 * difference * (1 if labels[i] == labels[j] else -push)
  np.testing.assert_allclose(jax.grad(total)(feature), expected, atol=1e-3)


@pytest.mark.parametrize("margin", [0.0, 2.5, 100.0])
def test_lockstep_is_the_loss_of_pairs_in_two_branches(margin):
  feature, labels = features(8), np.array([0, 1, 2, 0, 0, 2, 2, 1])
  loss = siamese.lockstep(feature=feature, labels=labels, margin=margin)
  pairs = written_out(feature, labels, margin)
  expected = [pairs[k, k + 4] for k in range(4)]
  np.testing.assert_allclose(loss, expected * 2, rtol=1e-5, atol=1e-6)
  assert loss.dtype == jnp.float32
  # The published mean: 1 / (2N) times the sum over the N pairs.
  distance = np.linalg.norm((feature[:4] - feature[4:]).reshape(4, -1), axis=1)
  similar = labels[:4] == labels[4:]
  total = np.sum(
    similar * distance**2
    + (1 - similar) * np.maximum(margin - distance, 0) ** 2
  )
  np.testing.assert_allclose(np.mean(loss), total / (2 * 4), rtol=1e-5)


def test_the_gradient_of_lockstep_is_that_of_caffe():
  feature, labels = features(10, (4,)), np.array([0, 1, 2, 0, 1, 0, 2, 2, 1, 0])
  margin, num = 3.0, 5

  def mean(feature):
    return siamese.lockstep(
      feature=feature, labels=labels, margin=margin
    ).mean()

  # Caffe's backward pass, branch by branch.
  expected = np.zeros(feature.shape)
  for k in range(num):
    difference = feature[k].astype("f8") - feature[k + num]
    distance = np.linalg.norm(difference)
    if labels[k] == labels[k + num]:
      part = difference / num
    elif margin - distance > 0:
      part = -(margin - distance) / (distance + 1e-4) * difference / num
    else:
      part = np.zeros(4)
    expected[k], expected[k + num] = part, -part
  assert 0 < np.all(expected == 0, axis=1).sum() < 2 * num
  gradient = jax.jit(jax.grad(mean))(feature)
  np.testing.assert_allclose(gradient, expected, rtol=2e-4, atol=1e-6)


def test_lockstep_at_equal_features_has_no_gradient():
  feature, labels = np.full((6, 4), 3.0, "f4"), np.array([0, 1, 2, 0, 2, 1])

  def mean(feature):
    return siamese.lockstep(feature=feature, labels=labels, margin=10.0).mean()

  np.testing.assert_array_equal(jax.grad(mean)(feature), 0)


def test_lockstep_expects_over_shuffles_the_mean_of_all_pairs():
  feature, labels = features(6), np.array([0, 1, 0, 2, 1, 1])
  pairs = siamese.contrastive(feature=feature, labels=labels, margin=3.0)
  orders = np.array(list(itertools.permutations(range(6))))
  means = jax.vmap(
    lambda order: siamese.lockstep(
      feature=jnp.asarray(feature)[order],
      labels=jnp.asarray(labels)[order],
      margin=3.0,
    ).mean()
  )(orders)
  assert np.std(means) > 0.1 * np.mean(means)
  np.testing.assert_allclose(
    np.mean(np.asarray(means)), np.sum(pairs) / 30, rtol=1e-5
  )


def test_lockstep_refuses_an_odd_batch():
  with pytest.raises(ValueError, match="got 7 examples.*even"):
    siamese.lockstep(feature=features(), labels=LABELS, margin=1.0)


def test_reversed_contrastive_pulls_other_people_and_pushes_the_same():
  # Points at 0, 3 and 4i: distances 3, 4 and 5.
  feature = np.array([[0, 0], [3, 0], [0, 4]], "f4")
  loss = siamese.reversed_contrastive(
    feature=feature, labels=np.array([1, 1, 0]), margin=4.5
  )
  expected = [[0, 1.125, 8], [1.125, 0, 12.5], [8, 12.5, 0]]
  np.testing.assert_allclose(loss, expected, atol=1e-5)


def test_contrastive_and_reversed_together_know_no_labels():
  knobs = {"feature": features(), "margin": 3.0}
  one, other = (
    siamese.contrastive(labels=labels, **knobs)
    + siamese.reversed_contrastive(labels=labels, **knobs)
    for labels in (LABELS, LABELS[::-1])
  )
  np.testing.assert_allclose(one, other, rtol=1e-6)
  # Every pair is pulled once and pushed once.
  pull, push = (written_out(features(), x, 3.0) for x in ([0] * 7, range(7)))
  np.testing.assert_allclose(one, pull + push, rtol=1e-5, atol=1e-5)


def test_distances_of_a_tight_cloud_far_from_the_origin_are_precise():
  # Steps of 2^-10 are exact in float32 at 1000.
  steps = np.random.default_rng(0).integers(-8, 8, size=(6, 50))
  feature = (1000 + steps / 2**10).astype("f4")
  distance = siamese.distances(feature)
  difference = (steps[:, None] - steps[None, :]) / 2**10
  expected = np.sqrt(np.sum(difference**2, axis=2))
  # A plain Gram matrix would be wrong by about 4 here.
  np.testing.assert_allclose(distance, expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_features_are_computed_in_float32():
  feature = jnp.asarray(features(), jnp.bfloat16)
  loss = siamese.contrastive(feature=feature, labels=LABELS, margin=2.0)
  assert loss.dtype == jnp.float32
  expected = written_out(np.asarray(feature, "f4"), LABELS, 2.0)
  np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-5)


def test_margins_share_one_trace_and_vmap():
  traces = []

  @jax.jit
  def total(margin):
    traces.append(margin)
    return siamese.contrastive(
      feature=features(), labels=LABELS, margin=margin
    ).sum()

  one = [total(margin) for margin in (0.5, 1.0, 2.0)]
  assert len(traces) == 1
  np.testing.assert_allclose(
    jax.vmap(total)(jnp.asarray([0.5, 1.0, 2.0])), one, rtol=1e-6
  )


def test_pair_statistics_are_means_over_the_pairs_that_count():
  feature, mask = features(), np.array([1, 1, 1, 1, 0, 1, 1])
  found = siamese.pair_statistics(
    feature=feature, labels=LABELS, margin=3.0, mask=mask
  )
  pull, push = [], []
  for i in range(7):
    for j in range(i):
      if mask[i] and mask[j]:
        distance = np.linalg.norm(feature[i] - feature[j])
        (pull if LABELS[i] == LABELS[j] else push).append(distance)
  expected = {
    "same_distance": np.mean(pull),
    "different_distance": np.mean(push),
    "inside_margin": np.mean(np.array(push) < 3.0),
    "same_pairs": len(pull),
    "different_pairs": len(push),
  }
  assert set(found) == set(expected)
  assert 0 < expected["inside_margin"] < 1
  for name, value in expected.items():
    assert found[name].shape == () and found[name].dtype == jnp.float32
    np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
  "labels, mask",
  [([1, 1, 1], [1, 1, 1]), ([0, 1, 2], [1, 1, 1]), ([0, 0, 1], [0, 0, 0])],
)
def test_pair_statistics_are_finite_without_pairs_of_a_kind(labels, mask):
  found = siamese.pair_statistics(
    feature=features(3),
    labels=np.array(labels),
    margin=1.0,
    mask=np.array(mask),
  )
  assert all(np.isfinite(value) for value in found.values())
  assert found["same_pairs"] * found["different_pairs"] == 0
