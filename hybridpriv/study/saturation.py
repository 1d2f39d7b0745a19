"""Would more data, or a larger attacker, have found more?

The same perceptron is trained with shares of the attacker's data and at several
widths.  A curve that still rises at its end says that the audit's attackers
were not the strongest there are.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hybridpriv import build
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import attribute
from hybridpriv.audit import assemble, engine, problems, statistics
from hybridpriv.study import attacking, fitting, results, victims
from hybridpriv.study.setup import Setup

_WIDTH, _SHARE = "width", "share"
_FUNCTION = "attribute.mlp"


class Point(NamedTuple):
  """One place on a curve: the task, and which problem stands for which.

  Attributes:
    what: "share" of the attacker's data, or "width" of its layers.
    at: how much of it.
    task: the attack.
    stands_for: number of the problem that was asked, by that of the one with
      less data.
  """

  what: str
  at: float
  task: attacking.Task
  stands_for: Mapping[int, int]


def fewer(
  setup: Setup, asked: Sequence[problems.Problem]
) -> list[tuple[problems.Problem, int, float]]:
  """Make the questions with less data of the attacker's own.

  Args:
    setup: the study; `config.audit.saturation` says how little.
    asked: all problems.

  Returns:
    (question, number of the one it stands for, share of the data).
  """
  rng = np.random.default_rng(setup.config["seed"])
  return [
    (problems.with_share(p, _person(setup, p), share, rng), q, share)
    for share in setup.config["audit"]["saturation"]["shares"]
    for q, p in enumerate(asked)
    if _counts(setup, p)
  ]


def _person(setup: Setup, problem: problems.Problem) -> np.ndarray:
  return setup.data.person[setup.folds[problem.fold].audit]


def _counts(setup: Setup, problem: problems.Problem) -> bool:
  private = problem.target.partition(" (")[0] in setup.roles.private
  return private and problem.kind != "linkage" and not problem.is_shifted


def points(
  setup: Setup,
  rows: Sequence[build.Row],
  sent: Mapping[tuple[int, int], Mapping[str, victims.Sent]],
  asked: Sequence[problems.Problem],
  few: Sequence[tuple[problems.Problem, int, float]],
  start: int,
) -> list[Point]:
  """List what is to be run: on the chosen rows, but for whole features.

  Args:
    setup: the study.
    rows: all defences.
    sent: what they send.
    asked: all problems.
    few: see `fewer`.
    start: number of the first of these among all problems that are run.
  """
  config = setup.config["audit"]
  options = config["saturation"]
  chosen = fitting.read_rows(setup)
  names = {
    r.name for r in rows if r.privatizer.stages and chosen[r.name]["selected"]
  }
  members = [m for m in victims.rows(sent) if m[0][0] in names]
  knobs = _knobs(setup)
  wide = [
    (width, _mlp({**knobs, "width": width})) for width in options["widths"]
  ]
  plain = _mlp(knobs)
  found = []
  for group in victims.group(members):
    for share in options["shares"]:
      own = {start + i: q for i, (_, q, s) in enumerate(few) if s == share}
      found.append(
        _point(group, asked, _SHARE, share, plain, own, config["attack_seeds"])
      )
    same = {q: q for q, p in enumerate(asked) if _counts(setup, p)}
    found += [
      _point(group, asked, _WIDTH, width, a, same, config["attack_seeds"])
      for width, a in wide
    ]
  return found


def _point(
  group: engine.Victims,
  asked: Sequence[problems.Problem],
  what: str,
  at: float,
  attack: Any,
  stands_for: Mapping[int, int],
  seeds: int,
) -> Point:
  pairs = [
    (v, number)
    for v, fold in enumerate(group.fold)
    for number, q in stands_for.items()
    if asked[q].fold == fold
  ]
  task = attacking.Task(f"{what} {at:g}", attack, group, pairs, seeds)
  return Point(what, at, task, stands_for)


def _mlp(knobs: Mapping[str, Any]) -> attack_lib.Attack:
  return attacking.named(attribute.mlp(**knobs), knobs)


def _default_width() -> int:
  return inspect.signature(attribute.mlp).parameters["width"].default


def _knobs(setup: Setup) -> dict[str, Any]:
  """Take the knobs of the audit's own perceptron, if it has one."""
  for entry in setup.config["audit"]["attacks"].values():
    if entry["function"] == _FUNCTION:
      return {k: v for k, v in entry.items() if k != "function"}
  return {}


def measure(
  setup: Setup,
  asking: Sequence[assemble.Question],
  asked: Sequence[problems.Problem],
  made: Sequence[Point],
  outcomes: Sequence[Mapping[tuple[int, int], engine.Outcome]],
  found: Mapping[tuple[str, int], results.Outcomes],
) -> dict[str, list[dict[str, Any]]]:
  """Measure the curves.

  Where the audit has a perceptron of its own it is on both: with all of the
  data, and at its width.

  Args:
    setup: the study.
    asking: all targets.
    asked: all problems.
    made: see `points`.
    outcomes: of their tasks.
    found: outcomes of the audit, by attack and number of queries.

  Returns:
    By row a list of "target", "what", "at", "value", "low" and "high".
  """
  by_place: dict[tuple[str, float], results.Outcomes] = {}
  for point, by_pair in zip(made, outcomes, strict=True):
    own = by_place.setdefault((point.what, point.at), {})
    names = point.task.group.names
    own |= {
      (names[v], point.stands_for[number]): o
      for (v, number), o in by_pair.items()
    }
  rows = {name[0] for own in by_place.values() for name, _ in own}
  targets = {asked[q].target for own in by_place.values() for _, q in own}
  for name, entry in setup.config["audit"]["attacks"].items():
    if entry["function"] == _FUNCTION:
      whole = found.get((f"attribute.{name}", 1), {})
      width = entry.get("width", _default_width())
      for what, at in ((_SHARE, 1.0), (_WIDTH, width)):
        if any(kind == what for kind, _ in by_place):
          by_place[what, at] = {
            (named, q): o
            for (named, q), o in whole.items()
            if named[0] in rows and asked[q].target in targets
          }
      break
  curves: dict[str, list[dict[str, Any]]] = {}
  for (what, at), own in by_place.items():
    for row in dict.fromkeys(name[0] for name, _ in own):
      for question in asking:
        got = results.collect(
          question, asked, own, row, setup.config["train"]["seeds"]
        )
        if got is None:
          continue
        table = got[0][question.headline]
        low, high = statistics.interval(table)
        curves.setdefault(row, []).append(
          {
            "target": question.target,
            "what": what,
            "at": float(at),
            "value": statistics.value(table),
            "low": low,
            "high": high,
          }
        )
  return curves
