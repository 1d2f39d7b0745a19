"""An audit of codes that another system sends: attacks, and no training.

The draws in the file stand in for the sampler: an attacker trains on those of
its own samples, and what is scored are those of the attacked ones.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hybridpriv import build
from hybridpriv.audit import controls, engine, problems, words
from hybridpriv.data import dataset, partition
from hybridpriv.data.sources import codes as source
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.study import (
  attacking,
  auditing,
  encoders,
  freshness,
  provenance,
  results,
  victims,
  workdir,
)
from hybridpriv.study.setup import Setup

NAME = "codes"
_SOME = 0.02  # such a share that is said, though others have fresh noise
_SMALLEST = "leak in the smallest direction"
_LONGEST = 1024  # values of codes whose directions are looked for
_BLANK = 0.2  # such a share of one code is said
_MISSING = 0.05  # share of samples without a private label that is said


def given(config: Mapping[str, Any]) -> bool:
  """Tell whether a configuration audits codes of another system."""
  return config["data"]["source"] == "codes"


def prepare(config: Mapping[str, Any], folder: pathlib.Path) -> Setup:
  """Read the codes, or make them with the encoder; check who can be attacked.

  Raises:
    ValueError: for a file or an encoder that does not fit.
  """
  entry = config["data"]
  texts = {k: entry[k] for k in ("path", "name", "licence", "citation")}
  data = source.load(**texts)
  if entry["encoder"]:
    codes = encoders.encoded(
      entry["encoder"], data.inputs[:, 0], entry["draws"]
    )
    data = dataclasses.replace(data, inputs=codes)
  if not freshness.stale(data.inputs) and (
    why := freshness.unlike(data.inputs)
  ):
    raise ValueError(
      f"codes {data.inputs.shape} are [n, draws, k], and {why}: draws of one"
      " input differ by fresh noise only; lay a feature map out as [n, k]"
    )
  roles = build.Roles(**source.roles(data))
  data = dataset.with_roles(data, **roles._asdict())
  nobody = np.zeros(0, np.int64)
  everybody = np.arange(len(data), dtype=np.int64)
  fold = partition.Fold(nobody, nobody, nobody, everybody)
  setup = Setup(config, roles, data, (fold,), None, folder)
  auditing.list_problems(setup)
  workdir.record(folder, config)
  return setup


def run(setup: Setup, command: str) -> None:
  """Attack the codes; write `audit/results.json` when all is done."""
  folder = setup.folder / "audit"
  if (folder / "results.json").exists():
    return
  config, codes = setup.config["audit"], setup.data.inputs
  asked = auditing.list_problems(setup)
  mixed = auditing.shuffled(setup, asked)
  why = freshness.stale(codes)
  # Two means of each input or more: one would be learned by heart.
  able = [n for n in config["queries"] if 2 * n <= codes.shape[1]]
  queries = [] if why else able
  tasks = _tasks(setup, asked, queries)
  outcomes = attacking.run_all(setup, tasks, [*asked, *mixed])
  found, floor, judged = auditing.sort(tasks, outcomes, len(asked))
  row = build.Row(NAME, NAME, "", (), privatizer_lib.chain())
  beside = results.Beside(
    num_bytes=_num_bytes(setup),
    selected=True,
    utility=(),
    leakage=(),
    guarantees=(),
  )
  report, saved = results.draw_up(
    setup, [row], asked, found, floor, {NAME: beside}
  )
  report["controls"], more = results.controls(setup, asked, judged)
  report["study"] = _describe(setup, why, queries) | {"command": command}
  shown = {"codes/code": codes[:, 0]}
  for label in (*setup.roles.desired, *setup.roles.private):
    shown[f"codes/labels/{label}"] = setup.data.labels[label]
  workdir.write_arrays(folder / "values.npz", saved | more)
  workdir.write_arrays(folder / "codes.npz", shown)
  workdir.write_json(folder / "results.json", report)


def _tasks(
  setup: Setup, asked: Sequence[problems.Problem], queries: Sequence[int]
) -> list[attacking.Task]:
  """List the attacks on codes, on means of several, on controls and labels."""
  codes = setup.data.inputs
  attacks = attacking.attacks_of(setup, "attacks")
  floors = attacking.attacks_of(setup, "floor_attacks")
  floors += [a for a in attacks if a.links]
  example = codes[:, 0]
  members = [
    _member(codes),
    *victims.control_systems(setup, asked, example),
    *(
      ((_SMALLEST, 0, i), *_member(controls.planted_beside(p, codes))[1:])
      for i, p in enumerate(asked)
      if p.kind == "attribute" and codes.shape[-1] <= _LONGEST
    ),
  ]
  questions = range(len(asked))

  def pairs(group: engine.Victims) -> list[tuple[int, int]]:
    found = []
    for v, name in enumerate(group.names):
      if name[0] in ("planted leak", _SMALLEST):
        found.append((v, name[2]))
        continue
      found += [(v, q) for q in questions]
      if name[0] == NAME:  # shuffled labels
        found += [(v, q + len(asked)) for q in questions]
    return found

  seeds = setup.config["audit"]["attack_seeds"]
  tasks = [
    attacking.Task("rows", attack, group, pairs(group), seeds)
    for group in victims.group(members)
    for attack in attacks
  ]
  for num in queries:
    (group,) = victims.group([_member(_means(codes, num))])
    plain = [(0, q) for q in questions]
    tasks += [
      attacking.Task("rows", attack, group, plain, seeds, num, joined=True)
      for attack in attacks
    ]
  for group in victims.group(victims.desired_labels(setup, 1)):
    plain = [(0, q) for q in questions]
    tasks += [attacking.Task("floors", a, group, plain, 1) for a in floors]
  return attacking.able(tasks, asked)


def _means(codes: np.ndarray, num: int) -> np.ndarray:
  """Average codes [n, draws, k] in groups of so many, none used twice."""
  groups = codes.shape[1] // num
  cut = codes[:, : groups * num]
  means = cut.reshape(len(codes), groups, num, -1).mean(axis=2, dtype=float)
  return means.astype(np.float32)


def _member(codes: np.ndarray) -> victims.Member:
  """Make the system that sends one of the stored draws."""
  draws = codes.shape[1]
  if draws > 1:
    return (NAME, 0, 0), codes, ({},), victims.replay(draws)
  chain, law = victims.silent()
  return (NAME, 0, 0), codes[:, 0], law, chain


def _warnings(setup: Setup, why: str) -> list[str]:
  """List what a reader must know before the numbers."""
  found = []
  if why:
    found.append(
      f"**Noise not verified fresh**: {why}. Whether a second query of one"
      " input tells more cannot be said, and is not scored."
    )
  share, what = freshness.alike(setup.data.inputs)
  if not why and share > _SOME:
    found.append(
      f"**Noise comes again in a part of the samples**: {what}. Where that is"
      " not chance between coarse codes, a system keeps noise for some inputs:"
      " a second query of these tells nothing new, and rows of several codes of"
      " one input say less than they seem to."
    )
  blank = freshness.commonest(setup.data.inputs)
  if _BLANK < blank < 1:
    found.append(
      f"**{blank:.0%} of all codes are one and the same**: attackers here learn"
      " from these as from others. If they stand for codes that are missing,"
      " leave them out: who knows that may find more."
    )
  labels = setup.data.labels
  for private in setup.roles.private:
    missing = np.mean(labels[private] < 0)
    if missing > _MISSING:
      found.append(
        f"**{missing:.0%} of the samples have no {private}** and are left out:"
        " whether they are the easy ones cannot be seen."
      )
    for desired in setup.roles.desired:
      known = (labels[private] >= 0) & (labels[desired] >= 0)
      pairs = np.stack([labels[desired][known], labels[private][known]])
      if len(np.unique(pairs, axis=1).T) == len(np.unique(pairs[0])):
        found.append(
          f"**{desired} tells {private}**: who learns the one knows the other,"
          " and no floor means anything."
        )
  if setup.roles.desired:
    found.append(
      "**Utility was not measured**: whether these codes answer anything is not"
      " known. Noise alone is private."
    )
  return found


def digest(config: Mapping[str, Any]) -> str:
  """Name the file of the codes, and that of an encoder, by their contents."""
  own = hashlib.sha256()
  entry = config["data"]
  for path in (entry["path"], entry["encoder"]):
    file = pathlib.Path(path).expanduser()
    if path and file.is_file():
      own.update(file.read_bytes())
  return own.hexdigest()


def check(config: Mapping[str, Any], results: pathlib.Path) -> None:
  """Refuse to take results of other codes for those of these.

  Raises:
    workdir.Conflict: the file has changed since the audit.
  """
  there = json.loads(results.read_text())["study"]["data"]["sha256"]
  if there != digest(config):
    raise workdir.Conflict(
      f"{results} is of other codes than {config['data']['path']} holds now:"
      " use another --workdir, or remove this one"
    )


def _num_bytes(setup: Setup) -> int:
  """Count the bytes of a code in the file's own type."""
  entry = setup.config["data"]
  size = setup.data.inputs[0, 0].size
  if entry["encoder"]:
    return 4 * size
  with np.load(pathlib.Path(entry["path"]).expanduser()) as saved:
    return size * saved["codes"].dtype.itemsize


def _who(setup: Setup) -> str:
  """Name samples by their people and private labels, whatever their codes."""
  own = hashlib.sha256()
  names = [*setup.roles.private, setup.data.identity]
  for name in names:
    if name is not None:
      own.update(np.asarray(setup.data.labels[name], np.int64).tobytes())
      own.update(repr(setup.data.classes[name]).encode())
  return own.hexdigest()


def _too_few(left: Sequence[int], num: int) -> str:
  """Say which repeats were not scored for want of draws, and what they need."""
  listed, needed = (
    words.listing(map(str, sorted(numbers)))
    for numbers in (left, [2 * n for n in left])
  )
  return (
    f" Means of {listed} codes of one input are not scored: an attacker needs"
    f" two of each input or more, {needed} draws, and there are {num}."
  )


def _describe(setup: Setup, why: str, queries: Sequence[int]) -> dict[str, Any]:
  data, config = setup.data, setup.config
  if why:
    fresh = f"Noise not verified fresh: {why}. Repeated queries are not scored."
  else:
    num = data.inputs.shape[1]
    fresh = f"{num} draws of each sample stand for the sampler."
    left = [n for n in config["audit"]["queries"] if n not in queries]
    if left:
      fresh += _too_few(left, num)
  private = ", ".join(setup.roles.private)
  return {
    "name": config["name"],
    "data": {
      "name": data.name,
      "licence": data.licence,
      "citation": data.citation,
      "synthetic": False,
      "kind": data.kind,
      "notes": list(data.notes),
      "warnings": _warnings(setup, why),
      "sha256": digest(config),
      "people": _who(setup),
      "identity": data.identity,
      "classes": provenance.classes(setup),
    },
    "roles": {k: list(v) for k, v in setup.roles._asdict().items()},
    "network": config["data"]["encoder"] or "another system, not known here",
    "cut": "not known",
    **workdir.environment(),
    "threat": {
      "text": (
        f"The attacker sees codes and wants {private}. It has codes of its own"
        " samples, with labels, and knows nothing of the system that made"
        f" them: a stronger one would. {fresh} Nothing is known of how the"
        " samples were chosen: whether the system was trained on them, their"
        " codes do not say."
      )
    },
    "partition": [partition.counts(fold, data) for fold in setup.folds],
    "trainings": {},
    "config": workdir.study_of(config),
    "seconds": workdir.seconds(setup.folder),
    "earlier_audits": workdir.num_earlier(setup.folder),
  }
