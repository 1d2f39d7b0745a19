"""A workdir belongs to one process and one configuration."""

import json

import numpy as np
import pytest

from hybridpriv import mesh
from hybridpriv.study import workdir


def test_a_workdir_is_held_by_one_at_a_time(tmp_path):
  with workdir.claim(tmp_path):
    with pytest.raises(workdir.Conflict, match="another process"):
      with workdir.claim(tmp_path):
        pass
  with workdir.claim(tmp_path):
    pass


def test_a_file_cannot_be_a_workdir(tmp_path):
  (tmp_path / "file").touch()
  for path in (tmp_path / "file", tmp_path / "file" / "below"):
    with pytest.raises(workdir.Conflict, match="cannot be a workdir"):
      with workdir.claim(path):
        pass


def test_the_same_configuration_goes_on(tmp_path):
  workdir.record(tmp_path, {"a": (1, 2), "b": {"c": 0.5}})
  workdir.check(tmp_path, {"b": {"c": 0.5}, "a": (1, 2)})


def test_another_folder_of_features_is_no_other_study(tmp_path):
  workdir.record(tmp_path, {"a": 1, "features": "here"})
  workdir.check(tmp_path, {"a": 1, "features": "there"})
  assert workdir.study_of({"a": (1,), "features": "here"}) == {"a": [1]}


def test_what_changes_no_result_is_no_other_study(tmp_path):
  old = {"train": {"seeds": 3}, "data": {"size": 9}}  # of an older version
  workdir.record(tmp_path, old)
  new = {"seeds": 3, "replicas": 8}, {"size": 9, "engine": "grain"}
  workdir.check(tmp_path, dict(zip(("train", "data"), new, strict=True)))
  with pytest.raises(workdir.Conflict, match="train.seeds: 3 there, 4 now"):
    workdir.check(tmp_path, {**old, "train": {"seeds": 4, "replicas": 8}})


def test_another_configuration_names_the_keys_that_differ(tmp_path):
  workdir.record(tmp_path, {"a": (1, 2), "b": {"c": 0.5, "d": 1}})
  with pytest.raises(workdir.Conflict) as error:
    workdir.check(tmp_path, {"a": (1,), "b": {"c": 0.25, "d": 1, "e": "x"}})
  message = str(error.value)
  assert "a: [1, 2] there, [1] now" in message
  assert "b.c: 0.5 there, 0.25 now" in message
  assert "b.e: None there, 'x' now" in message
  assert "b.d" not in message


def test_many_differences_are_counted_instead_of_listed(tmp_path):
  workdir.record(tmp_path, {f"key{i}": 0 for i in range(20)})
  with pytest.raises(workdir.Conflict, match="and 12 more"):
    workdir.check(tmp_path, {f"key{i}": 1 for i in range(20)})


def test_a_configuration_is_recorded_once_with_its_surroundings(tmp_path):
  workdir.record(tmp_path, {"a": 1})
  workdir.record(tmp_path, {"a": 2})
  record = json.loads((tmp_path / "config.json").read_text())
  assert record["config"] == {"a": 1}
  assert {"versions", "machine", "date", "revision"} <= set(record)
  assert "jax" in record["versions"]


def test_files_are_written_whole_or_not_at_all(tmp_path):
  path = tmp_path / "deep" / "file.json"
  workdir.write_json(path, {"a": 1})
  with pytest.raises(TypeError):
    workdir.write_json(path, {"a": object()})
  assert json.loads(path.read_text()) == {"a": 1}
  assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_arrays_come_back_under_any_name(tmp_path):
  arrays = {"a b=1/sum": np.arange(3.0), "c": np.asarray(["x", "y"])}
  workdir.write_arrays(tmp_path / "values.npz", arrays)
  with np.load(tmp_path / "values.npz") as saved:
    assert set(saved.files) == set(arrays)
    for name, array in arrays.items():
      np.testing.assert_array_equal(saved[name], array)


def test_the_time_of_a_stage_adds_up_over_its_starts(tmp_path):
  workdir.add_seconds(tmp_path, "train", 1.2)
  workdir.add_seconds(tmp_path, "fit", 2.0)
  workdir.add_seconds(tmp_path, "train", 1.5)
  assert workdir.seconds(tmp_path) == {"train": 2.7, "fit": 2.0}


def test_of_a_job_process_0_writes_the_files_of_all(tmp_path, monkeypatch):
  workdir.add_seconds(tmp_path, "train", 1.2)
  monkeypatch.setattr(mesh, "is_first", lambda: False)
  workdir.add_seconds(tmp_path, "train", 1.5)
  workdir.write_json(tmp_path / "other.json", {})
  assert workdir.seconds(tmp_path) == {"train": 1.2}
  assert [p.name for p in tmp_path.iterdir()] == ["seconds.json"]


def test_processes_that_write_the_same_arrays_do_not_meet(
  tmp_path, monkeypatch
):
  path, process, write = tmp_path / "values.npz", [0], np.savez_compressed

  def slowly(*given, **arrays):
    write(*given, **arrays)
    if process == [0]:  # the other one overtakes it
      process[0] = 1
      workdir.write_arrays(path, {"a": np.arange(3.0)})

  monkeypatch.setattr(mesh, "process_id", lambda: process[0])
  monkeypatch.setattr(np, "savez_compressed", slowly)
  workdir.write_arrays(path, {"a": np.arange(3.0)})
  with np.load(path) as saved:
    np.testing.assert_array_equal(saved["a"], np.arange(3.0))
  assert [p.name for p in tmp_path.iterdir()] == ["values.npz"]
