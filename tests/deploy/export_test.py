import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.deploy import export
from hybridpriv.deploy.client import sending
from hybridpriv.networks import frozen, resnet

PLATFORMS = {"cpu", "cuda", "tpu"}


def _half():
  """A convolution, a projection, and whole numbers toward zero."""
  keys = jax.random.split(jax.random.key(0), 3)
  parameters = {
    "variables": {
      "params": {
        "conv": {
          "kernel": 0.2 * jax.random.normal(keys[0], (3, 3, 3, 8)),
          "bias": 0.1 * jax.random.normal(keys[1], (8,)),
        }
      }
    },
    "law": {"0": {"components": jax.random.normal(keys[2], (4, 8))}},
  }

  def function(given, x):
    own = given["variables"]["params"]["conv"]
    x = x.astype(jnp.float32) / 255 - 0.5
    x = jax.lax.conv_general_dilated(
      x,
      own["kernel"],
      (2, 2),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    x = jax.nn.relu(x + own["bias"][None, None, None]).mean((1, 2))
    return jnp.trunc(30 * x @ given["law"]["0"]["components"].T)

  return export.Half(function, parameters, (12, 12, 3), np.uint8)


def _inputs(num):
  rng = np.random.default_rng(num)
  return rng.integers(256, size=(num, 12, 12, 3), dtype=np.uint8)


@pytest.fixture
def program():
  """The half as StableHLO."""
  pytest.importorskip("flatbuffers")
  return export.to_stablehlo(_half())


@pytest.mark.parametrize("num", [1, 2, 5, 33])
def test_stablehlo_does_what_jax_does_for_any_number_of_inputs(program, num):
  half = _half()
  call = export.from_stablehlo(program)
  x = _inputs(num)
  expected = half.function(half.parameters, x)
  found = call(half.parameters, x)
  assert found.shape == expected.shape == (num, 4)
  # Whole numbers: what differs does so by a step, and almost nothing does.
  assert np.abs(found - expected).max() <= 1
  assert np.mean(found != expected) <= 0.02
  assert len(np.unique(expected)) > min(num, 3)


def test_parameters_are_an_argument_of_stablehlo(program):
  half = _half()
  other = jax.tree.map(lambda x: 2 * x, half.parameters)
  x = _inputs(3)
  found = export.from_stablehlo(program)(other, x)
  np.testing.assert_allclose(found, half.function(other, x), atol=1)
  assert not np.array_equal(found, half.function(half.parameters, x))
  # Nor are they in the program: that would be as large.
  large = half._replace(
    function=lambda given, x: x.mean((1, 2)) @ given["a"],
    parameters={"a": np.ones((3, 100_000), np.float32)},
  )
  assert len(export.to_stablehlo(large)) < 100_000


def test_stablehlo_runs_on_all_platforms(program):
  exported = jax.export.deserialize(bytearray(program))
  assert set(exported.platforms) == PLATFORMS


def test_stablehlo_refuses_what_is_no_input(program):
  half = _half()
  call = export.from_stablehlo(program)
  with pytest.raises(Exception, match="hape"):
    call(half.parameters, np.zeros((2, 11, 12, 3), np.uint8))


def test_what_is_packed_is_unpacked(tmp_path):
  given = {
    "params": {"a": {"kernel": np.arange(6.0).reshape(2, 3)}, "b": np.int8(3)},
    "law": {"0": {"mean": np.zeros(0, np.float32)}},
    "scale": jnp.asarray(2.5),
  }
  path = tmp_path / "half.npz"
  path.write_bytes(export.pack(given))
  found = export.unpack(path)
  assert jax.tree.structure(found) == jax.tree.structure(given)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(given), strict=True):
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
  """The half as ONNX and in int8."""
  for name in ("jax2onnx", "onnxruntime"):
    pytest.importorskip(name)
  folder = tmp_path_factory.mktemp("graphs")
  path, small = folder / "half.onnx", folder / "half.int8.onnx"
  export.to_onnx(_half(), path)
  export.to_int8(path, _inputs(32), small)
  return path, small


def _run(path, x):
  import onnxruntime

  session = onnxruntime.InferenceSession(
    str(path), providers=["CPUExecutionProvider"]
  )
  return np.concatenate(
    [session.run(["output"], {"input": one[None]})[0] for one in x]
  )


def test_onnx_does_what_jax_does(graphs):
  half, x = _half(), _inputs(40)
  found, expected = _run(graphs[0], x), half.function(half.parameters, x)
  assert found.dtype == np.float32 and found.shape == (40, 4)
  assert np.abs(found - expected).max() <= 1
  assert np.mean(found != expected) <= 0.02


def test_int8_has_whole_numbers_near_by_and_convolutions_in_int8(graphs):
  import onnx

  half, x = _half(), _inputs(40)
  found = _run(graphs[1], x)
  expected = np.asarray(half.function(half.parameters, x))
  np.testing.assert_array_equal(found, np.trunc(found))
  # Steps of 1/255 of each range, through one layer: a few of the grid.
  spread = np.ptp(expected)
  assert np.abs(found - expected).max() <= max(0.1 * spread, 2)
  operators = {node.op_type for node in onnx.load(graphs[1]).graph.node}
  assert "DequantizeLinear" in operators
  names = {t.data_type for t in onnx.load(graphs[1]).graph.initializer}
  assert onnx.TensorProto.INT8 in names


def test_without_the_extra_the_error_says_what_to_install(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, "jax2onnx", None)
  with pytest.raises(ValueError, match=r"pip install 'hybridpriv\[deploy\]'"):
    export.to_onnx(_half(), tmp_path / "half.onnx")
  monkeypatch.setitem(sys.modules, "onnxruntime", None)
  with pytest.raises(ValueError, match="onnxruntime is not installed"):
    export.to_int8(tmp_path / "a", _inputs(1), tmp_path / "b")


@pytest.fixture(scope="module")
def wide():
  """A half whose weights are enough for a converter to care."""
  keys = jax.random.split(jax.random.key(1), 2)
  parameters = {
    "conv": 0.1 * jax.random.normal(keys[0], (3, 3, 3, 128)),
    "components": jax.random.normal(keys[1], (4, 128)),
  }

  def function(given, x):
    x = jax.lax.conv_general_dilated(
      x.astype(jnp.float32) / 255 - 0.5,
      given["conv"],
      (2, 2),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    x = jax.nn.relu(x).mean((1, 2)) @ given["components"].T
    norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return jnp.trunc(40 * x / jnp.maximum(norm, 1))

  return export.Half(function, parameters, (12, 12, 3), np.uint8)


@pytest.mark.parametrize("int8", [False, True])
def test_litert_does_what_jax_does(wide, tmp_path, int8):
  for name in ("tensorflow", "ai_edge_litert"):
    pytest.importorskip(name, reason="the extra `tflite` is not installed")
  path = tmp_path / "half.tflite"
  export.to_tflite(wide, path, int8=int8)
  run, x = sending.load(path), _inputs(40)
  found = np.concatenate([run(one[None]) for one in x])
  expected = np.asarray(wide.function(wide.parameters, x))
  assert found.shape == (40, 4) and len(np.unique(expected)) > 20
  # Clipping and grid are in float32 in both: what the guarantee rests on.
  np.testing.assert_array_equal(found, np.trunc(found))
  assert np.linalg.norm(found, axis=1).max() <= 40
  off = np.abs(found - expected)
  assert off.max() <= (4 if int8 else 1)
  assert int8 or np.mean(off > 0) <= 0.02
  num = 4 * sum(leaf.size for leaf in jax.tree.leaves(wide.parameters))
  assert (path.stat().st_size < num) == int8


def test_without_the_extra_of_litert_the_error_says_what_to_install(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, "tensorflow", None)
  with pytest.raises(ValueError, match=r"pip install 'hybridpriv\[tflite\]'"):
    export.to_tflite(_half(), tmp_path / "half.tflite")


def test_int8_leaves_no_norm_between_convolutions_of_a_folded_network(tmp_path):
  onnx = pytest.importorskip("onnx")
  for name in ("jax2onnx", "onnxruntime"):
    pytest.importorskip(name)
  network = resnet.ResNet(num_classes=2, blocks=(1,), width=0.1)
  x = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
  variables = network.init(jax.random.key(0), x, train=False)
  left = {}
  for name, (own, given) in {
    "as trained": (network, variables),
    "folded": frozen.fold(network, variables),
  }.items():

    def run(given, x, own=own):
      return own.apply(given, x, train=False, upto="block1_1")[0]

    half = export.Half(run, given, x.shape[1:], np.float32)
    paths = [tmp_path / f"{name}{i}.onnx" for i in (1, 2)]
    export.to_onnx(half, paths[0])
    export.to_int8(paths[0], x, paths[1])
    kinds = [node.op_type for node in onnx.load(paths[1]).graph.node]
    left[name] = kinds.count("BatchNormalization")
    found = sending.load(paths[0])(x[:1])
    np.testing.assert_allclose(found, run(given, x[:1]), rtol=1e-4, atol=1e-5)
  assert left == {"as trained": 3, "folded": 0}
