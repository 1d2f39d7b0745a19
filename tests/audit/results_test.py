"""The records of the results format are checked and lose nothing."""

import copy
import json

import jsonschema
import numpy as np
import pytest

from hybridpriv.audit import results, statistics


def _assert_contains(whole, part):
  if isinstance(part, dict):
    for key, member in part.items():
      _assert_contains(whole[key], member)
  elif isinstance(part, list):
    for one, other in zip(whole, part, strict=True):
      _assert_contains(one, other)
  else:
    assert whole == part


@pytest.fixture
def value(workdir):
  return json.loads((workdir / "audit" / "results.json").read_text())


def test_json_comes_back_the_same_with_fields_of_later_versions(value):
  value["rows"][0]["leakage"][0]["later"] = [1]
  value["rows"][0]["newer"] = {"a": 1}
  back = results.to_json(results.from_json(value))
  _assert_contains(back, value)
  assert results.to_json(results.from_json(back)) == back


def test_the_made_up_results_follow_the_schema(value, repository):
  path = repository / "hybridpriv" / "audit" / "results.schema.json"
  schema = json.loads(path.read_text())
  jsonschema.validate(value, schema)
  jsonschema.validate(results.to_json(results.from_json(value)), schema)


def test_a_training_is_described_once_or_fold_by_fold():
  one = {"chosen": "simple"}
  assert results.folds(one) == (one,)
  assert results.folds([one, one]) == (one, one)


@pytest.mark.parametrize(
  "field", ["chance", "floor", "low", "high", "interval"]
)
def test_a_measurement_without_its_frame_is_an_error(value, field):
  del value["rows"][3]["leakage"][1][field]
  with pytest.raises(ValueError, match=rf"sigma=0.2.*leakage\[1\].*{field}"):
    results.from_json(value)


def test_a_leak_with_a_null_floor_is_an_error_but_a_control_is_not(value):
  fine = copy.deepcopy(value)
  fine["controls"][0]["leakage"][0]["floor"] = None
  results.from_json(fine)
  value["rows"][0]["leakage"][0]["floor"] = None
  with pytest.raises(ValueError, match="has no floor"):
    results.from_json(value)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"value": float("nan")}, "finite"),
    ({"low": 0.99, "high": 1.0, "value": 0.5}, "outside its interval"),
    ({"interval": ""}, "in words"),
  ],
)
def test_a_broken_measurement_is_an_error(value, change, message):
  value["rows"][0]["leakage"][0].update(change)
  with pytest.raises(ValueError, match=message):
    results.from_json(value)


def test_worst_must_point_at_its_own_target(value):
  value["rows"][0]["worst"]["side"] = 0
  with pytest.raises(ValueError, match="points at a measurement of 'person'"):
    results.from_json(value)


def test_targets_follow_the_roles(value):
  assert results.from_json(value).targets == (
    "person",
    "person (across recordings)",
    "side",
  )


def test_attacks_on_a_target_leave_out_ranks_and_repeats(value):
  row = results.from_json(value).rows[4]
  assert [m.attack for m in row.attacks_on("person")] == [
    "attribute.linear",
    "attribute.mlp",
    "neighbour.nearest",
    "neighbour.centroid",
  ]


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda v: v.pop("rows"), "the file: 'rows' is a required property"),
    (lambda v: v["study"].pop("roles"), "study: 'roles' is a required"),
    (lambda v: v["study"]["data"].pop("name"), "study / data: 'name' is"),
    (lambda v: v["rows"][3].pop("worst"), r"rows / .*sigma=0\.2: 'worst' is"),
    (
      lambda v: v["rows"][3]["leakage"][1].update(value="much"),
      r"sigma=0\.2 / leakage / 1 / value: 'much' is not of type 'number'",
    ),
    (lambda v: v.update(controls="none"), "controls: 'none' is not of type"),
  ],
)
def test_a_file_of_others_that_breaks_the_format_is_one_line(
  value, tmp_path, change, message
):
  change(value)
  path = tmp_path / "theirs.json"
  path.write_text(json.dumps(value))
  with pytest.raises(ValueError, match=message) as error:
    results.read(path)
  assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "a,b"])
def test_what_is_no_results_file_is_one_line(tmp_path, text):
  path = tmp_path / "theirs.json"
  path.write_text(text)
  with pytest.raises(ValueError, match="theirs.json"):
    results.read(path)


def test_a_missing_audit_says_what_to_run(tmp_path):
  with pytest.raises(FileNotFoundError, match="run the audit"):
    results.read(tmp_path)


def test_every_interval_can_be_redone_from_the_values(workdir):
  given = results.read(workdir)
  with np.load(workdir / "audit" / "values.npz") as values:
    table = results.table(values, "rows/2/leakage/1")
  measurement = given.rows[2].leakage[1]
  assert statistics.value(table) == pytest.approx(measurement.value)
  assert statistics.interval(table, resamples=200) == pytest.approx(
    (measurement.low, measurement.high)
  )
