"""Decoders: networks from a code back to the image, for attacks that invert.

And what such attackers train beside them: an encoder, which stands for a client
that they do not have, and a discriminator.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

_SIDE = 4  # of the map that the fully connected layers fill
_MAP = 256  # its channels
# Channels of a doubling and of the convolution after it (0 for none); one
# more doubling, to the channels of the image, ends the network.
_LEVELS = ((256, 512), (256, 256), (128, 128), (64, 0), (32, 0))
_LARGEST = _SIDE * 2 ** (len(_LEVELS) + 1)
_SLOPE = 0.3
_HALVINGS = (64, 128, 256)  # channels of an encoder
_COPY = 16  # most pixels a side of the copy that its linear part sees
_START = 0.01  # size of the first images: what is learned need not undo them

# Of the 4 taps of a doubling, which one (last axis) joins an input (-1, 0 or 1
# from the output's own) to an even or odd output.
_JOINED = np.zeros((3, 2, 4), np.float32)
_JOINED[[0, 1, 1, 2], [0, 0, 1, 1], [0, 2, 1, 3]] = 1


class Doubling(nn.Module):
  """Transposed convolution of 4 x 4 with stride 2 ("SAME").

  Its numbers and parameters are those of `nn.ConvTranspose`, which XLA trains
  several times slower on CPUs: it is computed as a convolution of 3 x 3 from
  an input pixel and its neighbours to four output pixels.

  Attributes:
    features: channels of the output.
    start: size of the output at first, relative to that of the input.
  """

  features: int
  start: float = 1.0

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Double `x [b h w c]` to `[b 2h 2w features]`."""
    batch, height, width, channels = x.shape
    kernel = self.param(
      "kernel",
      # He's for what an output pixel sees: 4 of the 16 taps.
      nn.initializers.variance_scaling(
        8.0 * self.start**2, "fan_in", "truncated_normal"
      ),
      (4, 4, channels, self.features),
    )
    bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
    kernel = jnp.einsum(
      "aph,bqw,hwio->abipqo", _JOINED, _JOINED, kernel, precision="highest"
    )
    x = jax.lax.conv_general_dilated(
      x,
      kernel.reshape(3, 3, channels, -1),
      window_strides=(1, 1),
      padding="SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    x = x.reshape(batch, height, width, 2, 2, self.features)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(batch, 2 * height, 2 * width, self.features)
    return x + bias[None, None, None]


class UpConvolutional(nn.Module):
  """Fully connected layers, then doublings with convolutions between.

  Attributes:
    size: side of the image.
    channels: of the image.
    width: factor on all other channels and on `hidden`.
    hidden: units of the fully connected layers but the last.
    layers: number of fully connected layers.
  """

  size: int
  channels: int
  width: float
  hidden: int
  layers: int

  @nn.compact
  def __call__(self, code: jax.Array) -> jax.Array:
    """Compute images `[b size size channels]` from codes `[b ...]`."""
    x = code.reshape((code.shape[0], -1)).astype(jnp.float32)
    side, channels = _SIDE, self._scaled(_MAP)
    hidden = [self._scaled(self.hidden)] * (self.layers - 1)
    for index, units in enumerate([*hidden, side * side * channels], start=1):
      x = _active(_dense(units, f"fc{index}")(x))
    x = x.reshape((-1, side, side, channels))
    # What a small image leaves out are the doublings near the code.
    number = (-(-self.size // _SIDE) - 1).bit_length()
    for up, after in _LEVELS[len(_LEVELS) + 1 - number :]:
      side *= 2
      x = _active(Doubling(self._scaled(up), name=f"up{side}")(x))
      if after:
        x = _active(_conv(self._scaled(after), f"conv{side}")(x))
    side *= 2
    x = Doubling(self.channels, _START, name=f"up{side}")(x)
    first = (side - self.size) // 2
    middle = slice(first, first + self.size)
    return x[:, middle, middle]

  @nn.nowrap
  def _scaled(self, size: int) -> int:
    return max(1, round(size * self.width))


def up_convolutional(
  *,
  size: int,
  channels: int = 3,
  width: float = 1.0,
  hidden: int = 4096,
  layers: int = 3,
) -> UpConvolutional:
  """Build an up-convolutional decoder from codes `[b ...]` to images.

  `layers` fully connected layers fill a map of 4 x 4 x 256, which is doubled
  until it is no smaller than the image and cropped to its centre.  At 129 to
  256 pixels a side these are the published layers; a smaller image leaves out
  those next to the 4 x 4 map.  All but the last are followed by a leaky ReLU of
  slope 0.3.  As in the source, nothing forces the output into a range: it is
  trained on images from 0 to 1, and the caller clips.  It starts near 0.

  Args:
    size: side of the image, 5 to 256 pixels.
    channels: of the image.
    width: factor on all other channels and on `hidden`.
    hidden: units of the fully connected layers but the last, whose number is
      that of the map.
    layers: number of fully connected layers, 1 or more.

  Returns:
    The decoder; 39,353,443 parameters for 8 numbers to 224 x 224 x 3.

  Raises:
    ValueError: there is no such decoder.

  References:
    Dosovitskiy and Brox 2016, arXiv 1506.02753; the layers are those of Osia
    et al. 2018, arXiv 1802.03151.
  """
  if not _SIDE < size <= _LARGEST:
    raise ValueError(
      f"size={size}; the decoder doubles a map of {_SIDE} x {_SIDE} up to"
      f" {_LARGEST} x {_LARGEST}: expected {_SIDE + 1} to {_LARGEST} pixels"
    )
  if layers < 1 or width <= 0:
    raise ValueError(
      f"layers={layers}, width={width}; expected 1 or more layers and a"
      " positive width"
    )
  return UpConvolutional(
    size=size, channels=channels, width=width, hidden=hidden, layers=layers
  )


class Encoder(nn.Module):
  """Convolutions of stride 2, then a dense layer; and a line past them.

  The linear map of a small copy of the image is what it starts near: clients
  are closer to it than to convolutions drawn at random.

  Attributes:
    outputs: numbers of a code.
    width: factor on the channels, of 64, 128 and 256 for every halving.
  """

  outputs: int
  width: float = 0.25

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """Compute codes `[b outputs]` of images `[b h w c]`, 0 to 1."""
    x = image - 0.5
    batch, height, width, channels = x.shape
    small = (batch, min(height, _COPY), min(width, _COPY), channels)
    line = jax.image.resize(x, small, "linear").reshape(batch, -1)
    for index, size in enumerate(_HALVINGS):
      if min(x.shape[1:3]) > _SIDE:
        units = max(1, round(size * self.width))
        x = _active(_conv(units, f"conv{index}", stride=2)(x))
    x = nn.Dense(
      self.outputs,
      kernel_init=nn.initializers.variance_scaling(
        _START, "fan_in", "truncated_normal"
      ),
      name="fc",
    )(x.reshape(batch, -1))
    return x + nn.Dense(self.outputs, use_bias=False, name="line")(line)


class Discriminator(nn.Module):
  """Says of every patch of an image whether it is of a true one.

  Attributes:
    channels: of its layers but the last, each of which halves the image.
  """

  channels: tuple[int, ...] = (32, 64)

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """Compute log odds `[b h/4 w/4 1]` of images `[b h w c]`, 0 to 1.

    References:
      Isola et al. 2017, arXiv 1611.07004 (PatchGAN).
    """
    x = 2 * image - 1
    for index, units in enumerate(self.channels):
      x = _active(_conv(units, f"conv{index}", stride=2)(x))
    return _conv(1, "logits")(x)


def _active(x: jax.Array) -> jax.Array:
  return nn.leaky_relu(x, _SLOPE)


def _dense(units: int, name: str) -> nn.Dense:
  return nn.Dense(units, kernel_init=nn.initializers.he_normal(), name=name)


def _conv(channels: int, name: str, stride: int = 1) -> nn.Conv:
  return nn.Conv(
    channels,
    (3, 3),
    strides=(stride, stride),
    kernel_init=nn.initializers.he_normal(),
    name=name,
  )
