"""VGG-S, the wide and shallow network of many models of emotion."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from hybridpriv.networks import convolution, staged

# Channels, kernel, stride and padding. conv2 is not padded, as in the Caffe
# release; padded by one, it would leave pool5 and all parameters as they are.
_CONVS = {
  "conv1": (96, 7, 2, 0),
  "conv2": (256, 5, 1, 0),
  "conv3": (512, 3, 1, 1),
  "conv4": (512, 3, 1, 1),
  "conv5": (512, 3, 1, 1),
}
_POOLS = {"pool1": 3, "pool2": 2, "pool5": 3}  # side and stride
_HIDDEN = 4096
_SMALLEST = 31  # leaves the 5 x 5 values that conv2 needs

# Local response normalization over neighbouring channels.
_NEIGHBOURS = 5
_OFFSET = 2.0
_ALPHA = 5e-4  # shared among the neighbours, as in Caffe
_BETA = 0.75


class VggS(staged.Staged):
  """VGG-S with stages conv1, norm1, pool1, ..., conv5, pool5, fc6, fc7, fc8.

  A conv stage ends after its ReLU.

  Attributes:
    width: factor on the channels and on the hidden units.
    dropout: rate after fc6 and fc7.
  """

  width: float = 1.0
  dropout: float = 0.5

  def stage_names(self) -> tuple[str, ...]:
    """Return conv1, norm1, pool1, conv2, pool2, conv3, ..., fc7, fc8."""
    first = ("conv1", "norm1", "pool1", "conv2", "pool2")
    return (*first, "conv3", "conv4", "conv5", "pool5", "fc6", "fc7", "fc8")

  def stage(self, name: str, x: jax.Array, *, train: bool) -> jax.Array:
    """Run one stage on `x [b h w c]`, or `[b d]` after fc6."""
    if name == "norm1":
      return _normalize(x)
    if name in _POOLS:
      return _pool(x, _POOLS[name])
    if name == "fc8":
      return nn.Dense(self.num_classes, dtype=self.dtype, name="dense")(x)
    if name in ("fc6", "fc7"):
      x = nn.Dense(
        self._scaled(_HIDDEN),
        dtype=self.dtype,
        kernel_init=nn.initializers.he_normal(),
        name="dense",
      )(x.reshape((x.shape[0], -1)))
      return nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
    channels, size, stride, padding = _CONVS[name]
    height, width = x.shape[1:3]
    if min(height, width) + 2 * padding < size:
      raise ValueError(
        f"{name} got {height} x {width} values and its kernel is {size} x "
        f"{size}; VGG-S needs images of at least {_SMALLEST} x {_SMALLEST} "
        "pixels."
      )
    x = nn.Conv(
      self._scaled(channels),
      (size, size),
      strides=(stride, stride),
      padding=padding,
      dtype=self.dtype,
      kernel_init=nn.initializers.he_normal(),
      conv_general_dilated=convolution.conv_general_dilated,
      name="conv",
    )(x)
    return nn.relu(x)

  @nn.nowrap
  def _scaled(self, size: int) -> int:
    return max(1, round(size * self.width))


def vgg_s(
  *,
  num_classes: int,
  width: float = 1.0,
  dropout: float = 0.5,
  dtype: str = "float32",
) -> VggS:
  """Build VGG-S for images `[b h w c]` of 31 or more pixels a side.

  It is the family of the emotion model of Levi and Hassner 2015, "Emotion
  recognition in the wild via convolutional neural networks and mapped binary
  patterns", which the hybrid paper cuts at pool5.

  Args:
    num_classes: number of logits.
    width: factor on the channels and on the hidden units.
    dropout: rate after fc6 and fc7.
    dtype: compute type, "float32" or "bfloat16".

  Returns:
    The network; 98,840,199 parameters at 224 x 224 x 3 with seven classes.

  References:
    Chatfield et al. 2014, Return of the devil in the details, arXiv 1405.3531,
    table 1, CNN-S, as released for Caffe.
  """
  return VggS(
    num_classes=num_classes, width=width, dropout=dropout, dtype=dtype
  )


def _normalize(x: jax.Array) -> jax.Array:
  """Divide `x [b h w c]` by the energy of the channels around each channel."""
  channels, side = x.shape[-1], _NEIGHBOURS // 2
  squares = jnp.pad(x**2, ((0, 0), (0, 0), (0, 0), (side, side)))
  energy = sum(squares[..., i : i + channels] for i in range(_NEIGHBOURS))
  return x / (_OFFSET + _ALPHA / _NEIGHBOURS * energy) ** _BETA


def _pool(x: jax.Array, size: int) -> jax.Array:
  """Take `size` x `size` maxima of `x [b h w c]`; the last may see less."""
  batch, height, width, channels = x.shape
  # Caffe rounds the number of windows up. Missing values are never maxima.
  missing = ((0, 0), (0, -height % size), (0, -width % size), (0, 0))
  x = jnp.pad(x, missing, constant_values=-jnp.inf)
  # As in `vgg`: the gradient of a reshape is faster than reduce_window's.
  rows, columns = x.shape[1] // size, x.shape[2] // size
  x = x.reshape((batch, rows, size, columns, size, channels))
  return jnp.max(x, axis=(2, 4))
