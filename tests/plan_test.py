"""The planner as a program, on results that are kept."""

import json

import pytest

STUDY = "docs/results/lfw_certified.json"


def test_the_choice_is_printed_with_what_the_test_says(launch, tmp_path):
  done = launch(
    "plan",
    STUDY,
    "--min_utility=0.85",
    "--max_leakage=identity=0.1",
    f"--out={tmp_path}",
  )
  chosen, _, _ = done.stdout.partition("also fits")
  assert "siamese/noise sigma=6, cut after block13" in chosen
  assert "gender 89.0 % [78.2, 95.7] on test" in chosen
  assert "4 bytes and the frame's 14" in chosen
  assert "beside it: identity (linkage) 64.3 %" in chosen
  assert (tmp_path / "front.png").exists()


def test_where_nothing_fits_it_says_so_and_fails(launch):
  done = launch(
    "plan", STUDY, "--min_utility=0.85", "--max_leakage=0.02", check=False
  )
  assert done.returncode == 3
  assert "with --max_leakage at 0.03568, and all else as it is" in done.stdout


def test_a_hundred_codes_are_judged_as_a_hundred(launch):
  few = launch("plan", STUDY, "--min_utility=0.85", "--max_leakage=0.04")
  many = launch(
    "plan",
    STUDY,
    "--min_utility=0.85",
    "--max_leakage=0.04",
    "--max_queries=100",
    check=False,
  )
  assert "chosen" in few.stdout and many.returncode == 3
  assert "with --max_leakage at 0.05" in many.stdout


def test_codes_of_several_pictures_of_one_person_are_named(launch):
  done = launch("plan", STUDY, "--max_leakage=0.13", "--max_queries=10")
  chosen, _, _ = done.stdout.partition("also fits")
  assert "by codes of 10 different inputs of one person" in chosen
  assert "warning: on test it misses --max_leakage" in chosen
  assert "does not ship" in done.stdout


def test_times_of_a_device_stand_in_for_those_of_the_study(launch, tmp_path):
  path = tmp_path / "device.json"
  whole = {"against": "the whole", "skipped": "", "reference": 1e9, "unit": ""}
  rows = [
    # The halves of the study and of another cut, whatever they are called.
    whole | {"what": "net to a: parameters", "ours": 4400640},
    whole | {"what": "net to a: multiply-accumulates", "ours": 269641728},
    whole | {"what": "net to b: parameters", "ours": 4400640},
    whole | {"what": "net to b: multiply-accumulates", "ours": 1},
    whole | {"what": "net to a, ONNX int8: a sample", "ours": 0.0042},
    whole | {"what": "net to b, ONNX int8: a sample", "ours": 0.0001},
    whole | {"what": "net to a, JAX, one thread: a sample", "ours": 0.1},
  ]
  path.write_text(json.dumps({"bench": "device", "rows": rows}))
  asked = ("plan", STUDY, f"--device_costs={path}", "--runtime=ONNX int8")
  done = launch(*asked, "--max_device_ms=5")
  assert "4.2 ms for the client half (ONNX int8)" in done.stdout
  assert launch(*asked, "--max_device_ms=4", check=False).returncode == 3
  other = launch("plan", STUDY, f"--device_costs={path}", check=False)
  assert "timed as 'ONNX float32'; there are ONNX int8" in other.stderr


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((), "--workdir is missing"),
    (("nowhere",), "launch/run.py"),
    ((STUDY, "--max_leakage=much"), "expected a share"),
    ((STUDY, "--max_leakage=age=0.1"), "private are identity"),
    ((STUDY, "--export=/nowhere/b"), "is a file"),
  ],
)
def test_what_cannot_be_planned_is_one_line(launch, arguments, message):
  done = launch("plan", *arguments, check=False)
  assert done.returncode == 2
  assert message in done.stderr
  assert done.stderr.count("\n") == 1
