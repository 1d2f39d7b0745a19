"""Residual networks with BatchNorm, cut after any block."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from hybridpriv.networks import convolution, pooling, staged

_CHANNELS = (64, 128, 256, 512)
_EXPANSION = 4  # of a bottleneck block


class _Mode(NamedTuple):
  """What all layers have in common: fields of the network, and `train`."""

  norm: str
  dtype: str
  train: bool


class ResNet(staged.Staged):
  """ResNet with stages stem, pool1, block1_1 ..., avgpool and fc.

  Attributes:
    blocks: number of blocks in each of the four groups.
    is_bottleneck: blocks of 1 x 1, 3 x 3, 1 x 1 instead of two 3 x 3.
    halves_first: such a block halves its image in the first 1 x 1, not in the
      3 x 3.
    width: factor on the channels.
    norm: "batch" as published, or "none" with a bias in every convolution, for
      weights that the former is folded into (`frozen.fold`).
  """

  blocks: tuple[int, ...] = (2, 2, 2, 2)
  is_bottleneck: bool = False
  halves_first: bool = False
  width: float = 1.0
  norm: str = "batch"

  def __post_init__(self) -> None:
    if self.norm not in ("none", "batch"):
      raise ValueError(f'norm={self.norm!r}; expected "none" or "batch".')
    super().__post_init__()

  def stage_names(self) -> tuple[str, ...]:
    """Return stem, pool1, block1_1, ..., avgpool, fc."""
    names = ["stem", "pool1"]
    for group, blocks in enumerate(self.blocks, start=1):
      names += [f"block{group}_{block}" for block in range(1, blocks + 1)]
    return (*names, "avgpool", "fc")

  def stage(self, name: str, x: jax.Array, *, train: bool) -> jax.Array:
    """Run one stage on `x [b h w c]`, or `[b c]` after avgpool."""
    mode = _Mode(self.norm, self.dtype, train)
    if name == "stem":
      x = _conv(x, self._scaled(0), 7, 2, mode, "conv")
      return nn.relu(_norm(x, mode, "norm"))
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
      return _bottleneck(x, channels, strides, mode)
    return _basic(x, channels, stride, mode)

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


def _basic(x: jax.Array, channels: int, stride: int, mode: _Mode) -> jax.Array:
  """Run a block of two 3 x 3 convolutions."""
  y = _conv(x, channels, 3, stride, mode, "conv1")
  y = nn.relu(_norm(y, mode, "norm1"))
  y = _conv(y, channels, 3, 1, mode, "conv2")
  y = _norm(y, mode, "norm2", is_last=True)
  return nn.relu(y + _shortcut(x, channels, stride, mode))


def _bottleneck(
  x: jax.Array, channels: int, strides: tuple[int, int], mode: _Mode
) -> jax.Array:
  """Run a block of a 3 x 3 convolution between two of 1 x 1."""
  y = _pointwise(x, channels, strides[0], mode, "conv1")
  y = nn.relu(_norm(y, mode, "norm1"))
  y = _conv(y, channels, 3, strides[1], mode, "conv2")
  y = nn.relu(_norm(y, mode, "norm2"))
  y = _pointwise(y, _EXPANSION * channels, 1, mode, "conv3")
  y = _norm(y, mode, "norm3", is_last=True)
  return nn.relu(y + _shortcut(x, y.shape[-1], max(strides), mode))


def _shortcut(
  x: jax.Array, channels: int, stride: int, mode: _Mode
) -> jax.Array:
  """Pass the input of a block, in the shape of its output."""
  if stride == 1 and x.shape[-1] == channels:
    return x
  x = _pointwise(x, channels, stride, mode, "shortcut")
  return _norm(x, mode, "shortcut_norm")


def _pointwise(
  x: jax.Array, channels: int, stride: int, mode: _Mode, name: str
) -> jax.Array:
  """Apply a 1 x 1 convolution, as a matrix product: faster on a CPU."""
  dense = nn.Dense(
    channels,
    use_bias=mode.norm == "none",
    dtype=mode.dtype,
    kernel_init=nn.initializers.he_normal(),
    name=name,
  )
  x = x[:, ::stride, ::stride]
  if not convolution.is_ours(x):
    return dense(x)
  # Of images the gradient would turn a copy round in memory.
  return dense(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], channels)


def _conv(
  x: jax.Array, channels: int, size: int, stride: int, mode: _Mode, name: str
) -> jax.Array:
  return nn.Conv(
    channels,
    (size, size),
    strides=(stride, stride),
    padding=size // 2,  # on both sides, unlike "SAME" with a stride
    use_bias=mode.norm == "none",
    dtype=mode.dtype,
    kernel_init=nn.initializers.he_normal(),
    conv_general_dilated=convolution.conv_general_dilated,
    name=name,
  )(x)


def _norm(
  x: jax.Array, mode: _Mode, name: str, is_last: bool = False
) -> jax.Array:
  """Apply the BatchNorm; the last of a block starts as a zero branch."""
  if mode.norm == "none":
    return x
  ones = nn.initializers.ones_init()
  zeros = nn.initializers.zeros_init()
  return nn.BatchNorm(
    use_running_average=not mode.train,
    momentum=0.9,
    dtype=mode.dtype,
    scale_init=zeros if is_last else ones,
    name=name,
  )(x)
