import re

import pytest

from configs.ablations import layers_lfw

validate = pytest.importorskip("kubernetes_validate")
yaml = pytest.importorskip("yaml")


@pytest.fixture
def documents(repository):
  path = repository / "docs" / "cluster" / "gke.yaml"
  return list(yaml.safe_load_all(path.read_text()))


def test_the_manifest_follows_the_schema_of_kubernetes(documents):
  assert [d["kind"] for d in documents] == ["PersistentVolumeClaim", "Job"]
  for document in documents:
    validate.validate(document, "1.30", strict=True)


def test_every_index_is_a_run_of_the_sweep(documents, repository):
  job = documents[1]["spec"]
  (container,) = job["template"]["spec"]["containers"]
  text = container["command"][-1]
  runs = re.search(r"runs=\(([^)]*)\)", text)[1].split()
  assert runs == list(layers_lfw.get_config().sweep)
  assert job["completions"] == len(runs)
  (config,) = re.findall(r"--config=(\S+)", text)
  assert (repository / config).is_file()
