"""Tiny studies with a defence that ships, and what is exported of them."""

import json
import pathlib
from typing import Any

import pytest

from configs import default, lfw_certified
from hybridpriv import study
from hybridpriv.deploy.client import manifest
from hybridpriv.study import shipping


def _config():
  """Makes a configuration of the least that ships."""
  c = default.get_config()
  default.make_tiny(c)
  c.data.desired = "answer"
  c.data.private = "person"
  c.partition.fractions = (0.4, 0.2, 0.1, 0.3)
  c.train.retune_cloud = True
  c.trainings = default.in_order({"simple": {"siamese": {"weight": 0.0}}})
  c.monitors = {}
  c.audit.attacks = {"nearest": {"function": "neighbour.nearest"}}
  c.audit.query_attacks = ()
  levels = lfw_certified.LEVELS
  c.privatizers = default.in_order(
    {
      "identity": {"chain": ()},
      "certified": {
        "chain": lfw_certified.CHAIN,
        "k": 4,
        "clip_norm": 1.0,
        "levels": levels,
        "sigma": (levels / 4.0, levels / 2.0),
        "bits": 8,
      },
    }
  )
  return c.to_dict()


def _need_all() -> None:
  """Skips what exports where the extra `deploy` is not installed."""
  for name in ("jax2onnx", "onnxruntime", "opendp"):
    pytest.importorskip(name)


def _fitted(folder, config) -> pathlib.Path:
  study.run(config, folder, upto="fit", say=lambda line: None)
  return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> pathlib.Path:
  """The workdir of a fitted study of pictures."""
  config = _config()
  config["data"]["source"] = "tests.study.made_up:pictures"
  config["network"] = {"function": "tests.deploy.made_up:Network"}
  config["cut"] = "inner"
  return _fitted(tmp_path_factory.mktemp("pictures"), config)


@pytest.fixture(scope="session")
def signals(tmp_path_factory) -> pathlib.Path:
  """The workdir of a fitted study of signals, for what is exported of it."""
  _need_all()
  config = _config()
  config["data"]["source"] = "tests.study.made_up:signals"
  config["network"] = {
    "function": "sensor.sensor",
    "width": 0.125,
    "norm": "batch",
  }
  config["cut"] = "pool2"
  # Compiling is most of the work.
  config["train"]["retune_cloud"] = False
  config["privatizers"]["certified"]["sigma"] = 12.0
  return _fitted(tmp_path_factory.mktemp("signals"), config)


@pytest.fixture
def made_values() -> dict[str, Any]:
  """A manifest made by hand: codes of three bytes, and three of them."""
  table = [
    {
      "num_queries": n,
      "epsilon": 1.5 * n,
      "delta": 1e-5,
      "success": {"person": {"blind": 0.25, "success": 0.3 + n / 10}},
    }
    for n in (1, 2, 3)
  ]
  return {
    "schema": "hybridpriv.bundle/1",
    "wire": 1,
    "input": {
      "kind": "image",
      "shape": [8, 8, 3],
      "dtype": "uint8",
      "framing": "faces, crop 112",
    },
    "answers": {"beard": ["no", "yes"], "age": ["young", "old", "older"]},
    "code": {
      "k": 3,
      "bits": 8,
      "radius": 24.0,
      "sigma": 48.0,
      "low": [-9.0, -9.0, -9.0],
      "high": [9.0, 9.0, 9.0],
    },
    "utility": {"validation": 0.725},
    "guarantee": {"assumes": "the device clips"},
    "budget": {"cost": 0.25, "max_queries": 3, "table": table},
    "files": {},
  }


@pytest.fixture(scope="session")
def exported(pictures, tmp_path_factory) -> tuple[pathlib.Path, list[str]]:
  """The bundle of the study of pictures, and what was said of it."""
  _need_all()
  out, lines = tmp_path_factory.mktemp("exported") / "bundle", []
  shipping.run(
    pictures, out, max_queries=5, command="as typed", say=lines.append
  )
  return out, lines


@pytest.fixture(scope="session")
def bundle(exported) -> pathlib.Path:
  """The bundle of the study of pictures."""
  return exported[0]


@pytest.fixture
def own(made_values) -> manifest.Manifest:
  """That manifest, as it is read; of no folder."""
  content = json.dumps(made_values).encode()
  return manifest.Manifest(pathlib.Path("nowhere"), content, made_values)
