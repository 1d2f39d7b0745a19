"""Pictures that are decoded whenever they are read are those decoded once."""

import io
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("grain", reason="Grain is not installed")

from hybridpriv.data import partition, pictures, streamed
from hybridpriv.data.sources import table
from hybridpriv.study import setup, stored


def encoded(grey):
  stream = io.BytesIO()
  Image.new("RGB", (6, 5 + grey % 7), (grey, grey, grey)).save(stream, "png")
  return stream.getvalue()


class Greys:
  """Pictures whose grey is their number, and which of them were read."""

  def __init__(self, num):
    self.read = []
    self.pictures = [
      pictures.Picture(f"{i}.png", str(i), lambda i=i: self.one(i))
      for i in range(num)
    ]

  def one(self, i):
    self.read.append(i)
    return encoded(i)


INDICES = {
  "one": 7,
  "the last": -1,
  "a number of NumPy": np.int64(3),
  "a slice": slice(90, 3, -4),
  "all": slice(None),
  "numbers, some twice": np.array([5, 99, 5, -2, 0]),
  "a list": [4, 2],
  "a mask": np.arange(100) % 9 == 0,
  "a table of numbers": np.arange(12).reshape(3, 4),
  "none": np.array([], int),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_they_are_indexed_as_an_array_is(index):
  given = Greys(100).pictures
  array = pictures.load(given, size=3)
  found = streamed.Pictures(given, size=3)[index]
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found, array[index])


def test_they_look_like_the_array():
  given = Greys(20).pictures
  array, found = pictures.load(given, size=3), streamed.Pictures(given, size=3)
  assert (found.shape, found.dtype, found.ndim) == (
    (array.shape, array.dtype, array.ndim)
  )
  assert len(found) == len(array)
  np.testing.assert_array_equal(np.asarray(found), array)


def test_only_what_is_read_is_decoded_and_every_time_anew():
  greys = Greys(100)
  found = streamed.Pictures(greys.pictures, size=3)
  found.digest()
  assert not greys.read
  for _ in range(2):
    found[np.array([8, 30, 31])]
  assert sorted(greys.read) == [8, 8, 30, 30, 31, 31]


def test_a_number_beyond_the_end_is_an_error():
  with pytest.raises(IndexError, match="100"):
    streamed.Pictures(Greys(100).pictures, size=3)[np.array([3, 100])]


@pytest.mark.parametrize("index", [2, [0, 1, 2, 3]])
def test_a_picture_that_is_none_is_named_when_it_is_read(index):
  given = list(Greys(4).pictures)
  given[2] = pictures.Picture("c.jpg", "2", lambda: b"no picture")
  found = streamed.Pictures(given, size=3)
  assert found[[0, 1, 3]].shape == (3, 3, 3, 3)
  with pytest.raises(ValueError, match="c.jpg: not a readable .* take its row"):
    found[index]


def test_another_content_order_size_or_crop_has_another_name():
  given = Greys(3).pictures

  def digest(given, size=3, crop=0):
    return streamed.Pictures(given, size=size, crop=crop).digest()

  changed = [given[0], given[1], given[2]._replace(state="new")]
  others = [
    digest(given),
    digest(given[::-1]),
    digest(changed),
    digest(given, size=4),
    digest(given, crop=0.5),
  ]
  assert len(set(others)) == len(others)
  assert digest(list(given)) == others[0]


def test_no_size_is_refused():
  with pytest.raises(ValueError, match="size is 0, expected the side"):
    streamed.Pictures(Greys(1).pictures, size=0)


def _load(folder, **options):
  return table.load(
    path=str(folder),
    desired=("gender",),
    private=("identity",),
    identity="identity",
    size=12,
    **options,
  )


@pytest.mark.parametrize("packed", [True, False])
def test_a_table_has_the_same_pictures(faces_folder, tmp_path, packed):
  folder = faces_folder
  if not packed:
    folder = tmp_path
    (folder / "labels.csv").write_bytes(
      (faces_folder / "labels.csv").read_bytes()
    )
    with zipfile.ZipFile(faces_folder / "images.zip") as archive:
      archive.extractall(folder / "images")
  once, streaming = _load(folder), _load(folder, engine="grain")
  assert isinstance(streaming.inputs, streamed.Pictures)
  index = np.random.default_rng(0).permutation(len(once))
  np.testing.assert_array_equal(streaming.inputs[index], once.inputs[index])
  assert streaming.names == once.names


def test_samples_are_named_without_decoding_them(faces_folder, monkeypatch):
  data = _load(faces_folder, engine="grain")
  monkeypatch.setattr(streamed.Pictures, "__array__", None)
  assert stored._digest(data) == data.inputs.digest()


def test_an_engine_that_is_not_known_is_refused(faces_folder):
  with pytest.raises(ValueError, match="engine is 'grian', expected one of"):
    _load(faces_folder, engine="grian")


@pytest.mark.parametrize("index", [(0, 1), (..., 0), ..., None])
def test_other_axes_are_refused(index):
  with pytest.raises(TypeError, match="indexed along their first axis"):
    streamed.Pictures(Greys(3).pictures, size=3)[index]


def test_a_file_that_cannot_be_read_now_is_not_to_be_taken_out():
  def gone():
    raise OSError(5, "Input/output error")

  one = pictures.Picture("a.jpg", "", gone)
  message = r"a.jpg cannot be read \(Input/output error\): see to it, and give"
  with pytest.raises(ValueError, match=message):
    streamed.Pictures([one], size=3)[[0]]


def test_mean_and_spread_are_measured_once(faces_folder, monkeypatch):
  data = _load(faces_folder, engine="grain")
  fold = partition.Fold(*[np.arange(9)] * 4)
  given = types.SimpleNamespace(data=data, folds=[fold])
  read, decode = [], pictures.decode

  def counted(*given, **options):
    read.append(1)
    return decode(*given, **options)

  monkeypatch.setattr(pictures, "decode", counted)
  mean, std = (setup._measured(given, 0, n, "channel") for n in ("mean", "std"))
  once = len(read)
  assert once
  same = types.SimpleNamespace(data=data, folds=[fold])
  assert setup._measured(same, 0, "mean", "channel") is mean
  assert setup._measured(same, 0, "std", "channel") is std
  assert len(read) == once
  other = types.SimpleNamespace(
    data=data, folds=[partition.Fold(*[np.arange(9, 18)] * 4)]
  )
  assert np.any(setup._measured(other, 0, "mean", "channel") != mean)


def test_it_reads_in_a_program_without_flags(repository, faces_folder):
  program = f"""
from hybridpriv.data.sources import table
data = table.load(
  path={str(faces_folder)!r}, desired=("gender",), private=("identity",),
  identity="identity", size=12, engine="grain")
print(data.inputs[[3, 1]].shape)
"""
  done = subprocess.run(
    [sys.executable, "-c", program],
    cwd=repository,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.stdout == "(2, 12, 12, 3)\n", done.stderr
