"""The residual network of the dlib face recognizer."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from hybridpriv.networks import convolution, pooling, staged

_GROUPS = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))  # channels, blocks
_SMALLEST = 103  # smaller ones leave nothing to the last block's kernels

# What its inputs, 0 to 255, are centred and divided by.
MEAN = (122.782, 117.001, 104.298)
SCALE = 256.0


def blocks() -> list[tuple[int, bool]]:
  """List the channels of every block, and whether it halves its image."""
  return [
    (channels, group > 0 and block == 0)
    for group, (channels, number) in enumerate(_GROUPS)
    for block in range(number)
  ]


class Resnet29(staged.Staged):
  """ResNet with stages stem, pool1, block1 ... block14, avgpool and fc.

  Published weights have their normalisation folded into a gain and an offset
  of every channel, so nothing here depends on the batch.
  """

  def stage_names(self) -> tuple[str, ...]:
    """Return stem, pool1, block1, ..., block14, avgpool, fc."""
    names = [f"block{i}" for i in range(1, len(blocks()) + 1)]
    return ("stem", "pool1", *names, "avgpool", "fc")

  def stage(self, name: str, x: jax.Array, *, train: bool) -> jax.Array:
    """Run one stage on `x [b h w c]`, or `[b c]` after avgpool."""
    del train  # no stage behaves differently
    if name == "stem":
      x = _conv(32, 7, 2, self.dtype, "conv")(x)
      return nn.relu(Affine(self.dtype, name="affine")(x))
    if name == "pool1":
      return pooling.max_pool(x, padding=0)
    if name == "avgpool":
      return jnp.mean(x, axis=(1, 2))
    if name == "fc":
      return nn.Dense(
        self.num_classes, use_bias=False, dtype=self.dtype, name="dense"
      )(x)
    channels, halves = blocks()[int(name.removeprefix("block")) - 1]
    if halves and min(x.shape[1:3]) < 3:
      raise ValueError(
        f"{name} got {x.shape[1]} x {x.shape[2]} values and halves them; the"
        f" network needs images of at least {_SMALLEST} x {_SMALLEST} pixels."
      )
    y = _conv(channels, 3, 1 + halves, self.dtype, "conv1")(x)
    y = nn.relu(Affine(self.dtype, name="affine1")(y))
    y = _conv(channels, 3, 1, self.dtype, "conv2")(y)
    y = Affine(self.dtype, name="affine2")(y)
    if halves:
      x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
    return nn.relu(_add(x, y))


class Affine(nn.Module):
  """A gain and an offset for every channel."""

  dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Scale and shift `x [b h w c]`."""
    size = (x.shape[-1],)
    to_image = (None, None, None)
    gain = self.param("gain", nn.initializers.ones_init(), size)
    offset = self.param("offset", nn.initializers.zeros_init(), size)
    gain, offset = (v.astype(self.dtype)[to_image] for v in (gain, offset))
    return x * gain + offset


def resnet29_dlib(*, num_classes: int, dtype: str = "float32") -> Resnet29:
  """Build the network of the dlib face recognizer for images `[b h w c]`.

  With 128 outputs these are the recognizer's: two pictures of 150 x 150 pixels
  show the same person where they are nearer than 0.6.  Inputs, 0 to 255, are
  to be centred by `MEAN` and divided by `SCALE`.

  Args:
    num_classes: number of outputs.
    dtype: compute type, "float32" or "bfloat16".

  Returns:
    The network.

  References:
    King 2017, dlib.net, `dlib_face_recognition_resnet_model_v1`; after He et
    al. 2016, arXiv 1512.03385, with fewer channels and blocks.
  """
  return Resnet29(num_classes=num_classes, dtype=dtype)


def _conv(
  channels: int, size: int, stride: int, dtype: str, name: str
) -> nn.Conv:
  """Build a convolution that is padded where it does not halve the image."""
  return nn.Conv(
    channels,
    (size, size),
    strides=(stride, stride),
    padding=size // 2 if stride == 1 else 0,
    dtype=dtype,
    kernel_init=nn.initializers.he_normal(),
    conv_general_dilated=convolution.conv_general_dilated,
    name=name,
  )


def _add(a: jax.Array, b: jax.Array) -> jax.Array:
  """Add images `[b h w c]` of different size; what is missing counts as 0."""
  size = [max(m, n) for m, n in zip(a.shape, b.shape, strict=True)]

  def fill(x: jax.Array) -> jax.Array:
    return jnp.pad(x, [(0, n - m) for m, n in zip(x.shape, size, strict=True)])

  return fill(a) + fill(b)
