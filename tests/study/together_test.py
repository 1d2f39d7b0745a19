"""A study as one of several processes: what each does, and what only one."""

import signal
import types

import pytest

from hybridpriv import mesh, study
from hybridpriv.study import training, workdir
from hybridpriv.train import preemption


@pytest.fixture
def train(of_signals, monkeypatch, tmp_path):
  """Runs the stage `train` of a study as one of several processes."""
  config = of_signals()

  def run(body, *, count=2, process=0):
    setup = types.SimpleNamespace(folder=tmp_path, config=config)
    monkeypatch.setattr(study, "prepare", lambda *_: setup)
    monkeypatch.setattr(
      training, "run", lambda setup, writer, _: body(setup, writer)
    )
    monkeypatch.setattr(mesh, "num_processes", lambda: count)
    monkeypatch.setattr(mesh, "is_first", lambda: process == 0)
    return study.run(config, tmp_path, "train")

  return run


@pytest.mark.parametrize("stage", ["fit", "audit", "report"])
def test_what_follows_the_training_is_not_done_together(
  of_signals, monkeypatch, tmp_path, stage
):
  monkeypatch.setattr(mesh, "num_processes", lambda: 2)
  monkeypatch.setattr(study, "prepare", None)  # said before data are read
  with pytest.raises(ValueError, match=f"{stage!r} runs in one.*: 2 train"):
    study.run(of_signals(), tmp_path, stage)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count, finished", [(1, []), (2, ["the rest"])])
def test_between_two_trainings_one_process_does_not_stop_alone(
  train, count, finished
):
  done = []

  def body(*_):
    signal.raise_signal(signal.SIGTERM)
    done.append("the rest")

  with pytest.raises(preemption.Preempted, match="^SIGTERM$"):
    with preemption.at_once():
      train(body, count=count)
  assert done == finished


def _write(setup, writer):
  writer.write("base", 1, {"loss": 0.5})
  workdir.write_json(setup.folder / "trainings.json", [])


def test_process_0_says_measures_and_keeps_what_there_is_once(
  train, tmp_path, capsys
):
  assert train(_write) == tmp_path / "trainings.json"
  names = {".lock", "metrics.jsonl", "seconds.json", "trainings.json"}
  assert {path.name for path in tmp_path.iterdir()} == names
  first, last = capsys.readouterr().out.splitlines()
  assert first == "train ..." and last.startswith("train: done in")


def test_the_other_processes_say_and_write_nothing(train, tmp_path, capsys):
  with workdir.claim(tmp_path):  # as process 0 does
    assert train(_write, process=1) == tmp_path / "trainings.json"
  assert [path.name for path in tmp_path.iterdir()] == [".lock"]
  assert not capsys.readouterr().out
