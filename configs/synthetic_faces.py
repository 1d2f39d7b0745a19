"""Does a code for a beard tell which synthetic face it is?

Question: the paper's path, and a chain with a guarantee that can be shipped
(launch/export.py), on faces that are drawn, not photographed: a data set of any
size that needs no download.  Its numbers say nothing about people.

Command: python launch/run.py --config=configs/synthetic_faces.py:small
  --workdir=runs/synthetic

Measured: `small` took 9 minutes on two CPU cores (AMD EPYC, AVX2); with `make
demo-phone` two more to install before, and 4.5 after to export with the
attackers that the page shows, tests beside. A beard is told
from a code of eight bytes with 91.0 % (validation, C / sigma of 4).
"""

from configs import default, lfw_certified


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  default.check_variant(variant)
  c = default.get_config()
  c.name = "Beard against person on synthetic faces"
  c.data.source = "synthetic_faces"
  c.data.desired = "beard"
  c.data.private = "person"
  c.data.unforeseen = "expression"
  c.data.people = 200
  c.data.images_per_person = 40
  c.data.size = 40
  c.partition.fractions = (0.5, 0.15, 0.15, 0.2)
  c.input_shape = (32, 32, 3)
  c.network.function = "vgg.vgg16"
  c.network.width = 0.25
  c.network.norm = "batch"
  c.cut = "conv5_1"
  c.train.base.steps = 1000
  c.train.base.augment = "crop_mirror"
  c.train.finetune.start = "pool3"
  levels = lfw_certified.LEVELS
  c.privatizers.certified = {
    "chain": lfw_certified.CHAIN,
    "k": 8,
    "clip_norm": 1.0,
    "levels": levels,
    "sigma": tuple(levels / r for r in (8.0, 4.0, 2.0, 1.0)),  # C / sigma
    "bits": 8,
  }
  if variant == "small":
    c.data.people = 120
    c.train.seeds = 2
    c.train.base.steps = 150
    c.train.finetune.steps = 60
    c.privatizers.noise.sigma = (0.25, 0.75, 1.5, 3.0)
    c.audit.rotations = 3
  if variant == "tiny":
    c.data.people = 24
    c.data.images_per_person = 8
    c.network.width = 0.0625
    c.partition.fractions = (0.3, 0.2, 0.2, 0.3)
    default.make_tiny(c)
  return c
