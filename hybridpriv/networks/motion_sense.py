"""The network that the authors of MotionSense publish with their data."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from hybridpriv.networks import staged

# Features, kernel in time steps and padding.
_CONVS = {
  "conv1": (50, 5, "VALID"),
  "conv2": (50, 3, "SAME"),
  "conv3": (40, 5, "VALID"),
  "conv4": (20, 3, "VALID"),
}
_DENSES = {"dense1": 50, "dense2": 40}
_POOLS = {"pool1": 2, "pool2": 3}  # time steps
_HIDDEN = 400
_SMALLEST = 30  # time steps; leaves the three that conv4 needs


class MotionSense(staged.Staged):
  """Convolutions along time, the same for every channel, then two dense layers.

  A window is an image with a row for each channel; kernels are one row high,
  so that channels meet in fc1 only. The stages are conv1, conv2, dense1,
  pool1, conv3, dense2, pool2, conv4, fc1 and fc2. dense1 and dense2 mix the
  features of one channel at one time step.

  Attributes:
    width: factor on the features and on the hidden units.
    dropout: rate after pool1, pool2 and conv4.
    dropout_hidden: rate after fc1.
  """

  width: float = 1.0
  dropout: float = 0.2
  dropout_hidden: float = 0.4

  def stage_names(self) -> tuple[str, ...]:
    """Return conv1, conv2, dense1, pool1, conv3, ..., conv4, fc1, fc2."""
    first = ("conv1", "conv2", "dense1", "pool1")
    return (*first, "conv3", "dense2", "pool2", "conv4", "fc1", "fc2")

  def stage(self, name: str, x: jax.Array, *, train: bool) -> jax.Array:
    """Run one stage on `x [b c t f]`, `[b t c]` in conv1, `[b d]` in fc2."""
    if name == "fc2":
      return nn.Dense(self.num_classes, dtype=self.dtype, name="dense")(x)
    if name == "conv1":
      x = jnp.swapaxes(x, 1, 2)[..., None]
    if name in _POOLS:
      x = _pool(x, _POOLS[name])
    elif name in _CONVS:
      features, size, padding = _CONVS[name]
      if x.shape[2] < size:
        raise ValueError(
          f"{name} got {x.shape[2]} time steps and its kernel has {size}; a "
          f"window needs at least {_SMALLEST} of them."
        )
      x = nn.Conv(
        self._scaled(features),
        (1, size),
        padding=padding,
        dtype=self.dtype,
        kernel_init=nn.initializers.he_normal(),
        name="conv",
      )(x)
      x = nn.relu(x)
    else:
      if name == "fc1":
        x = x.reshape((x.shape[0], -1))
      x = nn.Dense(
        self._scaled(_DENSES.get(name, _HIDDEN)),
        dtype=self.dtype,
        kernel_init=nn.initializers.he_normal(),
        name="dense",
      )(x)
      x = nn.relu(x)
    if name in ("pool1", "pool2", "conv4"):
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    if name == "fc1":
      x = nn.Dropout(self.dropout_hidden, deterministic=not train)(x)
    return x

  @nn.nowrap
  def _scaled(self, size: int) -> int:
    return max(1, round(size * self.width))


def motion_sense(
  *,
  num_classes: int,
  width: float = 1.0,
  dropout: float = 0.2,
  dropout_hidden: float = 0.4,
  dtype: str = "float32",
) -> MotionSense:
  """Build the MotionSense network for windows `[b t c]` of 30 or more samples.

  The source has two heads on fc1, a softmax over the activities and a sigmoid
  for the gender. Here fc2 gives the logits of all desired labels side by side,
  which the training divides among its `answers`; the two logits of a gender
  stand for the sigmoid.

  Whether the hybrid paper ran this network on these data is not known.

  Args:
    num_classes: number of logits, of all labels together.
    width: factor on the features and on the hidden units.
    dropout: rate after pool1, pool2 and conv4.
    dropout_hidden: rate after fc1.
    dtype: compute type, "float32" or "bfloat16".

  Returns:
    The network; 411,306 parameters for one second of twelve channels at 50 Hz
    with six classes.

  References:
    Malekzadeh et al. 2018, Protecting sensory data against sensitive
    inferences, arXiv 1802.07802, and the code beside the data set.
  """
  return MotionSense(
    num_classes=num_classes,
    width=width,
    dropout=dropout,
    dropout_hidden=dropout_hidden,
    dtype=dtype,
  )


def _pool(x: jax.Array, size: int) -> jax.Array:
  """Take maxima of `size` time steps of `x [b c t f]`, dropping the rest."""
  batch, channels, time, features = x.shape
  # As in `vgg`: the gradient of a reshape is faster than reduce_window's.
  x = x[:, :, : time // size * size]
  x = x.reshape((batch, channels, time // size, size, features))
  return jnp.max(x, axis=3)
