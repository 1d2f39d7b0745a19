import json
import pathlib
import subprocess
import sys
import zlib

import numpy as np
import pytest

from hybridpriv.deploy import wire

VECTORS = json.loads(
  (pathlib.Path(__file__).parent / "wire_vectors.json").read_text()
)
OWN = bytes.fromhex(VECTORS["bundle"])


def _checksum(content):
  """CRC-32 bit by bit, as its definition says."""
  rest = 0xFFFFFFFF
  for byte in content:
    rest ^= byte
    for _ in range(8):
      rest = rest >> 1 ^ (0xEDB88320 if rest & 1 else 0)
  return rest ^ 0xFFFFFFFF


def _ids(name):
  return [v["name"] for v in VECTORS[name]]


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=_ids("valid"))
def test_vectors_are_written_and_read(vector):
  frame, bundle = (
    bytes.fromhex(vector["frame"]),
    bytes.fromhex(vector["bundle"]),
  )
  values = np.asarray(vector["values"])
  assert wire.encode(values, bits=vector["bits"], bundle=bundle) == frame
  found = wire.decode(frame)
  assert (found.bundle, found.bits) == (bundle, vector["bits"])
  np.testing.assert_array_equal(found.values, values)
  # By the layout that docs/wire.md gives, written here once more.
  width = vector["bits"] // 8
  body = b"hp\x01" + bundle + bytes([vector["bits"]])
  body += len(values).to_bytes(2, "big")
  for value in vector["values"]:
    body += value.to_bytes(width, "big", signed=True)
  assert frame == body + _checksum(body).to_bytes(4, "big")


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=_ids("refused"))
def test_malformed_vectors_are_refused_with_their_code(vector):
  with pytest.raises(wire.Refused) as caught:
    wire.decode(bytes.fromhex(vector["frame"]), bundle=OWN)
  assert caught.value.code == vector["code"]


def test_every_code_has_a_vector():
  codes = {v["code"] for v in VECTORS["refused"]}
  for code in codes:
    assert f'"{code}"' in wire.Refused.__doc__
  assert len(codes) == 8


@pytest.mark.parametrize("bits", wire.BITS)
@pytest.mark.parametrize("k", [1, 2, 255, 256, wire.MOST_VALUES])
def test_what_is_sent_arrives_in_a_few_more_bytes(bits, k):
  rng = np.random.default_rng(k)
  most = 2 ** (bits - 1)
  values = rng.integers(-most, most, size=k)
  frame = wire.encode(values, bits=bits, bundle=OWN)
  assert len(frame) == wire.num_bytes(k=k, bits=bits) == k * bits // 8 + 14
  np.testing.assert_array_equal(wire.decode(frame, bundle=OWN).values, values)


def test_a_changed_bit_is_always_seen():
  frame = wire.encode(np.arange(-3, 4), bits=8, bundle=OWN)
  for at in range(8 * len(frame)):
    changed = bytearray(frame)
    changed[at // 8] ^= 1 << at % 8
    with pytest.raises(wire.Refused):
      wire.decode(bytes(changed), bundle=OWN)


def _fuzz(num):
  """Decode noise, much of it nearly a frame; return how often it is one."""
  rng = np.random.default_rng(num)
  accepted = 0
  for _ in range(num):
    k, bits = int(rng.integers(1, 6)), int(rng.choice(wire.BITS))
    frame = bytearray(wire.encode(np.zeros(k, int), bits=bits, bundle=OWN))
    for at in rng.integers(len(frame), size=rng.integers(4)):
      frame[at] = rng.integers(256)
    if rng.random() < 0.5:  # with a checksum that fits
      frame[-4:] = zlib.crc32(frame[:-4]).to_bytes(4, "big")
    frame = bytes(frame[: rng.integers(len(frame) + 1)]) + bytes(
      rng.integers(3) * (rng.random() < 0.2)
    )
    try:
      found = wire.decode(frame, bundle=OWN)
    except wire.Refused:
      continue
    accepted += 1
    # What is accepted is the one way to write what it says.
    assert wire.encode(found.values, bits=found.bits, bundle=OWN) == frame
  return accepted


def test_noise_is_refused_or_is_a_frame():
  assert _fuzz(20_000) > 0


@pytest.mark.slow
def test_a_million_frames_are_refused_or_are_frames():
  assert _fuzz(1_000_000) > 0


@pytest.mark.parametrize(
  ("values", "bits", "bundle", "message"),
  [
    ([128], 8, OWN, "saturate"),
    ([-129], 8, OWN, "saturate"),
    ([1], 7, OWN, "bits=7"),
    ([1], 8, b"abc", "3 bytes"),
    ([], 8, OWN, "shape"),
    ([[1]], 8, OWN, "shape"),
    ([0] * 2**16, 8, OWN, "shape"),
    ([1.0], 8, OWN, "whole"),
  ],
)
def test_what_fits_no_frame_is_one_clear_error(values, bits, bundle, message):
  with pytest.raises(ValueError, match=message):
    wire.encode(np.asarray(values), bits=bits, bundle=bundle)


def test_the_wire_needs_no_jax():
  code = (
    "import sys, hybridpriv.deploy.wire;"
    "sys.exit(any(m.split('.')[0] in ('jax', 'flax') for m in sys.modules))"
  )
  assert subprocess.run([sys.executable, "-c", code]).returncode == 0
