"""One task of an audit: an attack on a group of systems, run, kept, resumed."""

import concurrent.futures
import contextlib
import json
import math
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tqdm

from hybridpriv import build
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import discriminant
from hybridpriv.audit import engine, problems
from hybridpriv.study import parts
from hybridpriv.study.setup import Setup, key
from hybridpriv.train import state as state_lib

# Two programs that factorise matrices at once were seen to wait for each other
# for ever on a CPU of two cores: such a call holds a thread of the pool that it
# needs for its own parts.
_ALONE = threading.Lock()


class Task(NamedTuple):
  """One attack on one group of systems: what is run, kept and resumed.

  Attributes:
    purpose: "rows", "floors", "raw", or what asks for more, such as "share
      0.5"; a part of its title.
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

  @property
  def num_jobs(self) -> int:
    """How many adversaries it trains."""
    seeds = engine.num_attackers(self.attack, self.group.noise, self.seeds)
    return engine.num_jobs(self.attack, len(self.pairs), seeds)

  def answering(self, asked: Sequence[problems.Problem]) -> "Task":
    """Leave out the questions that the attack is no answer to."""
    own = [
      (v, q)
      for v, q in self.pairs
      if (asked[q % len(asked)].kind == "linkage") == self.attack.links
    ]
    return self._replace(pairs=own)


def attacks_of(setup: Setup, section: str) -> list[attack_lib.Attack]:
  """Build the attacks of a section of `config.audit`."""
  entries = setup.config["audit"][section]
  built = build.build_attacks(entries, f"config.audit.{section}")
  return [
    named(attack, entry)
    for attack, entry in zip(built, entries.values(), strict=True)
  ]


def named(
  attack: attack_lib.Attack, entry: Mapping[str, Any]
) -> attack_lib.Attack:
  """Tell an attack by all that it was made with: a width is in no grid."""
  return attack._replace(settings=json.dumps(entry, sort_keys=True))


def able(
  tasks: Sequence[Task], asked: Sequence[problems.Problem]
) -> list[Task]:
  """Leave out what an attack is no answer to, and what it cannot be run on."""
  found = [task.answering(asked) for task in tasks]
  return [
    task
    for task in found
    if task.pairs and engine.applies(task.attack, task.group)
  ]


def run_all(
  setup: Setup, tasks: Sequence[Task], asked: Sequence[problems.Problem]
) -> list[dict[tuple[int, int], engine.Outcome]]:
  """Run tasks, two at a time: one compiles while another computes."""
  total = sum(task.num_jobs for task in tasks)
  bar = tqdm.tqdm(
    total=total, desc="audit", leave=False, disable=None, unit="attacker"
  )

  def run(task: Task) -> dict[tuple[int, int], engine.Outcome]:
    digest = _digest(task, asked, setup.config["audit"]["draws"])
    path = setup.folder / "audit" / "parts" / f"{digest}.npz"
    if path.exists():
      bar.update(task.num_jobs)
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
  """Tell whether a task hands matrices to LAPACK, which is no good for two."""
  if any("factor" in state for state in task.group.law):
    return True
  # Behind the dot stands the entry of a config, whatever that is called.
  name, size = task.attack.name, math.prod(engine.code_shape(task.group))
  if name.startswith("discriminant."):
    return size > discriminant.LONGEST
  return name.startswith(("decensoring.", "density.", "linkage."))


def _digest(task: Task, asked: Sequence[problems.Problem], draws: int) -> str:
  group = task.group
  attack, asks = task.attack, (task.pairs, task.seeds, draws)
  names = (task.title, group.names, attack.grid, attack.settings)
  features = group.reference if attack.needs_reference else None
  return parts.digest(
    (*names, *asks),
    (group.codes, group.law, features, problems.pad(asked)),
    code=_source(attack),
  )


def _source(attack: attack_lib.Attack) -> str:
  """Name the file that an attack is written in, which may be anybody's."""
  code = getattr(attack.fit, "__code__", None)
  path = code.co_filename if code else ""
  return path if pathlib.Path(path).is_file() else ""
