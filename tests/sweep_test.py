"""A sweep: runs that fail do not stop others, and are all that is run again.

The configuration is a file of one's own, given by its path.
"""

import json
import os
import signal
import subprocess
import sys

import pytest

from hybridpriv.study import workdir

CONFIG = """
from tests.study import tiny


def get_config():
  c = tiny.signals()
  c.sweep = {
    "first": {"privatizers": {"noise": {"k": 3}}},
    "middle": {"cut": "pool9"},
    "third": {"seed": 1},
  }
  return c
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp("configs") / "cuts.py"
  path.write_text(CONFIG)
  return path


@pytest.fixture(scope="module")
def first(launch, file, tmp_path_factory):
  """The folder of a sweep with a run that cannot work, and what was said."""
  folder = tmp_path_factory.mktemp("sweep")
  flags = (f"--config={file}", f"--workdir={folder}")
  return folder, launch("sweep", *flags, check=False)


def test_a_run_that_fails_is_named_and_the_others_finish(first):
  folder, done = first
  assert done.returncode == 1
  lines = done.stderr.splitlines()
  assert any("error: there is no stage 'pool9'" in line for line in lines)
  assert lines[-1] == (
    "error: failed: middle; the same command runs only these again"
  )
  for name in ("first", "third"):
    assert (folder / name / "report" / "index.html").exists()
  assert not (folder / "middle" / "report").exists()


def test_runs_differ_in_what_the_sweep_says_alone(first):
  folder, _ = first
  found = []
  for name in ("first", "third"):
    path = folder / name / "config.json"
    found.append(json.loads(path.read_text())["config"])
    assert "sweep" not in found[-1]
    # One folder of stored features for all runs.
    assert found[-1]["features"] == str(folder / "features")
  assert workdir.differences(*found) == {
    "privatizers.noise.k": (3, 4),
    "seed": (0, 1),
  }


def test_what_is_done_is_compared(first):
  folder, done = first
  page = folder / "report" / "index.html"
  assert done.stdout.splitlines()[-1] == str(page)
  assert "first" in page.read_text() and "third" in page.read_text()


def test_the_same_command_runs_only_what_failed(first, launch, file):
  folder, before = first
  kept = {p: p.stat().st_mtime_ns for p in folder.glob("*/audit/results.json")}
  assert len(kept) == 2
  flags = (f"--config={file}", f"--workdir={folder}")
  done = launch("sweep", *flags, check=False)
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1] == before.stderr.splitlines()[-1]
  lines = done.stdout.splitlines()
  for name in ("first", "third"):
    after = lines[lines.index(f"== {name}") + 1]
    assert after.startswith("report: done before")
  assert lines[lines.index("== middle") + 1] == "train ..."
  assert kept == {path: path.stat().st_mtime_ns for path in kept}


def test_an_unknown_run_lists_the_known_ones(launch, file, tmp_path):
  flags = (f"--config={file}", f"--workdir={tmp_path}", "--runs=third,forth")
  done = launch("sweep", *flags, check=False)
  assert done.returncode == 2
  assert done.stderr == (
    "error: --runs: there is no forth; the runs of this sweep are first,"
    " middle, third\n"
  )
  assert not list(tmp_path.iterdir())


def test_a_configuration_without_a_sweep_is_one_line(launch, tmp_path):
  tiny = "--config=configs/spar_activity.py:tiny"
  done = launch("sweep", tiny, f"--workdir={tmp_path}", check=False)
  assert done.returncode == 2
  assert done.stderr.startswith("error: the configuration has no key 'sweep'")
  assert done.stderr.count("\n") == 1


# Where tests run in the background, Ctrl-C is switched off and inherited so.
_HEARING = """
import runpy, signal, sys
sys.path.insert(0, "launch")
sys.argv = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_ctrl_c_stops_the_run_and_starts_no_other(
  file, repository, environment, tmp_path
):
  command = [sys.executable, "-c", _HEARING, "launch/sweep.py"]
  process = subprocess.Popen(
    [*command, f"--config={file}", f"--workdir={tmp_path}"],
    cwd=repository,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  said = [process.stdout.readline() for _ in range(2)]
  # A terminal sends it to all of its processes.
  os.killpg(process.pid, signal.SIGINT)
  rest, errors = process.communicate(timeout=120)
  assert said == ["== first\n", "train ...\n"]
  assert process.returncode == 130
  assert "==" not in rest and "failed" not in errors
  assert errors.endswith("stopped; the same command goes on from here\n")
  assert "Traceback" not in errors


def test_a_misspelt_key_stops_the_sweep_before_its_first_run(
  launch, file, tmp_path
):
  own = tmp_path / "own.py"
  own.write_text(
    CONFIG.replace('"third": {"seed": 1}', '"third": {"train": {"sedes": 1}}')
  )
  flags = (f"--config={own}", f"--workdir={tmp_path / 'sweep'}")
  done = launch("sweep", *flags, check=False)
  assert done.returncode == 2
  assert "the sweep sets config.train.sedes" in done.stderr
  assert not (tmp_path / "sweep" / "first").exists()
