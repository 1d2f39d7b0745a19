"""Several codes of one person, of different inputs, joined by the attacker.

A service that knows which codes come from one device has more of a person than
one code.  What each tells is added up, as if inputs were independent given the
label: scores are logarithms of likelihoods, up to what is the same for all
classes.  Or codes are averaged, and attackers learn from such means: links are
looked for between these as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from hybridpriv import build
from hybridpriv.attacks import averaging
from hybridpriv.audit import assemble, engine, mates, problems
from hybridpriv.study import attacking, fitting, measures, results, victims
from hybridpriv.study.setup import Setup

_ROWS, _FLOORS = "people", "people floors"  # purposes of tasks


class Several(NamedTuple):
  """A question about several inputs of one person.

  Attributes:
    problem: the question.
    num: of how many inputs.
    mates: of which inputs codes are averaged [n, num]; None where scores of
      single codes are added.
  """

  problem: problems.Problem
  num: int
  mates: np.ndarray | None = None


def sizes(config: Mapping[str, Any]) -> tuple[int, ...]:
  """Say of how many inputs codes are averaged."""
  # A workdir of an earlier version, which is exported by itself, does not say.
  return tuple(config["audit"].get("means", ()))


def several(setup: Setup, asked: Sequence[problems.Problem]) -> list[Several]:
  """Make the questions about several inputs of one person.

  Args:
    setup: the study; `config.audit.inputs` says of how many inputs scores are
      added, `config.audit.means` of how many codes are averaged.
    asked: all problems; what has too few samples is left out, and links have
      no scores that add up.
  """
  config, made = setup.config, []
  rng = np.random.default_rng(config["seed"])
  able = [p for p in asked if not p.is_shifted]
  if setup.data.identity is None:
    return []

  def person(p: problems.Problem) -> np.ndarray:
    return setup.data.person[setup.folds[p.fold].audit]

  for num in config["audit"]["inputs"]:
    for p in able:
      if p.kind != "linkage":
        found = problems.joined(p, person(p), num, rng)
        if found is not None:
          made.append(Several(found, num))
  for num in sizes(config):
    for p in able:
      dealt = mates.deal(p, person(p), num, rng)
      if dealt is not None:
        made.append(Several(dealt[0], num, dealt[1]))
  return made


def shared(
  made: Sequence[Several],
) -> list[tuple[problems.Problem, int]]:
  """List which secrets several inputs share, and how many of them.

  Of a number for which scores are added and codes averaged, the former: they
  ask of the same people.
  """
  added = {own.num for own in made if own.mates is None}
  return [
    (own.problem, own.num)
    for own in made
    if own.mates is None or own.num not in added
  ]


def tasks(
  setup: Setup,
  rows: Sequence[build.Row],
  sent: Mapping[tuple[int, int], Mapping[str, victims.Sent]],
  made: Sequence[Several],
  start: int,
) -> list[attacking.Task]:
  """List what is to be run: the attacks on repeats, on the chosen rows.

  Beside them those of the floor, on as many answers of the cloud.

  Args:
    setup: the study.
    rows: all defences.
    sent: what they send.
    made: see `several`.
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
  known = {attack.name for attack in floors}
  floors += [a for a in attacks if a.links and a.name not in known]
  found = []
  for purpose, members, own, seeds in (
    (_ROWS, victims.rows(sent), attacks, config["attack_seeds"]),
    (_FLOORS, victims.floors(setup, sent), floors, 1),
  ):
    asked = [m for m in members if m[0][0] in {*names, "desired label"}]
    for group in victims.group(asked, victims.references(setup)):
      for title, sender, asks in _senders(purpose, group, made):
        for attack in own:
          pairs = [
            (v, start + i)
            for v, i in asks
            if attack.links == (made[i].problem.kind == "linkage")
          ]
          if pairs and engine.applies(attack, sender):
            found.append(attacking.Task(title, attack, sender, pairs, seeds))
  return found


def _senders(
  purpose: str, group: engine.Victims, made: Sequence[Several]
) -> Iterator[tuple[str, engine.Victims, list[tuple[int, int]]]]:
  """List systems that send single codes, and such that send means.

  Args:
    purpose: of the tasks.
    group: systems that send single codes.
    made: see `several`.

  Yields:
    (purpose, systems, which of them are asked which of the questions).
  """
  pairs = [
    (v, i)
    for v, fold in enumerate(group.fold)
    for i, own in enumerate(made)
    if own.problem.fold == fold
  ]
  yield purpose, group, [(v, i) for v, i in pairs if made[i].mates is None]
  for num in dict.fromkeys(own.num for own in made):
    asks, parts = [], []
    for v, i in pairs:
      inputs = made[i].mates
      if inputs is not None and made[i].num == num:
        asks.append((len(parts), i))
        parts.append((v, inputs))
    if parts:
      yield f"{purpose}, means of {num}", _means(group, parts), asks


def _means(
  group: engine.Victims, parts: Sequence[tuple[int, np.ndarray]]
) -> engine.Victims:
  """Make systems that send the mean of codes of several inputs.

  Args:
    group: systems that send one code.
    parts: which of these, and the inputs of each mean [n, num].

  Returns:
    One for each part.
  """
  which = np.asarray([v for v, _ in parts])
  num = parts[0][1].shape[1]

  def gather(x: np.ndarray) -> np.ndarray:
    # Folds are of several lengths: shorter ones are padded, as in `group`.
    found = np.zeros((len(parts), x.shape[1], num, *x.shape[2:]), x.dtype)
    for out, (v, at) in zip(found, parts, strict=True):
      out[: len(at)] = x[v][at]
    return found

  reference = group.reference
  return engine.Victims(
    names=[group.names[v] for v in which],
    fold=group.fold[which],
    codes=gather(group.codes),
    law=(jax.tree.map(lambda x: x[which], group.law),),
    noise=averaging.of_inputs(group.noise, num),
    reference=None if reference is None else gather(reference).mean(axis=2),
  )


def measure(
  setup: Setup,
  made: Sequence[Several],
  run: Sequence[attacking.Task],
  outcomes: Sequence[Mapping[tuple[int, int], engine.Outcome]],
  start: int,
) -> dict[str, list[measures.Measured]]:
  """Measure what was found, by row.

  Args:
    setup: the study.
    made: see `several`.
    run: see `tasks`.
    outcomes: of these.
    start: number of the first question.

  Returns:
    Measurements with their tables, by name of the row.
  """
  asked: dict[tuple[int, bool], list[problems.Problem]] = {}
  place = {}  # number of a question -> (inputs, averaged), place among these
  for i, own in enumerate(made):
    kind = (own.num, own.mates is not None)
    few = asked.setdefault(kind, [])
    place[start + i] = (kind, len(few))
    few.append(own.problem)
  known: dict[Any, dict[str, results.Outcomes]] = {}
  for task, by_pair in zip(run, outcomes, strict=True):
    floors = task.purpose.startswith(_FLOORS)
    for (v, q), outcome in by_pair.items():
      kind, at = place[q]
      by_attack = known.setdefault((floors, kind), {})
      name = task.group.names[v]
      by_attack.setdefault(task.attack.name, {})[name, at] = outcome
  found: dict[str, list[measures.Measured]] = {}
  for kind, few in asked.items():
    floors = known.get((True, kind), {})
    for question in results.questions(setup, few):
      for attack, own in known.get((False, kind), {}).items():
        for row in dict.fromkeys(name[0] for name, _ in own):
          got = results.collect(
            question, few, own, row, setup.config["train"]["seeds"]
          )
          if got is not None:
            floor = results.floor_of(setup, question, few, floors, row)
            found.setdefault(row, []).append(
              _measured(setup, question, attack, kind, got, floor)
            )
  return found


def _measured(
  setup: Setup,
  question: assemble.Question,
  attack: str,
  kind: tuple[int, bool],
  got: tuple[Mapping[str, Any], float, Mapping[str, Any]],
  floors: Mapping[str, tuple[float, str]],
) -> measures.Measured:
  tables, score, knobs = got
  num, averaged = kind
  metric = question.headline
  floor, source = floors[metric]
  if averaged:
    has = f"as for one code, but means of codes of {num} inputs of a person"
  else:
    has = f"as for one code; {num} inputs of a person, known to be of one"
  made = assemble.measurement(
    target=question.target,
    attack=attack,
    metric=metric,
    table=tables[metric],
    chance=question.chance[metric],
    floor=floor,
    floor_of=source,
    auxiliary=has,
    unit=measures.unit(setup),
    num_queries=num,
    validation=score,  # of single codes, where these are not averaged
    knobs=knobs,
    queries="different inputs of one person" + ", averaged" * averaged,
  )
  return made, tables[metric]
