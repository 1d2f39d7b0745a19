"""Stage `audit`: every attack on every defence, and the results file."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm

from hybridpriv import build
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import rank
from hybridpriv.audit import assemble, controls, engine, problems, statistics
from hybridpriv.data import partition
from hybridpriv.study import fitting, training, victims, workdir
from hybridpriv.study.setup import Setup, integer, key
from hybridpriv.train import state as state_lib

Outcomes = dict[tuple[Any, int], engine.Outcome]
Tables = dict[str, statistics.Table]


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
      for t in config["trainings"]
      for name, one in victims.send(
        setup, fold, seed, [r for r in rows if r.training == t]
      ).items()
    }
    for fold in range(len(setup.folds))
    for seed in range(config["train"]["seeds"])
  }
  asked = _problems(setup)
  people = [setup.data.person[f.audit] for f in setup.folds]
  asking = assemble.questions(asked, people)
  attacks = build.build_attacks(config["audit"]["attacks"], "config.audit.attacks")
  floors = build.build_attacks(
    config["audit"]["floor_attacks"], "config.audit.floor_attacks"
  )
  found = _attack_rows(setup, sent, asked, attacks, rows)
  floor = _attack_floors(setup, sent, asked, floors)
  judged = _controls(setup, sent, rows, asked, asking, attacks)
  results, saved = _results(setup, rows, sent, asking, found, floor, attacks)
  results["controls"], more = judged
  results["study"]["command"] = command
  saved |= more
  folder = setup.folder / "audit"
  np.savez_compressed(folder / "values.tmp.npz", **saved)
  (folder / "values.tmp.npz").replace(folder / "values.npz")
  _save_codes(setup, rows, sent)
  workdir.write_json(out, results)


def _problems(setup: Setup) -> list[problems.Problem]:
  targets = (*setup.roles.private, *setup.roles.unforeseen)
  return [
    problem
    for fold, parts in enumerate(setup.folds)
    for problem in problems.make(
      setup.data,
      parts.audit,
      fold,
      targets,
      rotations=setup.config["audit"]["rotations"],
      seed=setup.config["seed"],
    )
  ]


def _run(
  setup: Setup,
  name: str,
  attack: attack_lib.Attack,
  group: engine.Victims,
  asked: Sequence[problems.Problem],
  *,
  seeds: int,
  num_queries: int = 1,
  only: Any = None,
) -> Outcomes:
  """Run one attack on one group, or read what an earlier start finished."""
  pairs = [
    (v, q)
    for v in range(len(group.names))
    for q, problem in enumerate(asked)
    if problem.fold == group.fold[v] and (only is None or only(group.names[v], q))
  ]
  if not pairs or (attack.applies and not attack.applies(group.noise)):
    return {}
  shape = "x".join(map(str, group.codes.shape[2:]))
  noise = "+".join(s.name for s in group.noise.stages) or "none"
  title = f"{name} {attack.name} {shape} {noise} x{num_queries}"
  digest = hashlib.sha256(title.encode()).hexdigest()[:12]
  path = setup.folder / "audit" / "parts" / f"{digest}.npz"
  if not path.exists():
    bar = tqdm.tqdm(
      total=engine.num_jobs(attack, len(pairs), seeds),
      desc=title,
      leave=False,
      disable=None,
      unit="attacker",
    )
    found = engine.attack_all(
      attack,
      group,
      asked,
      pairs,
      key=state_lib.stream(key(setup, 0, 0, "attack"), title),
      seeds=seeds,
      draws=setup.config["audit"]["draws"],
      num_queries=num_queries,
      progress=bar.update,
    )
    bar.close()
    _save_part(path, title, found)
  return {
    (group.names[v], q): outcome for (v, q), outcome in _read_part(path).items()
  }


def _save_part(path: Any, title: str, found: Mapping[Any, engine.Outcome]) -> None:
  arrays = {"title": np.asarray(title)}
  for (v, q), outcome in found.items():
    for field in ("right", "rank", "log_rank", "validation"):
      arrays[f"{v},{q}/{field}"] = np.asarray(getattr(outcome, field))
    arrays[f"{v},{q}/knobs"] = np.asarray(json.dumps(outcome.knobs))
  path.parent.mkdir(parents=True, exist_ok=True)
  fresh = path.with_suffix(".tmp.npz")
  np.savez(fresh, **arrays)
  fresh.replace(path)


def _read_part(path: Any) -> dict[tuple[int, int], engine.Outcome]:
  with np.load(path) as saved:
    arrays = dict(saved)
  found = {}
  for name in arrays:
    if name.endswith("/right"):
      pair = name.removesuffix("/right")
      v, q = map(int, pair.split(","))
      found[v, q] = engine.Outcome(
        right=arrays[f"{pair}/right"],
        rank=arrays[f"{pair}/rank"],
        log_rank=arrays[f"{pair}/log_rank"],
        validation=float(arrays[f"{pair}/validation"]),
        knobs=json.loads(str(arrays[f"{pair}/knobs"])),
      )
  return found


def _attack_rows(
  setup: Setup,
  sent: Mapping[Any, Any],
  asked: Sequence[problems.Problem],
  attacks: Sequence[attack_lib.Attack],
  rows: Sequence[build.Row],
) -> dict[tuple[str, int], Outcomes]:
  """Run all attacks on all rows: outcomes by (attack, number of queries)."""
  config = setup.config["audit"]
  selected = {
    name for name, row in fitting.read_rows(setup).items() if row["selected"]
  }
  noisy = {r.name for r in rows if r.privatizer.is_random} & selected
  found: dict[tuple[str, int], Outcomes] = {}
  for group in victims.groups(sent):
    for attack in attacks:
      outcome = _run(
        setup, "rows", attack, group, asked, seeds=config["attack_seeds"]
      )
      found.setdefault((attack.name, 1), {}).update(outcome)
      if attack.name not in config["query_attacks"]:
        continue
      for num in config["queries"]:
        outcome = _run(
          setup,
          "rows",
          attack,
          group,
          asked,
          seeds=config["attack_seeds"],
          num_queries=num,
          only=lambda name, q: name[0] in noisy,
        )
        found.setdefault((attack.name, num), {}).update(outcome)
  return found


def _attack_floors(
  setup: Setup,
  sent: Mapping[Any, Any],
  asked: Sequence[problems.Problem],
  attacks: Sequence[attack_lib.Attack],
) -> dict[str, dict[str, Outcomes]]:
  """Attack what no defence can hide: desired label and cloud answer."""
  sources = {
    "desired label": victims.desired_labels(setup.data, setup),
    "cloud answer": victims.answers(sent),
  }
  return {
    name: {
      attack.name: _run(setup, name, attack, group, asked, seeds=1)
      for attack in attacks
    }
    for name, group in sources.items()
  }


def _tables(
  setup: Setup,
  question: assemble.Question,
  asked: Sequence[problems.Problem],
  outcomes: Outcomes,
  row: str,
  seeds: int,
) -> tuple[Tables, float, dict[str, Any]] | None:
  """Collect one attack on one row: tables, validation, knobs."""
  by_seed = []
  for seed in range(seeds):
    own = [
      outcomes.get(((row, asked[q].fold, seed), q)) for q in question.problems
    ]
    if any(o is None for o in own):
      return None
    by_seed.append(own)
  every = [o for own in by_seed for o in own]
  knobs = {
    k: sorted({o.knobs[k] for o in every})
    for k in every[0].knobs
    if k != "none"
  }
  validation = float(np.mean([o.validation for o in every]))
  return assemble.tables(question, by_seed), validation, knobs


def _floor(
  setup: Setup,
  question: assemble.Question,
  asked: Sequence[problems.Problem],
  floor: Mapping[str, Mapping[str, Outcomes]],
  row: str,
) -> dict[str, tuple[float, str]]:
  """Find the floor of every metric and what it comes from."""
  best: dict[str, tuple[float, str]] = {}
  for source, by_attack in floor.items():
    cloud = source == "cloud answer"
    seeds = setup.config["train"]["seeds"] if cloud else 1
    candidates = [
      _tables(
        setup, question, asked, outcomes, row if cloud else source, seeds
      )
      for outcomes in by_attack.values()
    ]
    able = [c for c in candidates if c is not None]
    if not able:
      continue
    tables, _, _ = max(able, key=lambda c: c[1])
    for metric, table in tables.items():
      value = statistics.value(table)
      if metric not in best or value > best[metric][0]:
        best[metric] = (value, source)
  return best


def _auxiliary(setup: Setup, question: assemble.Question) -> str:
  if question.kind == "identity":
    return "a gallery of each audit person: labelled samples of the same people"
  if setup.data.identity is None:
    return "labelled samples of the same population (no person is named)"
  return "labelled samples of other audit people, by person"


def _results(
  setup: Setup,
  rows: Sequence[build.Row],
  sent: Mapping[Any, Mapping[str, victims.Sent]],
  asking: Sequence[assemble.Question],
  found: Mapping[tuple[str, int], Outcomes],
  floor: Mapping[str, Mapping[str, Outcomes]],
  attacks: Sequence[attack_lib.Attack],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Draw up rows, comparisons and the arrays behind them."""
  asked = _problems(setup)
  config = setup.config
  seeds = config["train"]["seeds"]
  validation = fitting.read_rows(setup)
  saved: dict[str, np.ndarray] = {}
  listed: list[dict[str, Any]] = []
  tables: dict[tuple[str, str, int], statistics.Table] = {}
  for r, row in enumerate(rows):
    utility = _utility(setup, sent, row.name, validation[row.name])
    leakage: list[tuple[dict[str, Any], statistics.Table]] = []
    for question in asking:
      floors = _floor(setup, question, asked, floor, row.name)
      for (attack, num), outcomes in found.items():
        got = _tables(setup, question, asked, outcomes, row.name, seeds)
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
                auxiliary=_auxiliary(setup, question),
                num_queries=num,
                validation=score,
                knobs=knobs,
              ),
              table,
            )
          )
    leakage.append(_rank_row(setup, sent, row.name))
    for kind, pairs in (("utility", utility), ("leakage", leakage)):
      for i, (_, table) in enumerate(pairs):
        saved |= _arrays(setup, f"rows/{r}/{kind}/{i}", table)
        tables[row.name, kind, i] = table
    leaks = [m for m, _ in leakage]
    listed.append(
      {
        "name": row.name,
        "training": row.training,
        "embedding": row.embedding,
        "cut": config["cut"],
        "privatizer": [{"name": n, **dict(k)} for n, k in row.stages],
        "num_bytes": sent[0, 0][row.name].num_bytes,
        "train_seeds": seeds,
        "attack_seeds": config["audit"]["attack_seeds"],
        "selected": validation[row.name]["selected"],
        "utility": [m for m, _ in utility],
        "leakage": leaks,
        "worst": assemble.worst(leaks, [q.target for q in asking]),
        "guarantees": [],
      }
    )
  results = {
    "schema": "hybridpriv.results/1",
    "study": _study(setup),
    "rows": listed,
    "controls": [],
    "comparisons": _comparisons(listed, tables, [q.target for q in asking]),
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


def _utility(
  setup: Setup,
  sent: Mapping[Any, Mapping[str, victims.Sent]],
  row: str,
  validation: Mapping[str, Any],
) -> list[tuple[dict[str, Any], statistics.Table]]:
  """Measure right answers on test people, noise drawn afresh."""
  found = []
  folds = range(len(setup.folds))
  index = np.concatenate([setup.folds[f].test for f in folds])
  for desired in setup.roles.desired:
    label = setup.data.labels[desired][index]
    known = label >= 0
    right = np.stack(
      [
        np.concatenate(
          [sent[f, seed][row].right[desired] for f in folds], axis=1
        )
        for seed in range(setup.config["train"]["seeds"])
      ]
    )[..., known].astype(np.float64)
    person = setup.data.person[index][known]
    num = len(setup.data.classes[desired])
    counts = np.bincount(label[known], minlength=num)
    made = {
      "balanced_accuracy": (
        statistics.tabulate(right, label[known], person, num),
        1 / np.sum(counts > 0),
      ),
      "accuracy": (
        statistics.tabulate(right, None, person),
        counts.max() / counts.sum(),
      ),
    }
    for metric, (table, chance) in made.items():
      found.append(
        (
          assemble.measurement(
            target=desired,
            attack="",
            metric=metric,
            table=table,
            chance=float(chance),
            floor=float(chance),
            floor_of="chance",
            auxiliary="people the network never saw",
            validation=validation["validation_utility"],
          ),
          table,
        )
      )
  return found


def _rank_row(
  setup: Setup, sent: Mapping[Any, Mapping[str, victims.Sent]], row: str
) -> tuple[dict[str, Any], statistics.Table]:
  """Measure the rank of the true record among all audit samples."""
  folds = range(len(setup.folds))
  desired = setup.data.labels[setup.roles.desired[0]]
  sizes = [len(setup.folds[f].audit) for f in folds]
  share = np.asarray(sizes) / np.sum(sizes)
  value = np.stack(
    [
      np.concatenate(
        [1 - sent[f, seed][row].rank / sizes[f] for f in folds], axis=1
      )
      for seed in range(setup.config["train"]["seeds"])
    ]
  )
  person = np.concatenate([setup.data.person[setup.folds[f].audit] for f in folds])
  table = statistics.tabulate(np.clip(value, 0, 1), None, person)
  ceilings = [rank.ceiling(desired[setup.folds[f].audit]) for f in folds]
  chances = [1 - (n + 1) / (2 * n) for n in sizes]
  return (
    assemble.measurement(
      target=setup.data.identity or "sample",
      attack="rank.image",
      metric="rank",
      table=table,
      chance=float(share @ chances),
      floor=float(1 - share @ ceilings),
      floor_of="desired label",
      auxiliary="the clean codes of all candidates, the true one among them",
      validation=statistics.value(table),
      knobs={},
    ),
    table,
  )


def _comparisons(
  rows: Sequence[Mapping[str, Any]],
  tables: Mapping[tuple[str, str, int], statistics.Table],
  targets: Sequence[str],
) -> list[dict[str, Any]]:
  """Compare defences in pairs: against none, and at equal utility."""
  found = []
  undefended = rows[0]
  for target in targets:
    for row in rows[1:]:
      if not row["selected"]:
        continue
      difference, low, high = statistics.paired_difference(
        tables[row["name"], "leakage", row["worst"][target]],
        tables[undefended["name"], "leakage", undefended["worst"][target]],
      )
      found.append(
        {
          "what": f"worst leakage of {target}, against the undefended feature",
          "a": row["name"],
          "b": undefended["name"],
          "difference": difference,
          "low": low,
          "high": high,
          "tie": low <= 0 <= high,
        }
      )
    found += _at_equal_utility(rows, tables, target)
  return found


def _at_equal_utility(
  rows: Sequence[Mapping[str, Any]],
  tables: Mapping[tuple[str, str, int], statistics.Table],
  target: str,
) -> list[dict[str, Any]]:
  """Compare trainings along their noise grids where utility is the same."""
  curves: dict[str, list[Mapping[str, Any]]] = {}
  for row in rows:
    if len(row["privatizer"]):
      curves.setdefault(row["training"], []).append(row)
  names = list(curves)
  best = rows[0]["utility"][0]["value"]

  def pick(training: str, kind: str) -> list[statistics.Table]:
    return [
      tables[r["name"], kind, r["worst"][target] if kind == "leakage" else 0]
      for r in curves[training]
    ]

  found = []
  for other in names[1:]:
    if len(curves[other]) < 2:
      continue
    arguments = (
      pick(other, "utility"),
      pick(other, "leakage"),
      pick(names[0], "utility"),
      pick(names[0], "leakage"),
    )
    lowest, highest = statistics.utility_range(arguments[0], arguments[2])
    for cost in (0.02, 0.05, 0.1):
      if not lowest <= best - cost <= highest:
        continue
      difference, low, high = statistics.at_equal_utility(
        *arguments, best - cost
      )
      found.append(
        {
          "what": (
            f"worst leakage of {target} at equal utility, {100 * cost:g} points"
            " below the undefended network"
          ),
          "a": f"{other}, noise grid",
          "b": f"{names[0]}, noise grid",
          "difference": difference,
          "low": low,
          "high": high,
          "tie": low <= 0 <= high,
        }
      )
  return found


_ = (controls, integer, jax, partition, sys, training)
