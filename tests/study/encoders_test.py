"""Encoders of other systems: a function, or a file of ONNX."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from configs import audit_codes
from hybridpriv.deploy import export
from hybridpriv.study import codes, encoders, freshness

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(7, 6)).astype("f4")
WEIGHTS = RNG.normal(size=(6, 3)).astype("f4")


def shift(inputs, seed):
  """An encoder of the tests: the inputs, and noise by the seed."""
  noise = np.random.default_rng(seed).normal(size=inputs.shape)
  return inputs + noise


def halve(inputs, train=False):
  """An encoder without noise; its second argument is no seed."""
  return inputs / 2 if train is False else inputs


def product(inputs):
  """An encoder that the files of these tests hold too."""
  return np.maximum(inputs @ WEIGHTS, 0)


def broken(inputs):
  """An encoder that divides by nothing."""
  made = product(inputs)
  made[[2, 5]] = np.nan
  return made


def shorter(inputs):
  """An encoder that loses an input."""
  return product(inputs)[1:]


def test_a_function_makes_the_codes():
  inputs = np.ones((5, 3), "f4")
  made = encoders.encoded("tests.study.encoders_test:shift", inputs, 4)
  assert made.shape == (5, 4, 3) and not freshness.stale(made)
  np.testing.assert_allclose(made[:, 2], shift(inputs, 2), rtol=1e-6)
  plain = encoders.encoded("tests.study.encoders_test:halve", inputs, 2)
  np.testing.assert_array_equal(plain, np.full((5, 2, 3), 0.5))


@pytest.mark.parametrize(
  ("encoder", "message"),
  [
    ("nowhere:f", "there is no encoder 'nowhere:f'"),
    ("tests.study.encoders_test:none", "has no attribute 'none'"),
    (
      "tests.study.encoders_test:broken",
      "not finite of 2 of 7 inputs, the first is number 2",
    ),
    (
      "tests.study.encoders_test:shorter",
      r"made \(6, 3\) of \(7, 6\): expected codes \[n, ...\]",
    ),
    ("none.onnx", "there is no file 'none.onnx', the encoder"),
  ],
)
def test_a_wrong_encoder_is_one_line(encoder, message):
  with pytest.raises(ValueError, match=message) as error:
    encoders.encoded(encoder, INPUTS, 1)
  assert "\n" not in str(error.value)


def test_no_draws_are_no_codes():
  with pytest.raises(ValueError, match="config.data.draws is 0: expected 1"):
    encoders.encoded("tests.study.encoders_test:halve", INPUTS, 0)


def test_without_onnxruntime_it_is_said(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "onnxruntime", None)
  (tmp_path / "a.onnx").write_bytes(b"")
  with pytest.raises(ValueError, match="pip install onnxruntime"):
    encoders.encoded(str(tmp_path / "a.onnx"), INPUTS, 1)


# --- Files.


@pytest.fixture
def onnx_file(tmp_path):
  """Returns a function that writes a file of ONNX: max(x W, 0) of an input
  [n, 6], laid out as asked, in the type that is asked for."""
  pytest.importorskip("onnxruntime")
  onnx = pytest.importorskip("onnx")
  helper, kinds = onnx.helper, onnx.TensorProto

  def write(shape=("n", 6), *, kind="FLOAT", inputs=1, outputs=1, divide=False):
    of = getattr(kinds, kind)
    known = [axis for axis in shape[1:] if isinstance(axis, int)]
    size = 6 if "d" in shape or "a" in shape else int(np.prod(known))
    named = [f"x{i}" for i in range(inputs)]
    nodes = [helper.make_node("Flatten", ["x0"], ["flat"])]
    if kind != "FLOAT":
      nodes = [
        helper.make_node("Cast", ["x0"], ["cast"], to=kinds.FLOAT),
        helper.make_node("Flatten", ["cast"], ["flat"]),
      ]
    nodes.append(helper.make_node("MatMul", ["flat", "w"], ["made"]))
    nodes.append(helper.make_node("Relu", ["made"], ["y0"]))
    if divide:
      nodes[-1] = helper.make_node("Div", ["made", "zero"], ["y0"])
    nodes += [
      helper.make_node("Identity", ["y0"], [f"y{i}"]) for i in range(1, outputs)
    ]
    graph = helper.make_graph(
      nodes,
      "encoder",
      [helper.make_tensor_value_info(name, of, shape) for name in named],
      [
        helper.make_tensor_value_info(f"y{i}", kinds.FLOAT, None)
        for i in range(outputs)
      ],
      [
        onnx.numpy_helper.from_array(WEIGHTS[:size], "w"),
        onnx.numpy_helper.from_array(np.zeros((1, 3), "f4"), "zero"),
      ],
    )
    model = helper.make_model(
      graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    path = tmp_path / "encoder.onnx"
    onnx.save(model, path)
    return str(path)

  return write


@pytest.mark.parametrize(
  ("shape", "kind"),
  [
    (("n", 6), "FLOAT"),
    (("n", "d"), "FLOAT"),
    (("n", 6), "DOUBLE"),
    (("n", 6), "FLOAT16"),
    (("n", 2, 3), "FLOAT"),
    ((1, 6), "FLOAT"),  # as launch/export.py writes them
    ((3, 2, 3, 1), "FLOAT"),  # the last of seven inputs alone
    ((10, 6), "FLOAT"),
  ],
)
def test_a_file_makes_the_codes_of_the_function(onnx_file, shape, kind):
  made = encoders.encoded(onnx_file(shape, kind=kind), INPUTS, 2)
  same = encoders.encoded("tests.study.encoders_test:product", INPUTS, 2)
  assert made.shape == (7, 2, 3) and made.dtype == np.float32
  assert np.ptp(same) > 1  # of something
  rough = 2e-2 if kind == "FLOAT16" else 1e-5
  np.testing.assert_allclose(made, same, rtol=0, atol=rough)


def test_a_file_that_takes_any_number_gets_some_at_a_time(
  onnx_file, monkeypatch
):
  runtime, sizes = pytest.importorskip("onnxruntime"), []

  class Seen(runtime.InferenceSession):
    def run(self, names, given, *more):
      sizes.extend(len(x) for x in given.values())
      return super().run(names, given, *more)

  monkeypatch.setattr(runtime, "InferenceSession", Seen)
  monkeypatch.setattr(encoders, "_TOGETHER", 3)
  made = encoders.encoded(onnx_file(), INPUTS, 1)[:, 0]
  np.testing.assert_allclose(made, product(INPUTS), rtol=0, atol=1e-5)
  assert sizes == [3, 3, 3]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"inputs": 2}, r"has inputs \['x0', 'x1'\] and outputs \['y0'\]"),
    ({"outputs": 2}, r"outputs \['y0', 'y1'\]: expected one of each"),
    ({"shape": ("n", 5)}, r"takes \['n', 5\], and the inputs are \[7, 6\]"),
    ({"shape": ("n", 2, 2)}, r"takes \['n', 2, 2\].*expected \[n, 6\]"),
    ({"shape": ("n", "a", 3)}, r"takes \['n', 'a', 3\]"),
    ({"shape": ("n",)}, r"takes \['n'\], and the inputs"),
    ({"kind": "INT64"}, r"takes tensor\(int64\): expected one of"),
    ({"divide": True}, "codes that are not finite of 7 of 7 inputs"),
  ],
)
def test_a_file_that_does_not_fit_is_one_line(onnx_file, options, message):
  with pytest.raises(ValueError, match=message) as error:
    encoders.encoded(onnx_file(**options), INPUTS, 1)
  assert "\n" not in str(error.value)


def test_pixels_are_pixels(onnx_file):
  path = onnx_file(kind="UINT8")
  pixels = RNG.integers(0, 256, (7, 6)).astype("f4")
  made = encoders.encoded(path, pixels, 1)[:, 0]
  np.testing.assert_allclose(made, product(pixels), rtol=1e-4, atol=1e-2)
  for wrong in (pixels / 255, pixels - 255.5, pixels - 300):
    with pytest.raises(ValueError, match="takes whole numbers from 0 to 255"):
      encoders.encoded(path, wrong, 1)


def test_a_client_half_that_was_exported_here_is_an_encoder(tmp_path):
  pytest.importorskip("jax2onnx")
  pytest.importorskip("onnxruntime")
  half = export.Half(
    lambda weights, x: jnp.maximum(x.reshape(len(x), -1) @ weights, 0),
    jnp.asarray(WEIGHTS),
    (2, 3),
    jnp.float32,
  )
  path = tmp_path / "client.onnx"
  export.to_onnx(half, path)
  made = encoders.encoded(str(path), INPUTS, 1)
  np.testing.assert_allclose(made[:, 0], product(INPUTS), atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"codes", b"PK\x03\x04\n\n" * 50])
def test_a_foreign_file_is_one_line(tmp_path, content):
  pytest.importorskip("onnxruntime")
  path = tmp_path / "encoder.onnx"
  path.write_bytes(content)
  with pytest.raises(ValueError, match="cannot be read as ONNX") as error:
    encoders.encoded(str(path), INPUTS, 1)
  assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_file_that_fails_while_it_runs_is_one_line(onnx_file):
  # The free axis is not what it says.
  path = onnx_file(("n", "d"))
  with pytest.raises(ValueError, match=r"fails on inputs \(7, 5\)") as error:
    encoders.encoded(path, INPUTS[:, :5], 1)
  assert "\n" not in str(error.value)


def test_a_study_takes_the_file_from_its_configuration(onnx_file, tmp_path):
  inputs = RNG.normal(size=(120, 6)).astype("f4")
  person = np.repeat(np.arange(12), 10)
  np.savez(
    tmp_path / "inputs.npz", inputs=inputs, private=person % 2, person=person
  )
  config = audit_codes.get_config("tiny").to_dict()
  config["data"] |= {
    "path": str(tmp_path / "inputs.npz"),
    "encoder": onnx_file(),
    "draws": 3,
  }
  setup = codes.prepare(config, tmp_path / "w")
  assert setup.data.inputs.shape == (120, 3, 3)
  np.testing.assert_allclose(
    setup.data.inputs[:, 0], product(inputs), atol=1e-5
  )
  # A file draws no noise here, and the card will say that none is fresh.
  assert "draws repeat" in freshness.stale(setup.data.inputs)
  before = codes.digest(config)
  onnx_file(("n", 2, 3))
  assert codes.digest(config) != before
