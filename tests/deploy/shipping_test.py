import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from hybridpriv import build, study
from hybridpriv.deploy import export
from hybridpriv.deploy.client import inputs, manifest, sending
from hybridpriv.guarantees import guarantee
from hybridpriv.study import fitting, halves, price, shipping

STRONG, WEAK = "simple/certified sigma=12", "simple/certified sigma=6"


@pytest.fixture(scope="module")
def own(bundle):
  return manifest.read(bundle)


@pytest.fixture(scope="module")
def setup(pictures):
  return shipping.read(pictures)


def _row(setup, name):
  (row,) = [row for row in build.rows(setup.config) if row.name == name]
  return row, fitting.read_law(setup, 0, 0, row)


def test_a_study_is_read_from_its_workdir_alone(setup, pictures):
  there = json.loads((pictures / "config.json").read_text())["config"]
  assert json.loads(json.dumps(setup.config)) == there
  again = study.prepare(setup.config, pictures)
  np.testing.assert_array_equal(again.data.inputs, setup.data.inputs)


def test_what_is_no_finished_study_is_one_clear_error(tmp_path, pictures):
  with pytest.raises(ValueError, match="there is no workdir"):
    shipping.run(tmp_path / "nowhere", tmp_path / "out")
  with pytest.raises(ValueError, match="is no workdir of a study"):
    shipping.run(tmp_path, tmp_path / "out")
  shutil.copy(pictures / "config.json", tmp_path)
  with pytest.raises(ValueError, match="nothing is fitted yet"):
    shipping.run(tmp_path, tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_rows_that_do_not_ship_are_refused_and_those_that_do_are_named(setup):
  for name in ("simple/identity", "simple/nothing"):
    with pytest.raises(ValueError) as caught:
      halves.choose(setup, name, 0)
    assert STRONG in str(caught.value) and WEAK in str(caught.value)
    assert f"--row={name}" in str(caught.value)


@pytest.mark.parametrize("name", [STRONG, WEAK])
def test_a_row_that_ships_is_taken_by_its_name(setup, name):
  chosen = halves.choose(setup, name, 0)
  assert chosen.row.name == name
  assert chosen.proved.sigma == {STRONG: 12.0, WEAK: 6.0}[name]


def test_without_a_name_it_is_the_operating_point(setup):
  selected = fitting.read_rows(setup)
  (name,) = [n for n in (STRONG, WEAK) if selected[n]["selected"]]
  assert halves.choose(setup, "", 0).row.name == name


def test_a_seed_that_there_is_not_is_refused(setup):
  for seed in (-1, 1):
    with pytest.raises(ValueError, match=f"seed={seed}; the study has 1"):
      halves.choose(setup, "", seed)


def _without(setup, member, knob):
  """The study, as if its certified chain lacked a member."""
  config = dict(setup.config)
  privatizers = dict(config["privatizers"])
  entry = dict(privatizers["certified"])
  entry["chain"] = tuple(m for m in entry["chain"] if m != member)
  del entry[knob]
  privatizers["certified"] = entry
  return setup._replace(config=config | {"privatizers": privatizers})


@pytest.mark.parametrize(
  ("member", "knob"),
  [
    ("clip.unit_ball", "clip_norm"),
    ("quantize.toward_zero", "levels"),
    ("quantize.saturate", "bits"),
  ],
)
def test_a_chain_that_lacks_a_member_does_not_ship(
  setup, member, knob, monkeypatch
):
  found = {stage.name: law for stage, law in _members(setup)}
  changed = _without(setup, member, knob)
  monkeypatch.setattr(
    fitting,
    "read_law",
    lambda setup, fold, seed, row: tuple(
      found[stage.name] for stage in row.privatizer.stages
    ),
  )
  # The same with all members does.
  assert halves.choose(setup, "", 0)
  with pytest.raises(ValueError, match="no defence of this study ships"):
    halves.choose(changed, "", 0)


def _members(setup):
  row, law = _row(setup, STRONG)
  return zip(row.privatizer.stages, law, strict=True)


def test_the_guarantee_is_the_one_of_the_chain_for_one_and_more_codes(
  setup, own
):
  row, law = _row(setup, own.values["row"])
  people = setup.data.labels["person"][setup.folds[0].audit]
  num = len(np.unique(people))
  budget = own.values["budget"]
  assert [e["num_queries"] for e in budget["table"]] == [1, 2, 3, 4, 5]
  for entry in budget["table"]:
    proved = guarantee.of(
      row.privatizer, law, size=4, num_queries=entry["num_queries"]
    )
    assert entry["epsilon"] == proved.epsilon(entry["delta"])
    assert set(entry["success"]) == {"person"}
    found = entry["success"]["person"]
    assert found["blind"] == pytest.approx(1 / num)
    expected = proved.success(np.full(num, 1 / num), same=True)
    assert found["success"] == pytest.approx(expected, abs=1e-9)
  one = guarantee.of(row.privatizer, law, size=4)
  code = own.values["code"]
  assert one.law == own.values["guarantee"]["law"] == guarantee.DISCRETE
  assert (code["radius"], code["sigma"]) == (one.clip_norm, one.sigma)
  assert code["radius"] == pytest.approx(24)
  assert code["grid"] == pytest.approx(1 / 24)  # of the ball of radius 1
  # What adds up over codes, of this and other bundles.
  assert budget["cost"] == pytest.approx((one.clip_norm / one.sigma) ** 2)


def test_it_is_said_from_where_on_nothing_is_proved(own):
  budget = own.values["budget"]
  said = price.summary(budget)
  for target in budget["table"][0]["success"]:
    spent = [
      row["num_queries"]
      for row in budget["table"]
      if row["success"][target]["success"] >= 0.99
    ]
    assert (
      spent
      and f"from code {spent[0]} on nothing is proved of {target}" in (said)
    )
  first = budget | {"table": budget["table"][:1]}
  is_proved = all(
    s["success"] < 0.99 for s in first["table"][0]["success"].values()
  )
  assert ("warning" in price.summary(first)) != is_proved


def test_more_codes_prove_less(own):
  table = own.values["budget"]["table"]
  for before, after in zip(table, table[1:], strict=False):
    assert before["epsilon"] < after["epsilon"]
    success = [e["success"]["person"]["success"] for e in (before, after)]
    assert success[0] <= success[1]


def _codes(setup, row, law, index):
  """Codes before the noise, by the members one after another."""
  system = fitting.load_system(setup, 0, 0, "simple siamese.weight=0")
  x = system.features(index)
  for stage, own in zip(row.privatizer.stages[:-2], law[:-2], strict=True):
    x = np.asarray(stage.encode(own, jax.random.key(0), x))
  return x


def test_the_client_half_makes_the_codes_of_the_study(setup, bundle, own):
  row, law = _row(setup, own.values["row"])
  index = setup.folds[0].audit
  expected = _codes(setup, row, law, index)
  run = sending.model(own)
  found = np.concatenate([run(x[None]) for x in setup.data.inputs[index]])
  assert np.abs(found - expected).max() <= 1
  assert np.mean(found != expected) <= 0.02
  # And so does the other form of it.
  call = export.from_stablehlo((bundle / "client.stablehlo").read_bytes())
  parameters = export.unpack(bundle / "client.npz")
  again = call(parameters, setup.data.inputs[index])
  assert np.abs(again - expected).max() <= 1
  assert np.mean(again != expected) <= 0.02
  assert np.linalg.norm(found, axis=1).max() <= own.values["code"]["radius"]


def test_no_processor_overflows_in_int8(bundle):
  onnx = pytest.importorskip("onnx")
  graph = onnx.load(bundle / "client.int8.onnx").graph
  weights = [
    onnx.numpy_helper.to_array(t).astype(int)
    for t in graph.initializer
    if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1
  ]
  assert weights
  # Two products of them with 255 are added up in 16 bits.
  assert max(np.abs(w).max() for w in weights) <= 64


def test_the_cloud_half_answers_as_the_study_does(setup, bundle, own):
  row, law = _row(setup, own.values["row"])
  codes = np.random.default_rng(0).integers(-40, 40, (7, 4)).astype(np.int8)
  call = export.from_stablehlo((bundle / "cloud.stablehlo").read_bytes())
  found = call(export.unpack(bundle / "cloud.npz"), codes)
  system = fitting.load_system(setup, 0, 0, "simple siamese.weight=0")
  system = fitting.retuned(setup, 0, 0, system, row)
  feature = row.privatizer.decode(law, codes)
  expected = system.network.apply(
    system.variables, feature, train=False, after="inner"
  )[0]
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  plain = fitting.load_system(setup, 0, 0, "simple siamese.weight=0")
  other = plain.network.apply(
    plain.variables, feature, train=False, after="inner"
  )[0]
  retunes = setup.config["train"]["retune_cloud"]
  assert np.allclose(other, expected, rtol=1e-5, atol=1e-5) != retunes


def test_the_manifest_describes_input_answers_and_codes(setup, own):
  values = own.values
  assert values["input"]["kind"] == "image"
  assert values["input"]["shape"] == [16, 16, 3]
  assert values["input"]["dtype"] == "uint8"
  assert values["answers"] == {"answer": ["no", "yes"]}
  assert (values["cut"], values["train_seed"]) == ("inner", 0)
  assert values["synthetic"] and values["export"]["command"] == "as typed"
  row, law = _row(setup, values["row"])
  codes = _codes(setup, row, law, setup.folds[0].train)
  code = values["code"]
  assert (code["k"], code["bits"]) == (4, 8)
  np.testing.assert_allclose(code["low"], codes.min(0), atol=1)
  np.testing.assert_allclose(code["high"], codes.max(0), atol=1)


def test_utilities_in_the_manifest_are_those_of_the_halves(
  setup, exported, own
):
  bundle, lines = exported
  index = setup.folds[0].validation
  label = setup.data.labels["answer"][index]
  cloud = export.from_stablehlo((bundle / "cloud.stablehlo").read_bytes())
  parameters = export.unpack(bundle / "cloud.npz")
  found = own.values["export"]
  assert found["judged_on"] == len(index)
  for name in ("client.onnx", "client.int8.onnx"):
    run = sending.load(bundle / name)
    codes = np.concatenate([run(x[None]) for x in setup.data.inputs[index]])
    answer = np.asarray(cloud(parameters, codes.astype(np.int8))).argmax(-1)
    right = answer == label
    balanced = np.mean([right[label == c].mean() for c in (0, 1)])
    assert found[name]["utility"] == pytest.approx(balanced, abs=1e-6)
    text = f"{name}: utility {100 * balanced:.1f} %"
    assert any(line.startswith(text) for line in lines)
    size = (bundle / name).stat().st_size
    assert found[name]["num_bytes"] == size
  row, law = _row(setup, own.values["row"])
  jax_codes = _codes(setup, row, law, index)
  run = sending.load(bundle / "client.int8.onnx")
  codes = np.concatenate([run(x[None]) for x in setup.data.inputs[index]])
  small = found["client.int8.onnx"]
  assert small["different"] == pytest.approx(
    np.mean(codes != jax_codes), abs=0.02
  )
  assert small["most_steps"] == pytest.approx(
    np.abs(codes - jax_codes).max(), abs=1
  )


def test_a_mean_over_labels_is_not_one_over_their_classes(setup):
  # Two of two classes are right of one label, and one of four of another.
  labels = {"few": np.asarray([0, 1, 0, 1]), "many": np.arange(4)}
  answers = {"few": np.asarray([0, 1, 0, 1]), "many": np.zeros(4, int)}
  data = type("Data", (), {"labels": labels})
  made = setup._replace(data=data)
  found = shipping._utility(made, np.arange(4), answers)
  assert found == pytest.approx((1 + 0.25) / 2)


@pytest.mark.parametrize("int8", [True, False])
def test_litert_is_exported_on_demand_and_judged_as_the_others(
  pictures, tmp_path, monkeypatch, exported, int8
):
  made = []

  def write(half, path, int8=False):
    made.append(path.name)
    path.write_bytes(b"a graph")

  exact = sending.load
  other = {}

  def load(path):
    if path.suffix != ".onnx":
      return other["client.onnx"]
    other[path.name] = exact(path)
    return other[path.name]

  monkeypatch.setattr(export, "to_tflite", write)
  monkeypatch.setattr(sending, "load", load)
  out = tmp_path / "out"
  own = shipping.run(
    pictures, out, tflite=True, int8=int8, say=lambda line: None
  )
  names = ["client.tflite", *(["client.int8.tflite"] if int8 else [])]
  assert made == names
  for name in names:
    assert (out / name).read_bytes() == b"a graph"
    assert name in own.values["files"] and name in own.values["export"]


def test_a_bundle_that_is_there_is_refused_before_any_work(pictures, bundle):
  before = sorted((p, p.stat().st_mtime_ns) for p in bundle.rglob("*"))
  with pytest.raises(ValueError, match="is there: remove it"):
    shipping.run(pathlib.Path("/proc/nowhere"), bundle)
  assert sorted((p, p.stat().st_mtime_ns) for p in bundle.rglob("*")) == before


def test_samples_are_taken_from_all_over():
  index = np.arange(100, 110)
  np.testing.assert_array_equal(shipping._spread(index, 20), index)
  np.testing.assert_array_equal(shipping._spread(index, 10), index)
  np.testing.assert_array_equal(
    shipping._spread(index, 4), [100, 102, 105, 107]
  )


def test_a_study_of_signals_ships_without_int8(signals, tmp_path):
  own = shipping.run(
    signals, tmp_path / "out", int8=False, max_queries=1, say=lambda _: None
  )
  assert own.values["input"]["kind"] == "signal"
  # Its BatchNorms are in its convolutions; codes below are those as trained.
  for half in ("client", "cloud"):
    parameters = export.unpack(own.folder / f"{half}.npz")
    assert "batch_stats" not in parameters["variables"]
  assert own.values["input"]["shape"] == [16, 3]
  assert "client.int8.onnx" not in own.values["files"]
  made = shipping.read(signals)
  # A window as text is the window again.
  rows = made.data.inputs[0].tolist()
  table = "".join(",".join(map(repr, row)) + "\n" for row in rows)
  (tmp_path / "window.csv").write_text(table)
  window = inputs.read(tmp_path / "window.csv", own.values["input"])
  np.testing.assert_array_equal(window, made.data.inputs[0])
  index = made.folds[0].audit
  run = sending.model(own)
  found = np.concatenate([run(x[None]) for x in made.data.inputs[index]])
  row, law = _row(made, own.values["row"])
  expected = _codes(made, row, law, index)
  assert np.abs(found - expected.reshape(found.shape)).max() <= 1
