"""Residual networks with BatchNorm, cut after any block."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from hybridpriv.networks import convolution, pooling, staged

_CHANNELS = (64, 128, 256, 512)
_EXPANSION = 4  # of a bottleneck block


class ResNet(staged.Staged):
  """ResNet with stages stem, pool1, block1_1 ..., avgpool and fc.

  Attributes:
    blocks: number of blocks in each of the four groups.
    is_bottleneck: blocks of 1 x 1, 3 x 3, 1 x 1 instead of two 3 x 3.
    halves_first: such a block halves its image in the first 1 x 1, not in the
      3 x 3.
    width: factor on the channels.
  """

  blocks: tuple[int, ...] = (2, 2, 2, 2)
  is_bottleneck: bool = False
  halves_first: bool = False
  width: float = 1.0

  def stage_names(self) -> tuple[str, ...]:
    """Return stem, pool1, block1_1, ..., avgpool, fc."""
    names = ["stem", "pool1"]
    for group, blocks in enumerate(self.blocks, start=1):
      names += [f"block{group}_{block}" for block in range(1, blocks + 1)]
    return (*names, "avgpool", "fc")

  def stage(self, name: str, x: jax.Array, *, train: bool) -> jax.Array:
    """Run one stage on `x [b h w c]`, or `[b c]` after avgpool."""
    if name == "stem":
      x = _conv(self._scaled(0), 7, 2, self.dtype, "conv")(x)
      return nn.relu(_norm(train, self.dtype, "norm")(x))
    if name == "pool1":
      return pooling.max_pool(x, padding=1)
    if name == "avgpool":
      return jnp.mean(x, axis=(1, 2))
    if name == "fc":
      return nn.Dense(self.num_classes, dtype=self.dtype, name="dense")(x)
    group, block = map(int, name.removeprefix("block").split("_"))
    stride = 2 if group > 1 and block == 1 else 1
    channels = self._scaled(group - 1)
    if self.is_bottleneck:
      strides = (stride, 1) if self.halves_first else (1, stride)
      return _bottleneck(x, channels, strides, train, self.dtype)
    return _basic(x, channels, stride, train, self.dtype)

  @nn.nowrap
  def _scaled(self, group: int) -> int:
    return max(1, round(_CHANNELS[group] * self.width))


def resnet18(
  *, num_classes: int, width: float = 1.0, dtype: str = "float32"
) -> ResNet:
  """Build ResNet-18 for images `[b h w c]`.

  Args:
    num_classes: number of logits.
    width: factor on the channels.
    dtype: compute type, "float32" or "bfloat16"; statistics are float32.

  Returns:
    The network.

  References:
    He et al. 2016, arXiv 1512.03385, table 1.
  """
  return ResNet(num_classes=num_classes, width=width, dtype=dtype)


def resnet50(
  *,
  num_classes: int,
  width: float = 1.0,
  halves_first: bool = False,
  dtype: str = "float32",
) -> ResNet:
  """Build ResNet-50 for images `[b h w c]`.

  Args:
    num_classes: number of logits.
    width: factor on the channels.
    halves_first: whether a block halves its image in the first 1 x 1
      convolution, as the paper and Keras have it, or in the 3 x 3, as
      torchvision and most weights in circulation have it.
    dtype: compute type, "float32" or "bfloat16"; statistics are float32.

  Returns:
    The network.

  References:
    He et al. 2016, arXiv 1512.03385, table 1; Goyal et al. 2017, arXiv
    1706.02677, for the stride and the zero scale at the end of a block.
  """
  return ResNet(
    num_classes=num_classes,
    blocks=(3, 4, 6, 3),
    is_bottleneck=True,
    halves_first=halves_first,
    width=width,
    dtype=dtype,
  )


def _basic(
  x: jax.Array, channels: int, stride: int, train: bool, dtype: str
) -> jax.Array:
  """Run a block of two 3 x 3 convolutions."""
  y = _conv(channels, 3, stride, dtype, "conv1")(x)
  y = nn.relu(_norm(train, dtype, "norm1")(y))
  y = _conv(channels, 3, 1, dtype, "conv2")(y)
  y = _norm(train, dtype, "norm2", is_last=True)(y)
  return nn.relu(y + _shortcut(x, channels, stride, train, dtype))


def _bottleneck(
  x: jax.Array,
  channels: int,
  strides: tuple[int, int],
  train: bool,
  dtype: str,
) -> jax.Array:
  """Run a block of a 3 x 3 convolution between two of 1 x 1."""
  y = _pointwise(x, channels, strides[0], dtype, "conv1")
  y = nn.relu(_norm(train, dtype, "norm1")(y))
  y = _conv(channels, 3, strides[1], dtype, "conv2")(y)
  y = nn.relu(_norm(train, dtype, "norm2")(y))
  y = _pointwise(y, _EXPANSION * channels, 1, dtype, "conv3")
  y = _norm(train, dtype, "norm3", is_last=True)(y)
  return nn.relu(y + _shortcut(x, y.shape[-1], max(strides), train, dtype))


def _shortcut(
  x: jax.Array, channels: int, stride: int, train: bool, dtype: str
) -> jax.Array:
  """Pass the input of a block, in the shape of its output."""
  if stride == 1 and x.shape[-1] == channels:
    return x
  x = _pointwise(x, channels, stride, dtype, "shortcut")
  return _norm(train, dtype, "shortcut_norm")(x)


def _pointwise(
  x: jax.Array, channels: int, stride: int, dtype: str, name: str
) -> jax.Array:
  """Apply a 1 x 1 convolution, as a matrix product: faster on a CPU."""
  dense = nn.Dense(
    channels,
    use_bias=False,
    dtype=dtype,
    kernel_init=nn.initializers.he_normal(),
    name=name,
  )
  x = x[:, ::stride, ::stride]
  if not convolution.is_ours(x):
    return dense(x)
  # Of images the gradient would turn a copy round in memory.
  return dense(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], channels)


def _conv(
  channels: int, size: int, stride: int, dtype: str, name: str
) -> nn.Conv:
  return nn.Conv(
    channels,
    (size, size),
    strides=(stride, stride),
    padding=size // 2,  # on both sides, unlike "SAME" with a stride
    use_bias=False,
    dtype=dtype,
    kernel_init=nn.initializers.he_normal(),
    conv_general_dilated=convolution.conv_general_dilated,
    name=name,
  )


def _norm(
  train: bool, dtype: str, name: str, is_last: bool = False
) -> nn.BatchNorm:
  """Build a BatchNorm; the last of a block starts as a zero branch."""
  ones = nn.initializers.ones_init()
  zeros = nn.initializers.zeros_init()
  return nn.BatchNorm(
    use_running_average=not train,
    momentum=0.9,
    dtype=dtype,
    scale_init=zeros if is_last else ones,
    name=name,
  )
