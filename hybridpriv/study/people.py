"""Several codes of one person, of different inputs, joined by the attacker.

A service that knows which codes come from one device has more of a person than
one code.  What each tells is added up: scores are logarithms of likelihoods, up
to what is the same for all classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from hybridpriv import build
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.audit import assemble, engine, problems
from hybridpriv.study import attacking, fitting, measures, results, victims
from hybridpriv.study.setup import Setup

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
  attacks: Sequence[attack_lib.Attack],
  made: Joined,
  start: int,
) -> list[attacking.Task]:
  """List what is to be run: the attacks on repeats, on the chosen rows.

  Args:
    setup: the study.
    rows: all defences.
    sent: what they send.
    attacks: those of `config.audit.query_attacks` are run.
    made: see `joined`.
    start: number of the first of these among all problems that are run.
  """
  config = setup.config["audit"]
  chosen = fitting.read_rows(setup)
  names = {
    r.name for r in rows if r.privatizer.stages and chosen[r.name]["selected"]
  }
  members = [m for m in victims.rows(sent) if m[0][0] in names]
  found = []
  for group in victims.group(members):
    pairs = [
      (v, start + i)
      for v, fold in enumerate(group.fold)
      for i, (p, _) in enumerate(made)
      if p.fold == fold
    ]
    found += [
      attacking.Task("people", attack, group, pairs, config["attack_seeds"])
      for attack in attacks
      if attack.name in config["query_attacks"] and pairs
      if engine.applies(attack, group)
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
  found: dict[str, list[measures.Measured]] = {}
  asked = [p for p, _ in made]
  for num in dict.fromkeys(num for _, num in made):
    own = [i for i, (_, n) in enumerate(made) if n == num]
    few = [asked[i] for i in own]
    for question in results.questions(setup, few):
      by_attack: dict[str, results.Outcomes] = {}
      for task, by_pair in zip(run, outcomes, strict=True):
        by_attack.setdefault(task.attack.name, {}).update(
          {
            (task.group.names[v], own.index(q - start)): o
            for (v, q), o in by_pair.items()
            if q - start in own
          }
        )
      for attack, known in by_attack.items():
        for row in dict.fromkeys(name[0] for name, _ in known):
          got = results.collect(
            question, few, known, row, setup.config["train"]["seeds"]
          )
          if got is None:
            continue
          tables, score, knobs = got
          metric = question.headline
          found.setdefault(row, []).append(
            (
              assemble.measurement(
                target=question.target,
                attack=attack,
                metric=metric,
                table=tables[metric],
                chance=question.chance[metric],
                floor=question.chance[metric],
                floor_of="chance",
                auxiliary=f"as for one code; {num} inputs of a person, known"
                " to be of one",
                unit=measures.unit(setup),
                num_queries=num,
                validation=score,
                knobs=knobs,
                queries=_OF_PEOPLE,
              ),
              tables[metric],
            )
          )
  return found


_OF_PEOPLE = "different inputs of one person"
