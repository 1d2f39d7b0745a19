"""A picture of any size and mode to uint8 RGB of one size."""

import io
import struct

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# What Pillow raises on content that it cannot read, by format.
UNREADABLE = (
  OSError,
  SyntaxError,
  ValueError,
  EOFError,
  UnidentifiedImageError,
  Image.DecompressionBombError,
  # Where the tags of a camera (EXIF) are damaged.
  AttributeError,
  TypeError,
  struct.error,
)


def _eight_bit(image: Image.Image) -> Image.Image:
  """Bring grey levels of more than eight bits to eight."""
  values = np.asarray(image, np.float64)
  if image.mode == "F":
    # Floating-point pictures are in 0 .. 1 or in 0 .. 255.
    values = values * 255 if values.max(initial=0) <= 1 else values
  elif values.max(initial=0) > 255:
    values = values / 257
  return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def to_rgb(image: Image.Image) -> Image.Image:
  """Turn a picture upright and to RGB, whatever its mode.

  The orientation of the camera (EXIF) is applied, transparent parts are laid on
  white, 16-bit grey is scaled to 8 bits.
  """
  image = ImageOps.exif_transpose(image)
  if image.mode == "RGB":
    return image
  if image.mode == "F" or image.mode.startswith("I"):
    image = _eight_bit(image)
  if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or (
    "transparency" in image.info
  ):
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
  return image.convert("RGB")


def central_box(
  width: int, height: int, crop: float
) -> tuple[float, float, float, float]:
  """Give the central square (left, top, right, bottom) to keep.

  Args:
    width: width of the picture in pixels.
    height: height in pixels.
    crop: side of the square in pixels; up to 1 a share of the shorter side; 0
      the whole shorter side.

  Raises:
    ValueError: the picture is smaller than the square.

  >>> central_box(250, 200, 100)
  (75.0, 50.0, 175.0, 150.0)
  """
  shorter = min(width, height)
  if crop < 0:
    raise ValueError(f"crop is {crop}, expected 0, a share or pixels")
  side = crop if crop > 1 else shorter * (crop or 1)
  if side > shorter:
    raise ValueError(
      f"the picture is {width} x {height} pixels, smaller than crop={crop:g}; "
      "give crop as a share of the shorter side, such as 0.7, or 0"
    )
  left, top = (width - side) / 2, (height - side) / 2
  return left, top, left + side, top + side


def decode(content: bytes, *, size: int, crop: float = 0) -> np.ndarray:
  """Decode, crop the centre and resize one picture.

  Args:
    content: the bytes of a picture file of any format that Pillow knows.
    size: side of the result in pixels.
    crop: see `central_box`.

  Returns:
    uint8 `[size, size, 3]`.

  Raises:
    ValueError: the bytes are no picture, or it is smaller than the crop.
  """
  try:
    with Image.open(io.BytesIO(content)) as opened:
      image = to_rgb(opened)
  except UNREADABLE as error:
    raise ValueError(f"not a readable picture ({error})") from error
  box = central_box(image.width, image.height, crop)
  image = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
  return np.asarray(image)
