"""A whole audit: networks as adversaries, restored pictures, ranks."""

import importlib.util
import json
import pathlib

import jsonschema
import numpy as np
import pytest

from hybridpriv import study
from hybridpriv.study import transfer

ROW, NOISY = "simple/identity", "simple/noise"
INSTALLED = importlib.util.find_spec("face_recognition_models") is not None
DECODER, RIDGE = "inversion.decoder", "inversion.ridge"
SCHEMA = "hybridpriv/audit/results.schema.json"


@pytest.fixture(scope="module")
def config(of_pictures):
  return of_pictures(
    audit={
      # One look, at the end.
      "transfer": {"steps": 60, "evaluate_every": 99, "learning_rate": (0.01,)},
      "inversion": {"steps": 40, "width": 0.0625},
    },
  )


@pytest.fixture(scope="module")
def audited(config, quiet, tmp_path_factory) -> pathlib.Path:
  """The workdir of a study with both, and its report."""
  folder = tmp_path_factory.mktemp("audited")
  study.run(config, folder, say=quiet)
  return folder


@pytest.fixture(scope="module")
def results(audited):
  return json.loads((audited / "audit" / "results.json").read_text())


def _measured(row, attack):
  return {m["metric"]: m for m in row["leakage"] if m["attack"] == attack}


def test_the_results_follow_the_schema(results, repository):
  jsonschema.validate(results, json.loads((repository / SCHEMA).read_text()))


def test_the_device_pays_for_its_half(results):
  # 16 x 16 x 3 values into 96, and these into two answers.
  client, whole = (results["study"]["cost"][k] for k in ("client", "whole"))
  assert client["params"] == 768 * 96 + 96
  assert whole["params"] == client["params"] + 96 * 2 + 2
  assert client["macs"] == 768 * 96 and whole["macs"] == 768 * 96 + 96 * 2
  assert client["num_bytes"] == 4 * 96 and whole["num_bytes"] == 4 * 2
  for half in (client, whole):
    assert half["memory_bytes"] >= 4 * half["params"]
    assert half["time_ms"] > 0


# --- The paper's adversary.


def test_the_adversary_finds_the_person_in_the_undefended_feature(results):
  row = results["rows"][0]
  assert row["name"] == ROW
  found = _measured(row, transfer.PUBLISHED)
  m = found["balanced_accuracy"]
  assert m["chance"] == pytest.approx(1 / 5)
  assert m["value"] > 0.7 and m["low"] > m["chance"]
  assert m["knobs"]["learning_rate"] == [0.01]
  assert m["knobs"]["step"]
  assert (m["train_seeds"], m["attack_seeds"]) == (1, 1)
  assert {"accuracy", "rank", "log_rank"} <= set(found)


def _race(num, **scores):
  """Run trainings that find these scores; tell what each was asked for."""
  asked = {name: [] for name in scores}

  def looks(name):
    for step, score in enumerate(scores[name]):
      asked[name].append(step)
      yield score, step, f"values {step}"

  best = transfer.best_of_race(
    {name: looks(name) for name in scores}, patience=3, num=num
  )
  return best, asked


def test_the_adversary_learns_until_it_stalls():
  # Three looks without a better one: the eighth is not asked for.
  best, asked = _race(100, a=[0.1, 0.3, 0.2, 0.4, 0.4, 0.3, 0.1, 0.9])
  assert best == ("a", (0.4, 3, "values 3")) and asked["a"] == [*range(7)]
  best, asked = _race(100, a=[0.1, 0.2, 0.3])
  assert best == ("a", (0.3, 2, "values 2")) and asked["a"] == [*range(3)]


def test_a_rate_that_is_far_behind_gets_no_more_time():
  fast = [0.5, 0.6, 0.7, 0.8, 0.8, 0.8, 0.8]
  slow = [0.1, 0.1, 0.2, 0.4, 0.4, 0.9]
  best, asked = _race(100, fast=fast, slow=slow)
  assert best[0] == "fast" and len(asked["fast"]) == 7
  # Not before the patience is over, and not while it learns.
  assert len(asked["slow"]) == 5
  # Of five samples as much is chance: two errors are 51 points at 0.8.
  best, asked = _race(5, fast=fast, slow=slow)
  assert best == ("slow", (0.9, 5, "values 5")) and len(asked["slow"]) == 6


def test_a_perfect_leader_is_one_that_others_are_behind():
  # Weights that add up to a hair more than 1.
  perfect = [1.0 + 1e-7] * 4
  best, asked = _race(100, perfect=perfect, slow=[0.5, 0.6, 0.6, 0.7])
  assert best == ("perfect", (perfect[0], 0, "values 0"))
  assert len(asked["slow"]) == 3


def test_rates_that_are_near_run_to_their_end():
  best, asked = _race(100, a=[0.3, 0.4, 0.5, 0.5], b=[0.3, 0.3, 0.4, 0.6])
  assert best == ("b", (0.6, 3, "values 3"))
  assert len(asked["a"]) == len(asked["b"]) == 4


def test_the_adversary_learns_nothing_from_shuffled_labels(results):
  controls = {c["name"]: c for c in results["controls"]}
  shuffled = controls["control/shuffled labels"]
  own = [m for m in shuffled["leakage"] if m["attack"] == transfer.PUBLISHED]
  assert own and shuffled["passed"]
  assert all(m["low"] <= m["chance"] for m in own)


def test_fresh_noise_is_learned_where_there_is_noise(results):
  selected = [row for row in results["rows"] if row["selected"]]
  assert {row["embedding"] for row in selected} == {"identity", "noise"}
  assert len(selected) < len(results["rows"])
  for row in results["rows"]:
    published = bool(_measured(row, transfer.PUBLISHED))
    aware = bool(_measured(row, transfer.AWARE))
    assert published == row["selected"], row["name"]
    noisy = row["embedding"] == "noise"
    assert aware == (noisy and row["selected"]), row["name"]


def test_a_second_audit_reads_what_was_found(audited, results, config, quiet):
  def changed():
    parts = (audited / "audit" / "parts").iterdir()
    return {path.name: path.stat().st_mtime_ns for path in parts}

  before = changed()
  # One by one: nearest neighbours, three adversaries, two inversions.
  assert len(before) > 5
  path = audited / "audit" / "results.json"
  path.unlink()
  study.run(config, audited, "audit", say=quiet)
  assert changed() == before
  assert json.loads(path.read_text())["rows"] == results["rows"]


# --- Restored pictures.


def test_what_is_restored_has_a_scale_from_chance_to_the_picture(results):
  for row in results["rows"]:
    for attack in (DECODER, RIDGE):
      found = _measured(row, attack)
      metrics = {"psnr", "ssim"} | ({"matched"} if INSTALLED else set())
      assert set(found) == (metrics if row["selected"] else set())
      for m in found.values():
        # Decibels of a picture with itself have no end: they are cut.
        most = 60 if m["metric"] == "psnr" else 1
        assert 0 <= m["low"] <= m["value"] <= m["high"] <= most
        assert 0 < m["chance"] < m["original"] <= most
        if m["metric"] != "matched":
          assert m["original"] == pytest.approx(most)
        assert m["num_units"] == 5


def test_more_is_restored_from_a_feature_than_from_nothing(results):
  rows = {row["name"]: row for row in results["rows"]}
  psnr = _measured(rows[ROW], RIDGE)["psnr"]
  # The mean picture has 10 to 20 dB, as its spread of about 50 of 255 tells.
  assert 10 < psnr["chance"] < 20
  assert psnr["chance"] + 3 < psnr["low"] and psnr["value"] < 40
  assert psnr["floor"] < psnr["value"]
  noisy = next(r for n, r in rows.items() if n.startswith(NOISY))
  assert _measured(noisy, RIDGE)["psnr"]["value"] < psnr["value"]
  ssim = _measured(rows[ROW], RIDGE)["ssim"]
  assert ssim["chance"] < ssim["low"]


def test_the_pictures_are_those_of_the_better_on_people_held_out(
  audited, results
):
  row = results["rows"][0]
  held = {}
  for attack in (DECODER, RIDGE):
    found = _measured(row, attack)
    held[attack] = found.pop("psnr")["validation"]
    assert 10 < held[attack] < 40
    assert all(m["validation"] is None for m in found.values())
  best = max(held, key=held.__getitem__)
  with np.load(audited / "audit" / "pictures.npz") as arrays:
    shown = arrays[f"{ROW}/restored"]
  for path in (audited / "audit" / "parts").glob("*-images.npz"):
    with np.load(path) as saved:
      if best in saved:
        every = {x.tobytes() for x in saved[best]}
        if all(x.tobytes() in every for x in shown):
          return
  pytest.fail(f"no file holds the pictures shown, of {best}")


@pytest.mark.skipif(not INSTALLED, reason="needs the extra `pretrained`")
def test_the_recognizer_is_asked_for_the_person(results):
  m = _measured(results["rows"][0], RIDGE)["matched"]
  assert m["target"] == "person"
  # A mean picture shows nobody: all people are found as often.
  assert m["chance"] == pytest.approx(1 / 5, abs=0.01)
  assert m["original"] > 2 * m["chance"]


def test_the_card_shows_what_was_restored(audited, results):
  report = (audited / "report" / "report.md").read_text()
  assert "What a decoder restores" in report
  picture = audited / "report" / "figures" / "pictures.png"
  assert picture.stat().st_size > 1000
  psnr = _measured(results["rows"][0], RIDGE)["psnr"]
  assert f"{psnr['value']:.1f} dB" in report
  with np.load(audited / "audit" / "pictures.npz") as arrays:
    shown = {name: arrays[name] for name in arrays.files}
  selected = [row["name"] for row in results["rows"] if row["selected"]]
  assert set(shown) == {"original", *(f"{n}/restored" for n in selected)}
  for value in shown.values():
    assert value.shape == (5, 16, 16, 3) and value.dtype == np.uint8


def test_signals_cannot_be_restored_as_pictures(of_signals, quiet, tmp_path):
  config = of_signals(audit={"inversion": {"steps": 10}})
  with pytest.raises(ValueError, match=r"audit\.inversion.*needs images"):
    study.run(config, tmp_path, say=quiet)
  # Known from the start, so nothing was trained for it.
  assert not (tmp_path / "checkpoints").exists()


# --- Ranks.


def test_people_are_ranked_beside_pictures(results):
  for row in results["rows"]:
    for level in ("rank.image", "rank.person"):
      (m,) = _measured(row, level).values()
      assert m["metric"] == "rank" and m["target"] == "person"
      assert 0 <= m["low"] <= m["value"] <= m["high"] <= 1
      assert m["chance"] < m["floor"] or m["floor_of"] == "chance"
  first = _measured(results["rows"][0], "rank.image")["rank"]
  # An undefended feature is nearest to itself, of 60.
  assert first["value"] == pytest.approx(1 - 1 / 60)
