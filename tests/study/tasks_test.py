"""Attacks run two at a time, but for those that would wait for each other."""

import threading
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import (
  attribute,
  decensoring,
  density,
  discriminant,
  habit,
  likelihood,
  linkage,
  neighbour,
)
from hybridpriv.audit import engine
from hybridpriv.privatizers import noise, privatizer
from hybridpriv.study import attacking, parts

CORRELATED = ({"factor": np.eye(2)},)
PLAIN = ({"std": np.zeros(())},)


def _task(number, attack, law, size=2):
  states = tuple({k: x[None] for k, x in state.items()} for state in law)
  group = engine.Victims(
    names=[number],
    fold=np.zeros(1, int),
    codes=np.zeros((1, 1, size), "f4"),
    law=states,
    noise=privatizer.chain(noise.isotropic(sigma=0.0)),
  )
  return attacking.Task("rows", attack, group, [(0, 0)], 1, number)


@pytest.fixture
def most(monkeypatch, tmp_path):
  """Runs tasks and says how many were under way at once."""
  lock, now, seen = threading.Lock(), [0], [0]

  def attack_all(*_, **__):
    with lock:
      now[0] += 1
      seen[0] = max(seen[0], now[0])
    time.sleep(0.2)
    with lock:
      now[0] -= 1
    return {}

  monkeypatch.setattr(attacking.engine, "attack_all", attack_all)
  monkeypatch.setattr(
    attacking, "_digest", lambda task, *_: str(task.num_queries)
  )
  setup = types.SimpleNamespace(
    folder=tmp_path, config={"seed": 0, "audit": {"draws": 1}}
  )

  def run(tasks):
    attacking.run_all(setup, tasks, [])
    return seen[0]

  return run


def test_one_computes_while_another_compiles(most):
  nearest = neighbour.nearest()
  assert most([_task(i, nearest, PLAIN) for i in range(4)]) == 2


@pytest.mark.parametrize(
  ("attack", "law"),
  [
    (neighbour.nearest(), CORRELATED),
    (density.kde(), PLAIN),
    (linkage.two_covariance()._replace(name="linkage.entry"), PLAIN),
  ],
)
def test_those_that_factorise_matrices_run_alone(most, attack, law):
  assert most([_task(i, attack, law) for i in range(4)]) == 1


@pytest.mark.parametrize(
  ("one", "other"),
  [
    (("attribute.mlp", {"width": 64}), ("attribute.mlp", {"width": 512})),
    (("attribute.mlp", {"depth": 2}), ("attribute.mlp", {"depth": 3})),
    (("histogram.bayes", {}), ("histogram.digits", {})),
    (("neighbour.centroid", {}), ("neighbour.centroid", {"draws": 9})),
  ],
)
def test_what_an_attack_found_is_not_taken_for_that_of_another(
  monkeypatch, one, other
):
  monkeypatch.setattr(attacking.problems, "pad", lambda asked: None)

  def name(path, knobs):
    entries = {"entry": {"function": path, **knobs}}
    setup = types.SimpleNamespace(config={"audit": {"attacks": entries}})
    (attack,) = attacking.attacks_of(setup, "attacks")
    return attacking._digest(_task(0, attack, PLAIN), [], 1)

  assert name(*one) == name(*one) != name(*other)


def test_what_an_attack_found_is_not_taken_for_that_of_other_code(
  monkeypatch, tmp_path
):
  monkeypatch.setattr(attacking.problems, "pad", lambda asked: None)
  path = tmp_path / "mine.py"

  def name(text):
    path.write_text(f"def fit(key, victim, auxiliary, knobs):\n  {text}\n")
    made = {}
    exec(compile(path.read_text(), str(path), "exec"), made)
    parts._code.cache_clear()  # which lasts as long as a program
    attack = attack_lib.Attack("mine", made["fit"], None, ({"none": 0.0},))
    return attacking._digest(_task(0, attack, PLAIN), [], 1)

  assert name("return 1") == name("return 1") != name("return 2")


def _fit(attack, size):
  """Writes out what the training of an attack on codes of a size computes."""
  shape, places = (6, size), jnp.arange(6)
  chain = privatizer.chain(noise.isotropic(sigma=0.0))
  law = ({"std": jnp.zeros(1)},)
  victim = attack_lib.Victim(
    jnp.zeros((1, *shape)),
    law,
    jnp.int32(0),
    places,
    chain,
    uncensored=jnp.zeros((1, *shape)),
  )
  auxiliary = attack_lib.Auxiliary(
    places % 2, jnp.ones(4), jnp.ones(2), num_classes=2
  )
  knobs = {k: jnp.float32(v) for k, v in attack.grid[0].items()}
  made = jax.make_jaxpr(attack.fit)(jax.random.key(0), victim, auxiliary, knobs)
  return str(made)


@pytest.mark.parametrize("size", [2, 65])
@pytest.mark.parametrize(
  "attack",
  [
    attribute.linear(),
    attribute.mlp(),
    decensoring.ridge(),
    density.kde(),
    discriminant.linear(),
    habit.frozen_mlp(),
    likelihood.bayes(),
    linkage.two_covariance(),
    neighbour.centroid(),
    neighbour.nearest(),
  ],
  ids=lambda x: getattr(x, "name", x),
)
def test_it_is_known_which_attacks_factorise_matrices(attack, size):
  program = _fit(attack, size)
  factorises = any(n in program for n in ("eigh", "cholesky", "triangular"))
  assert attacking._factorises(_task(0, attack, PLAIN, size)) == factorises
