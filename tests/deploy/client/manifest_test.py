import hashlib
import json

import pytest

from hybridpriv.deploy.client import manifest


@pytest.fixture
def bundle(tmp_path, made_values):
  """A folder with a manifest and one other file."""
  content = b"a network"
  (tmp_path / "client.onnx").write_bytes(content)
  listed = {"client.onnx": hashlib.sha256(content).hexdigest()}
  return _write(tmp_path, made_values | {"files": listed})


def _write(folder, values):
  (folder / "manifest.json").write_text(json.dumps(values))
  return folder


def _changed(bundle, **changes):
  values = json.loads((bundle / "manifest.json").read_text())
  return _write(bundle, values | changes)


def test_the_id_is_the_first_bytes_of_the_hash(bundle):
  own = manifest.read(bundle)
  content = (bundle / "manifest.json").read_bytes()
  assert own.content == content
  assert own.id == hashlib.sha256(content).digest()[:4]
  assert own.values == json.loads(content)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"schema": "hybridpriv.bundle/2"},
      r"bundle/2', wire 1; this program know",
    ),
    ({"schema": None}, "is of None"),
    ({"wire": 2}, "wire 2; this program knows .* wire 1"),
    ({"wire": None}, "wire None"),
    ({"code": {"k": 1}}, "lacks code.bits, code.radius"),
    ({"budget": []}, "lacks budget, budget.cost"),
    (
      {"input": {"kind": "image", "shape": 3, "dtype": "uint8", "framing": ""}},
      "input.shape is 3, expected whole numbers",
    ),
    (
      {"budget": {"cost": 0.25, "max_queries": "3", "table": []}},
      "max_queries is '3', expected a whole number",
    ),
    (
      {"budget": {"cost": 0.25, "max_queries": 3, "table": []}},
      "no row for each of 3 codes",
    ),
    (
      {"budget": {"cost": 0.2, "max_queries": 3, "table": []}},
      "noise of 48.0 about a radius of 24.0 does not cost 0.2",
    ),
    (
      {"budget": {"cost": None, "max_queries": 3, "table": []}},
      "does not cost None",
    ),
  ],
)
def test_a_manifest_of_another_kind_is_refused(bundle, changes, message):
  with pytest.raises(ValueError, match=message):
    manifest.read(_changed(bundle, **changes))


@pytest.mark.parametrize(
  "content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"{}"]
)
def test_a_damaged_manifest_is_one_clear_error(bundle, content):
  (bundle / "manifest.json").write_bytes(content)
  with pytest.raises(ValueError, match="manifest.json"):
    manifest.read(bundle)


def test_what_is_no_bundle_says_how_to_make_one(tmp_path):
  for folder in (tmp_path, tmp_path / "nowhere"):
    with pytest.raises(ValueError, match="is no bundle: .* launch/export.py"):
      manifest.read(folder)


def test_a_listed_file_is_found(bundle):
  own = manifest.read(bundle)
  assert manifest.file(own, "client.onnx") == bundle / "client.onnx"


def test_a_changed_file_is_refused(bundle):
  own = manifest.read(bundle)
  (bundle / "client.onnx").write_bytes(b"a netwerk")
  with pytest.raises(ValueError, match="not the file that the manifest lists"):
    manifest.file(own, "client.onnx")


def test_a_missing_file_is_refused(bundle):
  own = manifest.read(bundle)
  (bundle / "client.onnx").unlink()
  with pytest.raises(ValueError, match="cannot be read"):
    manifest.file(own, "client.onnx")


def test_a_file_that_is_not_listed_is_refused_though_it_is_there(bundle):
  own = manifest.read(bundle)
  (bundle / "client.int8.onnx").write_bytes(b"")
  with pytest.raises(
    ValueError, match="has no client.int8.onnx; it has client"
  ):
    manifest.file(own, "client.int8.onnx")


def test_the_limit_is_what_that_many_codes_cost(bundle):
  own = manifest.read(bundle)
  budget = own.values["budget"]
  assert manifest.limit(own) == budget["max_queries"] * budget["cost"]
  assert manifest.limit(own, 2) == 2 * budget["cost"]


@pytest.mark.parametrize("asked", [0, -1, 4])
def test_no_more_codes_than_the_guarantee_is_for(bundle, asked):
  with pytest.raises(ValueError, match="guarantee is for 1 to 3"):
    manifest.limit(manifest.read(bundle), asked)


@pytest.mark.parametrize(
  ("cost", "num"),
  # 0.25 for a code.
  [(0.0, 1), (0.25, 1), (0.25 + 1e-12, 1), (0.26, 2), (0.5, 2), (0.75, 3)],
)
def test_what_is_proved_is_of_as_many_codes_rounded_up(bundle, cost, num):
  found = manifest.proved(manifest.read(bundle), cost)
  assert found["num_queries"] == num


def test_past_the_table_nothing_is_claimed(bundle):
  assert manifest.proved(manifest.read(bundle), 0.76) is None
  assert manifest.proved(manifest.read(bundle), 100.0) is None
