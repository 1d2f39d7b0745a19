"""Stage `audit`: every attack on every defence, and the results file."""

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tqdm

from hybridpriv import build
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.audit import controls, engine, problems
from hybridpriv.study import (
  fitting,
  inverting,
  measures,
  parts,
  proofs,
  provenance,
  results,
  transfer,
  victims,
  workdir,
)
from hybridpriv.study.results import Outcomes
from hybridpriv.study.setup import Setup, key
from hybridpriv.train import state as state_lib

Asked = Sequence[problems.Problem]
BySystem = Mapping[tuple[int, int], Mapping[str, victims.Sent]]


# Two programs that factorise matrices at once were seen to wait for each other
# for ever on a CPU of two cores: such a call holds a thread of the pool that it
# needs for its own parts.
_ALONE = threading.Lock()


class Task(NamedTuple):
  """One attack on one group of systems: what is run, kept and resumed.

  Attributes:
    purpose: "rows", "floors" or "raw".
    attack: the attack.
    group: the systems.
    pairs: which system is asked which problem.
    seeds: attackers of the chosen knobs.
    num_queries: codes of one input that are averaged.
    joined: whether those of the group are such averages already.
  """

  purpose: str
  attack: attack_lib.Attack
  group: engine.Victims
  pairs: list[tuple[int, int]]
  seeds: int
  num_queries: int = 1
  joined: bool = False

  @property
  def title(self) -> str:
    """A name that no other task of the study has."""
    shape = "x".join(map(str, self.group.codes.shape[2:]))
    noise = "+".join(stage.name for stage in self.group.noise.stages)
    return (
      f"{self.purpose} {self.attack.name} {shape} {noise or 'no noise'}"
      f" x{self.num_queries}"
    )

  def answering(self, asked: Asked) -> "Task":
    """Leave out the questions that the attack is no answer to."""
    own = [
      (v, q)
      for v, q in self.pairs
      if (asked[q % len(asked)].kind == "linkage") == self.attack.links
    ]
    return self._replace(pairs=own)


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
  outcomes = run_all(setup, tasks, [*asked, *mixed])
  found, floor, judged = sort(tasks, outcomes, len(asked))
  more, checked = transfer.run(setup, rows, asked, mixed)
  found, judged = found | more, judged | checked
  beside = _beside(setup, rows, sent, asked)
  report, saved = results.draw_up(setup, rows, asked, found, floor, beside)
  controls_of, more = results.controls(setup, asked, judged)
  folder = setup.folder / "audit"
  workdir.write_arrays(folder / "values.npz", saved | more)
  workdir.write_arrays(folder / "codes.npz", _codes(setup, rows, sent))
  report["controls"] = controls_of + report["controls"]
  report["study"] = {**provenance.describe(setup), "command": command}
  workdir.write_json(out, report)


def _beside(
  setup: Setup, rows: Sequence[build.Row], sent: BySystem, asked: Asked
) -> dict[str, results.Beside]:
  """Measure what takes no attack that learns, prove what can be proved."""
  chosen = fitting.read_rows(setup)
  restored = inverting.run(setup, rows, asked)
  asking = results.questions(setup, asked)
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
      ],
      guarantees=proofs.prove(
        setup, row, asking, asked, size=one.clean[0].size
      ),
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


def attacks_of(setup: Setup, section: str) -> list[attack_lib.Attack]:
  """Build the attacks of a section of `config.audit`."""
  entries = setup.config["audit"][section]
  return build.build_attacks(entries, f"config.audit.{section}")


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
  for group in victims.group(systems):
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
    for group in victims.group(members):
      plain = pairs(group, lambda name, q: q < len(asked))
      found += [Task(purpose, attack, group, plain, 1) for attack in floors]
  return able(found, asked)


def able(tasks: Sequence[Task], asked: Asked) -> list[Task]:
  """Leave out what an attack is no answer to, and what it cannot be run on."""
  found = [task.answering(asked) for task in tasks]
  return [
    task
    for task in found
    if task.pairs and engine.applies(task.attack, task.group)
  ]


def run_all(
  setup: Setup, tasks: Sequence[Task], asked: Asked
) -> list[dict[tuple[int, int], engine.Outcome]]:
  """Run tasks, two at a time: one compiles while another computes."""
  total = sum(engine.num_jobs(t.attack, len(t.pairs), t.seeds) for t in tasks)
  bar = tqdm.tqdm(
    total=total, desc="audit", leave=False, disable=None, unit="attacker"
  )

  def run(task: Task) -> dict[tuple[int, int], engine.Outcome]:
    digest = _digest(task, asked, setup.config["audit"]["draws"])
    path = setup.folder / "audit" / "parts" / f"{digest}.npz"
    if path.exists():
      bar.update(engine.num_jobs(task.attack, len(task.pairs), task.seeds))
    else:
      with _ALONE if _factorises(task) else contextlib.nullcontext():
        found = engine.attack_all(
          task.attack,
          task.group,
          asked,
          task.pairs,
          key=state_lib.stream(key(setup, 0, 0, "attack"), task.title),
          seeds=task.seeds,
          draws=setup.config["audit"]["draws"],
          num_queries=1 if task.joined else task.num_queries,
          progress=bar.update,
        )
      parts.save(path, task.title, found)
    return parts.read(path)

  pool = concurrent.futures.ThreadPoolExecutor(2)
  with bar:
    waiting = [pool.submit(run, task) for task in tasks]
    try:
      return [future.result() for future in waiting]
    finally:
      # Attacks under way cannot be stopped; who presses Ctrl-C does not wait.
      pool.shutdown(wait=False, cancel_futures=True)


def _factorises(task: Task) -> bool:
  """Tell whether a task factorises matrices."""
  correlated = any("factor" in state for state in task.group.law)
  names = ("density.", "linkage.two_covariance")
  return correlated or task.attack.name.startswith(names)


def _digest(task: Task, asked: Asked, draws: int) -> str:
  group = task.group
  names = (task.title, group.names, task.pairs, task.attack.grid, task.seeds)
  return parts.digest(
    (*names, draws), (group.codes, group.law, problems.pad(asked))
  )


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
