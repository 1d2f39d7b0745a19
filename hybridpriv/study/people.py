"""Several codes of one person, of different inputs, joined by the attacker.

A service that knows which codes come from one device has more of a person than
one code.  What each tells is added up, as if inputs were independent given the
label: scores are logarithms of likelihoods, up to what is the same for all
classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hybridpriv import build
from hybridpriv.audit import assemble, engine, problems
from hybridpriv.study import attacking, fitting, measures, results, victims
from hybridpriv.study.setup import Setup

_ROWS, _FLOORS = "people", "people floors"  # purposes of tasks

Joined = list[tuple[problems.Problem, int]]  # question, number of inputs


def joined(setup: Setup, asked: Sequence[problems.Problem]) -> Joined:
  """Make the questions about several inputs of one person.

  Args:
    setup: the study; `config.audit.inputs` says how many.
    asked: all problems; links are left out, and what has too few samples.
  """
  rng = np.random.default_rng(setup.config["seed"])
  made: Joined = []
  for num in setup.config["audit"]["inputs"]:
    for p in asked:
      person = setup.data.person[setup.folds[p.fold].audit]
      if p.kind == "linkage" or p.is_shifted or setup.data.identity is None:
        continue
      found = problems.joined(p, person, num, rng)
      if found is not None:
        made.append((found, num))
  return made


def tasks(
  setup: Setup,
  rows: Sequence[build.Row],
  sent: Mapping[tuple[int, int], Mapping[str, victims.Sent]],
  made: Joined,
  start: int,
) -> list[attacking.Task]:
  """List what is to be run: the attacks on repeats, on the chosen rows.

  Beside them those of the floor, on as many answers of the cloud.

  Args:
    setup: the study.
    rows: all defences.
    sent: what they send.
    made: see `joined`.
    start: number of the first of these among all problems that are run.
  """
  config = setup.config["audit"]
  chosen = fitting.read_rows(setup)
  names = {
    r.name for r in rows if r.privatizer.stages and chosen[r.name]["selected"]
  }
  attacks = [
    attack
    for attack in attacking.attacks_of(setup, "attacks")
    if attack.name in config["query_attacks"]
  ]
  floors = attacking.attacks_of(setup, "floor_attacks")
  found = []
  for purpose, members, own, seeds in (
    (_ROWS, victims.rows(sent), attacks, config["attack_seeds"]),
    (_FLOORS, victims.floors(setup, sent), floors, 1),
  ):
    asked = [m for m in members if m[0][0] in {*names, "desired label"}]
    for group in victims.group(asked, victims.references(setup)):
      pairs = [
        (v, start + i)
        for v, fold in enumerate(group.fold)
        for i, (p, _) in enumerate(made)
        if p.fold == fold
      ]
      found += [
        attacking.Task(purpose, attack, group, pairs, seeds)
        for attack in own
        if pairs and not attack.links and engine.applies(attack, group)
      ]
  return found


def measure(
  setup: Setup,
  made: Joined,
  run: Sequence[attacking.Task],
  outcomes: Sequence[Mapping[tuple[int, int], engine.Outcome]],
  start: int,
) -> dict[str, list[measures.Measured]]:
  """Measure what was found, by row.

  Args:
    setup: the study.
    made: see `joined`.
    run: see `tasks`.
    outcomes: of these.
    start: number of the first question.

  Returns:
    Measurements with their tables, by name of the row.
  """
  asked: dict[int, list[problems.Problem]] = {}
  place = {}  # number of a question -> number of inputs, place among these
  for i, (problem, num) in enumerate(made):
    own = asked.setdefault(num, [])
    place[start + i] = (num, len(own))
    own.append(problem)
  known: dict[tuple[str, int], dict[str, results.Outcomes]] = {}
  for task, by_pair in zip(run, outcomes, strict=True):
    for (v, q), outcome in by_pair.items():
      num, at = place[q]
      by_attack = known.setdefault((task.purpose, num), {})
      name = task.group.names[v]
      by_attack.setdefault(task.attack.name, {})[name, at] = outcome
  found: dict[str, list[measures.Measured]] = {}
  for num, few in asked.items():
    floors = known.get((_FLOORS, num), {})
    for question in results.questions(setup, few):
      for attack, own in known.get((_ROWS, num), {}).items():
        for row in dict.fromkeys(name[0] for name, _ in own):
          got = results.collect(
            question, few, own, row, setup.config["train"]["seeds"]
          )
          if got is not None:
            floor = results.floor_of(setup, question, few, floors, row)
            found.setdefault(row, []).append(
              _measured(setup, question, attack, num, got, floor)
            )
  return found


def _measured(
  setup: Setup,
  question: assemble.Question,
  attack: str,
  num: int,
  got: tuple[Mapping[str, Any], float, Mapping[str, Any]],
  floors: Mapping[str, tuple[float, str]],
) -> measures.Measured:
  tables, score, knobs = got
  metric = question.headline
  floor, source = floors[metric]
  made = assemble.measurement(
    target=question.target,
    attack=attack,
    metric=metric,
    table=tables[metric],
    chance=question.chance[metric],
    floor=floor,
    floor_of=source,
    auxiliary=f"as for one code; {num} inputs of a person, known to be of one",
    unit=measures.unit(setup),
    num_queries=num,
    validation=score,  # of single codes
    knobs=knobs,
    queries="different inputs of one person",
  )
  return made, tables[metric]
