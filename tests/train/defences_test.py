"""Each defence of the objective: nothing at weight 0, its aim at a good one.

In the planted data the answer moves all inputs and the person moves them along
a direction of its own, so that a code for the one without the other exists.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hybridpriv.losses import (
  adversarial,
  classification,
  dependence,
  reconstruction,
  siamese,
)
from hybridpriv.networks import heads
from hybridpriv.privatizers import noise, privatizer
from hybridpriv.train import step as step_lib
from hybridpriv.train.objective import Term

KEY = jax.random.key(3)
STEPS = 600
# The defender slows down and the adversary does not, and is the faster: else
# they chase one another, and the person stays in the code.
SLOWING = optax.adam(optax.cosine_decay_schedule(0.01, STEPS))
TASK = Term(
  "task",
  classification.cross_entropy,
  (("logits", "logits/answer"), ("labels", "labels/answer")),
)
SPY = Term(
  "spy",
  classification.cross_entropy,
  (("logits", "spy/logits"), ("labels", "labels/person")),
  player="spy",
)
SPIED = (step_lib.Player("spy", heads.Mlp((32,), 2), "feature"),)
RESTORED = (("restored", "artist/restored"), ("target", "inputs/4"))
ARTIST = Term("artist", reconstruction.squared_error, RESTORED, player="artist")
DRAWN = (
  step_lib.Player(
    "artist", heads.Restorer((8,), (4, 2)), "feature", "restored"
  ),
)
FEATURE = ("feature", "feature")
BY_ANSWER = (FEATURE, ("labels", "labels/answer"))
BY_PERSON = (FEATURE, ("labels", "labels/person"))


class Defence(NamedTuple):
  """A term of the defender with the adversary it needs.

  Attributes:
    term: the function.
    inputs: as of a term.
    weight: a good one for the planted data.
    knobs: further arguments.
    others: terms of the adversary.
    players: the adversary.
    aim: what it is to lower: "term", its own value; "person", how often a
      fresh linear attacker names the person; "picture", how well one restores
      the inputs.
  """

  term: Any
  inputs: Any
  weight: float
  knobs: tuple[tuple[str, float], ...] = ()
  others: tuple[Term, ...] = ()
  players: tuple[step_lib.Player, ...] = ()
  aim: str = "term"


DEFENCES = {
  "siamese": Defence(siamese.contrastive, BY_ANSWER, 1.0, (("margin", 2.0),)),
  "lockstep": Defence(siamese.lockstep, BY_ANSWER, 1.0, (("margin", 2.0),)),
  "dpfe": Defence(
    siamese.reversed_contrastive, BY_PERSON, 1.0, (("margin", 2.0),)
  ),
  "censoring": Defence(
    adversarial.reversed_cross_entropy,
    (("logits", "spy/logits"), ("labels", "labels/person")),
    2.0,
    others=(SPY,),
    players=SPIED,
    aim="person",
  ),
  "maxent": Defence(
    adversarial.negative_entropy,
    (("logits", "spy/logits"),),
    10.0,
    others=(SPY,),
    players=SPIED,
    aim="person",
  ),
  "restoring": Defence(
    reconstruction.advantage,
    RESTORED,
    2.0,
    others=(ARTIST,),
    players=DRAWN,
    aim="picture",
  ),
  "nopeek": Defence(
    dependence.distance_correlation, (FEATURE, ("other", "inputs/4")), 3.0
  ),
  "rate": Defence(
    dependence.gaussian_rate, (FEATURE,), 0.1, (("variance", 0.25),)
  ),
  "cem": Defence(
    dependence.conditional_entropy, BY_ANSWER, 1.0, (("variance", 0.1),)
  ),
}


@functools.cache
def planted(number: int, size: int = 64) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(number)
  answer, person = rng.integers(3, size=size), rng.integers(2, size=size)
  inputs = 0.5 * rng.normal(size=(size, 4, 2)) + answer[:, None, None] - 1
  # Not at right angles to the answer: who looks at half of it sees the person.
  inputs[:, :2] += 1.5 * (2 * person - 1)[:, None, None]
  return {
    "inputs": inputs.astype(np.float32),
    "mask": np.ones(size, np.float32),
    "labels/answer": answer.astype(np.int32),
    "labels/person": person.astype(np.int32),
  }


@pytest.fixture(scope="module")
def trained(make):
  """Returns a function that trains with a defence; programs are kept."""
  steps: dict[str, Any] = {}

  def train(name: str, weight: float, num_steps: int):
    own = DEFENCES[name]
    knobs = dict(own.knobs)
    term = Term("own", own.term, own.inputs, tuple(knobs))
    optimizer = {p.name: optax.adam(0.1) for p in own.players}
    made = make(
      terms=(TASK, term, *own.others),
      players=own.players,
      optimizers={"defender": SLOWING, **optimizer},
      knobs={
        "own/weight": weight,
        **{f"own/{k}": v for k, v in knobs.items()},
        **{f"{t.name}/weight": 1.0 for t in own.others},
      },
    )
    if name not in steps:
      steps[name] = compiled(made.spec)
    state = made.state
    for number in range(num_steps):
      state, metrics = steps[name](state, planted(number), KEY)
    return state, metrics

  return train


def compiled(spec):
  return jax.jit(step_lib.make_step(spec))


@pytest.fixture(scope="module")
def plain(make):
  """Plain training, after five steps."""
  made = make(optimizers={"defender": SLOWING})
  step, state = compiled(made.spec), made.state
  for number in range(5):
    state, _ = step(state, planted(number), KEY)
  return state


def assert_same(a, b):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b
  )


@pytest.mark.parametrize("name", DEFENCES)
def test_at_weight_zero_the_network_is_that_of_plain_training(
  trained, plain, name
):
  state, _ = trained(name, 0.0, 5)
  assert_same(state.params["defender"], plain.params["defender"])
  # And not because nothing happens at any weight.
  other, _ = trained(name, DEFENCES[name].weight, 5)
  moved = jax.tree.map(
    lambda x, y: np.abs(x - y).max(),
    other.params["defender"]["one"],
    plain.params["defender"]["one"],
  )
  assert max(jax.tree.leaves(moved)) > 1e-3


def test_noise_of_no_size_between_the_halves_is_plain_training(make, plain):
  made = make(
    optimizers={"defender": SLOWING},
    privatizer=privatizer.chain(noise.isotropic(sigma=0.0)),
    law=({"std": jnp.float32(0.0)},),
  )
  step = compiled(made.spec)
  ends = []
  for std in (0.0, 1.0):
    law = ({"std": jnp.float32(std)},)
    fixed = {**made.state.constants, "privatizer": law}
    state = dataclasses.replace(made.state, constants=fixed)
    for number in range(5):
      state, _ = step(state, planted(number), KEY)
    ends.append(state.params["defender"])
  assert_same(ends[0], plain.params["defender"])
  kernels = [end["two"]["dense"]["kernel"] for end in ends]
  assert np.abs(kernels[1] - kernels[0]).max() > 1e-3


def leakage(aim, state, metrics, network):
  """What the defence is to lower, by attackers who have seen no defence."""
  if aim == "term":
    return float(metrics["own"])
  codes, batches = [], [planted(1000, 400), planted(1001, 400)]
  for batch in batches:
    code, _ = network.apply(
      state.variables, batch["inputs"], train=False, upto="one"
    )
    codes.append(np.hstack([code, np.ones((400, 1))]))
  learn, test = batches
  if aim == "person":
    truth = [2.0 * b["labels/person"][:, None] - 1 for b in batches]
  else:
    truth = [b["inputs"].reshape(400, -1) for b in batches]
  found = codes[1] @ np.linalg.lstsq(codes[0], truth[0], rcond=1e-4)[0]
  if aim == "person":
    return float(np.mean(np.sign(found) == truth[1]))
  return 1 - float(np.mean((found - truth[1]) ** 2) / np.var(truth[1]))


def accuracy(state, network):
  batch = planted(1002, 400)
  logits, _ = network.apply(state.variables, batch["inputs"], train=False)
  return float(np.mean(np.argmax(logits, -1) == batch["labels/answer"]))


@pytest.mark.parametrize("name", DEFENCES)
def test_at_a_good_weight_it_lowers_what_it_is_for_and_the_answer_stays(
  trained, make, name
):
  own, network = DEFENCES[name], make().spec.network
  without, with_it = (trained(name, w, STEPS) for w in (0.0, own.weight))
  before, after = (
    leakage(own.aim, *found, network) for found in (without, with_it)
  )
  assert after < 0.9 * before
  if own.aim == "person":  # two people alike: 0.5 is guessing
    assert before > 0.85 and after < 0.75
  assert accuracy(without[0], network) > 0.9
  assert accuracy(with_it[0], network) > 0.9
