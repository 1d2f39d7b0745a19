"""Many pictures are decoded once, in order, in the memory of a few."""

import io
import threading
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from hybridpriv.data import images, pictures


def encoded(image: Image.Image, form: str = "png") -> bytes:
  stream = io.BytesIO()
  image.save(stream, form)
  return stream.getvalue()


def greys(num, read=None):
  """Pictures of different shapes whose grey is their number."""

  def make(i):
    return encoded(Image.new("RGB", (6, 5 + i % 7), (i, i, i)))

  return [
    pictures.Picture(f"{i}.png", str(i), lambda i=i: (read or make)(i))
    for i in range(num)
  ]


def refuse(_):
  raise AssertionError("a picture was read that was decoded before")


@pytest.mark.parametrize("kept", [False, True])
def test_many_pictures_keep_their_order(kept, tmp_path):
  def read(i):
    time.sleep(0.002 * (i % 5 == 0))  # others overtake it
    return encoded(Image.new("RGB", (6, 5), (i, i, i)))

  found = pictures.load(
    greys(100, read), size=3, cache=tmp_path if kept else ""
  )
  assert found.shape == (100, 3, 3, 3) and found.dtype == np.uint8
  np.testing.assert_array_equal(found[:, 0, 0, 0], np.arange(100))


def test_a_truncated_picture_is_refused_by_name_and_nothing_kept(tmp_path):
  noise = np.random.default_rng(0).integers(255, size=(64, 64, 3))
  content = encoded(Image.fromarray(noise.astype(np.uint8)), "jpeg")
  own = [
    pictures.Picture("a.jpg", "a", lambda: content),
    pictures.Picture("b.jpg", "b", lambda: content[: len(content) // 2]),
  ]
  for cache in ("", tmp_path):
    with pytest.raises(
      ValueError, match="b.jpg: not a readable .* take its row"
    ):
      pictures.load(own, size=8, cache=cache)
  assert not list(tmp_path.iterdir())


def test_no_size_is_refused():
  with pytest.raises(ValueError, match="size is 0, expected the side"):
    pictures.load(greys(1), size=0)


def test_what_is_kept_is_not_decoded_again_and_not_to_be_written_to(tmp_path):
  first = pictures.load(greys(9), size=3, cache=tmp_path)
  again = pictures.load(greys(9, refuse), size=3, cache=tmp_path)
  np.testing.assert_array_equal(again, pictures.load(greys(9), size=3))
  np.testing.assert_array_equal(again, first)
  for found in (first, again):
    assert isinstance(found, np.memmap) and not found.flags.writeable


def test_another_content_order_size_crop_or_decoder_is_another_file(
  tmp_path, monkeypatch
):
  own = greys(9)
  other = [own[0]._replace(state="changed"), *own[1:]]
  pictures.load(own, size=3, cache=tmp_path)
  for number, (given, options) in enumerate(
    (
      (other, {"size": 3}),
      (own[::-1], {"size": 3}),
      (own[:-1], {"size": 3}),
      (own, {"size": 4}),
      (own, {"size": 3, "crop": 0.5}),
    ),
    start=2,
  ):
    found = pictures.load(given, cache=tmp_path, **options)
    np.testing.assert_array_equal(found, pictures.load(given, **options))
    assert len(list(tmp_path.iterdir())) == number
  monkeypatch.setattr("PIL.__version__", "0")
  pictures.load(own, size=3, cache=tmp_path)
  assert len(list(tmp_path.iterdir())) == 7


def test_memory_does_not_grow_with_the_number_of_pictures(
  tmp_path, monkeypatch
):
  side = 64  # 12 kB decoded
  monkeypatch.setattr(
    images, "decode", lambda content, **_: np.full((side, side, 3), 7, "u1")
  )
  threads = threading.active_count()
  peaks = []
  for num in (1000, 4000):
    given = greys(num, lambda i: b"")
    tracemalloc.start()
    found = pictures.load(given, size=side, cache=tmp_path)
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert len(found) == num and found[-1, 0, 0, 0] == 7
  # 12 and 49 MB were decoded; at most 8 threads are 16 pictures ahead each.
  # What other tests left behind is counted too, hence the margin.
  margin = 5e6
  assert peaks[1] < peaks[0] + margin < margin + 8 * 16 * side**2 * 3 * 2
  assert threading.active_count() == threads
