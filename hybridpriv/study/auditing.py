"""Stage `audit`: every attack on every defence, and the results file."""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from hybridpriv import build
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.audit import assemble, controls, engine, problems
from hybridpriv.study import fitting, results, victims, workdir
from hybridpriv.study.results import Outcomes
from hybridpriv.study.setup import Setup, key
from hybridpriv.train import state as state_lib


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
  attacks = build.build_attacks(config["audit"]["attacks"], "config.audit.attacks")
  floors = build.build_attacks(
    config["audit"]["floor_attacks"], "config.audit.floor_attacks"
  )
  found = _attack_rows(setup, sent, asked, attacks, rows)
  floor = _attack_floors(setup, sent, asked, floors)
  report, saved = results.draw_up(setup, rows, sent, asked, found, floor)
  report["controls"], more = _controls(
    setup, sent, rows, asked, attacks, floors
  )
  report["study"]["command"] = command
  saved |= more
  folder = setup.folder / "audit"
  np.savez_compressed(folder / "values.tmp.npz", **saved)
  (folder / "values.tmp.npz").replace(folder / "values.npz")
  _save_codes(setup, rows, sent)
  workdir.write_json(out, report)


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


def _save_part(path: pathlib.Path, title: str, found: Mapping[Any, engine.Outcome]) -> None:
  arrays = {"title": np.asarray(title)}
  for (v, q), outcome in found.items():
    for field in ("right", "rank", "log_rank", "validation"):
      arrays[f"{v},{q}/{field}"] = np.asarray(getattr(outcome, field))
    arrays[f"{v},{q}/knobs"] = np.asarray(json.dumps(outcome.knobs))
  path.parent.mkdir(parents=True, exist_ok=True)
  fresh = path.with_suffix(".tmp.npz")
  np.savez(fresh, **arrays)
  fresh.replace(path)


def _read_part(path: pathlib.Path) -> dict[tuple[int, int], engine.Outcome]:
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
) -> dict[str, Outcomes]:
  """Attack what no defence can hide: desired label and cloud answer."""
  group = victims.floors(setup, sent)
  return {
    attack.name: _run(setup, "floors", attack, group, asked, seeds=1)
    for attack in attacks
  }


def _controls(
  setup: Setup,
  sent: Mapping[Any, Mapping[str, victims.Sent]],
  rows: Sequence[build.Row],
  asked: Sequence[problems.Problem],
  attacks: Sequence[attack_lib.Attack],
  reference: Sequence[attack_lib.Attack],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
  """Run the attacks on systems whose leakage is known beforehand."""
  seeds = setup.config["audit"]["attack_seeds"]
  smallest = min(rows, key=lambda r: sent[0, 0][r.name].clean[0].size)
  clean = sent[0, 0][smallest.name].clean
  small, large = victims.control_victims(
    setup, asked, clean[0].size, float(np.std(clean))
  )
  rng = np.random.default_rng(setup.config["seed"])
  mixed = [
    problems.shuffled(
      p,
      controls.blocks(
        p,
        setup.data.person[setup.folds[p.fold].audit],
        setup.data.recording[setup.folds[p.fold].audit],
      ),
      rng,
    )
    for p in asked
  ]
  known = victims.stack(
    [
      (("shuffled labels", f, 0), *victims.audible(sent[f, 0][smallest.name]))
      for f in range(len(setup.folds))
    ]
  )
  own: dict[str, dict[str, Outcomes]] = {}
  for attack in attacks:
    plain = _run(
      setup,
      "control",
      attack,
      small,
      asked,
      seeds=seeds,
      # A planted leak belongs to the problem whose label it spells out.
      only=lambda name, q: name[0] != "planted leak" or name[2] == q,
    )
    plain = {
      ((name[0], name[1], 0), q): outcome
      for (name, q), outcome in plain.items()
    }
    shuffled = _run(setup, "shuffled", attack, known, mixed, seeds=seeds)
    own[attack.name] = {"true": plain, "shuffled": shuffled}
  for attack in reference:
    raw = _run(setup, "raw", attack, large, asked, seeds=1)
    own.setdefault(attack.name, {"true": {}, "shuffled": {}})["true"] |= raw
  return results.controls(setup, asked, own)


def _save_codes(
  setup: Setup,
  rows: Sequence[build.Row],
  sent: Mapping[Any, Mapping[str, victims.Sent]],
) -> None:
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
  path = setup.folder / "audit" / "codes.npz"
  fresh = path.with_suffix(".tmp.npz")
  np.savez_compressed(fresh, **arrays)
  fresh.replace(path)
