"""What the results say about where they come from."""

import json
from collections.abc import Mapping
from typing import Any

from hybridpriv.data import partition
from hybridpriv.study import cost, training, workdir
from hybridpriv.study.setup import Setup


def describe(setup: Setup) -> dict[str, Any]:
  """Describe data, people, trainings, machine and threat."""
  config, data = setup.config, setup.data
  record = json.loads((setup.folder / "config.json").read_text())
  private = ", ".join(setup.roles.private)
  return {
    "name": config["name"],
    "data": {
      "name": data.name,
      "licence": data.licence,
      "citation": data.citation,
      "synthetic": data.synthetic,
      "kind": data.kind,
      "notes": list(data.notes),
      "identity": data.identity,
      "classes": classes(setup),
    },
    "roles": {k: list(v) for k, v in setup.roles._asdict().items()},
    "network": _network_text(config["network"]),
    "cut": config["cut"],
    **workdir.environment(),  # of the audit; config.json has the training's
    "threat": {
      "text": (
        "The service is curious and honest. It trained the client half and"
        " knows network, weights, privatizer and the law of the noise, not the"
        " noise itself. It sees codes, has labelled samples of its own to"
        f" train attackers on, and wants {private}. Attackers are trained"
        " anew for every defence, on codes with fresh noise."
      )
    },
    "partition": [partition.counts(fold, data) for fold in setup.folds],
    "trainings": {
      name: [by_name[name] for by_name in training.chosen(setup)]
      for name in config["trainings"]
    },
    "cost": cost.measure(setup),
    "config": workdir.study_of(record["config"]),
    "seconds": workdir.seconds(setup.folder),  # of the stages before
    "earlier_audits": workdir.num_earlier(setup.folder),
  }


def classes(setup: Setup) -> dict[str, list[str]]:
  """List the classes of every label with a role, where they are few."""
  found = setup.data.classes
  return {
    name: list(found[name])
    for role in setup.roles
    for name in role
    if len(found[name]) <= 20
  }


def _network_text(entry: Mapping[str, Any]) -> str:
  usual = {"function": entry["function"], "dtype": "float32"}
  knobs = ", ".join(f"{k}={v}" for k, v in entry.items() if usual.get(k) != v)
  return f"{entry['function']}({knobs})"
