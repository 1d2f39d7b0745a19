"""The published network at its published size, on a handful of pictures."""

import json
import resource

import pytest

from configs.paper import gender_vgg16
from hybridpriv import study
from hybridpriv.audit import results

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  config = gender_vgg16.get_config("full").to_dict()
  config["data"] = {
    "source": "synthetic_faces",
    "desired": "beard",
    "private": "person",
    "unforeseen": "",
    "people": 12,
    "images_per_person": 6,
    "size": 256,
  }
  config["partition"] = {"fractions": (0.4, 0.1, 0.2, 0.3)}
  config["trainings"] = {
    "simple": {"siamese": {"weight": 0.0, "margin": 10.0}},
    "siamese": {"siamese": {"weight": (0.001,), "margin": (10.0,)}},
  }
  config["privatizers"]["noise"]["sigma"] = (0.5,)
  train, audit = config["train"], config["audit"]
  train["seeds"] = train["base"]["steps"] = train["finetune"]["steps"] = 1
  audit["attacks"] = {"nearest": {"function": "neighbour.nearest"}}
  audit["floor_attacks"] = audit["attacks"]
  audit["query_attacks"] = ()
  audit["attack_seeds"] = audit["draws"] = 1
  audit["transfer"] |= {"steps": 1, "evaluate_every": 1, "batch_size": 20}
  folder = tmp_path_factory.mktemp("published_size")
  study.run(config, folder, say=lambda line: None)
  return folder


def test_a_study_of_it_runs_to_its_report_within_memory(workdir):
  assert (workdir / "report" / "index.html").exists()
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  assert peak < 20 * 2**30


def test_what_it_sends_and_costs_is_as_published(workdir):
  found = results.read(workdir)
  by_name = {row.name: row for row in found.rows}
  assert by_name["simple/identity"].num_bytes == 4 * 100_352
  assert by_name["siamese/project"].num_bytes == 4 * 8
  cost = found.study["cost"]
  assert cost["client"]["params"] == 9_995_072
  assert cost["whole"]["params"] == 134_268_738


def test_every_training_took_its_step(workdir):
  lines = [
    json.loads(line)
    for line in (workdir / "metrics.jsonl").read_text().splitlines()
  ]
  # Logged at the end only; all of one step.
  assert {line["run"].split("/")[-1].split()[0] for line in lines} == {
    "base",
    "simple",
    "siamese",
  }
  assert all(line["step"] == 1 for line in lines)
