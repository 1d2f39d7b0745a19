"""Pictures decoded by Grain whenever they are read, and kept nowhere.

For data sets that do not fit the disk once they are decoded: `pictures` decodes
everything once, and is the faster one wherever it can be used.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from hybridpriv.data import pictures as pictures_lib

# Decoding releases the interpreter lock.
_THREADS = 16
_AHEAD = 64  # pictures decoded before they are asked for, within one read


class Pictures:
  """Pictures that are indexed as an array is, and decoded then.

  A read of several, such as a batch, decodes them in Grain's threads.

  Attributes:
    shape: `(n, size, size, 3)`.
    dtype: uint8.
    ndim: 4.
  """

  dtype = np.dtype(np.uint8)
  ndim = 4

  def __init__(
    self,
    pictures: Sequence[pictures_lib.Picture],
    *,
    size: int,
    crop: float = 0,
  ):
    """Take the pictures, side in pixels and crop of `pictures.load`.

    Raises:
      ValueError: Grain is not installed, or the size is no size.
    """
    try:
      import grain
    except ModuleNotFoundError as error:
      raise ValueError(
        "engine='grain' needs Grain: pip install 'hybridpriv[grain]', or leave"
        " the engine out to decode everything once"
      ) from error
    pictures_lib.check(size)
    self.shape = (len(pictures), size, size, 3)
    self._pictures, self._size, self._crop = pictures, size, crop
    self._dataset = grain.MapDataset
    self._options = grain.ReadOptions(
      num_threads=_THREADS, prefetch_buffer_size=_AHEAD
    )

  def __len__(self) -> int:
    return len(self._pictures)

  def __getitem__(self, index: Any) -> np.ndarray:
    """Decode one picture, or those of a slice, mask or array of numbers.

    Raises:
      ValueError: a picture cannot be read, with its name and the remedy.
    """
    if isinstance(index, tuple) or index is Ellipsis or index is None:
      raise TypeError(
        f"pictures are indexed along their first axis, not by {index!r}: decode"
        " those that are needed, and index what comes back"
      )
    chosen = np.arange(len(self))[index]
    decode = functools.partial(
      pictures_lib.decode, size=self._size, crop=self._crop
    )
    if chosen.ndim == 0:
      return decode(self._pictures[chosen])
    result = np.empty((*chosen.shape, *self.shape[1:]), np.uint8)
    if chosen.size:
      own = [self._pictures[i] for i in chosen.ravel()]
      walk = (
        self._dataset.source(own).map(decode).to_iter_dataset(self._options)
      )
      flat = result.reshape(-1, *self.shape[1:])
      for place, picture in enumerate(walk):
        flat[place] = picture
    return result

  def __array__(
    self, dtype: Any = None, copy: bool | None = None
  ) -> np.ndarray:
    """Decode all of them, into memory."""
    if copy is False:
      raise ValueError(
        "pictures are decoded when read: a copy cannot be avoided"
      )
    return self[:].astype(dtype or np.uint8, copy=False)

  def digest(self) -> bytes:
    """Name the pixels by all that they depend on, without decoding them."""
    return pictures_lib.digest(self._pictures, self._size, self._crop)
