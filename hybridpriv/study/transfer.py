"""The paper's adversary: a recognition network behind the published client.

The client half is frozen, as the service published it; what follows is the rest
of a recognition network, trained on the features that the cloud restores from
codes (the projection is that of the desired task).  Two of them:

- `transfer.published`, as the paper's code has it: codes of the attacker's own
  samples are drawn once and stored, then trained on;
- `transfer.noise_aware`: every step draws fresh noise.  Without noise in the
  chain the two are one.

The network starts from the study's published weights where it has some, or else
from the base network of the study.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

from hybridpriv import build
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import rank
from hybridpriv.audit import engine, problems
from hybridpriv.data import batches
from hybridpriv.losses import classification
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.study import fitting, parts, training, weights
from hybridpriv.study.setup import Setup, constants, key
from hybridpriv.train import loop, objective
from hybridpriv.train import state as state_lib
from hybridpriv.train import step as step_lib

PUBLISHED, AWARE = "transfer.published", "transfer.noise_aware"
_STEPS: dict[Any, Any] = {}

Found = dict[tuple[str, int], dict[tuple[Any, int], engine.Outcome]]


def run(
  setup: Setup,
  rows: Sequence[build.Row],
  asked: Sequence[problems.Problem],
  mixed: Sequence[problems.Problem],
) -> tuple[Found, dict[str, dict[tuple[Any, int], engine.Outcome]]]:
  """Attack the paper's embeddings, noisy ones at their operating points.

  Args:
    setup: the study; `config.audit.transfer` says how long at most, and on how
      many of the trained networks.
    rows: all defences.
    asked: all problems; the private ones are attacked.
    mixed: the same with shuffled labels, for a control on the smallest codes.

  Returns:
    Outcomes by (attack, 1 query), then by ((row, fold, seed), problem); and
    those of the control by attack, as other controls have them.
  """
  options, config = setup.config["audit"]["transfer"], setup.config
  chosen = fitting.read_rows(setup)
  if not options["steps"]:
    return {}, {}
  folds = range(len(setup.folds))
  selected = [row for row in rows if chosen[row.name]["selected"]]
  small = next((r for r in selected if r.privatizer.stages), selected[0])
  jobs = [
    (row, fold, seed)
    for fold in folds
    for seed in range(min(options["train_seeds"], config["train"]["seeds"]))
    for row in selected
  ]
  found: Found = {}
  judged: dict[tuple[Any, int], engine.Outcome] = {}
  bar = tqdm.tqdm(
    total=len(jobs) + len(folds),
    desc="transfer",
    leave=False,
    disable=None,
    unit="row",
  )
  with bar:
    for row, fold, seed in jobs:
      for attack, by_problem in _attack(setup, fold, seed, row, asked).items():
        own = found.setdefault((attack, 1), {})
        own |= {((row.name, fold, seed), q): o for q, o in by_problem.items()}
      bar.update()
    for fold in folds:
      by_problem = _attack(setup, fold, 0, small, mixed)[PUBLISHED]
      name = ("shuffled labels", fold, 0)
      judged |= {(name, q): o for q, o in by_problem.items()}
      bar.update()
  return found, {PUBLISHED: judged}


def _attack(
  setup: Setup,
  fold: int,
  seed: int,
  row: build.Row,
  asked: Sequence[problems.Problem],
) -> dict[str, dict[int, engine.Outcome]]:
  """Attack one defence of one trained network, or read what was found."""
  options = setup.config["audit"]["transfer"]
  trial = training.chosen(setup)[fold][row.training]["chosen"]
  system = fitting.load_system(setup, fold, seed, trial)
  law = fitting.read_law(setup, fold, seed, row)
  feature = system.features(setup.folds[fold].audit)
  found: dict[str, dict[int, engine.Outcome]] = {}
  for q, problem in enumerate(asked):
    private = problem.target.partition(" (")[0] in setup.roles.private
    other = problem.kind == "linkage" or problem.is_shifted
    if problem.fold != fold or not private or other:
      continue
    for attack in (
      (PUBLISHED, AWARE) if row.privatizer.is_random else (PUBLISHED,)
    ):
      name = parts.digest(
        (attack, row.name, fold, seed, q, sorted(options.items())),
        (feature, law, problem.role, problem.label),
        code=__file__,
      )
      path = setup.folder / "audit" / "parts" / f"{name}.npz"
      if not path.exists():
        outcome = _one(
          setup, seed, system, row, law, feature, problem, attack, q
        )
        parts.save(path, f"{attack} {row.name}", {(0, q): outcome})
      found.setdefault(attack, {})[q] = parts.read(path)[0, q]
  return found


def _one(
  setup: Setup,
  seed: int,
  system: fitting.System,
  row: build.Row,
  law: Any,
  feature: np.ndarray,
  problem: problems.Problem,
  attack: str,
  q: int,
) -> engine.Outcome:
  """Train at several rates until validation stalls, keep the best, score it.

  One half of the validation samples chooses rate and look; what the attacker is
  worth beside other attacks is measured on the other half: the best of many
  looks is too good where it was looked for.
  """
  options = setup.config["audit"]["transfer"]
  network = setup.network.clone(num_classes=problem.num_classes)
  root = key(setup, problem.fold, seed, f"{attack} {row.name} {q}")
  own = {
    role: np.flatnonzero((problem.role == role) & (problem.label >= 0))
    for role in (problems.TRAIN, problems.VALIDATION, problems.TEST)
  }
  inputs, chain, trained_with = feature, row.privatizer, law
  if attack == PUBLISHED:
    sent = chain.encode(
      law, state_lib.stream(root, "stored"), jnp.asarray(feature)
    )
    inputs = np.asarray(chain.decode(law, sent))
    chain, trained_with = privatizer_lib.chain(), ()
  answers = ((problem.target, problem.num_classes),)
  label = {role: problem.label[at] for role, at in own.items()}

  def logits(variables: Any, role: int, name: str) -> np.ndarray:
    judge = dataclasses.replace(
      system, network=network, answers=answers, variables=variables
    )
    return fitting.answer(
      judge,
      row.privatizer,
      law,
      feature[own[role]],
      state_lib.stream(root, name),
      draws=setup.config["audit"]["draws"],
    )[problem.target]  # [n, draws, classes]

  spec = _spec(setup, network, answers, chain)
  truth = label[problems.VALIDATION]
  order = np.random.default_rng(setup.config["seed"]).permutation(len(truth))
  halves = np.array_split(order, 2)

  def score(values: Any, name: str, half: np.ndarray) -> float:
    found = logits(values, problems.VALIDATION, name)[half]
    right = (found.argmax(-1) == truth[half, None]).mean(1)
    weight = attack_lib.class_weights(
      jnp.asarray(truth[half]), jnp.ones(len(half)), problem.num_classes
    )
    return float(right @ np.asarray(weight))

  def looks(rate: float) -> Iterator[tuple[float, int, Any]]:
    # Named nowhere here: the training keeps a copy, and several take turns.
    for step, values in _train(
      setup,
      spec,
      chain,
      _start(setup, seed, spec, root, problem.fold, trained_with, rate),
      problem,
      inputs,
      own[problems.TRAIN],
      root,
    ):
      yield score(values, f"look {rate} {step}", halves[0]), step, values

  rate, (_, step, values) = best_of_race(
    {rate: looks(rate) for rate in options["learning_rate"]},
    patience=options["patience"],
    num=_effective(truth[halves[0]], problem.num_classes),
  )
  scores = logits(values, problems.TEST, "test")
  asked = jnp.asarray(label[problems.TEST])
  drawn = [
    rank.of_scores(jnp.asarray(scores[:, d]), asked)
    for d in range(scores.shape[1])
  ]
  right, ranks = (np.stack([np.asarray(x[i]) for x in drawn]) for i in (0, 1))
  return engine.Outcome(
    right=right.mean(0)[None],
    rank=ranks.mean(0)[None],
    log_rank=np.log(ranks).mean(0)[None],
    validation=score(values, "validation", halves[1]),
    knobs={"learning_rate": rate, "step": step},
  )


def _effective(truth: np.ndarray, num_classes: int) -> float:
  """Count samples as a balanced mean over them does: rare ones weigh more."""
  weight = attack_lib.class_weights(
    jnp.asarray(truth), jnp.ones(len(truth)), num_classes
  )
  return float(jnp.sum(weight) ** 2 / jnp.sum(weight**2))


def best_of_race(
  runs: Mapping[float, Iterable[tuple[float, int, Any]]],
  *,
  patience: int,
  num: float,
) -> tuple[float, tuple[float, int, Any]]:
  """Let trainings take turns; give the best of their looks (score, ...).

  A training ends when it has stalled. It also ends at a look that is no better,
  after `patience` looks, where its best is behind the best of all by more than
  two standard errors of a difference between two shares of `num` samples: more
  time goes to who may still win.

  Args:
    runs: what each training finds at each look, by its rate.
    patience: looks in a row without a better one, after which it has stalled.
    num: of the samples that scores are shares of.

  Returns:
    Rate and look; the first of equals.
  """
  going = {name: iter(looks) for name, looks in runs.items()}
  best: dict[float, tuple[float, int, Any]] = {}
  waited = dict.fromkeys(going, 0)
  turn = 0
  while going:
    turn += 1
    for name in list(going):
      look = next(going[name], None)
      if look is None:
        del going[name]
      elif name not in best or look[0] > best[name][0]:
        best[name], waited[name] = look, 0
      else:
        waited[name] += 1
    # Weights in float32 may add up to a hair more than 1.
    leader = min(max(look[0] for look in best.values()), 1.0)
    behind = 2 * np.sqrt(2 * leader * (1 - leader) / num)
    for name in list(going):
      is_behind = best[name][0] < leader - behind
      is_slow = turn >= patience and waited[name] > 0 and is_behind
      if waited[name] >= patience or is_slow:
        del going[name]
  return max(best.items(), key=lambda one: one[1][0])


def _spec(
  setup: Setup,
  network: Any,
  answers: tuple[tuple[str, int], ...],
  chain: privatizer_lib.Privatizer,
) -> step_lib.Spec:
  """Describe the training of what follows the client, on restored features."""
  ((target, _),) = answers
  inputs = (("logits", f"logits/{target}"), ("labels", f"labels/{target}"))
  cut, shape = setup.config["cut"], tuple(setup.config["input_shape"])
  return step_lib.Spec(
    network=network,
    answers=answers,
    cut=cut,
    shape=shape or setup.data.inputs.shape[1:],
    # The rate is a number in its state: one program for all of them.
    optimizers={
      state_lib.DEFENDER: optax.inject_hyperparams(optax.adam)(learning_rate=0)
    },
    terms=[objective.Term("task", classification.cross_entropy, inputs)],
    start=cut,
    privatizer=chain,
  )


def _start(
  setup: Setup,
  seed: int,
  spec: step_lib.Spec,
  root: jax.Array,
  fold: int,
  law: Any,
  rate: float,
) -> state_lib.TrainState:
  """Start from a recognition network, with a last stage drawn afresh."""
  *_, last = spec.network.stage_names()
  known = weights.published(setup, fold) or training.trained_base(
    setup, fold, seed
  )
  known = {
    collection: {name: v for name, v in stages.items() if name != last}
    for collection, stages in known.items()
  }
  state = step_lib.initialise(
    spec,
    root,
    knobs={"task/weight": 1.0},
    constants={**constants(setup, fold), "privatizer": law},
    weights=known,
  )
  state.opt_state[state_lib.DEFENDER].hyperparams["learning_rate"] = (
    jnp.asarray(rate, jnp.float32)
  )
  return state


def _train(
  setup: Setup,
  spec: step_lib.Spec,
  chain: privatizer_lib.Privatizer,
  state: state_lib.TrainState,
  problem: problems.Problem,
  inputs: np.ndarray,
  at: np.ndarray,
  root: jax.Array,
) -> Iterator[tuple[int, dict[str, Any]]]:
  """Train; every few steps, and at the end, give their number and variables."""
  options = setup.config["audit"]["transfer"]
  law_of = privatizer_lib.program(chain)
  name = (
    spec.network,
    spec.cut,
    spec.answers,
    law_of,
    jax.tree.structure(state),
  )
  if name not in _STEPS:
    _STEPS[name] = loop.compile_step(step_lib.make_step(spec), vmapped=False)
  target = problem.target
  order = int(np.asarray(jax.random.key_data(root)).ravel()[-1])
  state = jax.tree.map(jnp.copy, state)  # the step gives its state away
  for number in range(options["steps"]):
    chosen = batches.indices(
      at,
      seed=order,
      step=number,
      batch_size=options["batch_size"],
      balance=problem.label[at],
    )
    batch = {
      "inputs": inputs[chosen],
      "mask": np.ones(len(chosen), np.float32),
      f"labels/{target}": problem.label[chosen],
    }
    state, _ = _STEPS[name](state, batch, root)
    done = number + 1
    if done % options["evaluate_every"] == 0 or done == options["steps"]:
      yield done, jax.tree.map(np.asarray, state.variables)
