"""The programs: their flags, a whole study, interruption and resumption."""

import collections
import csv
import json
import pathlib
import re
import shutil
import signal
import subprocess
import time

import jax
import jsonschema
import numpy as np
import pytest

from configs import spar_activity
from hybridpriv import study
from hybridpriv.audit import results
from hybridpriv.study import setup, training
from hybridpriv.study import workdir as workdir_lib

TINY = "--config=configs/spar_activity.py:tiny"
PROGRAMS = ("run", "train", "audit", "report", "sweep")
SHIP = ("export", "plan", "serve")


def _one_line(done):
  assert done.returncode == 2, done.stderr
  assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
  return done.stderr


@pytest.mark.parametrize(
  "flags, message",
  [
    ("", "--config is missing: name an experiment"),
    (TINY, "--workdir is missing"),
    (f"{TINY} --workdir=", "--workdir is missing"),
    ("--config.seed=1 --workdir=w", "--config is missing"),
    ("--config=configs/no.py --workdir=w", "no.py; known are configs/abl"),
    (f"{TINY[:-1]}e --workdir=w", "'tine' is not known; known are full, small"),
    (f"{TINY} --workdir=w --confg=1", "'confg'. Did you mean: config"),
    (f"{TINY} --workdir=w more", "not understood: more"),
    (
      f"{TINY} --workdir=w --config.train.seds=1",
      "config.train has no key 'seds'. Did you mean 'seeds'? It has balance",
    ),
    (f"{TINY} --workdir=w --config.sed=1", "config has no key 'sed'"),
    (f"{TINY} --workdir=w --config.seed.x=1", "config.seed is 0 and has no"),
    (f"{TINY} --workdir=w --config.seed=many", "--config.seed=many"),
  ],
)
def test_a_wrong_flag_is_one_line(launch, flags, message):
  assert message in _one_line(launch("run", *flags.split(" "), check=False))


@pytest.mark.parametrize("flag", ["audit_anew", "config.seed=1"])
def test_a_program_without_a_study_takes_none_of_its_flags(launch, flag):
  done = launch("bench", "input", f"--{flag}", check=False)
  name = flag.partition(".")[0]
  assert f"--{name} is a flag of programs that work" in _one_line(done)


def test_a_missing_data_folder_is_one_line(launch, tmp_path):
  path = tmp_path / "nowhere"
  done = launch(
    "run",
    "--config=configs/lfw_gender.py:tiny",
    f"--config.data.path={path}",
    f"--workdir={tmp_path / 'w'}",
    check=False,
  )
  assert f"{str(path)!r}, which is no folder" in _one_line(done)


def test_where_a_message_comes_from_can_be_asked_for(launch, tmp_path):
  done = launch(
    "run",
    "--config=configs/lfw_gender.py:tiny",
    f"--workdir={tmp_path / 'w'}",
    "--verbosity=1",
    check=False,
  )
  assert "Traceback" in done.stderr and "load_data" in done.stderr


def test_a_fault_in_ones_own_config_file_shows_where(launch, tmp_path):
  config = tmp_path / "mine.py"
  config.write_text("def get_config():\n  return {}.wrong\n")
  done = launch("run", f"--config={config}", "--workdir=w", check=False)
  assert done.returncode == 1
  assert f'{config}", line 2' in done.stderr and "Traceback" in done.stderr


@pytest.mark.parametrize("program", (*PROGRAMS, *SHIP))
def test_help_explains_with_an_example(launch, program):
  text = launch(program, "--help").stdout
  assert f"python launch/{program}.py " in text
  of_study = program != "serve"
  assert ("--workdir" in text and "--config" in text) == of_study
  assert len(text.splitlines()) < 40


@pytest.mark.parametrize("steps", ["4", "a,b", "9,3", "0,2"])
def test_steps_to_profile_are_two_numbers(launch, steps):
  flags = (TINY, "--workdir=w", f"--profile_steps={steps}")
  assert "as in 10,20" in _one_line(launch("train", *flags, check=False))


def test_a_report_of_nothing_says_what_to_run(launch, tmp_path):
  assert "run the audit" in _one_line(launch("report", tmp_path, check=False))
  assert "--workdir" in _one_line(launch("report", check=False))
  asked = ("docs/results/lfw_dpfe.json", "--against=neighbour.first")
  assert "name two workdirs" in _one_line(launch("report", *asked, check=False))


# --- One whole study.


@pytest.fixture(scope="module")
def straight(launch, tmp_path_factory) -> pathlib.Path:
  """The workdir of a study that ran without interruption."""
  workdir = tmp_path_factory.mktemp("straight")
  done = launch("run", TINY, f"--workdir={workdir}")
  assert done.stdout.splitlines()[-1] == str(workdir / "report" / "index.html")
  return workdir


def _results(workdir):
  return json.loads((workdir / "audit" / "results.json").read_text())


def test_the_results_follow_the_schema(straight, repository):
  path = repository / "hybridpriv" / "audit" / "results.schema.json"
  jsonschema.validate(_results(straight), json.loads(path.read_text()))
  read = results.read(straight)
  assert read.targets == ("person", "person (across recordings)", "side")


def test_every_interval_can_be_redone_from_the_values(straight):
  found = _results(straight)
  with np.load(straight / "audit" / "values.npz") as values:
    for section in ("rows", "controls"):
      for r, row in enumerate(found[section]):
        for kind in ("utility", "leakage"):
          for i, m in enumerate(row.get(kind, ())):
            table = results.table(values, f"{section}/{r}/{kind}/{i}")
            value = results.statistics.value(table)
            assert value == pytest.approx(m["value"], abs=1e-6)
            assert len(table.people) == m["num_units"]
            # Everybody, or who has as many inputs as are joined.
            assert m["num_units"] == 10 or "queries" in m


def test_every_row_is_attacked_with_a_frame(straight):
  found = _results(straight)
  config = spar_activity.get_config("tiny")
  levels = len(config.privatizers.noise.sigma)
  assert len(found["rows"]) == 2 * (2 + levels)
  for row in found["rows"]:
    assert set(row["worst"]) == {
      "person",
      "person (across recordings)",
      "side",
    }
    families = {m["attack"].split(".")[0] for m in row["leakage"]}
    expected = {"attribute", "neighbour", "rank"}
    if row["embedding"] == "noise":
      expected |= {"likelihood"}
    assert expected <= families
    for m in row["leakage"]:
      assert m["unit"] == "person" and m["floor_of"]
      assert 0 <= m["low"] <= m["value"] <= m["high"] <= 1
  chosen = [r["name"] for r in found["rows"] if r["selected"]]
  assert len(chosen) == 2 * 3  # one of each embedding of each training
  repeated = {m["num_queries"] for r in found["rows"] for m in r["leakage"]}
  assert repeated == {1, 10}


def test_controls_are_there_and_judged(straight):
  controls = {c["name"]: c for c in _results(straight)["controls"]}
  assert {name: c["expected"] for name, c in controls.items()} == {
    "control/constant": "chance",
    "control/equal-energy noise": "chance",
    "control/shuffled labels": "chance",
    "control/planted leak": "high",
    "control/raw input": "reference",
  }
  for name in ("constant", "equal-energy noise", "planted leak"):
    assert controls[f"control/{name}"]["passed"], name
  assert all(c["leakage"] for c in controls.values())


def test_people_are_on_one_side_and_each_is_audited_once(straight):
  saved = json.loads((straight / "partition.json").read_text())
  audited = collections.Counter()
  for fold in saved["folds"]:
    sides = [set(fold[p]["people"]) for p in ("train", "validation", "audit")]
    assert all(sides) and not set.intersection(*sides)
    assert len(set.union(*sides)) == sum(map(len, sides))
    audited.update(fold["audit"]["people"])
  assert len(audited) == 10 and set(audited.values()) == {1}


def test_the_report_stands_alone(straight):
  page = (straight / "report" / "index.html").read_text()
  assert "Exercise against person on SPAR" in page
  assert "http://" not in page.replace("http://www.w3.org", "")
  figures = {p.name for p in (straight / "report" / "figures").iterdir()}
  assert {"trade_off.png", "trade_off.pdf", "codes.png"} <= figures


def test_the_time_of_every_stage_is_in_the_results_and_the_report(straight):
  spent = json.loads((straight / "seconds.json").read_text())
  assert list(spent) == ["train", "fit", "audit", "report"]
  assert _results(straight)["study"]["seconds"]["train"] == spent["train"]


def test_a_second_start_says_within_seconds_that_it_is_done(launch, straight):
  start = time.monotonic()
  done = launch("run", TINY, f"--workdir={straight}")
  assert time.monotonic() - start < 15
  assert done.stdout.splitlines()[0].startswith("report: done before")


def test_another_configuration_is_refused(launch, straight):
  flags = (TINY, f"--workdir={straight}", "--config.train.base.steps=21")
  message = _one_line(launch("run", *flags, check=False))
  assert "train.base.steps: 20 there, 21 now" in message


# --- The same study, interrupted.


@pytest.fixture(scope="module")
def stop_at(repository, environment, stopping):
  """Runs the study until a file is there, then sends a signal."""

  def run(workdir, pattern, number):
    done = subprocess.run(
      stopping(workdir, pattern, number, "run", TINY),
      cwd=repository,
      env=environment,
      capture_output=True,
      text=True,
      timeout=300,
      check=False,
    )
    return done.returncode, done.stderr

  return run


@pytest.fixture(scope="module")
def interrupted(straight, launch, stop_at, tmp_path_factory):
  """The workdir of a study that was stopped four times, and what was said."""
  del straight  # has compiled everything
  workdir = tmp_path_factory.mktemp("interrupted")
  asked = [
    stop_at(workdir, "partition.json", signal.SIGINT),
    stop_at(workdir, "checkpoints/fold0/seed0/base/*0", signal.SIGTERM),
  ]
  for pattern in (
    "checkpoints/fold1/seed0/siamese*/*0",
    "audit/parts/*.npz",
  ):
    assert stop_at(workdir, pattern, signal.SIGKILL)[0] == -signal.SIGKILL
  assert not (workdir / "audit" / "results.json").exists()
  parts = {
    p.name: p.stat().st_mtime_ns
    for p in workdir.glob("audit/parts/*.npz")
    if ".tmp" not in p.name
  }
  launch("run", TINY, f"--workdir={workdir}")
  return workdir, asked, parts


def test_ctrl_c_says_that_the_same_command_goes_on(interrupted):
  code, text = interrupted[1][0]
  assert code == 130
  assert text == "stopped; the same command goes on from here\n"


def test_a_signal_to_stop_saves_the_step_and_has_a_status_of_its_own(
  interrupted,
):
  code, text = interrupted[1][1]
  assert code == 75
  assert re.fullmatch(
    r"stopped by SIGTERM; saved fold0/seed0/base at step 1\d; the same command"
    r" goes on from here\n",
    text,
  )


def test_attacks_that_were_done_are_not_repeated(interrupted):
  workdir, _, parts = interrupted
  assert parts
  for name, changed in parts.items():
    path = workdir / "audit" / "parts" / name
    assert path.stat().st_mtime_ns == changed


def test_parameters_after_interruptions_are_the_same_bit_for_bit(
  straight, interrupted
):
  config = spar_activity.get_config("tiny").to_dict()
  found = []
  for workdir in (straight, interrupted[0]):
    given = study.prepare(config, workdir)
    found.append(
      [
        training.variables(given, fold, 0, trial.name)
        for fold in range(2)
        for trial in setup.trials(config)
      ]
    )
  jax.tree.map(np.testing.assert_array_equal, *found)


def test_every_step_is_once_in_the_metrics_and_the_same(straight, interrupted):
  lines = []
  for workdir in (straight, interrupted[0]):
    text = (workdir / "metrics.jsonl").read_text()
    read = [json.loads(line) for line in text.splitlines()]
    by_step = {(line["run"], line["step"]): line for line in read}
    assert len(by_step) == len(read)
    lines.append(by_step)
  assert lines[0] == lines[1]
  trials = setup.trials(spar_activity.get_config("tiny"))
  runs = {"base", *(trial.name for trial in trials)}
  assert {run for run, _ in lines[0]} == {
    f"fold{fold}/seed0/{run}" for fold in range(2) for run in runs
  }


def test_results_after_interruptions_are_the_same_but_for_times(
  straight, interrupted
):
  found = []
  for workdir in (straight, interrupted[0]):
    value = _results(workdir)
    for name in ("seconds", "date", "command", "revision", "cost"):
      del value["study"][name]
    found.append(value)
  assert found[0] == found[1]
  for name in ("values.npz", "codes.npz"):
    one, other = (
      np.load(w / "audit" / name) for w in (straight, interrupted[0])
    )
    assert one.files == other.files
    for key in one.files:
      np.testing.assert_array_equal(one[key], other[key])


def test_a_second_process_on_a_workdir_stops_with_one_line(launch, straight):
  with workdir_lib.claim(straight):
    done = launch("run", TINY, f"--workdir={straight}", check=False)
  assert "another process works on" in _one_line(done)


def test_a_report_is_drawn_again(launch, straight, tmp_path):
  copy = shutil.copytree(straight, tmp_path / "copy")
  shutil.rmtree(copy / "report")
  done = launch("report", f"--workdir={copy}", TINY, "--csv")
  page, table = (pathlib.Path(p) for p in done.stdout.splitlines()[-2:])
  for figure in (straight / "report" / "figures").glob("*.png"):
    again = page.parent / "figures" / figure.name
    assert again.read_bytes() == figure.read_bytes()
  with open(table, newline="") as file:
    measured = sum(
      len(row[kind])
      for row in _results(straight)["rows"]
      for kind in ("utility", "leakage")
    )
    assert len(list(csv.DictReader(file))) == measured


def test_several_workdirs_are_compared(launch, straight, interrupted, tmp_path):
  out = tmp_path / "out"
  flags = (f"--out={out}", "--csv", "--latex")
  done = launch("report", straight, interrupted[0], *flags)
  names = ("index.html", "measurements.csv", "embeddings.tex")
  assert done.stdout.splitlines() == [str(out / name) for name in names]
  assert all((out / name).stat().st_size for name in names)


def test_a_workdir_cannot_be_compared_with_itself(launch, straight):
  done = launch("report", straight, straight, check=False)
  assert "each once" in _one_line(done)
