"""The imported recognizer against its runtime, and files that are not it."""

import functools
import pathlib
import zipfile

import dlib as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.data import images
from hybridpriv.networks import dlib, pretrained, staged

NETWORK = dlib.resnet29_dlib(num_classes=128)


@pytest.fixture(scope="module")
def file() -> pathlib.Path:
  return pretrained._shipped()


@functools.cache
def embed():
  variables = pretrained.resnet29_dlib()

  @jax.jit
  def run(pictures):
    mean = jnp.asarray(dlib.MEAN)[None, None, None]
    x = (pictures.astype(jnp.float32) - mean) / dlib.SCALE
    return NETWORK.apply(variables, x, train=False)[0]

  return run


def test_the_stages_have_the_published_sizes():
  table = {row.name: row for row in staged.describe(NETWORK, (150, 150, 3))}
  assert sum(row.num_params for row in table.values()) == 5_614_592
  for block, shape in (
    (3, (35, 35, 32)),
    (7, (17, 17, 64)),
    (10, (8, 8, 128)),
    (13, (4, 4, 256)),
    (14, (2, 2, 256)),
  ):
    assert table[f"block{block}"].shape == shape


def test_images_that_are_too_small_are_one_clear_error():
  assert staged.describe(NETWORK, (103, 103, 3))[-1].shape == (128,)
  with pytest.raises(ValueError, match="at least 103 x 103 pixels"):
    staged.describe(NETWORK, (103, 102, 3))


def test_the_imported_recognizer_equals_its_runtime(file):
  rng = np.random.default_rng(0)
  smooth = rng.uniform(0, 255, (5, 10, 10, 3)).repeat(15, 1).repeat(15, 2)
  noisy = rng.uniform(0, 255, (3, 150, 150, 3))
  pictures = np.concatenate([smooth, noisy]).astype(np.uint8)
  judge = reference.face_recognition_model_v1(str(file))
  expected = [judge.compute_face_descriptor(picture) for picture in pictures]
  found = embed()(pictures)
  np.testing.assert_allclose(found, np.asarray(expected), atol=1e-4)
  assert np.std(found, axis=0).max() > 0.05  # pictures are told apart


def test_a_skip_of_another_shape_is_filled_with_zeros():
  a, b = jnp.ones((1, 4, 4, 2)), jnp.ones((1, 3, 3, 5))
  total = np.asarray(dlib._add(a, b))
  assert total.shape == (1, 4, 4, 5)
  np.testing.assert_array_equal(total[0, :3, :3, :2], 2)
  np.testing.assert_array_equal(total[0, 3, :, 2:], 0)
  assert total.sum() == 4 * 4 * 2 + 3 * 3 * 5


def one_more(*sizes: int) -> bytes:
  """A layer as dlib writes it: its own numbers, then a tensor."""
  sizes = (*sizes, 1, 1, 1, 1)[:4]
  header = b"".join(pretrained._dlib_integer(n) for n in (2, *sizes))
  return 92 * b"\1" + header + np.ones(sizes, "<f4").tobytes()


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda content: content[:-1000], "cut short: fc ends at byte"),
    (lambda content: content[: len(content) // 2], "cut short: block1"),
    (lambda content: b"PK" + 5000 * b"\x07", "no tensor of 4736 numbers"),
    (lambda content: b"", "no tensor of 4736 numbers for stem"),
    (lambda content: content + one_more(64, 1), "for 430 bytes behind fc"),
    (lambda content: content + content, "for 22466138 bytes behind fc"),
    # Behind the first convolution, which ends there: in place of what scales
    # it, or before that.
    (
      lambda content: content[:19296] + one_more(64, 1) + content[19296:],
      "no tensor of 9248 numbers for block1",
    ),
    (
      lambda content: content[:19296] + one_more(32, 2) + content[19296:],
      "no tensor of 64 numbers for stem, after byte 19296",
    ),
    (
      lambda content: content[:400] + b"\xff\xff\xff\x7f" + content[404:],
      "stem holds numbers that are not finite",
    ),
  ],
)
def test_a_wrong_file_is_one_clear_error(file, tmp_path, change, message):
  wrong = tmp_path / "weights.dat"
  wrong.write_bytes(change(file.read_bytes()))
  with pytest.raises(ValueError, match=message) as error:
    pretrained.resnet29_dlib(str(wrong))
  assert str(wrong) in str(error.value)


def test_a_missing_file_is_one_clear_error(tmp_path):
  with pytest.raises(ValueError, match=r"cannot read the weights .*none\.dat"):
    pretrained.resnet29_dlib(str(tmp_path / "none.dat"))


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
  monkeypatch.setattr(pretrained, "_PACKAGE", "no-such-package")
  with pytest.raises(ValueError, match="pip install no-such-package"):
    pretrained.resnet29_dlib()


@pytest.mark.slow
def test_pairs_of_photographs_are_told_apart(published):
  folder = pathlib.Path(published("lfw"))
  pairs, same = [], []
  for line in (folder / "pairs.txt").read_text().splitlines()[1:601]:
    parts = line.split("\t")
    same.append(len(parts) == 3)
    a, b = (parts[0], parts[1]), (parts[-2], parts[-1])
    b = (parts[0], parts[2]) if same[-1] else b
    pairs.append([f"{n}/{n}_{int(i):04}.jpg" for n, i in (a, b)])
  with zipfile.ZipFile(folder / "images.zip") as archive:
    pictures = [
      [images.decode(archive.read(name), size=150, crop=108) for name in pair]
      for pair in pairs
    ]
  found = np.stack([embed()(np.stack(pair)) for pair in pictures])
  distance = np.linalg.norm(found[:, 0] - found[:, 1], axis=1)
  assert np.mean((distance < 0.6) == np.asarray(same)) >= 0.965
