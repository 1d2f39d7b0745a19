import io

import numpy as np
import pytest
from PIL import Image

from hybridpriv.data import images
from hybridpriv.deploy.client import inputs

ENTRY = {"kind": "image", "shape": [8, 8, 3]}
SIGNAL = {"kind": "signal", "shape": [4, 2]}
# Each quarter of 16 x 16 pixels has a colour: what is where can be seen.
RED, GREEN, BLUE, GREY = (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)
ORIENTATION = 0x0112


def _quarters(height=32, width=32):
  pixels = np.empty((height, width, 3), np.uint8)
  pixels[: height // 2, : width // 2] = RED
  pixels[: height // 2, width // 2 :] = GREEN
  pixels[height // 2 :, : width // 2] = BLUE
  pixels[height // 2 :, width // 2 :] = GREY
  return pixels


def _photo(tmp_path, pixels, name="photo.png", **options):
  path = tmp_path / name
  Image.fromarray(pixels).save(path, **options)
  return path


def _colours(found):
  """Lists the colours but for the edge, where the filter looks beyond."""
  return {tuple(p) for p in found[1:-1, 1:-1].reshape(-1, 3)}


def _corners(found):
  return [tuple(found[i, j]) for i in (1, -2) for j in (1, -2)]


# As the standard has it: where the first row and column of the file are seen.
@pytest.mark.parametrize(
  ("orientation", "seen"),
  [
    (1, [RED, GREEN, BLUE, GREY]),
    (2, [GREEN, RED, GREY, BLUE]),
    (3, [GREY, BLUE, GREEN, RED]),
    (4, [BLUE, GREY, RED, GREEN]),
    (5, [RED, BLUE, GREEN, GREY]),
    (6, [BLUE, RED, GREY, GREEN]),
    (7, [GREY, GREEN, BLUE, RED]),
    (8, [GREEN, GREY, RED, BLUE]),
  ],
)
def test_the_orientation_of_the_camera_is_applied(tmp_path, orientation, seen):
  exif = Image.Exif()
  exif[ORIENTATION] = orientation
  path = _photo(tmp_path, _quarters(), exif=exif.tobytes())
  assert _corners(inputs.read(path, ENTRY)) == seen
  # Also under a box, whose pixels are those of the upright photo.
  whole = inputs.read(path, ENTRY, box=(0, 0, 32, 32))
  assert _corners(whole) == seen
  corner = inputs.read(path, ENTRY, box=(16, 0, 16, 16))
  assert _colours(corner) == {seen[1]}


def test_the_box_of_a_turned_photo_is_in_upright_pixels(tmp_path):
  exif = Image.Exif()
  exif[ORIENTATION] = 6
  pixels = _quarters(20, 40)  # 20 wide and 40 high when seen upright
  path = _photo(tmp_path, pixels, exif=exif.tobytes())
  found = inputs.read(path, ENTRY, box=(0, 20, 10, 20))
  assert _colours(found) == {GREY}
  with pytest.raises(ValueError, match="picture of 20 x 40 pixels"):
    inputs.read(path, ENTRY, box=(30, 0, 10, 10))


def test_a_box_of_the_size_of_the_input_is_cut_out_to_the_pixel(tmp_path):
  pixels = np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype="u1")
  path = _photo(tmp_path, pixels)
  found = inputs.read(path, ENTRY, box=(21, 13, 8, 8))
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found, pixels[13:21, 21:29])


def test_a_larger_box_is_as_the_crop_made_by_hand_but_for_its_edge(tmp_path):
  pixels = np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype="u1")
  found = inputs.read(_photo(tmp_path, pixels), ENTRY, box=(5, 7, 24, 30))
  crop = Image.fromarray(pixels[7:37, 5:29])
  expected = np.asarray(crop.resize((8, 8), Image.Resampling.BILINEAR))
  # At the edge the filter looks one step beyond, as it did in training.
  np.testing.assert_array_equal(found[1:-1, 1:-1], expected[1:-1, 1:-1])
  pixels[:3] = pixels[:, :2] = pixels[:, 32:] = 0
  again = inputs.read(_photo(tmp_path, pixels), ENTRY, box=(5, 7, 24, 30))
  np.testing.assert_array_equal(found, again)


def test_a_box_frames_as_the_data_of_the_training_are_framed(tmp_path):
  pixels = np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype="u1")
  path = _photo(tmp_path, pixels)
  np.testing.assert_array_equal(
    inputs.read(path, ENTRY, box=(18, 8, 24, 24)),
    images.decode(path.read_bytes(), size=8, crop=24),
  )
  np.testing.assert_array_equal(
    inputs.read(path, ENTRY), images.decode(path.read_bytes(), size=8)
  )


@pytest.mark.parametrize(("height", "width"), [(8, 20), (20, 8), (8, 8)])
def test_without_a_box_the_central_square_is_looked_at(tmp_path, height, width):
  pixels = np.random.default_rng(0).integers(
    256, size=(height, width, 3), dtype=np.uint8
  )
  top, left = (height - 8) // 2, (width - 8) // 2
  np.testing.assert_array_equal(
    inputs.read(_photo(tmp_path, pixels), ENTRY),
    pixels[top : top + 8, left : left + 8],
  )


@pytest.mark.parametrize(
  "box",
  [
    (-1, 0, 8, 8),
    (0, 0, 33, 8),
    (0, 25, 8, 8),
    (0, 0, 0, 8),
    (0, 0, 8, -8),
    (0, 0, float("nan"), 8),
    (float("inf"), 0, 8, 8),
  ],
)
def test_a_box_that_is_not_on_the_photo_is_refused(tmp_path, box):
  path = _photo(tmp_path, _quarters())
  with pytest.raises(ValueError, match="does not lie on the picture of 32 x"):
    inputs.read(path, ENTRY, box=box)


def test_what_is_not_square_needs_a_box(tmp_path):
  path, entry = _photo(tmp_path, _quarters()), ENTRY | {"shape": [8, 6, 3]}
  with pytest.raises(ValueError, match="takes 6 x 8: give a --box"):
    inputs.read(path, entry)
  found = inputs.read(path, entry, box=(16, 16, 6, 8))
  assert found.shape == (8, 6, 3) and tuple(found[0, 0]) == GREY


@pytest.mark.parametrize(
  ("mode", "value", "expected"),
  [
    ("L", 90, GREY),
    ("1", 1, (255, 255, 255)),
    ("I;16", 90 * 257, GREY),
    ("RGBA", (200, 0, 0, 255), RED),
    ("RGBA", (200, 0, 0, 0), (255, 255, 255)),
    ("LA", (90, 255), GREY),
    ("P", 0, None),
    ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
  ],
)
def test_photos_of_every_mode_are_taken(tmp_path, mode, value, expected):
  image = Image.new(mode, (16, 16), value)
  if mode == "P":
    image.putpalette(bytes(BLUE) + bytes(765))
    expected = BLUE
  path = tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png")
  image.save(path)
  found = inputs.read(path, ENTRY)
  assert found.shape == (8, 8, 3) and found.dtype == np.uint8
  assert {tuple(p) for p in found.reshape(-1, 3)} == {expected}


def _jpeg():
  written = io.BytesIO()
  Image.fromarray(_quarters(64, 64)).save(written, "jpeg")
  return written.getvalue()


@pytest.mark.parametrize("box", [None, (0, 0, 8, 8)])
@pytest.mark.parametrize(
  "content",
  [b"", b"no picture", _jpeg()[:300], _jpeg()[:-300], b"\x89PNG\r\n\x1a\n"],
  ids=["empty", "text", "head", "cut off", "signature"],
)
def test_a_damaged_photo_is_one_clear_error(tmp_path, content, box):
  path = tmp_path / "photo.jpg"
  path.write_bytes(content)
  with pytest.raises(ValueError, match="photo.jpg: not a readable picture"):
    inputs.read(path, ENTRY, box=box)


# Pillow warns of those that it passes over.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_tags_of_a_camera_are_one_clear_error(tmp_path):
  exif = Image.Exif()
  exif[ORIENTATION], exif[0x011A] = 6, 72.0  # and pixels per inch
  path = _photo(tmp_path, _quarters(), "photo.jpg", exif=exif.tobytes())
  content, outcomes = path.read_bytes(), set()
  start = content.index(b"Exif")
  for at in range(start, start + 70):
    for value in (0, 2, 5, 255):
      damaged = bytearray(content)
      damaged[at] = value
      path.write_bytes(damaged)
      try:
        outcomes.add(inputs.read(path, ENTRY).shape)
      except ValueError as error:
        assert "photo.jpg: not a readable picture" in str(error)
        outcomes.add("refused")
  assert outcomes == {(8, 8, 3), "refused"}


def test_a_photo_with_too_many_pixels_is_one_clear_error(tmp_path, monkeypatch):
  path = _photo(tmp_path, _quarters())
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
  with pytest.raises(ValueError, match="photo.png: not a readable picture"):
    inputs.read(path, ENTRY)


def test_a_huge_file_is_one_clear_error(tmp_path):
  path = tmp_path / "huge.jpg"
  with path.open("wb") as file:
    file.truncate(200 * 2**20)
  with pytest.raises(ValueError, match="huge.jpg has more than 64 MiB"):
    inputs.read(path, ENTRY)


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path):
  for path in (tmp_path, tmp_path / "nowhere"):
    with pytest.raises(ValueError, match="cannot be read"):
      inputs.read(path, ENTRY)


# --- Signals.

ROWS = np.asarray([[1, -2.5], [3e-3, 4], [5, 6], [7, 8]], np.float32)
TEXT = "1,-2.5\n3e-3,4\n5,6\n7,8\n"


def _table(tmp_path, content):
  path = tmp_path / "window.csv"
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


@pytest.mark.parametrize(
  "content",
  [
    TEXT,
    TEXT.rstrip(),
    TEXT.replace("\n", "\r\n"),
    TEXT.replace("\n", "\n\n"),
    TEXT.replace(",", " , "),
    "x,y\n" + TEXT,
    "\ufeff" + TEXT,
    "\ufeffx,y\n" + TEXT,
  ],
  ids=["plain", "no end", "crlf", "empty lines", "spaces", "names"]
  + ["mark", "mark and names"],
)
def test_a_window_is_read_with_or_without_names_of_columns(tmp_path, content):
  found = inputs.read(_table(tmp_path, content), SIGNAL)
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, ROWS)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("", "0 rows of no columns; expected 4 time steps of 2 channels"),
    ("x,y\n", "0 rows of no columns"),
    (TEXT + "9,10\n", "5 rows of 2 columns; expected 4"),
    (TEXT.replace("7,8\n", ""), "3 rows of 2 columns"),
    (TEXT.replace(",", ";"), "rows of 1 columns"),
    (TEXT.replace("5,6", "5,6,7"), "4 rows of 2 or 3 columns"),
    (TEXT.replace("6", "nan"), "time step 2, channel 1 is 'nan'"),
    (TEXT.replace("1,", "nan,", 1), "time step 0, channel 0 is 'nan'"),
    (TEXT.replace("6", "-inf"), "is '-inf'; expected a finite number"),
    (TEXT.replace("6", "1e39"), "is '1e39'; expected a finite number"),
    (TEXT.replace("6", ""), "time step 2, channel 1 is ''"),
    (TEXT.replace("6", "six"), "time step 2, channel 1 is 'six'"),
    (b"\xff\xfe\x00", "not a readable table"),
    (b"1,2\n" + b"9" * 200_000, "not a readable table"),
  ],
)
def test_what_is_no_window_is_one_clear_error(tmp_path, content, message):
  with pytest.raises(ValueError, match=message) as caught:
    inputs.read(_table(tmp_path, content), SIGNAL)
  assert "window.csv: " in str(caught.value)


def test_a_recording_is_brought_to_the_units_of_the_study(tmp_path):
  found = inputs.read(_table(tmp_path, TEXT), SIGNAL | {"scale": [0.1, -3]})
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, np.float32(ROWS) * np.float32([0.1, -3]))
  large = _table(tmp_path, TEXT.replace("6", "2e38"))
  with pytest.raises(ValueError, match="channel 1 is '2e38', too large once"):
    inputs.read(large, SIGNAL | {"scale": [0.1, -3]})


def test_a_box_is_for_photos(tmp_path):
  with pytest.raises(ValueError, match="--box is for photos"):
    inputs.read(_table(tmp_path, TEXT), SIGNAL, box=(0, 0, 1, 1))


def test_a_photo_is_no_window(tmp_path):
  path = _photo(tmp_path, _quarters(), "window.png")
  with pytest.raises(ValueError, match="window.png: not a readable table"):
    inputs.read(path, SIGNAL)
