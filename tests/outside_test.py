"""A study whose data, network, losses and configuration are not of the clone.

Nothing here is registered anywhere: the configuration is a file given by its
path, and names what lies in a module on the Python path.
"""

import json

import jsonschema
import pytest

from hybridpriv.audit import results

MODULE = '''
"""What somebody else wrote."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from hybridpriv.data.dataset import DataSet
from hybridpriv.networks import staged


def load(*, desired, private, unforeseen, people=10, each=16):
  """Makes up signals: the motion sets the sign, the person the offset."""
  rng = np.random.default_rng(0)
  person = np.repeat(np.arange(people, dtype=np.int32), each)
  motion = rng.integers(2, size=len(person), dtype=np.int32)
  offset = rng.normal(size=(people, 1, 3))[person]
  inputs = offset + (2 * motion - 1)[:, None, None]
  inputs = inputs + 0.3 * rng.normal(size=(len(person), 4, 3))
  return DataSet(
    name="made up",
    kind="signal",
    inputs=inputs.astype(np.float32),
    labels={"person": person, "motion": motion},
    classes={
      "person": tuple(f"p{i}" for i in range(people)),
      "motion": ("still", "moving"),
    },
    identity="person",
    recording=np.arange(len(person), dtype=np.int32),
    position=np.zeros(len(person), np.float32),
    span=0.0,
    licence="none",
    citation="",
    synthetic=True,
  )


class Network(staged.Staged):
  """Two dense layers."""

  def stage_names(self):
    return ("inner", "outer")

  def stage(self, name, x, *, train):
    if name == "outer":
      return nn.Dense(self.num_classes)(x)
    return nn.relu(nn.Dense(4)(x.reshape(x.shape[0], -1)))


def sparse(*, feature, power):
  """Costs what lies far from zero."""
  return jnp.mean(jnp.abs(feature) ** power, axis=-1)
'''

CONFIG = """
from ml_collections import config_dict

from configs import default


def get_config(variant: str = "full"):
  c = default.get_config()
  default.make_tiny(c)
  c.name = "From outside"
  c.data.source = "written_outside:load"
  c.data.desired = "motion"
  c.data.private = "person"
  c.partition.fractions = (0.4, 0.2, 0.1, 0.3)
  c.network.function = "written_outside:Network"
  c.cut = "inner"
  c.train.finetune.steps = 20
  c.train.retune_cloud = True
  # A loss of one's own, and an adversary that learns while the network learns
  # to confuse it.
  c.objective.sparse = {
    "function": "written_outside:sparse",
    "inputs": {"feature": "feature"},
    "weight": 0.0,
    "power": 2.0,
  }
  against = {"logits": "adversary/logits", "labels": "labels/person"}
  c.objective.adversary = {
    "function": "classification.cross_entropy",
    "inputs": against,
    "player": "adversary",
    "weight": 1.0,
  }
  c.objective.confuse = {
    "function": "classification.cross_entropy",
    "inputs": against,
    "weight": 0.0,
  }
  c.players.adversary = {
    "input": "feature",
    "label": "person",
    "hidden": (8,),
    "optimizer": {"name": "adam", "learning_rate": 1e-2},
  }
  c.trainings = config_dict.ConfigDict(sort_keys=False)
  c.trainings.simple = {"sparse": {"weight": 0.0}}
  c.trainings.sparse = {"sparse": {"weight": (0.1, 1.0), "power": 1.0}}
  c.trainings.adversarial = {"confuse": {"weight": -0.3}}
  c.privatizers.noise.k = 4
  c.privatizers.project.k = 4
  c.audit.attacks.mlp = {
    "function": "attribute.mlp",
    "width": 8,
    "max_steps": 50,
  }
  c.audit.attacks.centroid = {"function": "neighbour.centroid"}
  c.audit.attacks.fisher = {"function": "discriminant.linear"}
  return c
"""


@pytest.fixture(scope="module")
def workdir(launch, tmp_path_factory):
  """Runs the study stage by stage, and profiles its training."""
  outside = tmp_path_factory.mktemp("outside")
  (outside / "written_outside.py").write_text(MODULE)
  (outside / "experiment.py").write_text(CONFIG)
  flags = (f"--config={outside / 'experiment.py'}",)
  flags += (f"--workdir={outside / 'workdir'}",)
  path = {"PYTHONPATH": str(outside)}
  launch("train", *flags, "--profile_steps=2,4", **path)
  launch("audit", *flags, **path)
  launch("report", *flags, **path)
  return outside / "workdir"


def test_the_results_follow_the_schema(workdir, repository):
  path = repository / "hybridpriv" / "audit" / "results.schema.json"
  value = json.loads((workdir / "audit" / "results.json").read_text())
  jsonschema.validate(value, json.loads(path.read_text()))
  found = results.read(workdir)
  assert found.study["network"] == "written_outside:Network()"
  assert found.study["data"]["synthetic"]
  trainings = {row.training for row in found.rows}
  assert trainings == {"simple", "sparse", "adversarial"}


def test_all_attacks_of_the_defaults_take_part(workdir):
  noisy = [r for r in results.read(workdir).rows if r.embedding == "noise"]
  assert {m.attack for row in noisy for m in row.attacks_on("person")} == {
    "attribute.linear",
    "attribute.mlp",
    "neighbour.nearest",
    "neighbour.centroid",
    "likelihood.bayes",
    "discriminant.fisher",
  }


def test_the_report_says_that_data_are_synthetic(workdir):
  page = (workdir / "report" / "report.md").read_text()
  assert "From outside" in page and "ynthetic data" in page


def test_steps_were_profiled(workdir):
  assert list((workdir / "profile").rglob("*.xplane.pb"))


def _metrics(workdir, run, name):
  text = (workdir / "metrics.jsonl").read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  return [x[name] for x in lines if x["run"] == f"fold0/seed0/{run}"]


def test_a_loss_of_ones_own_is_minimised(workdir):
  name = "sparse sparse.power=1 sparse.weight=1"
  values = _metrics(workdir, name, "train/sparse")
  assert values[-1] < values[0]


def test_an_adversary_inside_the_training_learns(workdir):
  values = _metrics(workdir, "simple sparse.weight=0", "train/adversary")
  assert values[-1] < values[0]


def test_the_cloud_half_of_every_row_was_tuned(workdir):
  text = (workdir / "metrics.jsonl").read_text()
  tuned = {
    line["run"].removeprefix("fold0/seed0/").removesuffix(" retuned")
    for line in map(json.loads, text.splitlines())
    if line["run"].endswith(" retuned")
  }
  rows = results.read(workdir).rows
  assert tuned == {row.name.replace("/", " ") for row in rows}
