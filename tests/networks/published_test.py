"""Matching by name on a network of three layers, and what files are refused."""

import io
import pathlib
import pickle
import sys
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from hybridpriv.networks import published

RNG = np.random.default_rng(0)
# As a file in the order of torch has them; dense sees an image of 2 x 3 x 4.
TENSORS = {
  name: RNG.normal(size=shape).astype("f4")
  for name, shape in {
    "one.weight": (4, 3, 3, 3),
    "one.bias": (4,),
    "two.weight": (5, 4 * 2 * 3),
    "two.bias": (5,),
    "three.weight": (7, 5),
    "three.bias": (7,),
  }.items()
}
VARIABLES = {
  "params": {
    "conv": {
      "conv": {
        "kernel": np.einsum("oihw->hwio", TENSORS["one.weight"]),
        "bias": TENSORS["one.bias"],
      }
    },
    "dense": {
      "dense": {
        "kernel": np.einsum(
          "oihw->hwio", TENSORS["two.weight"].reshape(5, 4, 2, 3)
        ).reshape(24, 5),
        "bias": TENSORS["two.bias"],
      }
    },
    "head": {
      "dense": {
        "kernel": TENSORS["three.weight"].T,
        "bias": TENSORS["three.bias"],
      }
    },
  }
}
NAMING = published.Naming(
  layers={
    ("conv", "conv"): "one",
    ("dense", "dense"): "two",
    ("head", "dense"): "three",
  },
  leaves={"kernel": ".weight", "bias": ".bias"},
  order="OIHW",
  grids={"dense": (2, 3)},
  shifts={},
  channels="rgb",
)
KERAS = NAMING._replace(
  leaves={"kernel": "/kernel", "bias": "/bias"}, order="HWIO", channels="bgr"
)


def write(folder: pathlib.Path, tensors, form: str = "safetensors") -> str:
  path = folder / "weights"  # the content says what it is
  packed: dict[str, Any] = {
    name: np.ascontiguousarray(value) for name, value in tensors.items()
  }
  if form == "safetensors":
    safetensors.save_file(packed, path)
  else:
    with path.open("wb") as file:
      np.savez(file, **packed)
  return str(path)


def load(path, *, like=VARIABLES, channels="rgb", head="keep"):
  return published.load(
    path,
    like,
    [NAMING, KERAS],
    channels=channels,
    head=head,
    first="conv",
    last="head",
  )


def assert_equal_trees(found, expected):
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype("f4")}


@pytest.mark.parametrize("form", ["safetensors", "npz"])
def test_every_tensor_is_found_and_reported(tmp_path, form):
  tensors = TENSORS | {"one.num_batches_tracked": np.asarray(7)}
  variables, report = load(write(tmp_path, tensors, form))
  assert_equal_trees(variables, VARIABLES)
  assert set(report.matched) == {
    ("conv/conv/kernel", "one.weight"),
    ("conv/conv/bias", "one.bias"),
    ("dense/dense/kernel", "two.weight"),
    ("dense/dense/bias", "two.bias"),
    ("head/dense/kernel", "three.weight"),
    ("head/dense/bias", "three.bias"),
  }
  assert str(report) == ("6 tensors matched; 1 unused: one.num_batches_tracked")


@pytest.mark.parametrize("form", ["safetensors", "npz"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floats_become_float32(tmp_path, form, dtype):
  tensors = {n: v.astype(jnp.dtype(dtype)) for n, v in TENSORS.items()}
  variables, _ = load(write(tmp_path, tensors, form))
  rounded = jax.tree.map(
    lambda v: v.astype(jnp.dtype(dtype)).astype("f4"), VARIABLES
  )
  assert_equal_trees(variables, rounded)


def test_big_endian_arrays_are_read(tmp_path):
  tensors = {name: v.astype(">f4") for name, v in TENSORS.items()}
  assert_equal_trees(load(write(tmp_path, tensors, "npz"))[0], VARIABLES)


def without(*names):
  return {name: v for name, v in TENSORS.items() if name not in names}


def changed(name, change):
  return TENSORS | {name: change(TENSORS[name])}


@pytest.mark.parametrize(
  "tensors, message",
  [
    (
      without("one.bias", "two.weight"),
      r"4 tensors matched; 2 missing: conv/conv/bias \(one\.bias\),"
      r" dense/dense/kernel \(two\.weight\)$",
    ),
    (
      {"one.bias": TENSORS["one.bias"]},
      r"1 tensors matched; 5 missing: .* and 1 more$",
    ),
    (
      TENSORS | {"four.weight": np.ones(3, "f4"), "a.steps": np.asarray(1)},
      r"6 tensors matched; 2 unused: four\.weight, a\.steps$",
    ),
    (
      changed("three.weight", lambda v: np.ones((1000, 5), "f4")),
      r"three\.weight \(1000, 5\), wanted \(7, 5\);"
      r' head="drop" leaves the last layer out',
    ),
    (
      without("three.weight", "three.bias"),
      r'2 missing: head/.*; head="drop" leaves the last layer out',
    ),
    (
      changed("two.weight", lambda v: np.ones((5, 4 * 49), "f4")),
      r"two\.weight \(5, 196\), wanted \(5, 24\);"
      " it was made for images of another size",
    ),
    (
      changed("one.weight", lambda v: v.transpose(2, 3, 1, 0)),
      r"one\.weight \(3, 3, 3, 4\), wanted \(4, 3, 3, 3\);"
      r" one\.weight lies as HWIO; such names go with OIHW",
    ),
    (
      changed("two.weight", lambda v: v.T),
      r"two\.weight lies as IO; such names go with OI",
    ),
    (
      {
        name.replace(".weight", "/kernel").replace(".bias", "/bias"): value
        for name, value in TENSORS.items()
      },
      r"one/kernel lies as OIHW; such names go with HWIO",
    ),
    (
      changed("one.weight", lambda v: v.reshape(4, 27)),
      r"one\.weight \(4, 27\), wanted \(4, 3, 3, 3\)$",
    ),
    (
      changed("two.bias", lambda v: v * np.inf),
      r"two\.bias holds numbers that are not finite",
    ),
    (
      changed("two.bias", lambda v: v.astype("f8") * 1e300),
      r"two\.bias holds numbers that are not finite in float32",
    ),
    (
      changed("two.weight", lambda v: v.astype("i1")),
      r"two\.weight holds int8; expected floating point",
    ),
    (
      TENSORS | {"module.one.bias": np.ones(4, "f4")},
      r"module\.one\.bias and one\.bias are names of one tensor",
    ),
    (
      {"encoder.weight": np.ones(3, "f4")},
      r"names such as encoder\.weight are not known; expected"
      r" one\.weight or one/kernel",
    ),
  ],
)
def test_weights_that_do_not_fit_are_one_clear_error(
  tmp_path, tensors, message
):
  path = write(tmp_path, tensors)
  with pytest.raises(ValueError, match=message) as error:
    load(path)
  assert path in str(error.value)


@pytest.mark.parametrize("has_head", [True, False])
def test_a_dropped_head_is_left_out_whatever_the_file_has(tmp_path, has_head):
  names = ("three.bias", "three.weight")
  tensors = without(*names)
  if has_head:  # of another task
    tensors |= {names[0]: np.ones(1000, "f4"), names[1]: np.ones((1000, 5))}
  variables, report = load(write(tmp_path, tensors), head="drop")
  kept = {k: v for k, v in VARIABLES["params"].items() if k != "head"}
  assert_equal_trees(variables, {"params": kept})
  assert report.missing == (
    ("head/dense/kernel", "three.weight"),
    ("head/dense/bias", "three.bias"),
  )
  assert report.unused == (names if has_head else ())


def test_a_dropped_head_excuses_nothing_else(tmp_path):
  path = write(tmp_path, without("three.weight", "two.bias"))
  with pytest.raises(ValueError, match=r"dense/dense/bias \(two\.bias\)"):
    load(path, head="drop")


def archive(name: str, content: bytes) -> bytes:
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, "w") as file:
    file.writestr(name, content)
  return stream.getvalue()


def objects() -> bytes:
  stream = io.BytesIO()
  np.savez(stream, a=np.asarray([Trap()], dtype=object))
  return stream.getvalue()


class Trap:
  """An object whose unpickling is noticed."""

  def __reduce__(self):
    return sys.exit, ("unpickled",)


@pytest.mark.parametrize(
  "content, message",
  [
    (lambda: b"", "neither safetensors nor npz"),
    (lambda: pickle.dumps({"a": Trap()}), "Pickles and HDF5 are not read"),
    (lambda: b"\x89HDF\r\n\x1a\n" + 99 * b"\0", "Pickles and HDF5"),
    (lambda: b"some text, many bytes long", "it starts with b'some tex'"),
    (lambda: b"PK" + 99 * b"\x07", "cut short or no npz"),
    (lambda: b"12345678{" + 99 * b"x", "cut short or no safetensors"),
    (objects, "no npz of numbers: Object arrays"),
    (
      lambda: archive("archive/data.pkl", pickle.dumps(Trap())),
      "holds archive/data.pkl, which is no array.*save its state_dict",
    ),
    (
      lambda: safetensors.save({"a": np.ones(4, jnp.float8_e4m3fn)}),
      "a is F8_E4M3; expected F32, F16 or BF16",
    ),
  ],
)
def test_a_foreign_file_is_one_clear_error(tmp_path, content, message):
  path = tmp_path / "weights.safetensors"
  path.write_bytes(content())
  with pytest.raises(ValueError, match=message) as error:
    load(str(path))
  assert str(path) in str(error.value)


@pytest.mark.parametrize("form", ["safetensors", "npz"])
@pytest.mark.parametrize("share", [0.03, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_one_clear_error(tmp_path, form, share):
  path = pathlib.Path(write(tmp_path, TENSORS, form))
  content = path.read_bytes()
  path.write_bytes(content[: int(share * len(content))])
  with pytest.raises(ValueError, match=f"cut short or no {form}"):
    load(str(path))


def test_damaged_bytes_in_an_archive_are_one_clear_error(tmp_path):
  path = pathlib.Path(write(tmp_path, TENSORS, "npz"))
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 255
  path.write_bytes(content)
  with pytest.raises(ValueError, match="no npz of numbers: Bad CRC"):
    load(str(path))


def test_a_missing_file_is_one_clear_error(tmp_path):
  with pytest.raises(ValueError, match=r"cannot read the weights .*none"):
    load(str(tmp_path / "none"))


def test_without_the_package_the_error_says_what_to_install(
  tmp_path, monkeypatch
):
  path = write(tmp_path, TENSORS)
  monkeypatch.setitem(sys.modules, "safetensors", None)
  with pytest.raises(
    ValueError, match=r"pip install 'hybridpriv\[pretrained\]'"
  ):
    load(path)


def test_unknown_settings_are_refused(tmp_path):
  path = write(tmp_path, TENSORS)
  with pytest.raises(ValueError, match="channels='RGB'; expected \"rgb\""):
    load(path, channels="RGB")
  with pytest.raises(ValueError, match="head='no'; expected \"keep\""):
    load(path, head="no")
  variables = jax.tree.map(lambda v: v, VARIABLES)
  variables["params"]["conv"]["conv"]["kernel"] = np.ones((3, 3, 1, 4))
  with pytest.raises(ValueError, match="3 channels; these have 1"):
    load(path, like=variables, channels="bgr")
