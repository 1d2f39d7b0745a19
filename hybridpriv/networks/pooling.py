"""Maxima of overlapping windows, with a gradient that is fast on a CPU."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from hybridpriv.networks import convolution

_SIZE, _STRIDE = 3, 2


def max_pool(x: jax.Array, *, padding: int) -> jax.Array:
  """Take 3 x 3 maxima of images `[b h w c]`, two pixels apart.

  On a CPU the gradient of the compiler's windows is many times slower than
  that of slices.  Theirs gives the gradient of a window to the first of
  several equal maxima, that of slices divides it among them: both are
  subgradients, and they agree where maxima are not equal.  After a ReLU most
  that are equal are zeros, whose gradient it stops.

  Args:
    x: images.
    padding: pixels on every side, which are never maxima.

  Returns:
    Images `[b h' w' c]`.
  """
  is_ours = convolution.is_ours(x)
  pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
  # Also for windows, which could pad: the converter to ONNX forgets that.
  x = jnp.pad(x, pads, constant_values=-jnp.inf)
  if not is_ours:
    return nn.max_pool(
      x, window_shape=(_SIZE, _SIZE), strides=(_STRIDE, _STRIDE)
    )
  for axis in (1, 2):
    windows = (x.shape[axis] - _SIZE) // _STRIDE + 1
    last = _STRIDE * (windows - 1) + 1
    parts = [
      jax.lax.slice_in_dim(x, i, i + last, _STRIDE, axis=axis)
      for i in range(_SIZE)
    ]
    x = jnp.maximum(jnp.maximum(parts[0], parts[1]), parts[2])
  return x
