import io

import numpy as np
import pytest
from PIL import Image

from hybridpriv.data import images


def encoded(image: Image.Image, form: str = "png", **options) -> bytes:
  stream = io.BytesIO()
  image.save(stream, form, **options)
  return stream.getvalue()


def corners() -> Image.Image:
  """Four quarters: red, green / blue, white."""
  pixels = np.zeros((8, 8, 3), np.uint8)
  pixels[:4, :4, 0] = pixels[:4, 4:, 1] = pixels[4:, :4, 2] = 255
  pixels[4:, 4:] = 255
  return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_grey_is_the_same_grey_in_every_mode(mode):
  if mode == "I;16":
    image = Image.fromarray(np.full((9, 7), 255 * 257, np.uint16))
  else:
    image = Image.new("L", (7, 9), 255).convert(mode)
  found = images.decode(encoded(image), size=4)
  assert found.dtype == np.uint8 and found.shape == (4, 4, 3)
  np.testing.assert_array_equal(found, 255)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "F"])
def test_other_modes_come_out_near_their_grey(mode):
  image = Image.new("L", (6, 6), 100).convert(mode)
  form = "tiff" if mode == "F" else "jpeg"
  found = images.decode(encoded(image, form), size=6).astype(int)
  assert np.abs(found - 100).max() <= 2  # JPEG rounds


def test_sixteen_bits_are_scaled_and_transparent_is_white():
  half = Image.fromarray(np.full((4, 4), 128 * 257, np.uint16))
  np.testing.assert_array_equal(images.decode(encoded(half), size=4), 128)
  clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
  np.testing.assert_array_equal(images.decode(encoded(clear), size=4), 255)


def test_the_turn_of_the_camera_is_undone():
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned by 90 degrees clockwise
  turned = images.decode(encoded(corners(), exif=exif), size=8)
  upright = images.decode(encoded(corners()), size=8)
  np.testing.assert_array_equal(turned, np.rot90(upright, -1))


def test_the_centre_is_kept():
  pixels = np.zeros((10, 20, 3), np.uint8)
  pixels[3:7, 8:12] = 200
  content = encoded(Image.fromarray(pixels))
  for crop in (4, 0.4):
    np.testing.assert_array_equal(
      images.decode(content, size=4, crop=crop), 200
    )
  whole = images.decode(content, size=10)
  np.testing.assert_array_equal(whole, pixels[:, 5:15])


@pytest.mark.parametrize("shape", [(5, 9), (64, 3), (300, 200)])
def test_every_size_comes_out_square(shape):
  content = encoded(Image.new("RGB", shape))
  assert images.decode(content, size=12).shape == (12, 12, 3)


def test_a_picture_smaller_than_the_crop_is_refused():
  content = encoded(Image.new("RGB", (30, 20)))
  with pytest.raises(ValueError, match="30 x 20 pixels, smaller than crop=25"):
    images.decode(content, size=8, crop=25)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(content):
  with pytest.raises(ValueError, match="not a readable picture"):
    images.decode(content, size=8)
