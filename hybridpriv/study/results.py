"""From outcomes to the public results: rows, controls, comparisons."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hybridpriv import build
from hybridpriv.audit import assemble, engine, problems, statistics
from hybridpriv.audit import worst as worst_lib
from hybridpriv.study import (
  comparisons,
  groups,
  measures,
  proofs,
  ranking,
)
from hybridpriv.study.measures import Measured
from hybridpriv.study.setup import Setup

Outcomes = dict[tuple[Any, int], engine.Outcome]
Tables = dict[str, statistics.Table]

# Controls and what is expected of their leakage.
CONTROLS = {
  "constant": "chance",
  "equal-energy noise": "chance",
  "shuffled labels": "chance",
  "planted leak": "high",
  "leak in the smallest direction": "reference",
  "raw input": "reference",
}


def by_seed(
  question: assemble.Question,
  asked: Sequence[problems.Problem],
  outcomes: Outcomes,
  row: str,
  seeds: int,
) -> list[list[engine.Outcome]]:
  """Collect what one attack found on one row, by train seed and problem."""
  found = []
  for seed in range(seeds):
    names = [((row, asked[q].fold, seed), q) for q in question.problems]
    if all(name in outcomes for name in names):
      found.append([outcomes[name] for name in names])
  return found


def collect(
  question: assemble.Question,
  asked: Sequence[problems.Problem],
  outcomes: Outcomes,
  row: str,
  seeds: int,
) -> tuple[Tables, float, dict[str, Any]] | None:
  """Collect one attack on one row: tables, validation, knobs."""
  found = by_seed(question, asked, outcomes, row, seeds)
  if not found:
    return None
  every = [o for own in found for o in own]
  knobs = {
    k: sorted({o.knobs[k] for o in every})
    for k in every[0].knobs
    if k != "none"
  }
  validation = float(np.mean([o.validation for o in every]))
  return assemble.tables(question, found), validation, knobs


def floor_of(
  setup: Setup,
  question: assemble.Question,
  asked: Sequence[problems.Problem],
  floor: Mapping[str, Outcomes],
  row: str,
) -> dict[str, tuple[float, str]]:
  """Find the floor of every metric and what it comes from."""
  sources = {"desired label": ("desired label", 1)}
  sources["cloud answer"] = (row, setup.config["train"]["seeds"])
  candidates = []
  for source, (name, seeds) in sources.items():
    for outcomes in floor.values():
      if got := collect(question, asked, outcomes, name, seeds):
        candidates.append((source, *got))
  # Chosen on attacker validation, as every headline is.
  if not candidates:
    return {m: (value, "chance") for m, value in question.chance.items()}
  source, tables, *_ = max(candidates, key=lambda c: c[2])
  return {m: (statistics.value(t), source) for m, t in tables.items()}


def _auxiliary(setup: Setup, question: assemble.Question, attack: str) -> str:
  """Say what the attacker has, in words."""
  more = ""
  if attack.startswith("decensoring."):
    more = "; features of the network before it was tuned"
  if " (auxiliary: " in question.target:
    more += "; all of one class of another label"
  return _samples(setup, question) + more


def _samples(setup: Setup, question: assemble.Question) -> str:
  if question.kind == "identity":
    return "a gallery of each audit person: labelled samples of the same people"
  if question.kind == "linkage":
    return "samples of other audit people, by person; nobody's name"
  if setup.data.identity is None:
    return "labelled samples of the same population (no person is named)"
  return "labelled samples of other audit people, by person"


class Beside(NamedTuple):
  """What is known of a defence without an attack that learns.

  Attributes:
    num_bytes: of a code on the wire.
    selected: whether it stands at an operating point.
    utility: measurements of the desired questions, with their tables.
    leakage: further measurements: ranks, inversion.
    guarantees: what is proved.
    estimates: what holds on average, under its assumptions.
    saturation: what attackers with less data, or of other sizes, reached.
    groups: utility by group.
  """

  num_bytes: int
  selected: bool
  utility: Sequence[Measured]
  leakage: Sequence[Measured]
  guarantees: Sequence[Mapping[str, Any]]
  estimates: Sequence[Mapping[str, Any]] = ()
  saturation: Sequence[Mapping[str, Any]] = ()
  groups: Sequence[Mapping[str, Any]] = ()


def draw_up(
  setup: Setup,
  rows: Sequence[build.Row],
  asked: Sequence[problems.Problem],
  found: Mapping[tuple[str, int], Outcomes],
  floor: Mapping[str, Outcomes],
  beside: Mapping[str, Beside],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Draw up rows and comparisons, and the arrays behind them.

  Args:
    setup: the study.
    rows: all defences.
    asked: all problems.
    found: outcomes by (attack, number of queries).
    floor: outcomes of attacks on the desired label and the cloud's answer.
    beside: what else is known, by name of the row.

  Returns:
    (contents of results.json without study, and with the control of guarantees
    alone; arrays of values.npz).
  """
  asking = questions(setup, asked)
  config = setup.config
  seeds = config["train"]["seeds"]
  saved: dict[str, np.ndarray] = {}
  listed: list[dict[str, Any]] = []
  tables: dict[tuple[str, str, int], statistics.Table] = {}
  for r, row in enumerate(rows):
    known = beside[row.name]
    leakage: list[Measured] = []
    for question in asking:
      floors = floor_of(setup, question, asked, floor, row.name)
      for (attack, num), outcomes in found.items():
        got = collect(question, asked, outcomes, row.name, seeds)
        if got is None:
          continue
        own, score, knobs = got
        for metric, table in own.items():
          value, source = floors[metric]
          leakage.append(
            (
              assemble.measurement(
                target=question.target,
                attack=attack,
                metric=metric,
                table=table,
                chance=question.chance[metric],
                floor=value,
                floor_of=source,
                auxiliary=_auxiliary(setup, question, attack),
                unit=measures.unit(setup),
                num_queries=num,
                validation=score,
                knobs=knobs,
              ),
              table,
            )
          )
    leakage += known.leakage
    for kind, pairs in (("utility", known.utility), ("leakage", leakage)):
      for i, (_, table) in enumerate(pairs):
        saved |= _arrays(setup, f"rows/{r}/{kind}/{i}", table)
        tables[row.name, kind, i] = table
    leaks = [m for m, _ in leakage]
    worst = worst_lib.by_target(leaks, [q.target for q in asking])
    listed.append(
      {
        "name": row.name,
        "training": row.training,
        "embedding": row.embedding,
        "cut": config["cut"],
        "privatizer": [{"name": n, **dict(k)} for n, k in row.stages],
        "num_bytes": known.num_bytes,
        "train_seeds": seeds,
        "attack_seeds": config["audit"]["attack_seeds"],
        "selected": known.selected,
        "utility": [m for m, _ in known.utility],
        "leakage": leaks,
        "worst": worst,
        "guarantees": list(known.guarantees),
        "estimates": list(known.estimates),
        "saturation": list(known.saturation),
        "groups": [
          *known.groups,
          *(
            group
            for question in asking
            if known.selected and question.target in worst
            for group in groups.leakage(
              setup,
              question,
              asked,
              by_seed(
                question,
                asked,
                found.get((leaks[worst[question.target]]["attack"], 1), {}),
                row.name,
                seeds,
              ),
            )
          ),
        ],
      }
    )
  results = {
    "schema": "hybridpriv.results/1",
    "rows": listed,
    "controls": proofs.controls(listed, tables),
    "comparisons": comparisons.compare(
      listed, tables, [q.target for q in asking]
    ),
    "rankings": ranking.rank(listed, tables, [q.target for q in asking]),
  }
  return results, saved


def _arrays(
  setup: Setup, name: str, table: statistics.Table
) -> dict[str, np.ndarray]:
  people = np.asarray(table.people)
  if setup.data.identity is not None:
    names = setup.data.classes[setup.data.identity]
    people = np.asarray([names[p] for p in people])
  return {
    f"{name}/sum": table.sum,
    f"{name}/count": table.count,
    f"{name}/people": people,
  }


def questions(
  setup: Setup, asked: Sequence[problems.Problem]
) -> list[assemble.Question]:
  """Collect all problems by their target."""
  people = [setup.data.person[f.audit] for f in setup.folds]
  return assemble.questions(asked, people)


def controls(
  setup: Setup,
  asked: Sequence[problems.Problem],
  found: Mapping[str, Outcomes],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
  """Judge the controls.

  A control at chance fails when the lower limit of any attack, corrected for
  the number of comparisons (Bonferroni), lies above chance; a planted leak
  fails when any attack finds less than 90 % of it.

  Args:
    setup: the study.
    asked: all problems.
    found: outcomes by attack.

  Returns:
    (controls, arrays of values.npz).
  """
  listed, saved = [], {}
  for name, expect in CONTROLS.items():
    leakage = []
    own = []
    for question in questions(setup, asked):
      for attack, outcomes in found.items():
        got = collect(question, asked, outcomes, name, 1)
        if got is not None:
          own.append((question, attack, *got))
    if not own and expect == "reference":
      continue  # of codes of another system alone, or of what has inputs
    r = len(listed)  # those that were left out have no number
    level, passed = 1 - 0.05 / max(len(own), 1), bool(own)
    for question, attack, tables, score, knobs in own:
      chance = question.chance[question.headline]
      table = tables[question.headline]
      saved |= _arrays(setup, f"controls/{r}/leakage/{len(leakage)}", table)
      leakage.append(
        assemble.measurement(
          target=question.target,
          attack=attack,
          metric=question.headline,
          table=table,
          chance=chance,
          floor=chance,
          floor_of="chance",
          auxiliary=_auxiliary(setup, question, attack),
          unit=measures.unit(setup),
          validation=score,
          knobs=knobs,
        )
      )
      if expect == "chance":
        low, _ = statistics.interval(table, level=level, resamples=5000)
        passed &= low <= chance
    worst = worst_lib.by_target(
      leakage, [q.target for q in questions(setup, asked)]
    )
    if expect == "high":
      passed = bool(own) and all(m["value"] >= 0.9 for m in leakage)
    listed.append(
      {
        "name": f"control/{name}",
        "expected": expect,
        "passed": bool(passed),
        "leakage": leakage,
        "worst": worst,
      }
    )
  return listed, saved
