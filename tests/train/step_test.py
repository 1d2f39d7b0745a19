import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hybridpriv.losses import classification, reconstruction, siamese
from hybridpriv.networks import heads
from hybridpriv.privatizers import noise, privatizer
from hybridpriv.train import augment, thumbnails
from hybridpriv.train import step as step_lib
from hybridpriv.train.objective import Term

KEY = jax.random.key(7)
SPY_LOSS = functools.partial(
  Term,
  function=classification.cross_entropy,
  inputs=(("logits", "spy/logits"), ("labels", "labels/person")),
)
TASK = Term(
  "task",
  classification.cross_entropy,
  (("logits", "logits/answer"), ("labels", "labels/answer")),
)
# The defender learns the answer and hides the person from the spy.
ADVERSARIAL = {
  "terms": (TASK, SPY_LOSS("hide"), SPY_LOSS("spy", player="spy")),
  "players": (step_lib.Player("spy", heads.Mlp((4,), 2), "feature"),),
  "optimizers": {"defender": optax.sgd(0.1), "spy": optax.sgd(0.3)},
  "knobs": {"hide/weight": -0.5, "spy/weight": 1.0},
}
NOISE = privatizer.chain(noise.isotropic(sigma=1.0))


def compiled(made):
  return jax.jit(step_lib.make_step(made.spec))


@pytest.fixture(scope="module")
def adversarial(make):
  made = make(**ADVERSARIAL)
  return made, compiled(made)


def cross_entropy(logits, labels):
  """The mean cross-entropy, written out."""
  log = logits - jax.nn.logsumexp(logits, axis=1, keepdims=True)
  return -jnp.mean(log[jnp.arange(len(labels)), labels])


def spy_loss(made, defender, spy, batch):
  network = made.spec.network
  x = batch["inputs"]
  feature = network.apply({"params": defender}, x, train=True, upto="one")[0]
  hidden = feature @ spy["hidden1"]["kernel"] + spy["hidden1"]["bias"][None]
  logits = jax.nn.relu(hidden) @ spy["logits"]["kernel"]
  logits += spy["logits"]["bias"][None]
  return cross_entropy(logits, batch["labels/person"])


def task_loss(made, defender, batch):
  network = made.spec.network
  logits = network.apply({"params": defender}, batch["inputs"], train=True)[0]
  return cross_entropy(logits, batch["labels/answer"])


def assert_close(a, b, rtol=1e-5, atol=1e-6):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b
  )


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_each_player_descends_its_own_terms_by_its_own_parameters(adversarial):
  made, step = adversarial
  params, batch = made.state.params, made.batch(0)
  after, metrics = step(made.state, batch, KEY)

  @jax.jit
  def by_hand(defender, spy):
    def own(defender):
      hidden = spy_loss(made, defender, spy, batch)
      return task_loss(made, defender, batch) - 0.5 * hidden

    loss, grads = jax.value_and_grad(own)(defender)
    spied, spy_grads = jax.value_and_grad(
      lambda spy: spy_loss(made, defender, spy, batch)
    )(spy)
    return loss, grads, spied, spy_grads

  loss, grads, spied, spy_grads = by_hand(params["defender"], params["spy"])
  expected = {
    "defender": jax.tree.map(
      lambda p, g: p - 0.1 * g, params["defender"], grads
    ),
    "spy": jax.tree.map(lambda p, g: p - 0.3 * g, params["spy"], spy_grads),
  }
  assert_close(after.params, expected)
  np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
  np.testing.assert_allclose(metrics["spy/loss"], spied, rtol=1e-5)
  np.testing.assert_allclose(metrics["hide"], spied, rtol=1e-5)
  norm = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(grads)))
  np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-5)
  assert after.step == 1 and after.nan_step == -1


def test_the_spy_learns_and_the_defender_hides(adversarial):
  made, step = adversarial
  batch, loss = made.batch(0), jax.jit(functools.partial(spy_loss, made))
  # The defender answers nothing here; it hides as well as it can.
  knobs = {"task/weight": 0.0, "hide/weight": -1.0, "spy/weight": 1.0}
  before = dataclasses.replace(
    made.state, knobs={k: jnp.float32(v) for k, v in knobs.items()}
  )
  after, _ = step(before, batch, KEY)
  old, new = before.params, after.params
  start = loss(old["defender"], old["spy"], batch)
  assert loss(old["defender"], new["spy"], batch) < start
  assert loss(new["defender"], old["spy"], batch) > start


def test_one_trace_serves_every_step_batch_weight_and_key(make):
  traces = []

  def counted(*, logits, labels):
    traces.append(1)
    return classification.cross_entropy(logits=logits, labels=labels)

  made = make(terms=(TASK._replace(function=counted),))
  step = jax.jit(step_lib.make_step(made.spec), donate_argnums=0)
  state = jax.tree.map(jnp.copy, made.state)
  for number in range(4):
    knobs = {"task/weight": jnp.float32(number)}
    state = dataclasses.replace(state, knobs=knobs)
    state, _ = step(state, made.batch(number), jax.random.key(number))
  assert len(traces) == 1
  assert step._cache_size() == 1
  assert state.step == 4


def test_training_from_stored_features_leaves_the_client_as_it_is(
  make, adversarial
):
  tail = make(start="one", **ADVERSARIAL)
  assert set(tail.state.params["defender"]) == {"two", "three"}
  whole, step = adversarial
  assert_equal(tail.state.params["spy"], whole.state.params["spy"])
  network, batch = whole.spec.network, whole.batch(0)
  stored, _ = network.apply(
    whole.state.variables, batch["inputs"], train=False, upto="one"
  )
  after, metrics = compiled(tail)(tail.state, {**batch, "inputs": stored}, KEY)
  assert set(after.params["defender"]) == {"two", "three"}
  expected, same = step(whole.state, batch, KEY)
  for stage in ("two", "three"):
    assert_close(
      after.params["defender"][stage], expected.params["defender"][stage]
    )
  assert_close(after.params["spy"], expected.params["spy"])
  assert_close(metrics["task"], same["task"])


SMALL = "inputs/2"
ARTIST = {
  "terms": (
    TASK,
    Term(
      "artist",
      reconstruction.squared_error,
      (("restored", "artist/restored"), ("target", SMALL)),
      player="artist",
    ),
  ),
  "players": (
    step_lib.Player(
      "artist", heads.Restorer((), (2, 2)), "feature", "restored"
    ),
  ),
  "optimizers": {"defender": optax.sgd(0.1), "artist": optax.sgd(0.3)},
  "knobs": {"artist/weight": 1.0},
}


def test_an_adversary_restores_the_inputs_small(make):
  made, batch = make(**ARTIST), make().batch(0)
  after, metrics = compiled(made)(made.state, batch, KEY)
  x = batch["inputs"]
  feature, _ = made.spec.network.apply(
    made.state.variables, x, train=False, upto="one"
  )
  # Of four samples two: a window of weights 3, 3, 1 and 1, cut off outside.
  window = np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7
  target = np.einsum("st,btc->bsc", window, x)
  layer = made.state.params["artist"]["mlp"]["logits"]
  restored = feature @ layer["kernel"] + layer["bias"][None]
  error = np.mean((restored - target.reshape(8, 4)) ** 2)
  np.testing.assert_allclose(metrics["artist/loss"], error, rtol=1e-4)
  again = compiled(made)(after, batch, KEY)[1]
  assert again["artist/loss"] < metrics["artist/loss"]


def test_the_small_inputs_are_of_what_the_network_sees(make):
  class Shifted:
    @staticmethod
    def up(key, inputs, *, shape):
      del key, shape
      return inputs + 5.0

  peeked = {**ARTIST, "monitors": (peek(SMALL),)}
  sums = []
  for fields in (peeked, {**peeked, "augment": Shifted.up}):
    made = make(**fields)
    metrics = compiled(made)(made.state, made.batch(0), KEY)[1]
    sums.append(float(metrics["peek/sum"]))
  # Eight examples of two samples with two channels, each 5 more.
  np.testing.assert_allclose(sums[1] - sums[0], 8 * 2 * 2 * 5.0, rtol=1e-4)


def test_from_stored_features_the_batch_brings_the_small_inputs(make):
  tail, whole = make(start="one", **ARTIST), make(**ARTIST)
  batch = whole.batch(0)
  stored, _ = whole.spec.network.apply(
    whole.state.variables, batch["inputs"], train=False, upto="one"
  )
  own = {**batch, "inputs": stored}
  with pytest.raises(ValueError, match="term 'artist' reads 'inputs/2'"):
    jax.eval_shape(step_lib.make_step(tail.spec), tail.state, own, KEY)
  own[SMALL] = np.asarray(thumbnails.make(jnp.asarray(batch["inputs"]), 2))
  after, metrics = compiled(tail)(tail.state, own, KEY)
  expected, same = compiled(whole)(whole.state, batch, KEY)
  assert_close(after.params["artist"], expected.params["artist"])
  assert_close(metrics["artist"], same["artist"])


def test_statistics_of_both_halves_follow_the_batch(make):
  made = make(norm=True)
  batch = made.batch(0)
  after, _ = compiled(made)(made.state, batch, KEY)
  x = batch["inputs"].reshape(8, -1)
  for stage in ("one", "two"):
    dense = made.state.params["defender"][stage]["dense"]
    x = x @ np.asarray(dense["kernel"])
    mean, variance = x.mean(0), x.var(0)
    found = after.model_state["batch_stats"][stage]["BatchNorm_0"]
    np.testing.assert_allclose(found["mean"], 0.1 * mean, atol=1e-5)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * variance, atol=1e-5)
    x = np.tanh((x - mean) / np.sqrt(variance + 1e-5))


def test_answers_are_those_of_the_stored_statistics(make):
  made = make(norm=True, dropout=0.5)
  answers = jax.jit(step_lib.make_answers(made.spec))
  inputs = made.batch(0)["inputs"]
  found = answers(made.state, inputs, KEY)["answer"]
  expected, _ = made.spec.network.apply(
    made.state.variables, inputs, train=False
  )
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  # One sample alone, and another key: the same answer.
  alone = answers(made.state, inputs[:1], jax.random.key(8))["answer"]
  np.testing.assert_allclose(alone, expected[:1], rtol=1e-5, atol=1e-6)


def peek(name):
  """Logs the sum of what the context calls `name`."""
  return step_lib.Monitor(
    "peek", lambda *, x, mask: {"sum": jnp.sum(x)}, (("x", name),)
  )


@pytest.mark.parametrize(
  "fields",
  [
    {"augment": augment.jitter, "monitors": (peek("feature"),)},
    {"dropout": 0.5, "monitors": (peek("feature"),)},
    {
      "privatizer": NOISE,
      "law": ({"std": jnp.float32(3.0)},),
      "monitors": (
        peek("code"),
        step_lib.Monitor(
          "noise",
          lambda *, x, y, mask: {"std": jnp.std(x - y)},
          (("x", "code"), ("y", "feature")),
        ),
      ),
    },
  ],
  ids=["augmentation", "dropout", "noise"],
)
def test_every_step_draws_anew_and_a_resumed_one_draws_the_same(make, fields):
  made = make(optimizers={"defender": optax.sgd(0.0)}, **fields)
  step, batch = compiled(made), made.batch(0, 1000)
  state, straight = made.state, []
  for _ in range(3):
    state, metrics = step(state, batch, KEY)
    straight.append(float(metrics["peek/sum"]))
  assert len(set(straight)) == 3
  resumed = dataclasses.replace(made.state, step=jnp.int32(2))
  assert float(step(resumed, batch, KEY)[1]["peek/sum"]) == straight[2]
  other = step(made.state, batch, jax.random.key(8))[1]
  assert float(other["peek/sum"]) != straight[0]
  if "noise/std" in other:  # 5,000 draws of the law's deviation 3
    np.testing.assert_allclose(other["noise/std"], 3.0, rtol=0.04)


def test_no_key_is_used_twice(make):
  made = make(
    augment=augment.jitter,
    dropout=0.5,
    privatizer=NOISE,
    law=({"std": jnp.float32(1.0)},),
    **ADVERSARIAL,
  )
  with jax.debug_key_reuse(True):
    compiled(made)(made.state, made.batch(0), KEY)
    answers = jax.jit(step_lib.make_answers(made.spec))
    answers(made.state, made.batch(0)["inputs"], KEY)


def test_monitors_see_known_labels_only(make):
  made = make(
    optimizers={"defender": optax.sgd(0.0)},
    knobs={"pairs/margin": 1.0},
    monitors=(
      step_lib.Monitor(
        "pairs",
        siamese.pair_statistics,
        (
          ("feature", "feature"),
          ("labels", "labels/answer"),
          ("margin", "knobs/pairs/margin"),
        ),
      ),
    ),
  )
  batch = made.batch(0)
  batch["labels/answer"] = np.array([0, 0, 1, 1, -1, -1, 2, -1], np.int32)
  metrics = compiled(made)(made.state, batch, KEY)[1]
  assert metrics["pairs/same_pairs"] == 2
  assert metrics["pairs/different_pairs"] == 8


def test_the_first_step_without_a_number_is_kept(make):
  made = make()
  step, state = compiled(made), made.state
  seen = []
  for number in range(4):
    batch = made.batch(number)
    if number == 1:
      batch["inputs"][3] = np.nan
    state, _ = step(state, batch, KEY)
    seen.append(int(state.nan_step))
  assert seen == [-1, 1, 1, 1]


def test_a_player_without_a_term_is_one_clear_error(make):
  made = make(**{**ADVERSARIAL, "terms": (TASK,), "knobs": {}})
  step = step_lib.make_step(made.spec)
  with pytest.raises(ValueError, match="player 'spy' has no term"):
    jax.eval_shape(step, made.state, made.batch(0), KEY)


def test_a_monitor_of_what_is_not_there_is_one_clear_error(make):
  made = make(monitors=(peek("picture"),))
  step = step_lib.make_step(made.spec)
  with pytest.raises(ValueError, match="monitor 'peek' reads 'picture'"):
    jax.eval_shape(step, made.state, made.batch(0), KEY)


def test_players_are_added_to_a_training_without_touching_it(make):
  plain, whole = make(), make(**ADVERSARIAL)
  added = step_lib.add_players(whole.spec, jax.random.key(0), plain.state)
  assert_equal(added.params, whole.state.params)
  again = step_lib.add_players(whole.spec, jax.random.key(1), added)
  assert_equal(again.params, added.params)
