"""Named tensors of a file, as safetensors or NumPy's npz hold them."""

import io
import pathlib
import zipfile
import zlib

import jax.numpy as jnp
import numpy as np

# Of an archive: RuntimeError if it is encrypted or packed in a rare way.
_BROKEN = (
  zipfile.BadZipFile,
  zlib.error,
  EOFError,
  OSError,
  RuntimeError,
  ValueError,
)

_SAFETENSORS = {
  "F64": np.dtype("<f8"),
  "F32": np.dtype("<f4"),
  "F16": np.dtype("<f2"),
  "BF16": jnp.dtype(jnp.bfloat16),  # unknown to NumPy and safetensors.numpy
  "I64": np.dtype("<i8"),
  "I32": np.dtype("<i4"),
  "I16": np.dtype("<i2"),
  "I8": np.dtype("i1"),
  "U8": np.dtype("u1"),
  "BOOL": np.dtype("?"),
}


def read(path: str) -> dict[str, np.ndarray]:
  """Read the tensors of a file, never an object of Python.

  Args:
    path: a file of safetensors or of NumPy's npz, told apart by content.

  Raises:
    ValueError: if it is missing, cut short, encrypted or of another kind, or if
      its package is not installed.
  """
  file = pathlib.Path(path).expanduser()
  try:
    content = file.read_bytes()
  except OSError as error:
    raise ValueError(f"cannot read the weights {file}: {error}") from error
  try:
    if content.startswith(b"PK"):
      return _read_npz(content)
    if content[8:9] == b"{":
      return _read_safetensors(content)
  except ValueError as error:
    raise ValueError(f"{file}: {error}") from error
  raise ValueError(
    f"{file} is neither safetensors nor npz: it starts with {content[:8]!r}."
    " Pickles and HDF5 are not read; save the tensors, by name, as one of these"
  )


def _read_npz(content: bytes) -> dict[str, np.ndarray]:
  """Read an archive of arrays."""
  try:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
      tensors = {name: archive[name] for name in archive.files}
  except _BROKEN as error:
    raise ValueError(f"is cut short or no npz of numbers: {error}") from error
  for name, value in tensors.items():
    if not isinstance(value, np.ndarray):
      raise ValueError(
        f"holds {name}, which is no array; a checkpoint of PyTorch is a pickle"
        " and is not read: save its state_dict as safetensors"
      )
  return tensors


def _read_safetensors(content: bytes) -> dict[str, np.ndarray]:
  """Read safetensors, bfloat16 included."""
  try:
    import safetensors
  except ImportError as error:
    raise ValueError(
      "safetensors is not installed: pip install 'hybridpriv[pretrained]'"
    ) from error
  try:
    entries = safetensors.deserialize(content)
  except safetensors.SafetensorError as error:
    raise ValueError(f"is cut short or no safetensors: {error}") from error
  tensors = {}
  for name, entry in entries:
    if entry["dtype"] not in _SAFETENSORS:
      raise ValueError(f"{name} is {entry['dtype']}; expected F32, F16 or BF16")
    values = np.frombuffer(entry["data"], _SAFETENSORS[entry["dtype"]])
    tensors[name] = values.reshape(entry["shape"])
  return tensors
