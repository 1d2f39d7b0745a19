"""The benches: flags, the file, and that both sides do the same work."""

import functools
import importlib
import json
import pathlib
import platform
import re
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from benches import audit

from hybridpriv.attacks import attribute
from hybridpriv.audit import engine, problems

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def reference():
  torch = pytest.importorskip("torch", reason="PyTorch is not installed")
  torch.set_num_threads(1)
  from references import torch_adversaries

  return torch_adversaries


# Runs the program on little work, and on request without PyTorch.
_TINY = """
import runpy, sys
sys.path.insert(0, "launch")

class Missing:
  def find_spec(self, name, *_):
    if name == "torch":
      raise ModuleNotFoundError(f"No module named {name!r}", name=name)

if sys.argv[1] == "without":
  sys.meta_path.insert(0, Missing())
from benches import audit
audit.QUICK = audit.Size(
  victims=2, divisions=1, samples=100, steps=25, rounds=3, stacked=2
)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _bench(environment, torch, out):
  command = [sys.executable, "-c", _TINY, torch, "launch/bench.py", "audit"]
  return subprocess.run(
    [*command, "--quick", f"--json={out}"],
    cwd=ROOT,
    # One thread: no others are tried.
    env=environment | {"OMP_NUM_THREADS": "1"},
    capture_output=True,
    text=True,
    timeout=300,
    check=True,
  )


def _described(heading):
  """Reads the fields of a table of the page."""
  page = (ROOT / "docs" / "performance.md").read_text()
  table = page.split(heading)[1].split("\n\n")[1]
  cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
  return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.fixture(scope="module")
def alone(environment, tmp_path_factory):
  """What the program says and writes where there is no PyTorch."""
  out = tmp_path_factory.mktemp("bench") / "out.json"
  done = _bench(environment, "without", out)
  return done.stdout, json.loads(out.read_text())


def test_the_file_has_the_fields_that_the_page_describes(alone):
  _, found = alone
  assert set(found) == _described("## The file")
  for row in found["rows"]:
    assert set(row) == _described("A row:")


def test_the_file_names_the_machine_but_neither_host_nor_path(alone):
  _, found = alone
  assert found["machine"]["processor_model"] and found["machine"]["cores"] > 0
  assert found["versions"]["jax"] == jax.__version__
  text = json.dumps(found)
  assert not re.search(r'"/\w', text)
  assert not re.search(rf"\b{re.escape(platform.node())}\b", text)


def test_without_pytorch_rows_are_skipped_and_say_so(alone):
  said, found = alone
  assert len(found["rows"]) == 4
  for row in found["rows"]:
    assert "torch is not installed: pip install" in row["skipped"]
    assert row["reference"] is row["ratio"] is row["low"] is row["high"] is None
    assert row["ours"] > 0 and row["compile_s"] > 0
  assert said.count("skipped, torch is not installed") == 4


def test_the_ratio_is_the_reference_over_ours(reference, environment, tmp_path):
  out = tmp_path / "out.json"
  said = _bench(environment, "with", out).stdout
  found = json.loads(out.read_text())
  assert [row["what"].split()[1] for row in found["rows"]] == [
    *("linear", "linear", "MLP", "MLP")
  ]
  for row in found["rows"]:
    assert not row["skipped"] and row["rounds"] == 3
    assert row["low"] <= row["ratio"] <= row["high"]
  # A part was timed, and the row says which.
  assert "; 8 of 16 timed" in found["rows"][0]["against"]
  assert "; 16 of 16 timed" in found["rows"][1]["against"]
  assert said.count("ratio ") == 4
  assert found["complete"] is True and found["failed"] == []


# A bench of three parts: the second fails behind a row, or is stopped there.
_BROKEN = """
import os, pathlib, runpy, signal, sys
sys.path[:0] = ["launch", "."]
import device_costs, measure
import numpy as np
from benches import audit

way = sys.argv[1]

def row(name):
  return measure.row(name, "other", "s", np.array([[1.0, 2.0]]))

def broken():
  yield row("behind")
  if way == "library":
    np.linalg.inv(np.zeros((2, 2)))
  elif way != "ours":
    os.kill(os.getpid(), int(way))
  device_costs.read(pathlib.Path("nowhere"))

audit.run = lambda quick: [
  measure.Part("part one", lambda: [row("a"), row("b")]),
  measure.Part("part two", broken),
  measure.Part("part three", lambda: [row("c")]),
]
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["launch/bench.py", "audit", f"--json={sys.argv[2]}"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def broken(environment, tmp_path):
  """Runs it; gives the file and what the program said."""

  def run(way):
    out = tmp_path / "out.json"
    done = subprocess.run(
      [sys.executable, "-c", _BROKEN, way, out],
      cwd=ROOT,
      env=environment,
      capture_output=True,
      text=True,
      timeout=120,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    return json.loads(out.read_text()), done

  return run


@pytest.mark.parametrize("way", ["ours", "library"])
def test_a_part_that_fails_is_named_and_loses_no_other(broken, way):
  found, done = broken(way)
  assert [row["what"] for row in found["rows"]] == ["a", "b", "behind", "c"]
  assert found["complete"] is False
  ((name, why),) = [failed.values() for failed in found["failed"]]
  kind = {"ours": "ValueError: ", "library": "LinAlgError: Singular matrix"}
  assert name == "part two" and why.startswith(kind[way])
  assert done.returncode == 2
  first, *_, last = done.stderr.strip().splitlines()
  assert last.startswith("error: not measured: part two; what was measured, 4")
  assert f"part two: failed, {why}" in done.stderr
  # A fault that is no message of ours shows where it is.
  assert ("Traceback" in first) == (way == "library")
  assert done.stdout.count("ratio ") == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stop_leaves_the_rows_before_it(broken, number):
  found, done = broken(str(int(number)))
  assert [row["what"] for row in found["rows"]] == ["a", "b", "behind"]
  assert found["complete"] is False and found["failed"] == []
  if number == signal.SIGINT:
    assert done.returncode == 130 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("stopped; what was measured, 3 rows, is in ")


@pytest.mark.parametrize(
  "arguments, message",
  [
    ((), "nothing is no bench: name one of audit"),
    (("audti",), "audti is no bench: name one of audit"),
    (("audit", "audit"), "audit audit is no bench"),
    (("audit", "--json=nowhere/out.json"), "--json=nowhere/out.json: name a"),
    (("audit", "--json=docs"), "--json=docs: name a file"),
    (("audit", "--quik"), "Did you mean: quick"),
  ],
)
def test_a_wrong_flag_is_one_line(launch, arguments, message):
  done = launch("bench", *arguments, check=False)
  assert done.returncode == 2 and message in done.stderr
  assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_help_explains_with_an_example(launch):
  text = launch("bench", "--help").stdout
  assert "python launch/bench.py audit" in text
  assert "--json" in text and "quick" in text
  assert "--workdir" not in text  # that is of programs on a study


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
  "name", [path.stem for path in (ROOT / "launch/benches").glob("[!_]*.py")]
)
def test_parts_of_every_bench_can_be_told_apart(name, quick):
  if name in ("device", "serve"):
    for package in ("jax2onnx", "onnxruntime", "fastapi"):
      pytest.importorskip(package, reason="the extra deploy is not installed")
  bench = importlib.import_module(f"benches.{name}")
  names = [part.what for part in bench.run(quick)]
  assert names and all(names) and len(set(names)) == len(names)


def test_the_work_is_a_thousand_adversaries():
  for size in (audit.FULL, audit.QUICK):
    for hidden in audit.NETWORKS.values():
      attack = audit.dense(hidden, size)
      assert engine.num_jobs(attack, len(size.pairs), audit.SEEDS) == 1000
    assert size.batch_size == 128 and size.steps % 25 == 0


# The attack as it is takes batches of 64, and looks six times at least.
@pytest.fixture(scope="module")
def size():
  return audit.Size(
    victims=3, divisions=1, samples=300, steps=150, batch_size=64
  )


@pytest.fixture(scope="module")
def made(size):
  """A leak through noise that grows: from nearly all to little."""
  return audit.make(size, leak=2.0)


@pytest.fixture(scope="module", params=["linear", "MLP"])
def learned(request, made, size):
  """What adversaries of ours achieve."""
  hidden = audit.NETWORKS[request.param]
  return hidden, audit.ours(audit.dense(hidden, size), made, size.pairs)


def test_ours_is_the_attack_of_the_audit(made, size, learned):
  hidden, found = learned
  attack = attribute.mlp if hidden else attribute.linear
  expected = audit.ours(attack(max_steps=size.steps), made, size.pairs)
  for pair in size.pairs:
    np.testing.assert_array_equal(found[pair].right, expected[pair].right)
    assert found[pair].knobs == expected[pair].knobs
    assert found[pair].validation == expected[pair].validation


def test_pytorch_learns_what_ours_learns(reference, made, size, learned):
  hidden, expected = learned
  right = [expected[pair].right.mean() for pair in size.pairs]
  assert right[0] > 0.9 and 0.2 < right[2] < 0.8
  work = audit.for_torch(reference, made, hidden, size)
  ways = (reference.alone, functools.partial(reference.stacked, block=16))
  for train in ways:
    found = reference.attack_all(work, size.pairs, train)
    for pair, value in zip(size.pairs, right, strict=True):
      assert found[pair].shape == expected[pair].right.shape
      # 60 attacked samples, five attackers, four draws.
      assert abs(found[pair].mean() - value) < 0.08, (pair, train)


def test_pytorch_knows_nothing_where_there_is_no_leak(reference, size):
  work = audit.for_torch(reference, audit.make(size, leak=0.0), (), size)
  found = reference.attack_all(work, size.pairs, reference.alone)
  # Chance is 0.1, of 180 answers to different questions.
  assert abs(np.mean(list(found.values())) - 0.1) < 0.07


def test_problems_are_not_padded(made):
  # PyTorch's side does not look at masks.
  asked = problems.pad(made.asked)
  assert asked.train.all() and asked.validation.all() and asked.test_mask.all()
