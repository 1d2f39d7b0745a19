"""Pictures of a data set as one array: decoded once, and kept in a file."""

import collections
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import numpy as np
import PIL
import PIL.features

from hybridpriv.data import images, kept

_AHEAD = 16  # pictures a thread that are decoded and not yet taken


class Picture(NamedTuple):
  """One picture.

  Attributes:
    name: what to call it in an error.
    state: names its content: another one where the content is another.
    read: gives the bytes of the file.
  """

  name: str
  state: str
  read: Callable[[], bytes]


def load(
  pictures: Sequence[Picture],
  *,
  size: int,
  crop: float = 0,
  cache: str | pathlib.Path = "",
) -> np.ndarray:
  """Decode pictures, or read what was kept of them.

  Args:
    pictures: `n` of them.
    size: side of the result in pixels.
    crop: see `images.central_box`.
    cache: folder where they are kept once decoded; "" for nowhere.

  Returns:
    uint8 `[n, size, size, 3]`; with `cache` a read-only memory map.

  Raises:
    ValueError: a picture cannot be read, with its name and the remedy; or what
      was decoded cannot be written.
  """
  check(size)
  shape = (len(pictures), size, size, 3)
  if not cache:
    result = np.empty(shape, np.uint8)
    for i, found in enumerate(_decoded(pictures, size, crop)):
      result[i] = found
    return result
  return kept.array(
    pathlib.Path(cache),
    "pictures",
    digest(pictures, size, crop),
    shape,
    np.uint8,
    lambda: _decoded(pictures, size, crop),
  )


def check(size: int) -> None:
  """Refuse a side that is none."""
  if size < 1:
    raise ValueError(f"size is {size}, expected the side in pixels, 1 or more")


def decode(picture: Picture, *, size: int, crop: float = 0) -> np.ndarray:
  """Decode one picture, uint8 `[size, size, 3]`, as `load` does all.

  Raises:
    ValueError: it cannot be read, with its name and the remedy.
  """
  try:
    return images.decode(picture.read(), size=size, crop=crop)
  except OSError as error:
    raise ValueError(
      f"{picture.name} cannot be read ({error.strerror or error}): see to it,"
      " and give the same command again"
    ) from error
  except Exception as error:
    raise ValueError(
      f"{picture.name}: {error}; mend the file or take its row out"
    ) from error


def digest(pictures: Sequence[Picture], size: int, crop: float) -> bytes:
  """Name the pixels by all that they depend on, without decoding them."""
  key = hashlib.sha256(json.dumps([_decoder(), size, crop]).encode())
  for picture in pictures:
    key.update(json.dumps(picture.state).encode())
  return key.digest()


def _decoder() -> list[str | None]:
  """Name what turns bytes into pixels."""
  # The text itself: a version of our own would be forgotten.
  source = pathlib.Path(images.__file__).read_bytes()
  libraries = [PIL.features.version(name) for name in ("jpg", "webp")]
  return [PIL.__version__, *libraries, hashlib.sha256(source).hexdigest()]


def _decoded(
  pictures: Sequence[Picture], size: int, crop: float
) -> Generator[np.ndarray]:
  """Decode pictures in a few threads, in order and not far ahead."""
  work = functools.partial(decode, size=size, crop=crop)
  # Decoding releases the interpreter lock.
  num = min(8, os.cpu_count() or 1)
  waiting: collections.deque = collections.deque()
  with concurrent.futures.ThreadPoolExecutor(num) as pool:
    try:
      rest = iter(pictures)
      for done in range(1, len(pictures) + 1):
        while len(waiting) < num * _AHEAD and (own := next(rest, None)):
          waiting.append(pool.submit(work, own))
        yield waiting.popleft().result()
        _show(done, len(pictures))
    finally:
      pool.shutdown(cancel_futures=True)


def _show(done: int, total: int) -> None:
  """Say on a terminal how far decoding is."""
  if sys.stderr.isatty() and (done % 100 == 0 or done == total):
    end = "\n" if done == total else ""
    print(f"\rpictures {done}/{total}", end=end, file=sys.stderr, flush=True)
