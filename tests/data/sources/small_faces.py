"""A TFDS data set with nested labels, made without TensorFlow.

It lives in a module because TFDS looks up the module of a builder.
"""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


class SmallFaces(tfds.core.GeneratorBasedBuilder):
  """One grey picture a record; its grey is the number of the record."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    features = tfds.features.FeaturesDict(
      {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "attributes": {
          "Male": np.bool_,
          "age": np.int64,
          "mood": tfds.features.ClassLabel(names=["sad", "glad"]),
        },
        "identity": {"Identity_No": tfds.features.Text()},
        "weight": np.float32,
      }
    )
    return tfds.core.DatasetInfo(
      builder=self, features=features, citation="made up"
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {"train": self._generate_examples(0, 24), "test": self.rest()}

  def rest(self):
    return self._generate_examples(24, 32)

  def _generate_examples(self, first, last):
    for i in range(first, last):
      image = io.BytesIO()
      Image.new("RGB", (20 + i, 30), (i, i, i)).save(image, "png")
      image.seek(0)
      yield (
        i,
        {
          "image": image,
          "attributes": {"Male": i % 2 == 0, "age": i % 3, "mood": i // 2 % 2},
          "identity": {"Identity_No": f"person {i // 4}" if i else ""},
          "weight": 0.5,
        },
      )
