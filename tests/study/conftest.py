"""Tiny studies of made-up data."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from configs import default


def _tiny() -> dict[str, Any]:
  """Makes a configuration of the least that is a study."""
  c = default.get_config()
  default.make_tiny(c)
  c.data.desired = "answer"
  c.data.private = "person"
  c.partition.fractions = (0.4, 0.1, 0.1, 0.4)
  c.trainings = default.in_order({"simple": {"siamese": {"weight": 0.0}}})
  c.monitors = {}
  c.audit.attacks = {"nearest": {"function": "neighbour.nearest"}}
  c.audit.query_attacks = ()
  config = c.to_dict()
  config["privatizers"]["noise"]["k"] = 4
  del config["privatizers"]["project"]
  return config


@pytest.fixture(scope="session")
def of_signals() -> Callable[..., dict[str, Any]]:
  """Returns a function that makes a study of signals; it takes changes."""
  config = _tiny()
  config["data"]["source"] = "tests.study.made_up:signals"
  config["network"] = {
    "function": "sensor.sensor",
    "width": 0.125,
    "norm": "batch",
  }
  config["cut"] = "pool2"
  return lambda **changes: _changed(config, changes)


@pytest.fixture(scope="session")
def of_pictures() -> Callable[..., dict[str, Any]]:
  """Returns a function that makes a study of pictures; it takes changes."""
  config = _tiny()
  config["data"]["source"] = "tests.study.made_up:pictures"
  config["network"] = {"function": "tests.study.made_up:Network"}
  config["cut"] = "inner"
  config["audit"]["inversion"]["size"] = 16
  return lambda **changes: _changed(config, changes)


def _changed(config: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
  """Changes keys of sections, given as section={"key": value}."""
  made = copy.deepcopy(config)
  for name, value in changes.items():
    if isinstance(value, Mapping) and isinstance(made.get(name), Mapping):
      made[name] = _changed(made[name], value)
    else:
      made[name] = value
  return made


@pytest.fixture(scope="session")
def quiet() -> Callable[[str], None]:
  """What a study says its lines to."""
  return lambda line: None
