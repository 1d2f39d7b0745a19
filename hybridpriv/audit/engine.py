"""Runs attacks over defences: many adversaries, few compiled programs.

An adversary is a *job*: (victim, problem, knobs, seed).  Jobs of one attack on
codes of one shape run through one program, vmapped over a block of jobs; the
codes of all victims are shared, and noise is drawn inside.  First every knob
is tried with one seed; the best on attacker validation is then run with the
other seeds.  Jobs on long codes without noise go by several of one victim and
problem, a lane: what depends on neither knobs nor seed is computed once there.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import outliers
from hybridpriv.audit import job
from hybridpriv.audit import problems as problems_lib
from hybridpriv.privatizers import privatizer as privatizer_lib

# Bytes that one block of jobs may take: what fits an accelerator's memory, or
# a CPU's cache (there blocks of 128 were seen twice as slow as blocks of 8, and
# of codes of 4,096 values blocks of 8 half as slow again as blocks of 2).
_MEMORY = 2**32
_CACHE = 2**24
_LONG = 2**10  # values of a code; attackers of more fill a cache by themselves
_TOGETHER = 8  # pairs whose codes are looked at in one call, at most
_LOOKED = 2**15  # values of a code, over these


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
  several = num_attackers(attack, victims.noise, seeds)
  num = num_jobs(attack, len(pairs), several)
  # Long codes are dear to look at. Where they are the same for all, knobs or
  # seeds of one victim share a lane.
  lane, is_long = 1, np.prod(victims.codes.shape[2:]) > _LONG
  if is_long and not victims.noise.is_random:
    lane = math.gcd(len(attack.grid), several - 1)
  program = job.program(
    attack,
    victims.noise,
    num_classes,
    draws,
    num_queries,
    is_shared=lane > 1,
  )
  block = max(_block_size(victims, padded, num_classes, num) // lane, 1)
  shared = (
    jnp.asarray(victims.codes),
    jax.tree.map(jnp.asarray, victims.law),
    jnp.asarray(victims.reference) if attack.needs_reference else None,
    jax.tree.map(jnp.asarray, padded),
    key,
  )

  bulks = _bulks(victims.noise, shared, pairs)

  def run(
    jobs: list[tuple[int, int, dict[str, float], int, outliers.Bulk]],
  ) -> list[Any]:
    def alone(x: np.ndarray) -> np.ndarray:
      return x[:, 0] if lane == 1 else x

    lanes = [jobs[i : i + lane] for i in range(0, len(jobs), lane)]
    # A block takes as long as its slowest job: like goes with like.
    order = sorted(
      range(len(lanes)),
      key=lambda i: (*lanes[i][0][2].values(), lanes[i][0][1]),
    )
    ordered, results = [lanes[i] for i in order], []
    for start in range(0, len(lanes), block):
      part = ordered[start : start + block]
      full = part + [part[-1]] * (block - len(part))
      victim, problem, _, _, bulk = zip(*(x[0] for x in full), strict=True)
      knobs = [[x[2] for x in own] for own in full]
      seed = [[x[3] for x in own] for own in full]
      out = program(
        *shared,
        np.asarray(victim, np.int32),
        np.asarray(problem, np.int32),
        {
          k: alone(np.asarray([[x[k] for x in own] for own in knobs], "f4"))
          for k in knobs[0][0]
        },
        alone(np.asarray(seed, np.int32)),
        jax.tree.map(lambda *x: np.stack(x), *bulk),
      )
      out = jax.device_get(out)
      if lane == 1:
        out = jax.tree.map(lambda x: x[:, None], out)
      results += [
        [jax.tree.map(lambda x, i=i, j=j: x[i, j], out) for j in range(lane)]
        for i in range(len(part))
      ]
      # A second look at the same codes is no further adversary.
      done = itertools.chain(*part)
      progress(sum(s > 0 or b is bulks[v, q][0] for v, q, _, s, b in done))
    by_lane = dict(zip(order, results, strict=True))
    return [x for i in range(len(lanes)) for x in by_lane[i]]

  # What is drawn in may be a cluster of its own, and its inside what tells:
  # such codes are tried as they are too.
  settings = {
    pair: [(dict(k), b) for b, k in itertools.product(bulks[pair], attack.grid)]
    for pair in pairs
  }
  tried = iter(run([(*p, k, 0, b) for p in pairs for k, b in settings[p]]))
  best = {}
  for pair in pairs:
    own = list(itertools.islice(tried, len(settings[pair])))
    at = int(np.argmax([x["validation"] for x in own]))
    best[pair] = (*settings[pair][at], [own[at]])
  more = run(
    [
      (*p, knobs, s, bulk)
      for p, (knobs, bulk, _) in best.items()
      for s in range(1, several)
    ]
  )
  for i, pair in enumerate(best):
    own = best[pair][2]
    own.extend(more[i * (several - 1) : (i + 1) * (several - 1)])
    own.extend(own * (seeds - several))  # where it is one, it is all of them
  outcomes = {}
  for pair, (knobs, _, found) in best.items():
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


def num_attackers(
  attack: attack_lib.Attack, noise: privatizer_lib.Privatizer, seeds: int
) -> int:
  """Say how many attackers of a setting differ, of as many as there are seeds.

  Codes without noise give an attack that draws nothing itself the same every
  time; one is trained then, and stands for all.
  """
  return 1 if attack.is_fixed and not noise.is_random else seeds


def num_jobs(attack: attack_lib.Attack, pairs: int, seeds: int) -> int:
  """Count the adversaries that `attack_all` trains."""
  return pairs * (len(attack.grid) + seeds - 1)


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
  return min(max(able, 2 if on_cpu and width > _LONG else 8), suits)


def _bulks(
  noise: privatizer_lib.Privatizer,
  shared: tuple[Any, ...],
  pairs: Sequence[tuple[int, int]],
) -> dict[tuple[int, int], list[outliers.Bulk]]:
  """Find where most codes lie that each attacker has of its own.

  Returns:
    By pair how its codes may be seen: one or, where some would be drawn in,
    without that as well.
  """
  codes, law, _, padded, key = shared
  look, found = job.look(noise), {}
  # Of 128 codes each: fewer pairs of long ones.
  size = int(np.clip(_LOOKED // np.prod(codes.shape[2:]), 1, _TOGETHER))
  for start in range(0, len(pairs), size):
    part = list(pairs[start : start + size])
    full = part + [part[-1]] * (size - len(part))
    which, problem = np.asarray(full, np.int32).T
    out = jax.device_get(look(codes, law, padded, key, which, problem))
    for i, pair in enumerate(part):
      own, touched = jax.tree.map(lambda x, i=i: x[i], out)
      plain = own._replace(spread=np.full_like(own.spread, np.inf))
      found[pair] = [own, plain] if touched else [own]
  return found
