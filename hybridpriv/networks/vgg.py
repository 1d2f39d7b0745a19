"""VGG-16, the network of the hybrid paper."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from hybridpriv.networks import convolution, staged

_CONVS = (2, 2, 3, 3, 3)  # convolutions in each of the five blocks
_CHANNELS = (64, 128, 256, 512, 512)
_HIDDEN = 4096


class Vgg(staged.Staged):
  """VGG-16 with stages conv1_1 ... conv5_3, pools, fc6, fc7 and fc8.

  A conv stage ends after its ReLU, which is where the paper cuts.

  Attributes:
    width: factor on the channels and on the hidden units.
    norm: "none" as published, or "batch".
    dropout: rate after fc6 and fc7.
  """

  width: float = 1.0
  norm: str = "none"
  dropout: float = 0.5

  def __post_init__(self) -> None:
    if self.norm not in ("none", "batch"):
      raise ValueError(f'norm={self.norm!r}; expected "none" or "batch".')
    super().__post_init__()

  def stage_names(self) -> tuple[str, ...]:
    """Return conv1_1, conv1_2, pool1, ..., pool5, fc6, fc7, fc8."""
    names = []
    for block, convs in enumerate(_CONVS, start=1):
      names += [f"conv{block}_{conv}" for conv in range(1, convs + 1)]
      names.append(f"pool{block}")
    return (*names, "fc6", "fc7", "fc8")

  def stage(self, name: str, x: jax.Array, *, train: bool) -> jax.Array:
    """Run one stage on `x [b h w c]`, or `[b d]` after fc6."""
    if name.startswith("pool"):
      return _pool(x, name)
    if name == "fc8":
      return nn.Dense(self.num_classes, dtype=self.dtype, name="dense")(x)
    if name.startswith("fc"):
      x = x.reshape((x.shape[0], -1))
      x = nn.Dense(
        self._scaled(_HIDDEN),
        dtype=self.dtype,
        kernel_init=nn.initializers.he_normal(),
        name="dense",
      )(x)
      return nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
    block = int(name.removeprefix("conv").split("_")[0])
    x = nn.Conv(
      self._scaled(_CHANNELS[block - 1]),
      (3, 3),
      padding=1,
      use_bias=self.norm == "none",
      dtype=self.dtype,
      kernel_init=nn.initializers.he_normal(),
      conv_general_dilated=convolution.conv_general_dilated,
      name="conv",
    )(x)
    if self.norm == "batch":
      x = nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        dtype=self.dtype,
        name="norm",
      )(x)
    return nn.relu(x)

  @nn.nowrap
  def _scaled(self, size: int) -> int:
    return max(1, round(size * self.width))


def vgg16(
  *,
  num_classes: int,
  width: float = 1.0,
  norm: str = "none",
  dropout: float = 0.5,
  dtype: str = "float32",
) -> Vgg:
  """Build VGG-16 for images `[b h w c]` of 32 or more pixels a side.

  Args:
    num_classes: number of logits.
    width: factor on the channels and on the hidden units.
    norm: "none" as published, or "batch".
    dropout: rate after fc6 and fc7.
    dtype: compute type, "float32" or "bfloat16".

  Returns:
    The network; 134,268,738 parameters at 224 x 224 x 3 with two classes.

  References:
    Simonyan and Zisserman 2015, arXiv 1409.1556, table 1, column D.
  """
  return Vgg(
    num_classes=num_classes,
    width=width,
    norm=norm,
    dropout=dropout,
    dtype=dtype,
  )


def _pool(x: jax.Array, name: str) -> jax.Array:
  """Halve `x [b h w c]` by 2 x 2 maxima, dropping an odd row or column."""
  batch, height, width, channels = x.shape
  if min(height, width) < 2:
    raise ValueError(
      f"{name} got {height} x {width} values and halves them; a VGG needs "
      "images of at least 32 x 32 pixels."
    )
  x = x[:, : height // 2 * 2, : width // 2 * 2]
  # On a CPU the gradient of a maximum over a reshape is many times faster
  # than that of reduce_window. Ties, which it shares, are zeros after ReLU.
  x = x.reshape((batch, height // 2, 2, width // 2, 2, channels))
  return jnp.max(x, axis=(2, 4))
