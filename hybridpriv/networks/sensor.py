"""A 1-D convolutional network for windows of sensor signals."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from hybridpriv.networks import staged

_CHANNELS = (32, 64, 64)
_KERNEL = 5  # samples: 0.1 s at 50 Hz
_HIDDEN = 128


class Sensor(staged.Staged):
  """Three 1-D convolutions with pools, one hidden layer and the logits.

  Attributes:
    width: factor on the channels and on the hidden units.
    norm: "none" or "batch".
    dropout: rate after fc1.
  """

  width: float = 1.0
  norm: str = "none"
  dropout: float = 0.5

  def __post_init__(self) -> None:
    if self.norm not in ("none", "batch"):
      raise ValueError(f'norm={self.norm!r}; expected "none" or "batch".')
    super().__post_init__()

  def stage_names(self) -> tuple[str, ...]:
    """Return conv1, pool1, conv2, pool2, conv3, pool3, fc1, fc2."""
    names = []
    for block in range(1, len(_CHANNELS) + 1):
      names += [f"conv{block}", f"pool{block}"]
    return (*names, "fc1", "fc2")

  def stage(self, name: str, x: jax.Array, *, train: bool) -> jax.Array:
    """Run one stage on `x [b t c]`, or `[b d]` after fc1."""
    if name.startswith("pool"):
      return _pool(x, name)
    if name == "fc2":
      return nn.Dense(self.num_classes, dtype=self.dtype, name="dense")(x)
    if name == "fc1":
      x = nn.Dense(
        self._scaled(_HIDDEN),
        dtype=self.dtype,
        kernel_init=nn.initializers.he_normal(),
        name="dense",
      )(x.reshape((x.shape[0], -1)))
      return nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
    x = nn.Conv(
      self._scaled(_CHANNELS[int(name.removeprefix("conv")) - 1]),
      (_KERNEL,),
      padding="SAME",
      use_bias=self.norm == "none",
      dtype=self.dtype,
      kernel_init=nn.initializers.he_normal(),
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


def sensor(
  *,
  num_classes: int,
  width: float = 1.0,
  norm: str = "none",
  dropout: float = 0.5,
  dtype: str = "float32",
) -> Sensor:
  """Build the sensor network for windows `[b t c]` of 8 or more samples.

  The published architecture for motion signals could not be recovered
  (`docs/method.md`); this one is our own.

  Args:
    num_classes: number of logits.
    width: factor on the channels and on the hidden units.
    norm: "none" or "batch".
    dropout: rate after fc1.
    dtype: compute type, "float32" or "bfloat16".

  Returns:
    The network.
  """
  return Sensor(
    num_classes=num_classes,
    width=width,
    norm=norm,
    dropout=dropout,
    dtype=dtype,
  )


def _pool(x: jax.Array, name: str) -> jax.Array:
  """Halve `x [b t c]` by maxima of two samples, dropping an odd one."""
  batch, time, channels = x.shape
  if time < 2:
    raise ValueError(
      f"{name} got {time} sample and halves it; a window needs at least "
      f"{2 ** len(_CHANNELS)} samples."
    )
  # As in `vgg`: the gradient of a reshape is faster than reduce_window's.
  x = x[:, : time // 2 * 2].reshape((batch, time // 2, 2, channels))
  return jnp.max(x, axis=2)
