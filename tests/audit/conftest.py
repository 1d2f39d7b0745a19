"""A made-up but realistic audited workdir, for the report's tests."""

import json
import pathlib
import zlib

import numpy as np
import pytest

from hybridpriv.audit import results as results_lib
from hybridpriv.audit import statistics

SIGMAS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
ATTACKS = (
  "attribute.linear",
  "attribute.mlp",
  "neighbour.nearest",
  "neighbour.centroid",
)
_PEOPLE, _QUERIES, _EXERCISES = 10, 28, 7
# Chance, floor of the desired label, strength of the undefended leak.
_TARGETS = {
  "person": (0.2, 0.23, 0.93),
  "person (across recordings)": (0.2, 0.22, 0.62),
  "side": (0.5, 0.51, 0.9),
}


class _Maker:
  """Draws scores of people whose mean is as asked, and measures them."""

  def __init__(self, seed: int):
    self.rng = np.random.default_rng(seed)
    self.values = {}

  def measure(self, where, mean, seeds, classes, fields):
    people = np.repeat(np.arange(_PEOPLE), _QUERIES)
    label = np.tile(np.arange(_QUERIES), _PEOPLE) % classes
    # The same people, seeds and queries are hard for every defence.
    rng = np.random.default_rng(zlib.crc32(fields["target"].encode()))
    spread = 0.25 * mean * (1 - mean)
    rate = mean + 2 * spread * rng.normal(size=_PEOPLE)[people]
    rate = rate + spread * rng.normal(size=(*seeds, 1))
    ease = rng.permuted(
      np.broadcast_to(np.linspace(0, 1, len(people)), (*seeds, len(people))),
      axis=-1,
    )
    score = (ease < rate) * 1.0
    table = statistics.tabulate(score, label, people, classes)
    self.values.update(results_lib.arrays(table, where))
    low, high = statistics.interval(table, resamples=200)
    return {
      "metric": "balanced_accuracy",
      "value": statistics.value(table),
      "low": low,
      "high": high,
      "interval": "95 % bootstrap over people and seeds",
      "unit": "person",
      "num_units": _PEOPLE,
      "num_queries": 1,
      "auxiliary": "",
      **fields,
    }

  def utility(self, where, mean, seeds):
    fields = {"target": "exercise", "attack": "", "floor": None}
    balanced = self.measure(
      f"{where}/utility/0",
      mean,
      (seeds[0], 1),
      _EXERCISES,
      {**fields, "chance": 1 / _EXERCISES},
    )
    plain = self.measure(
      f"{where}/utility/1",
      mean + 0.01,
      (seeds[0], 1),
      1,
      {**fields, "metric": "accuracy", "chance": 0.16},
    )
    return [balanced, plain]

  def row(self, where, name, training, embedding, sigma, seeds, selected):
    share = {"identity": 1.0, "project": 0.9}.get(
      embedding, 0.9 / (1 + (sigma or 0) ** 1.3)
    )
    weak = 0.55 if training == "siamese" else 1.0
    utility = 1 / 7 + (0.82 - 1 / 7) * (1 - (1 - share) ** 2)
    leakage, worst = [], {}
    for target, (chance, floor, top) in _TARGETS.items():
      best = -1.0
      for i, attack in enumerate(ATTACKS):
        mean = floor + (top - floor) * share * weak * (1 - 0.09 * i)
        leakage.append(
          self.measure(
            f"{where}/leakage/{len(leakage)}",
            mean,
            seeds,
            round(1 / chance),
            {
              "target": target,
              "attack": attack,
              "chance": chance,
              "floor": floor,
              "floor_of": "desired label",
              "auxiliary": "first half of each recording",
              "validation": mean,
              "knobs": {"learning_rate": 0.001},
            },
          )
        )
        if mean > best:
          best, worst[target] = mean, len(leakage) - 1
    if embedding == "noise":
      for metric, num_queries, mean, chance in (
        ("balanced_accuracy", 10, 0.3 + 0.5 * share * weak, 0.2),
        ("balanced_accuracy", 100, 0.4 + 0.5 * weak, 0.2),
        ("rank", 1, 0.55 + 0.4 * share * weak, 0.5),
        ("log_rank", 1, 0.3 + 0.6 * share * weak, 0.25),
      ):
        rank = metric.endswith("rank")
        leakage.append(
          self.measure(
            f"{where}/leakage/{len(leakage)}",
            mean,
            seeds,
            1 if rank else 5,
            {
              "target": "image" if rank else "person",
              "attack": "rank.by_distance" if rank else "attribute.linear",
              "metric": metric,
              "num_queries": num_queries,
              "chance": chance,
              "floor": chance + 0.03,
              "floor_of": "desired label",
            },
          )
        )
    chain = [{"name": "project.pca", "k": 8}] if embedding != "identity" else []
    if embedding == "noise":
      chain.append({"name": "noise.isotropic", "sigma": sigma})
    return {
      "name": name,
      "training": training,
      "embedding": embedding,
      "cut": "pool2",
      "privatizer": chain,
      "num_bytes": 32 if chain else 3200,
      "train_seeds": seeds[0],
      "attack_seeds": seeds[1],
      "selected": selected,
      "utility": self.utility(where, utility, seeds),
      "leakage": leakage,
      "worst": worst,
      "guarantees": [],
    }

  def control(self, where, name, mean, expected, passed, seeds):
    return {
      "name": f"control/{name}",
      "training": "simple",
      "embedding": "",
      "cut": "pool2",
      "privatizer": [],
      "num_bytes": 32,
      "train_seeds": seeds[0],
      "attack_seeds": seeds[1],
      "selected": False,
      "utility": [],
      "leakage": [
        self.measure(
          f"{where}/leakage/0",
          mean,
          seeds,
          5,
          {
            "target": "person",
            "attack": "attribute.linear",
            "chance": 0.2,
            "floor": None,
          },
        )
      ],
      "worst": {"person": 0},
      "guarantees": [],
      "expected": expected,
      "passed": passed,
    }


def _choice(names, best):
  return {
    "chosen": names[best],
    "knobs": {},
    "rule": "the largest weight that costs at most 1 points of utility",
    "trials": [
      {"name": name, "knobs": {}, "utility": 0.82 - 0.004 * i**2}
      for i, name in enumerate(names)
    ],
    "median_different_distance": [1.1],
  }


def study(*, synthetic, identity, margin):
  part = {"samples": 1200, "people": 4 if identity else 0}
  counts = dict.fromkeys(("train", "validation", "test", "audit"), part)
  weights = (0.01, 0.1, 1.0, 10.0)
  return {
    "name": "spar_activity",
    "command": "python launch/run.py --config=configs/spar_activity.py:small "
    "--workdir=runs/demo",
    "data": {
      "name": "SPAR",
      "licence": "BSD-3-Clause",
      "citation": "arXiv 1802.01489",
      "synthetic": synthetic,
      "kind": "signal",
      "identity": identity,
      "notes": ["3 rows without person dropped", "12 rows lack side"],
      "classes": {
        "exercise": [
          "pendulum",
          "abduction",
          "elevation",
          "internal rotation",
          "external rotation",
          "row",
          "trapezius",
        ],
        "person": [f"p{i}" for i in range(10)],
      },
    },
    "roles": {
      "desired": ["exercise"],
      "private": ["person"],
      "unforeseen": ["side"],
    },
    "network": "sensor.sensor",
    "cut": "pool2",
    "versions": {"python": "3.11.9", "jax": "0.10.2", "hybridpriv": "0.1.0"},
    "machine": "2 CPU cores, 8 GiB",
    "date": "2026-11-24",
    "revision": "abc1234",
    "threat": {
      "text": "The attacker is the cloud. It knows the network, its weights, "
      "the privatizer and the law of the noise, not the noise drawn. It has "
      "labelled recordings of the attacked people and of others."
    },
    "partition": [counts, counts],
    "trainings": {
      "simple": [_choice(["simple"], 0)] * 2,
      "siamese": [
        _choice([f"siamese weight={w} margin=1.0" for w in weights], best)
        for best in (1, 2)
      ],
    },
    "config": {"train": {"steps": 400, "margin": margin}, "seed": 0},
    "seconds": {"train": 81.2, "fit": 3.1, "audit": 120.9},
  }


def _metrics(path: pathlib.Path, rng) -> None:
  runs = ["base", "simple"] + [
    f"siamese weight={w} margin=1.0" for w in (0.01, 0.1, 1.0, 10.0)
  ]
  lines = []
  for fold in range(2):
    for run in runs:
      for step in range(0, 401, 20):
        x = np.exp(-step / 120)
        line = {
          "run": f"fold{fold}/seed0/{run}",
          "step": step,
          "train/loss": 0.3 + 1.6 * x + 0.05 * rng.normal(),
          "train/task": 0.25 + 1.6 * x + 0.05 * rng.normal(),
        }
        if run.startswith("siamese"):
          line |= {
            "train/siamese": 0.1 + 0.4 * x + 0.02 * rng.normal(),
            "train/same_distance": 0.3 + x + 0.02 * rng.normal(),
            "train/different_distance": 1.2 - 0.2 * x + 0.02 * rng.normal(),
            "train/inside_margin": min(1, 0.2 + 0.8 * x),
          }
        if step % 100 == 0:
          line["validation/exercise/balanced_accuracy"] = 0.8 - 0.6 * x
        lines.append(json.dumps(line))
  path.write_text("\n".join(lines) + "\n")


def _codes(path: pathlib.Path, rng) -> None:
  arrays = {}
  for name, pull in (("simple/identity", 1.2), ("siamese/project", 0.5)):
    exercise = rng.integers(0, 7, 400)
    person = rng.integers(0, 10, 400)
    code = 3 * rng.normal(size=(7, 8))[exercise]
    code = code + pull * rng.normal(size=(10, 8))[person]
    arrays[f"{name}/code"] = code + 0.5 * rng.normal(size=code.shape)
    arrays[f"{name}/labels/exercise"] = exercise
    arrays[f"{name}/labels/person"] = person
  np.savez(path, **arrays)


def make(
  workdir: pathlib.Path,
  *,
  train_seeds=1,
  attack_seeds=2,
  synthetic=False,
  identity: str | None = "subject",
  margin=1.0,
  failed=False,
) -> pathlib.Path:
  """Write a workdir as the audit leaves it."""
  (workdir / "audit").mkdir(parents=True)
  maker = _Maker(0)
  seeds = (train_seeds, attack_seeds)
  rows = []
  for training in ("simple", "siamese"):
    settings = [("identity", None), ("project", None)]
    settings += [("noise", sigma) for sigma in SIGMAS]
    for embedding, sigma in settings:
      name = f"{training}/{embedding}" + (f" sigma={sigma}" if sigma else "")
      rows.append(
        maker.row(
          f"rows/{len(rows)}",
          name,
          training,
          embedding,
          sigma,
          seeds,
          sigma == (1.0 if training == "siamese" else 0.5),
        )
      )
  controls = [
    maker.control(f"controls/{i}", *control, seeds)
    for i, control in enumerate(
      (
        ("constant", 0.2, "chance", True),
        ("shuffled labels", 0.2, "chance", not failed),
        ("raw input", 0.95, "high", True),
        ("desired label", 0.99, "high", True),
      )
    )
  ]
  value = {
    "schema": results_lib.SCHEMA,
    "study": study(synthetic=synthetic, identity=identity, margin=margin),
    "rows": rows,
    "controls": controls,
    "comparisons": [
      {
        "what": "leakage of person at equal utility (-2 points)",
        "a": "siamese/noise sigma=1.0",
        "b": "simple/noise sigma=0.5",
        "difference": -0.12,
        "low": -0.2,
        "high": -0.04,
        "tie": False,
      },
      {
        "what": "leakage of side at equal utility (-2 points)",
        "a": "siamese/noise sigma=1.0",
        "b": "simple/noise sigma=0.5",
        "difference": 0.01,
        "low": -0.05,
        "high": 0.07,
        "tie": True,
      },
    ],
  }
  audit = workdir / "audit"
  (audit / "results.json").write_text(json.dumps(value))
  np.savez_compressed(audit / "values.npz", **maker.values)
  _metrics(workdir / "metrics.jsonl", maker.rng)
  _codes(audit / "codes.npz", maker.rng)
  return workdir


@pytest.fixture(scope="session")
def make_workdir(tmp_path_factory):
  """Make a workdir with the given peculiarities, each kind once."""
  made = {}

  def get(**options) -> pathlib.Path:
    kind = tuple(sorted(options.items()))
    if kind not in made:
      made[kind] = make(tmp_path_factory.mktemp("study") / "run", **options)
    return made[kind]

  return get


@pytest.fixture(scope="session")
def workdir(make_workdir) -> pathlib.Path:
  return make_workdir()
