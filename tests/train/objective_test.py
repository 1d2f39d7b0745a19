import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.losses import classification, siamese
from hybridpriv.train import objective
from hybridpriv.train.objective import Term

FEATURE = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])
MASK = np.array([1, 1, 0, 1, 1, 0], np.float32)
PAIRS = Term(
  "pairs",
  siamese.contrastive,
  (("feature", "feature"), ("labels", "labels/answer")),
  knobs=("margin",),
)
CROSS = Term(
  "task",
  classification.cross_entropy,
  (("logits", "feature"), ("labels", "labels/answer")),
)


def context(**changes):
  return {
    "feature": FEATURE,
    "labels/answer": LABELS,
    "mask": MASK,
    "knobs/pairs/margin": jnp.float32(2.0),
    "knobs/pairs/weight": jnp.float32(1.0),
    "knobs/task/weight": jnp.float32(1.0),
    **changes,
  }


def test_the_mean_is_over_samples_that_count():
  values = np.array([1.0, 2, 100, 3, 6, 100], np.float32)
  assert objective.masked_mean(values, jnp.asarray(MASK)) == 3.0
  assert objective.masked_mean(values, jnp.asarray(MASK) > 0) == 3.0


def test_the_mean_of_pairs_leaves_out_self_pairs_and_masked_samples():
  values = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
  counted = [
    values[i, j]
    for i in range(6)
    for j in range(6)
    if i != j and MASK[i] and MASK[j]
  ]
  np.fill_diagonal(values, 1e6)
  mean = objective.masked_mean(values, jnp.asarray(MASK))
  np.testing.assert_allclose(mean, np.mean(counted), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_masked_may_be_no_number(bad):
  values = np.array([1.0, 2, bad, 3, 6, bad], np.float32)
  assert objective.masked_mean(values, jnp.asarray(MASK)) == 3.0


def test_a_positive_mask_counts_a_sample_whatever_its_size():
  values = np.array([1.0, 3.0], np.float32)
  assert objective.masked_mean(values, jnp.asarray([0.1, 0.2])) == 2.0


@pytest.mark.parametrize("shape", [(6,), (6, 6)])
def test_the_mean_of_nothing_is_zero(shape):
  values = np.ones(shape, np.float32)
  assert objective.masked_mean(values, jnp.zeros(6)) == 0.0


def test_a_statistic_of_the_batch_is_taken_as_it_is():
  assert objective.masked_mean(jnp.float32(7.0), jnp.asarray(MASK)) == 7.0


def test_another_shape_is_one_clear_error():
  with pytest.raises(ValueError, match=r"returned \(6, 3\) for a batch of 6"):
    objective.masked_mean(FEATURE, jnp.asarray(MASK))


@pytest.mark.parametrize("term", [PAIRS, CROSS])
def test_samples_of_unknown_label_take_no_part(term):
  labels = np.array([0, -1, 2, 0, 1, -1])
  known = labels >= 0
  whole = context(**{"labels/answer": labels, "mask": np.ones(6, np.float32)})
  part = context(mask=np.ones(4, np.float32))
  part["labels/answer"] = labels[known]

  @jax.jit
  def value(feature, context):
    return objective.value(term, {**context, "feature": feature})

  found, gradient = jax.jit(jax.value_and_grad(value))(FEATURE, whole)
  expected = value(FEATURE[known], part)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_allclose(gradient[~known], 0.0, atol=1e-7)
  assert np.all(np.any(gradient[known] != 0, axis=1))


def test_every_player_sums_its_own_terms_by_weight_and_schedule():
  def constant(name, value, player, schedule=None):
    return Term(
      name,
      lambda *, x: value * jnp.ones_like(x[:, 0]),
      (("x", "feature"),),
      schedule=schedule,
      player=player,
    )

  terms = (
    constant("a", 1.0, "defender"),
    constant("b", 2.0, "spy"),
    constant("c", 3.0, "defender", lambda step: step / 10),
    constant("d", 5.0, "spy"),
  )
  weights = {"a": 1.0, "b": 0.5, "c": 4.0, "d": 0.0}
  knobs = {f"knobs/{k}/weight": jnp.float32(v) for k, v in weights.items()}
  totals, values = objective.evaluate(terms, context(**knobs), jnp.int32(5))
  assert totals == {"defender": 1.0 + 4.0 * 3.0 * 0.5, "spy": 1.0}
  assert values == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 5.0}


@pytest.mark.parametrize(
  "changes, missing",
  [
    ({"inputs": (("logits", "logit"),)}, "'logit'"),
    ({"mask": "seen"}, "'seen'"),
    ({"knobs": ("temperature",)}, "'knobs/task/temperature'"),
    ({"name": "other"}, "'knobs/other/weight'"),
  ],
)
def test_a_name_that_the_context_lacks_is_one_clear_error(changes, missing):
  term = CROSS._replace(**changes)
  with pytest.raises(ValueError) as error:
    objective.evaluate((term,), context(), jnp.int32(0))
  message = str(error.value)
  assert f"term '{term.name}' reads {missing}" in message
  assert "'feature'" in message and "'labels/answer'" in message
