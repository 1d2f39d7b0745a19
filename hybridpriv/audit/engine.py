"""Runs attacks over defences: many adversaries, few compiled programs.

An adversary is a *job*: (victim, problem, knobs, seed).  Jobs of one attack on
codes of one shape run through one program, vmapped over a block of jobs; the
codes of all victims are shared, and noise is drawn inside.  First every knob
is tried with one seed; the best on attacker validation is then run with the
other seeds.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import linkage, rank
from hybridpriv.audit import problems as problems_lib
from hybridpriv.privatizers import privatizer as privatizer_lib

# Bytes that one block of jobs may take: what fits an accelerator's memory, or
# a CPU's cache (there, blocks of 128 were seen twice as slow as blocks of 8).
_MEMORY = 2**32
_CACHE = 2**24


class Victims(NamedTuple):
  """Defended systems whose codes have one shape.

  Attributes:
    names: one for each, e.g. (row, fold, seed).
    fold: fold of each [v].
    codes: deterministic part of the codes of the fold's audit samples,
      [v, n, ...]; shorter folds padded.
    law: state of the random part, stacked [v, ...].
    noise: the random part.
    reference: features of the same samples by an encoder that no defence has
      censored [v, n, r], float32; None where attackers have none.
  """

  names: Sequence[Any]
  fold: np.ndarray
  codes: np.ndarray
  law: Any
  noise: privatizer_lib.Privatizer
  reference: np.ndarray | None = None


class Outcome(NamedTuple):
  """What attackers of one kind achieved on one victim and problem.

  Attributes:
    right: share of right answers over draws, by attack seed [a, t]; of an
      attack on linkage what `linkage.judge` gives as its third.
    rank: mean rank of the true class, by attack seed [a, t]; of an attack on
      linkage the share of true links found.
    log_rank: mean logarithm of that rank [a, t]; of an attack on linkage 0.
    validation: balanced accuracy on attacker validation, mean over seeds; of
      an attack on linkage the area under the ROC curve.
    knobs: the chosen ones.
  """

  right: np.ndarray
  rank: np.ndarray
  log_rank: np.ndarray
  validation: float
  knobs: dict[str, float]


def attack_all(
  attack: attack_lib.Attack,
  victims: Victims,
  problems: Sequence[problems_lib.Problem],
  pairs: Sequence[tuple[int, int]],
  *,
  key: jax.Array,
  seeds: int,
  draws: int,
  num_queries: int = 1,
  progress: Callable[[int], None] = lambda done: None,
) -> dict[tuple[int, int], Outcome]:
  """Run one attack on many victims and problems.

  Args:
    attack: the attack.
    victims: the systems under attack.
    problems: the questions.
    pairs: which victims are asked which questions, (victim, problem).
    key: root of all randomness here.
    seeds: attackers of the chosen knobs, each with a key of its own.
    draws: codes drawn for each attacked sample, when they are random.
    num_queries: codes of one input that the attacker averages.
    progress: told how many more jobs are done.

  Returns:
    The outcome by pair.

  Raises:
    ValueError: the attack needs a reference and there is none.
  """
  if attack.needs_reference and victims.reference is None:
    raise ValueError(
      f"{attack.name} needs features of the same samples by an uncensored"
      " encoder: give `Victims` a `reference`, or use another attack"
    )
  numbers = list(range(len(problems)))
  if attack.links:
    # Pairs are many, and the other problems larger.
    numbers = sorted({q for _, q in pairs})
    problems = [problems[q] for q in numbers]
    pairs = [(v, numbers.index(q)) for v, q in pairs]
  padded = problems_lib.pad(problems)
  num_classes = max(p.num_classes for p in problems)
  draws = draws if victims.noise.is_random else 1
  num = num_jobs(attack, len(pairs), seeds)
  program = _program(attack, victims.noise, num_classes, draws, num_queries)
  block = _block_size(victims, padded, num_classes, num)
  shared = (
    jnp.asarray(victims.codes),
    jax.tree.map(jnp.asarray, victims.law),
    jnp.asarray(victims.reference) if attack.needs_reference else None,
    jax.tree.map(jnp.asarray, padded),
    key,
  )

  def run(jobs: list[tuple[int, int, dict[str, float], int]]) -> list[Any]:
    # A block takes as long as its slowest job: like goes with like.
    order = sorted(
      range(len(jobs)), key=lambda i: (*jobs[i][2].values(), jobs[i][1])
    )
    ordered, results = [jobs[i] for i in order], []
    for start in range(0, len(jobs), block):
      part = ordered[start : start + block]
      full = part + [part[-1]] * (block - len(part))
      victim, problem, knobs, seed = zip(*full, strict=True)
      out = program(
        *shared,
        np.asarray(victim, np.int32),
        np.asarray(problem, np.int32),
        {k: np.asarray([x[k] for x in knobs], np.float32) for k in knobs[0]},
        np.asarray(seed, np.int32),
      )
      out = jax.device_get(out)
      results += [
        jax.tree.map(lambda x, i=i: x[i], out) for i in range(len(part))
      ]
      progress(len(part))
    by_job = dict(zip(order, results, strict=True))
    return [by_job[i] for i in range(len(jobs))]

  grid = [dict(knobs) for knobs in attack.grid]
  tried = run([(v, q, k, 0) for (v, q), k in itertools.product(pairs, grid)])
  best = {}
  for i, pair in enumerate(pairs):
    own = tried[i * len(grid) : (i + 1) * len(grid)]
    at = int(np.argmax([x["validation"] for x in own]))
    best[pair] = (grid[at], [own[at]])
  more = run([(*p, best[p][0], s) for p in pairs for s in range(1, seeds)])
  for i, pair in enumerate(pairs):
    best[pair][1].extend(more[i * (seeds - 1) : (i + 1) * (seeds - 1)])
  outcomes = {}
  for pair, (knobs, found) in best.items():
    known = padded.test_mask[pair[1]] > 0
    outcomes[pair[0], numbers[pair[1]]] = Outcome(
      right=np.stack([x["right"][known] for x in found]),
      rank=np.stack([x["rank"][known] for x in found]),
      log_rank=np.stack([x["log_rank"][known] for x in found]),
      # Weights that add up to 1 may add up to a little more.
      validation=min(float(np.mean([x["validation"] for x in found])), 1.0),
      knobs=knobs,
    )
  return outcomes


def attack_encoder(
  attack: attack_lib.Attack,
  encode: Callable[[jax.Array, jax.Array], jax.Array],
  inputs: np.ndarray,
  label: np.ndarray,
  role: np.ndarray,
  *,
  key: jax.Array,
  seeds: int = 5,
  draws: int = 4,
) -> Outcome:
  """Run one attack on any encoder of yours.

  Args:
    attack: the attack.
    encode: (key, inputs [b, ...]) -> codes [b, ...], traceable by JAX; draws
      its noise from the key.
    inputs: samples [n, ...].
    label: private class of each, [n].
    role: `problems.TRAIN`, `VALIDATION` or `TEST` of each, [n]: the attacker's
      own samples and the attacked ones.
    key: root of all randomness.
    seeds: attackers to train.
    draws: codes drawn for each attacked sample.

  Returns:
    The outcome; `right` has the attacked samples in their order.
  """
  stage = privatizer_lib.Privatizer(
    name="encoder",
    fit=lambda key, context: {},
    encode=lambda state, key, x: encode(key, x),
    decode=lambda state, code: code,
    radius=lambda state, r: jnp.inf,
    is_random=True,
  )
  noise = privatizer_lib.chain(stage)
  one = np.zeros(1, np.int32)
  victim = Victims(["encoder"], one, inputs[None], ({},), noise)
  if not applies(attack, victim):
    raise ValueError(
      f"{attack.name} needs the law of the noise, which an encoder does not"
      f" tell, or features of an uncensored one, or codes of another shape than"
      f" these, {code_shape(victim)}: use another attack"
    )
  size = int(label.max()) + 1
  problem = problems_lib.Problem("label", 0, label, role, size, "attribute")
  found = attack_all(
    attack, victim, [problem], [(0, 0)], key=key, seeds=seeds, draws=draws
  )
  return found[0, 0]


def applies(attack: attack_lib.Attack, victims: Victims) -> bool:
  """Say whether an attack can be run on what these systems send."""
  if attack.needs_reference and victims.reference is None:
    return False
  if attack.applies is None:
    return True
  return attack.applies(victims.noise, code_shape(victims))


def code_shape(victims: Victims) -> tuple[int, ...]:
  """Return the shape of one code as sent: its random part may change it."""
  codes = jax.ShapeDtypeStruct((1, *victims.codes.shape[2:]), jnp.float32)
  law = jax.tree.map(lambda x: x[0], victims.law)
  sent = jax.eval_shape(victims.noise.encode, law, jax.random.key(0), codes)
  return sent.shape[1:]


def num_jobs(attack: attack_lib.Attack, pairs: int, seeds: int) -> int:
  """Count the adversaries that `attack_all` trains."""
  return pairs * (len(attack.grid) + seeds - 1)


_PROGRAMS: dict[Any, Any] = {}


def _program(
  attack: attack_lib.Attack,
  noise: privatizer_lib.Privatizer,
  num_classes: int,
  draws: int,
  num_queries: int,
) -> Any:
  """Compile the jobs of one attack once for all victims of one noise.

  On a CPU the compiler is told to hurry: these programs run about as fast
  for it and compile in half to three quarters of the time.
  """
  hurry = jax.default_backend() == "cpu"
  options = {"xla_backend_optimization_level": 1} if hurry else None
  law = privatizer_lib.program(noise)
  name = (attack.fit, attack.score, law, num_classes, draws, num_queries)
  if name not in _PROGRAMS:
    one = _job(attack, noise, num_classes, draws, num_queries)
    axes = (None, None, None, None, None, 0, 0, 0, 0)
    mapped = jax.vmap(one, in_axes=axes)
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
  ) -> dict[str, jax.Array]:
    for number in (which, problem, seed):
      key = jax.random.fold_in(key, number)
    fit_key, ask_key = jax.random.split(key)
    own = jax.tree.map(lambda x: x[problem], problems)
    law = jax.tree.map(lambda x: x[which][None], law)

    def sender(rows: jax.Array) -> attack_lib.Victim:
      # Nothing but these rows: what is not here cannot be looked at.
      own = codes[which, rows][None]
      place, first = jnp.arange(rows.shape[0]), jnp.zeros([], jnp.int32)
      return attack_lib.Victim(own, law, first, place, noise, num_queries)

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


def _block_size(
  victims: Victims, padded: problems_lib.Padded, num_classes: int, jobs: int
) -> int:
  """Choose how many jobs run at once: few sizes, few compiled programs."""
  width = int(np.prod(victims.codes.shape[2:]))
  rows = padded.rows.shape[1] + padded.test_rows.shape[1]
  each = 4 * rows * (2 * width + 4 * num_classes + rows)
  on_cpu = jax.default_backend() == "cpu"
  room = _CACHE if on_cpu else _MEMORY
  able = 2 ** int(np.log2(max(room // each, 1)))
  suits = 8 if jobs <= 16 else 32 if jobs <= 128 else 128
  if jobs > 512 and not on_cpu:
    suits = 512
  return min(max(able, 8), suits)
