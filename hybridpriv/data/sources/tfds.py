"""Any TensorFlow Datasets data set with an image, without TensorFlow.

Records are read by random access (`as_data_source`), so that the data set must
have been prepared as `array_record`. Labels are named by slash path, such as
`attributes/Male`, and may be integers, class labels, booleans or texts.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from hybridpriv.data import columns, pictures
from hybridpriv.data.dataset import DataSet, with_roles


def load(
  *,
  desired: tuple[str, ...],
  private: tuple[str, ...],
  unforeseen: tuple[str, ...] = (),
  name: str = "",
  data_dir: str = "",
  path: str = "",
  split_name: str = "train",
  identity: str = "",
  image: str = "image",
  size: int = 64,
  crop: float = 0,
  max_samples: int = 0,
  seed: int = 0,
  licence: str = "",
  citation: str = "",
  cache: str | pathlib.Path = "",
) -> DataSet:
  """Load the images and labels of a prepared data set.

  Args:
    desired: label paths that the service answers.
    private: label paths that the service must not learn.
    unforeseen: label paths that no defence knew of.
    name: a data set of TFDS, such as "celeb_a", prepared in `data_dir`.
    data_dir: where TFDS keeps its data sets; '' for its default.
    path: instead of `name`, the folder of one prepared data set and version
      (the one with `features.json`).
    split_name: part to read, such as "train" or "train+test".
    identity: label path that names the person, '' where no person is known.
    image: path of the image.
    size: side of the images in pixels.
    crop: see `images.central_box`.
    max_samples: the most images to keep (see `columns.subset`), 0 for all.
    seed: seed of that choice.
    licence: terms; by default those that the data set states.
    citation: what to cite; by default what the data set states.
    cache: folder where decoded pictures are kept, see `pictures.load`.

  Raises:
    ValueError: the data set is not prepared, has no such path, or an image
      cannot be read.
  """
  builder = _builder(name, data_dir, path)
  names = tuple(
    dict.fromkeys(x for x in (*desired, *private, *unforeseen, identity) if x)
  )
  features = {x: _feature(builder.info, x) for x in (*names, image)}
  if not isinstance(features[image], tfds.features.Image):
    raise ValueError(
      f"{image!r} of {builder.info.full_name} is no image; its paths are: "
      f"{', '.join(_paths(builder.info.features))}"
    )
  source = _source(builder, split_name, image)
  texts: dict[str, list[str]] = {x: [] for x in names}
  for record in source:
    for x in names:
      texts[x].append(_text(_value(record, x), features[x], x))
  rows = np.arange(len(source))
  notes: tuple[str, ...] = ()
  if identity:
    empty = np.array([not text for text in texts[identity]], bool)
    rows = rows[~empty]
    if empty.any():
      notes = (f"{empty.sum()} records name no person ({identity!r}): dropped",)
  person = [texts[identity][i] for i in rows] if identity else None
  chosen = columns.subset(
    person, np.ones(len(rows), int), max_samples=max_samples, seed=seed
  )
  rows = rows[chosen]
  state = f"{builder.info.full_name} {split_name} {image} {_state(builder)}"
  inputs = pictures.load(
    [
      pictures.Picture(
        f"{builder.info.full_name}, {split_name}, record {i}",
        f"{state} {i}",
        lambda i=i: _value(source[i], image),
      )
      for i in rows.tolist()
    ],
    size=size,
    crop=crop,
    cache=cache,
  )
  labels, classes = {}, {}
  for x in names:
    order = getattr(features[x], "names", None) or ()
    labels[x], classes[x] = columns.encode([texts[x][i] for i in rows], order)
  stated = builder.info.redistribution_info
  data = DataSet(
    name=f"{builder.info.full_name} ({split_name})",
    kind="image",
    inputs=inputs,
    labels=labels,
    classes=classes,
    identity=identity or None,
    recording=np.arange(len(rows), dtype=np.int32),
    position=np.zeros(len(rows), np.float32),
    span=0.0,
    licence=licence or getattr(stated, "license", "") or "not stated",
    citation=citation or builder.info.citation or "not stated",
    notes=notes,
  )
  return with_roles(
    data, desired=desired, private=private, unforeseen=unforeseen
  )


def _builder(name: str, data_dir: str, path: str) -> tfds.core.DatasetBuilder:
  """Open a data set by name or folder."""
  if bool(name) == bool(path):
    raise ValueError(f"name is {name!r} and path is {path!r}; give one of them")
  if path and not (pathlib.Path(path).expanduser() / "features.json").is_file():
    raise ValueError(
      f"{path} holds no features.json; give the folder of one prepared data "
      "set and version, such as <data_dir>/celeb_a/2.1.0"
    )
  try:
    if path:
      return tfds.builder_from_directory(pathlib.Path(path).expanduser())
    return tfds.builder(name, data_dir=data_dir or None)
  except Exception as error:
    # After this TFDS lists hundreds of names.
    why = str(error).partition("Available datasets")[0].strip()
    raise ValueError(
      f"TFDS cannot open {path or name!r} ({why}); check name and data_dir"
    ) from error


def _source(
  builder: tfds.core.DatasetBuilder, split_name: str, image: str
) -> Any:
  """Open the records of a split; images stay encoded."""
  decoders: Any = tfds.decode.SkipDecoding()
  for part in reversed(image.split("/")):
    decoders = {part: decoders}
  try:
    return builder.as_data_source(split=split_name, decoders=decoders)
  except Exception as error:
    raise ValueError(
      f"split {split_name!r} of {builder.info.full_name} cannot be read "
      f"({error}); its splits are {sorted(builder.info.splits)}; prepare it "
      "with download_and_prepare(file_format='array_record')"
    ) from error


def _state(builder: tfds.core.DatasetBuilder) -> str:
  """Name the files of a prepared data set: another text for other content."""
  found = sorted(
    (path.name, path.stat().length, path.stat().mtime)
    for path in builder.data_path.iterdir()
  )
  return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _paths(features: Any, prefix: str = "") -> list[str]:
  """List the slash paths of all features."""
  if not isinstance(features, tfds.features.FeaturesDict):
    return [prefix]
  return [
    path
    for key, feature in features.items()
    for path in _paths(feature, f"{prefix}/{key}" if prefix else key)
  ]


def _feature(info: tfds.core.DatasetInfo, path: str) -> Any:
  """Find the feature at a slash path."""
  if path not in _paths(info.features):
    raise ValueError(
      f"{info.full_name} has nothing at {path!r}; its paths are: "
      f"{', '.join(_paths(info.features))}"
    )
  feature = info.features
  for part in path.split("/"):
    feature = feature[part]
  return feature


def _value(record: Mapping[str, Any], path: str) -> Any:
  """Take the value at a slash path."""
  for part in path.split("/"):
    record = record[part]
  return record


def _text(value: Any, feature: Any, path: str) -> str:
  """Turn a label into text, '' where it is not known."""
  if isinstance(value, bytes):
    return value.decode().strip()
  array = np.asarray(value)
  if array.ndim or array.dtype.kind not in "biuSUO":
    raise ValueError(
      f"{path!r} is {array.dtype} with shape {array.shape}, expected one "
      "integer, boolean or text a record to be a label"
    )
  if array.dtype.kind == "b":
    return "yes" if array else "no"
  if isinstance(feature, tfds.features.ClassLabel):
    return feature.int2str(int(array)) if array >= 0 else ""
  return str(array.item())
