"""Stage `audit`: every attack on every defence, and the results file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hybridpriv import build
from hybridpriv.audit import controls, engine, problems
from hybridpriv.study import (
  attacking,
  estimates,
  fitting,
  groups,
  inverting,
  measures,
  people,
  proofs,
  provenance,
  results,
  saturation,
  transfer,
  victims,
  workdir,
)
from hybridpriv.study.attacking import Task, attacks_of
from hybridpriv.study.results import Outcomes
from hybridpriv.study.setup import Setup

Asked = Sequence[problems.Problem]
BySystem = Mapping[tuple[int, int], Mapping[str, victims.Sent]]


def run(setup: Setup, command: str) -> None:
  """Attack everything; write `audit/results.json` when all is done."""
  out = setup.folder / "audit" / "results.json"
  if out.exists():
    return
  config = setup.config
  rows = build.rows(config)
  sent = {
    (fold, seed): {
      name: one
      for training in config["trainings"]
      for name, one in victims.send(
        setup, fold, seed, [r for r in rows if r.training == training]
      ).items()
    }
    for fold in range(len(setup.folds))
    for seed in range(config["train"]["seeds"])
  }
  asked = list_problems(setup)
  smallest = min(rows, key=lambda r: sent[0, 0][r.name].clean[0].size).name
  mixed = shuffled(setup, asked)
  tasks = _tasks(setup, rows, sent, asked, smallest)
  few = saturation.fewer(setup, asked)
  every = [*asked, *mixed, *(p for p, *_ in few)]
  points = saturation.points(
    setup, rows, sent, asked, few, len(asked) + len(mixed)
  )
  several, begin = people.several(setup, asked), len(every)
  every += [own.problem for own in several]
  joint = people.tasks(setup, rows, sent, several, begin)
  curves = [point.task for point in points]
  outcomes = attacking.run_all(setup, [*tasks, *curves, *joint], every)
  found, floor, judged = sort(tasks, outcomes[: len(tasks)], len(asked))
  more, checked = transfer.run(setup, rows, asked, mixed)
  found, judged = found | more, judged | checked
  rest = outcomes[len(tasks) :]
  grown = saturation.measure(
    setup,
    results.questions(setup, asked),
    asked,
    points,
    rest[: len(points)],
    found,
  )
  repeated = people.measure(setup, several, joint, rest[len(points) :], begin)
  beside = _beside(setup, rows, sent, asked, grown, several, repeated)
  report, saved = results.draw_up(setup, rows, asked, found, floor, beside)
  controls_of, more = results.controls(setup, asked, judged)
  folder = setup.folder / "audit"
  workdir.write_arrays(folder / "values.npz", saved | more)
  workdir.write_arrays(folder / "codes.npz", _codes(setup, rows, sent))
  report["controls"] = controls_of + report["controls"]
  report["study"] = {**provenance.describe(setup), "command": command}
  workdir.write_json(out, report)


def _beside(
  setup: Setup,
  rows: Sequence[build.Row],
  sent: BySystem,
  asked: Asked,
  grown: Mapping[str, Sequence[Mapping[str, Any]]],
  several: Sequence[people.Several],
  repeated: Mapping[str, Sequence[measures.Measured]],
) -> dict[str, results.Beside]:
  """Measure what takes no attack that learns, prove what can be proved."""
  chosen = fitting.read_rows(setup)
  restored = inverting.run(setup, rows, asked)
  asking = results.questions(setup, asked)
  expected = estimates.of_rows(setup, rows, sent, asking, asked)
  found = {}
  for row in rows:
    one = sent[0, 0][row.name]
    utility = measures.utility(setup, sent, row.name, chosen[row.name])
    found[row.name] = results.Beside(
      num_bytes=one.num_bytes,
      selected=chosen[row.name]["selected"],
      utility=utility,
      leakage=[
        *restored.get(row.name, ()),
        *measures.ranks(setup, sent, row.name),
        *repeated.get(row.name, ()),
      ],
      guarantees=proofs.prove(
        setup,
        row,
        asking,
        asked,
        size=one.clean[0].size,
        joined=people.shared(several),
      ),
      estimates=expected[row.name],
      saturation=grown.get(row.name, ()),
      groups=groups.utility(setup, sent, row.name)
      if chosen[row.name]["selected"]
      else (),
    )
  return found


def list_problems(setup: Setup) -> list[problems.Problem]:
  """List every question of the audit, over all folds.

  Raises:
    ValueError: if an attacker would have nobody to learn from or to attack.
  """
  targets = (*setup.roles.private, *setup.roles.unforeseen)
  linkers = [a.name for a in attacks_of(setup, "attacks") if a.links]
  if linkers and setup.data.identity not in targets:
    raise ValueError(
      f"{', '.join(linkers)}: whose codes are linked must be private, and"
      f" {', '.join(targets)} names no person; leave these attacks out, or name"
      " the person"
    )
  asked = [
    problem
    for fold, parts in enumerate(setup.folds)
    for problem in problems.make(
      setup.data,
      parts.audit,
      fold,
      targets,
      rotations=setup.config["audit"]["rotations"],
      seed=setup.config["seed"],
      linkage=bool(linkers),
      shift=setup.config["audit"]["shift"],
    )
  ]
  problems.pad(asked)  # says which one lacks samples
  for problem in asked:
    if problem.num_classes < 2:
      raise ValueError(
        f"the attacker on {problem.target!r} (fold {problem.fold}) has one"
        " class to choose from: audit more people"
      )
  return asked


def shuffled(setup: Setup, asked: Asked) -> list[problems.Problem]:
  """Shuffle the attacker's labels of every problem, for a control."""
  rng = np.random.default_rng(setup.config["seed"])
  mixed = []
  for p in asked:
    audit = setup.folds[p.fold].audit
    blocks = controls.blocks(
      p, setup.data.person[audit], setup.data.recording[audit]
    )
    mixed.append(problems.shuffled(p, blocks, rng))
  return mixed


def _tasks(
  setup: Setup,
  rows: Sequence[build.Row],
  sent: BySystem,
  asked: Asked,
  smallest: str,
) -> list[Task]:
  """List everything to run.

  Controls of small codes ride along with the rows of that shape, so that they
  need no programs of their own; shuffled labels are problems len(asked) ... of
  the row called `smallest`.
  """
  config = setup.config["audit"]
  attacks = attacks_of(setup, "attacks")
  # Links have a floor too, by the attacks on links.
  floors = attacks_of(setup, "floor_attacks")
  known = {attack.name for attack in floors}
  floors += [a for a in attacks if a.links and a.name not in known]
  chosen = fitting.read_rows(setup)
  noisy = {
    r.name
    for r in rows
    if r.privatizer.is_random and chosen[r.name]["selected"]
  }
  seeds = config["attack_seeds"]

  def wanted(name: Any, q: int) -> bool:
    if q >= len(asked):
      return name[0] == smallest and name[2] == 0
    return name[0] != "planted leak" or name[2] == q

  def pairs(
    group: engine.Victims, only: Callable[[Any, int], bool]
  ) -> list[tuple[int, int]]:
    return [
      (v, q)
      for v, name in enumerate(group.names)
      for q in range(2 * len(asked))
      if asked[q % len(asked)].fold == group.fold[v] and only(name, q)
    ]

  systems = [
    *victims.rows(sent),
    *victims.control_systems(setup, asked, sent[0, 0][smallest].clean),
  ]
  found = []
  features = victims.references(setup)
  for group in victims.group(systems, features):
    for attack in attacks:
      found.append(Task("rows", attack, group, pairs(group, wanted), seeds))
      if attack.name in config["query_attacks"]:
        repeated = pairs(
          group, lambda name, q: name[0] in noisy and q < len(asked)
        )
        found += [
          Task("rows", attack, group, repeated, seeds, num)
          for num in config["queries"]
        ]
  for purpose, members in (
    ("floors", victims.floors(setup, sent)),
    ("raw", victims.raw_inputs(setup)),
  ):
    for group in victims.group(members, features):
      plain = pairs(group, lambda name, q: q < len(asked))
      found += [Task(purpose, attack, group, plain, 1) for attack in floors]
  return attacking.able(found, asked)


def sort(
  tasks: Sequence[Task],
  outcomes: Sequence[Mapping[tuple[int, int], engine.Outcome]],
  num_asked: int,
) -> tuple[
  dict[tuple[str, int], Outcomes],
  dict[str, Outcomes],
  dict[str, Outcomes],
]:
  """Give outcomes to rows, floors and controls, by attack."""
  found: dict[tuple[str, int], Outcomes] = {}
  floor: dict[str, Outcomes] = {}
  judged: dict[str, Outcomes] = {}
  for task, by_pair in zip(tasks, outcomes, strict=True):
    attack = task.attack.name
    for (v, q), outcome in by_pair.items():
      name = task.group.names[v]
      if task.purpose == "floors":
        floor.setdefault(attack, {})[name, q] = outcome
      elif q >= num_asked:
        own = ("shuffled labels", name[1], 0)
        judged.setdefault(attack, {})[own, q - num_asked] = outcome
      elif name[0] in results.CONTROLS:
        own = (name[0], name[1], 0)
        judged.setdefault(attack, {})[own, q] = outcome
      else:
        by_name = found.setdefault((attack, task.num_queries), {})
        by_name[name, q] = outcome
  return found, floor, judged


def _codes(
  setup: Setup, rows: Sequence[build.Row], sent: BySystem
) -> dict[str, np.ndarray]:
  """Keep one draw of the codes of one fold and seed, for pictures."""
  audit = setup.folds[0].audit
  chosen = fitting.read_rows(setup)
  arrays: dict[str, np.ndarray] = {}
  for row in rows:
    if chosen[row.name]["selected"]:
      codes = sent[0, 0][row.name].example
      arrays[f"{row.name}/code"] = codes.reshape(len(codes), -1)
      for label in (*setup.roles.desired, *setup.roles.private):
        arrays[f"{row.name}/labels/{label}"] = setup.data.labels[label][audit]
  return arrays
