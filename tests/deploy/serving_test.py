import re

import pytest

validate = pytest.importorskip("kubernetes_validate")
yaml = pytest.importorskip("yaml")


@pytest.fixture
def documents(repository):
  path = repository / "docs" / "serving" / "kubernetes.yaml"
  return list(yaml.safe_load_all(path.read_text()))


def test_the_manifest_follows_the_schema_of_kubernetes(documents):
  assert [d["kind"] for d in documents] == [
    "Deployment",
    "Service",
    "PodDisruptionBudget",
  ]
  for document in documents:
    validate.validate(document, "1.30", strict=True)
  documents[0]["spec"]["replicass"] = 1  # the check can fail
  with pytest.raises(validate.ValidationError):
    validate.validate(documents[0], "1.30", strict=True)


def test_pods_drain_and_are_asked_what_the_service_answers(
  documents, repository
):
  pod = documents[0]["spec"]["template"]["spec"]
  (container,) = pod["containers"]
  flags = dict(a.removeprefix("--").split("=") for a in container["args"])
  assert int(flags["drain_s"]) < pod["terminationGracePeriodSeconds"]
  server = (repository / "hybridpriv/deploy/server.py").read_text()
  for probe in ("readinessProbe", "livenessProbe"):
    assert f'"{container[probe]["httpGet"]["path"]}"' in server
  # Flags are those that the program has.
  program = (repository / "launch/serve.py").read_text()
  defined = re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', program)
  assert set(flags) <= set(defined)
  labels = documents[0]["spec"]["template"]["metadata"]["labels"]
  assert all(
    labels.items() >= selector.items()
    for selector in (
      documents[1]["spec"]["selector"],
      documents[2]["spec"]["selector"]["matchLabels"],
    )
  )


def test_the_container_runs_the_program_with_flags_that_it_has(repository):
  text = (repository / "docs" / "serving" / "Containerfile").read_text()
  program = (repository / "launch/serve.py").read_text()
  (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
  for flag in re.findall(r"--(\w+)", entry):
    assert f'"{flag}"' in program
  for source in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
    for name in source.split():
      assert name == "bundle" or (repository / name).exists()
