"""The frame that leaves the device: a code of whole numbers and little else.

docs/wire.md specifies it, tests/deploy/wire_vectors.json has examples that
every implementation must pass.  All numbers are big-endian:

```text
  offset  bytes  what
       0      2  magic, "hp"
       2      1  version, 1
       3      4  bundle id: the first bytes of the SHA-256 of its manifest
       7      1  bits of a value: 8, 16 or 32
       8      2  k, the number of values, 1 or more
      10    k w  the values, two's complement, w = bits / 8 bytes each
  10+k w      4  CRC-32 of all that is before (as in zlib)
```

A decoder accepts these bytes and nothing more.
"""

import struct
import zlib
from typing import NamedTuple

import numpy as np

MAGIC, VERSION = b"hp", 1
BITS = (8, 16, 32)
MOST_VALUES = 2**16 - 1
ID_BYTES = 4
_HEAD = struct.Struct(">2sB4sBH")
_SUM = struct.Struct(">I")
OVERHEAD = _HEAD.size + _SUM.size


class Refused(ValueError):
  """A frame that is not one.

  Attributes:
    code: why, one of "short", "magic", "version", "bundle", "bits", "values",
      "length" and "checksum"; the first in this order that applies.
  """

  def __init__(self, code: str, message: str):
    super().__init__(message)
    self.code = code


class Frame(NamedTuple):
  """What a frame says.

  Attributes:
    bundle: which bundle both sides must have, 4 bytes.
    bits: of a value.
    values: the code, int32 [k].
  """

  bundle: bytes
  bits: int
  values: np.ndarray


def num_bytes(*, k: int, bits: int) -> int:
  """Return the length of a frame of k values."""
  return OVERHEAD + k * bits // 8


def encode(values: np.ndarray, *, bits: int, bundle: bytes) -> bytes:
  """Lay out a code.

  Args:
    values: whole numbers [k].
    bits: of a value, 8, 16 or 32.
    bundle: id of the bundle, 4 bytes.

  Raises:
    ValueError: what is given does not fit a frame: values out of range, too
      many or no whole numbers, other bits, another length of the id.
  """
  values = np.asarray(values)
  if bits not in BITS:
    raise ValueError(f"bits={bits}; expected one of {BITS}")
  if len(bundle) != ID_BYTES:
    raise ValueError(f"an id of {len(bundle)} bytes; expected {ID_BYTES}")
  if values.ndim != 1 or not 1 <= len(values) <= MOST_VALUES:
    raise ValueError(
      f"values of shape {values.shape}; expected [k] with k from 1 to"
      f" {MOST_VALUES}"
    )
  if not np.issubdtype(values.dtype, np.integer):
    raise ValueError(f"values of type {values.dtype}; expected whole numbers")
  most = 2 ** (bits - 1)
  if int(values.min()) < -most or int(values.max()) >= most:
    raise ValueError(
      f"values from {values.min()} to {values.max()} do not fit {bits} bits:"
      " saturate them first"
    )
  head = _HEAD.pack(MAGIC, VERSION, bundle, bits, len(values))
  body = head + values.astype(f">i{bits // 8}").tobytes()
  return body + _SUM.pack(zlib.crc32(body))


def decode(frame: bytes, *, bundle: bytes | None = None) -> Frame:
  """Read a frame, strictly.

  Args:
    frame: the bytes.
    bundle: the id that it must have; None for any.

  Raises:
    Refused: it is no frame of this version, or of another bundle.
  """
  if len(frame) < OVERHEAD:
    raise Refused("short", f"{len(frame)} bytes; no frame has so few")
  magic, version, own, bits, k = _HEAD.unpack_from(frame)
  if magic != MAGIC:
    raise Refused("magic", f"it starts with {magic.hex()}, not {MAGIC.hex()}")
  if version != VERSION:
    raise Refused(
      "version", f"version {version}; this side speaks {VERSION}: update"
    )
  if bundle is not None and own != bundle:
    raise Refused(
      "bundle", f"a code of bundle {own.hex()}; this side has {bundle.hex()}"
    )
  if bits not in BITS:
    raise Refused("bits", f"{bits} bits a value; expected one of {BITS}")
  if not k:
    raise Refused("values", "no values")
  if len(frame) != num_bytes(k=k, bits=bits):
    raise Refused(
      "length",
      f"{len(frame)} bytes; {k} values of {bits} bits take"
      f" {num_bytes(k=k, bits=bits)}",
    )
  body, (checksum,) = frame[: -_SUM.size], _SUM.unpack(frame[-_SUM.size :])
  if zlib.crc32(body) != checksum:
    raise Refused("checksum", "the checksum differs: the bytes were damaged")
  values = np.frombuffer(body, f">i{bits // 8}", offset=_HEAD.size)
  return Frame(own, bits, values.astype(np.int32))
