"""Your own images and labels: does the code for one label tell another?

Question: yours.  Works on any folder of images with a table of labels; where
no person is named, the samples are divided one by one and the report says so.

Command: python launch/run.py --config=configs/own_data.py:small
  --config.data.path=<folder> --config.data.desired=<column>
  --config.data.private=<column> [--config.data.identity=<column>]
  [--config.data.max_samples=<number>] --workdir=runs/own

Measured: not run; `tiny` is a test on made-up pictures.
"""

from ml_collections import config_dict

from configs import default


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  default.check_variant(variant)
  c = default.get_config()
  c.name = "Own data"
  c.data.source = "table"
  c.data.path = ""  # a folder with labels.csv and images (or images.zip)
  c.data.identity = ""  # the column that names the person; "" = nobody named
  c.data.split = ""  # a column that divides: train, validation, test, audit
  # By column, given as "{'age': (30, 50)}": see docs/data.md.
  c.data.keep = config_dict.ConfigDict()  # values to keep
  c.data.group = config_dict.ConfigDict()  # value -> group
  c.data.bins = config_dict.ConfigDict()  # rising edges of a number
  c.data.max_samples = 0
  c.data.size = 72  # pixels kept of the central square
  c.data.crop = 0.0  # pixels, or share, of the picture; 0 = all of the square
  c.data.engine = ""  # "grain": decode whenever read; see docs/data.md
  c.data.rate_hz = 0.0  # of signals; pictures have none
  c.data.window_s = 4.0  # length of a window of signals
  c.data.overlap = 0.5  # share of a window that the next one repeats
  c.data.scale = 1.0  # what signals are multiplied by
  c.data.signals = ""  # their file, where it is not signals.npz
  c.data.name = ""  # for the report, as the next two; "" = the folder's
  c.data.licence = "your own"
  c.data.citation = ""
  c.input_shape = (64, 64, 3)
  c.network.function = "vgg.vgg16"
  c.network.width = 0.25
  c.network.norm = "batch"
  c.cut = "conv5_1"
  c.train.base.steps = 1500
  c.train.base.augment = "crop_mirror"
  c.train.finetune.start = "pool3"
  if variant == "small":
    c.train.seeds = 1
  if variant == "tiny":
    c.data.size = 36
    c.input_shape = (32, 32, 3)
    c.network.width = 0.0625
    default.make_tiny(c)
  return c
