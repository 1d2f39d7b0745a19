import json
import sys

import numpy as np
import pytest

from hybridpriv.train import metrics


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def written(tmp_path):
  path = tmp_path / "metrics.jsonl"
  writer = metrics.Writer(path)
  for step in (1, 2, 3):
    for run in ("a", "b"):
      writer.write(run, step, {"loss": step / 4})
  return path, writer


def test_a_line_holds_run_step_and_numbers(tmp_path):
  path = tmp_path / "metrics.jsonl"
  writer = metrics.Writer(path)
  writer.write("a", 3, {"loss": np.float32(0.5), "n": np.int32(2)})
  writer.write("a", 4, {"loss": np.float32(np.nan), "n": np.inf})
  writer.close()
  assert lines(path) == [
    {"run": "a", "step": 3, "loss": 0.5, "n": 2.0},
    {"run": "a", "step": 4, "loss": None, "n": None},
  ]


def test_rewinding_forgets_later_steps_of_one_run_only(written):
  path, writer = written
  writer.rewind("a", 1)
  found = [(x["run"], x["step"]) for x in lines(path)]
  assert found == [("a", 1), ("b", 1), ("b", 2), ("b", 3)]
  writer.write("a", 2, {"loss": 9.0})
  assert lines(path)[-1] == {"run": "a", "step": 2, "loss": 9.0}


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_last_line_cut_off_by_a_kill_disturbs_nobody(written, cut):
  path, writer = written
  path.write_text(path.read_text()[:-cut])
  writer.rewind("c", 0)
  writer.write("c", 1, {"loss": 0.0})
  found = [(x["run"], x["step"]) for x in lines(path)]
  whole = [(r, s) for s in (1, 2, 3) for r in ("a", "b")]
  # Without its newline alone the line is whole.
  assert found == whole[: 6 if cut == 1 else 5] + [("c", 1)]


def test_rewinding_before_anything_was_written_is_fine(tmp_path):
  metrics.Writer(tmp_path / "metrics.jsonl").rewind("a", 0)
  assert not list(tmp_path.iterdir())


def test_tensorboard_without_its_package_says_how_to_install(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, "tensorboardX", None)
  with pytest.raises(ValueError, match=r"pip install 'hybridpriv\[tensorboard"):
    metrics.Writer(tmp_path / "metrics.jsonl", tmp_path / "events")


def test_tensorboard_gets_the_same_numbers(tmp_path, monkeypatch):
  pytest.importorskip("tensorboardX")
  writer = metrics.Writer(tmp_path / "metrics.jsonl", tmp_path / "events")
  writer.write("fold0/base", 3, {"loss": 0.5, "bad": np.nan})
  writer.close()
  (events,) = (tmp_path / "events" / "fold0" / "base").iterdir()
  content = events.read_bytes()
  assert b"loss" in content and b"bad" not in content


def test_a_process_that_does_not_write_writes_nothing(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  writer = metrics.Writer(None)
  writer.rewind("a", 0)
  writer.write("a", 1, {"loss": 1.0})
  writer.close()
  assert not list(tmp_path.iterdir())
