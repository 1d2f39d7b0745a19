"""One adversary, from its training to its score, as one pure function.

`engine` runs blocks of them, vmapped, over victims, problems, knobs and seeds.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import linkage, outliers, rank
from hybridpriv.audit import problems as problems_lib
from hybridpriv.privatizers import privatizer as privatizer_lib

_PROGRAMS: dict[Any, Any] = {}


def program(
  attack: attack_lib.Attack,
  noise: privatizer_lib.Privatizer,
  num_classes: int,
  draws: int,
  num_queries: int,
  *,
  is_shared: bool = False,
) -> Any:
  """Compile the jobs of one attack once for all victims of one noise.

  Where codes are shared, several knobs and seeds, [b, m], go with each victim
  and problem, [b]: what depends on none of them is computed once for all m.

  On a CPU the compiler is told to hurry: these programs run about as fast
  for it and compile in half to three quarters of the time.
  """
  hurry = jax.default_backend() == "cpu"
  options = {"xla_backend_optimization_level": 1} if hurry else None
  law = privatizer_lib.program(noise)
  each = (num_classes, draws, num_queries)
  name = (attack.fit, attack.score, law, *each, is_shared)
  if name not in _PROGRAMS:
    one = _job(attack, noise, *each)
    if is_shared:
      one = jax.vmap(one, in_axes=(*[None] * 7, 0, 0, None))
    mapped = jax.vmap(one, in_axes=(*[None] * 5, *[0] * 5))
    _PROGRAMS[name] = jax.jit(mapped, compiler_options=options)
  return _PROGRAMS[name]


def _job(
  attack: attack_lib.Attack,
  noise: privatizer_lib.Privatizer,
  num_classes: int,
  draws: int,
  num_queries: int,
) -> Callable[..., dict[str, jax.Array]]:
  """Make the pure function of one job."""

  def one(
    codes: jax.Array,
    law: Any,
    reference: jax.Array | None,
    problems: problems_lib.Padded,
    key: jax.Array,
    which: jax.Array,
    problem: jax.Array,
    knobs: dict[str, jax.Array],
    seed: jax.Array,
    bulk: outliers.Bulk,
  ) -> dict[str, jax.Array]:
    for number in (which, problem, seed):
      key = jax.random.fold_in(key, number)
    fit_key, ask_key = jax.random.split(key)
    own = jax.tree.map(lambda x: x[problem], problems)
    law = jax.tree.map(lambda x: x[which][None], law)

    def sender(rows: jax.Array) -> attack_lib.Victim:
      # Nothing but these rows: what is not here cannot be looked at.
      own, drawn_in = codes[which, rows], bulk
      if not noise.stages:  # what is stored is what is sent
        # Once, and not at every step: long codes are slow to draw in.
        own, drawn_in = outliers.draw_in(own, bulk), None
      place, first = jnp.arange(rows.shape[0]), jnp.zeros([], jnp.int32)
      return attack_lib.Victim(
        own[None], law, first, place, noise, num_queries, bulk=drawn_in
      )

    victim = sender(own.rows)
    if reference is not None:
      features = reference[which, own.rows][None]
      victim = dataclasses.replace(victim, uncensored=features)
    auxiliary = attack_lib.Auxiliary(
      own.label, own.train, own.validation, num_classes
    )
    attacker = attack.fit(fit_key, victim, auxiliary, knobs)
    if attack.links:
      return _linked(attack, attacker, sender, own, ask_key, draws)

    def draw(key: jax.Array) -> tuple[jax.Array, ...]:
      sent = asked.sample(key, jnp.arange(rows.shape[0]))
      scores = attack.score(attacker, sent)
      # As if codes of one person were independent given the label.
      scores = jax.ops.segment_sum(scores, together, rows.shape[0])[together]
      right, ranks = rank.of_scores(scores, label)
      return right, ranks, jnp.log(ranks)

    # Validation and attacked samples are asked together, one program.
    held_out = auxiliary.validation_index
    rows = jnp.concatenate([own.rows[held_out], own.test_rows])
    label = jnp.concatenate([own.label[held_out], own.test_label])
    alone = jnp.arange(held_out.shape[0])
    together = jnp.concatenate([alone, alone.shape[0] + own.together])
    asked = sender(rows)
    drawn = jax.lax.map(draw, jax.random.split(ask_key, draws))
    right, ranks, logs = jax.tree.map(lambda x: jnp.mean(x, axis=0), drawn)
    num = held_out.shape[0]
    return {
      "validation": jnp.sum(right[:num] * auxiliary.validation_weights),
      "right": right[num:],
      "rank": ranks[num:],
      "log_rank": logs[num:],
    }

  return one


def _linked(
  attack: attack_lib.Attack,
  attacker: Any,
  sender: Callable[[jax.Array], attack_lib.Victim],
  own: problems_lib.Padded,
  key: jax.Array,
  draws: int,
) -> dict[str, jax.Array]:
  """Compare codes of people never seen, each with fresh noise."""
  start = own.train.shape[0]
  held_out = (own.rows[start:], own.label[start:], own.validation)
  attacked = (own.test_rows, own.test_label, own.test_mask)

  def judged(key: jax.Array, part: Any) -> tuple[jax.Array, ...]:
    rows, label, mask = part
    asked, places = sender(rows), jnp.arange(rows.shape[0])

    def draw(key: jax.Array) -> tuple[jax.Array, ...]:
      a, b = (asked.sample(k, places) for k in jax.random.split(key))
      return linkage.judge(attack.score(attacker, a, b), label, mask)

    drawn = jax.lax.map(draw, jax.random.split(key, draws))
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), drawn)

  ours, theirs = jax.random.split(key)
  areas, *_ = judged(ours, held_out)
  _, found, right = judged(theirs, attacked)
  weight = held_out[2] / jnp.sum(held_out[2])
  return {
    "validation": jnp.sum(areas * weight),
    "right": right,
    "rank": found,
    "log_rank": jnp.zeros_like(right),
  }


def look(noise: privatizer_lib.Privatizer) -> Any:
  """Make the program that finds where most of an attacker's own codes lie.

  Args:
    noise: the random part.

  Returns:
    (codes and law as in `engine.Victims`, padded problems, typed key, numbers
    of victims [b], numbers of what each is asked [b]) -> (`outliers.Bulk` of
    codes as they are sent, stacked [b, ...]; whether any is drawn in by it
    [b]).
  """

  def one(
    codes: jax.Array,
    law: Any,
    problems: problems_lib.Padded,
    key: jax.Array,
    which: jax.Array,
    problem: jax.Array,
  ) -> tuple[outliers.Bulk, jax.Array]:
    for number in (which, problem):
      key = jax.random.fold_in(key, number)
    rows = problems.rows[problem][outliers.some(problems.train[problem])]
    state = jax.tree.map(lambda x: x[which], law)
    sent = noise.encode(state, key, codes[which, rows])
    bulk = outliers.bulk(sent)
    return bulk, outliers.touches(sent, bulk)

  name = ("look", privatizer_lib.program(noise))
  if name not in _PROGRAMS:
    axes = (None, None, None, None, 0, 0)
    _PROGRAMS[name] = jax.jit(jax.vmap(one, in_axes=axes))
  return _PROGRAMS[name]
