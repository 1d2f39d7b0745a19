"""A study that was trained is attacked in another way: nothing is lost."""

import json
import os
import pathlib
import shutil

import pytest

from hybridpriv import study
from hybridpriv.audit import results
from hybridpriv.study import workdir

NEAREST = {"function": "neighbour.nearest"}
CENTROID = {"function": "neighbour.centroid"}


def _attacks(folder):
  found = json.loads((folder / "audit" / "results.json").read_text())
  return {m["attack"] for row in found["rows"] for m in row["leakage"]}


def _ages(folder, pattern):
  return {p: p.stat().st_mtime_ns for p in folder.glob(pattern)}


@pytest.fixture(scope="module")
def config(of_signals):
  return of_signals(
    train={"base": {"steps": 2}, "finetune": {"steps": 2}},
    privatizers={"noise": {"sigma": (0.5,)}},
    audit={"attacks": {"nearest": NEAREST}, "queries": ()},
  )


@pytest.fixture(scope="module")
def trained(config, quiet, tmp_path_factory):
  """The workdir of a study that was trained and not attacked."""
  folder = tmp_path_factory.mktemp("trained")
  study.run(config, folder, "fit", say=quiet)
  return folder


def test_another_attack_takes_no_training_and_keeps_what_there_was(
  trained, config, quiet, tmp_path
):
  shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
  study.run(config, tmp_path, say=quiet)
  before = _attacks(tmp_path)
  trained = _ages(tmp_path, "checkpoints/**/*") | _ages(
    tmp_path, "privatizers/**/*"
  )
  outcomes = _ages(tmp_path, "audit/parts/*")
  more = {**config, "audit": {**config["audit"]}}
  more["audit"]["attacks"] = {"nearest": NEAREST, "centroid": CENTROID}

  # What cannot work sets nothing aside, and no other stage than the audit does.
  broken = {**more, "audit": {**more["audit"], "query_attacks": ("no.such",)}}
  with pytest.raises(ValueError, match="no.such"):
    study.run(broken, tmp_path, anew=True, say=quiet)
  assert study.run(more, tmp_path, "fit", say=quiet).exists()
  assert _attacks(tmp_path) == before and not (tmp_path / "earlier").exists()

  # Nor does who did not ask for it.
  with pytest.raises(workdir.Conflict, match="centroid: None.*--audit_anew"):
    study.run(more, tmp_path, say=quiet)
  assert _attacks(tmp_path) == before and not (tmp_path / "earlier").exists()

  said = []
  study.run(more, tmp_path, anew=True, say=said.append)
  assert said[0].startswith("audit: anew (audit.attacks.centroid: None there")
  assert said[1:3] == ["train: done before", "fit: done before"]
  assert _attacks(tmp_path) == before | {"neighbour.centroid"}
  assert (
    _ages(tmp_path, "checkpoints/**/*") | _ages(tmp_path, "privatizers/**/*")
    == trained
  )
  # What the same attack found is read and not found again.
  assert outcomes.items() <= _ages(tmp_path, "audit/parts/*").items()
  found = json.loads((tmp_path / "audit" / "results.json").read_text())
  assert set(found["study"]["config"]["audit"]["attacks"]) == {
    "nearest",
    "centroid",
  }
  # The card says that it is the second of two.
  assert found["study"]["earlier_audits"] == 1
  assert "audited 1 time before" in (tmp_path / "report/report.md").read_text()
  # What there was can be read, and a report compares both.
  (aside,) = (tmp_path / "earlier").iterdir()
  assert _attacks(aside) == before and results.read(aside).rows
  assert (aside / "report" / "index.html").exists()
  there = json.loads((aside / "config.json").read_text())["config"]
  assert set(there["audit"]["attacks"]) == {"nearest"}
  assert str(aside) in said[0]

  again = []
  study.run(more, tmp_path, say=again.append)
  assert again[0].startswith("report: done before")


def test_an_audit_that_was_stopped_goes_on_in_another_way(
  trained, config, quiet, tmp_path
):
  shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
  more = {**config, "audit": {**config["audit"]}}
  more["audit"]["attacks"] = {"centroid": CENTROID}
  study.run(more, tmp_path, "audit", anew=True, say=quiet)
  assert "neighbour.centroid" in _attacks(tmp_path)


def test_time_of_the_earlier_audit_is_not_that_of_the_later(tmp_path):
  workdir.record(tmp_path, {"audit": {"a": 1}})
  for stage in ("train", "audit"):
    workdir.add_seconds(tmp_path, stage, 5.0)
  workdir.write_json(tmp_path / "audit" / "results.json", {})
  aside = workdir.set_aside(tmp_path, {"audit": {"a": 2}})
  assert workdir.seconds(tmp_path) == {"train": 5.0}
  assert workdir.seconds(aside) == {"train": 5.0, "audit": 5.0}


@pytest.mark.parametrize("key", ["draws", "max_cost"])
def test_what_privatizers_are_chosen_by_is_another_study(tmp_path, key):
  workdir.record(tmp_path, {"audit": {key: 1, "other": 1}})
  assert "other" in workdir.check(tmp_path, {"audit": {key: 1, "other": 2}})
  with pytest.raises(workdir.Conflict, match=f"audit.{key}: 1 there, 2 now"):
    workdir.check(tmp_path, {"audit": {key: 2, "other": 1}})


FILES = ("audit/values.npz", "audit/results.json", "report/index.html")


def _audited(folder, number):
  """Leaves what an audit leaves, by its number."""
  workdir.record(folder, {"audit": {"a": number}})
  for name in FILES:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(f"{number}")


def _there(folder):
  return {n: (folder / n).read_text() for n in FILES if (folder / n).exists()}


@pytest.mark.parametrize("at", range(40))
def test_who_is_stopped_while_setting_aside_loses_nothing(
  tmp_path, monkeypatch, at
):
  _audited(tmp_path, 1)
  left = [at]

  def stopping(run):
    def one(*args, **options):
      if left[0] == 0:
        raise KeyboardInterrupt
      left[0] -= 1
      return run(*args, **options)

    return one

  with monkeypatch.context() as patch:
    for name in ("rename", "replace", "unlink", "mkdir", "write_text"):
      patch.setattr(pathlib.Path, name, stopping(getattr(pathlib.Path, name)))
    for name in ("link", "rmdir"):
      patch.setattr(os, name, stopping(getattr(os, name)))
    try:
      workdir.set_aside(tmp_path, {"audit": {"a": 2}})
    except KeyboardInterrupt:
      whole = dict.fromkeys(FILES, "1")
      kept = [_there(p) for p in (tmp_path / "earlier").glob("[!.]*")]
      assert whole in [_there(tmp_path), *kept]
      # Under the old configuration nothing that is left is taken for whole.
      assert not workdir.check(tmp_path, {"audit": {"a": 1}})
      there = _there(tmp_path)
      assert FILES[2] not in there or there == whole
      assert FILES[1] not in there or FILES[0] in there
  workdir.set_aside(tmp_path, {"audit": {"a": 2}})
  assert not _there(tmp_path)
  assert not workdir.check(tmp_path, {"audit": {"a": 2}})
  kept = [_there(p) for p in (tmp_path / "earlier").iterdir()]
  assert dict.fromkeys(FILES, "1") in kept
  assert all(FILES[1] in there for there in kept)


def test_two_audits_in_a_second_are_both_kept(tmp_path):
  for number in (1, 2):
    _audited(tmp_path, number)
    workdir.set_aside(tmp_path, {"audit": {"a": number + 1}})
  kept = sorted((tmp_path / "earlier").iterdir())
  assert [_there(p)[FILES[1]] for p in kept] == ["1", "2"]


def test_of_an_audit_that_was_not_over_nothing_is_set_aside(tmp_path):
  workdir.record(tmp_path, {"audit": {"a": 1}})
  assert workdir.set_aside(tmp_path, {"audit": {"a": 2}}) is None
  assert not (tmp_path / "earlier").exists()
  assert not workdir.check(tmp_path, {"audit": {"a": 2}})
