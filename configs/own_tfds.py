"""Pictures of TensorFlow Datasets: does the code for one label tell another?

Question: yours.  The data set must have been prepared as array_record (see
docs/data.md); labels are paths into its records, such as attributes/Male.

Command: python launch/run.py --config=configs/own_tfds.py:small
  --config.data.name=<data set> --config.data.desired=<path>
  --config.data.private=<path> [--config.data.identity=<path>]
  [--config.data.max_samples=<number>] --workdir=runs/own

Measured: not run; the reader's tests have a made-up data set.
"""

from configs import default, own_data


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = own_data.get_config(variant)
  size = c.data.size
  c.data = {
    **default.get_config().data,
    "source": "tfds",
    "name": "",
    "data_dir": "",  # "" is where TensorFlow Datasets keeps its data
    "path": "",  # or the folder of one version, instead of name and data_dir
    "split_name": "train",  # or train+test
    "identity": "",  # the path that names the person; "" = nobody named
    "image": "image",  # the path of the picture
    "size": size,  # pixels kept of the central square
    "crop": 0.0,  # pixels, or share, of the picture; 0 = all of the square
    "max_samples": 0,
    "licence": "",
    "citation": "",
  }
  return c
