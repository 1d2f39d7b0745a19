"""Does a code of a recognizer, tuned for gender, still tell whose face it is?

Question: the paper's main study (Osia et al., arXiv 1703.02952) on a network
whose features are full of identity: the dlib face recognizer, frozen up to its
10th block and tuned for gender behind it. Its blocks 11, 12 and 13 (4 x 4 x 256
values each) stand for the published cuts conv5_1, conv5_2 and conv5_3.

Command: python launch/run.py --config=configs/lfw_recognizer.py:small
  --config.data.path=<folder> --workdir=runs/recognizer
  (needs the extra `pretrained`)

Measured, `small`, cut after block 13: 32 minutes on two CPU cores that other
work shared; three train seeds, five attackers; intervals are 95 % over people
and seeds.  Balanced, on people never seen, in percent:

  embedding (sigma)           gender             identity (62, chance 1.6)
  simple                      97.6 [96.5, 98.4]  89.7 [85.7, 93.5]
  reduced simple              97.6 [96.5, 98.4]  18.5 [13.3, 24.0]
  noisy reduced simple 0.32   96.7 [95.1, 98.1]  10.7 [7.3, 14.7]
  siamese                     97.5 [96.4, 98.6]  85.0 [74.6, 94.8]
  reduced siamese             97.5 [96.3, 98.5]  11.4 [6.6, 16.5]
  noisy reduced siamese 1     94.7 [91.0, 97.1]   2.8 [1.4, 4.2]

docs/results/lfw_recognizer.md has all of it.
"""

from configs import default, lfw_gender
from hybridpriv.networks import dlib

# Principal components by cut, as published for conv5_1, conv5_2 and conv5_3.
COMPONENTS = {"block11": 8, "block12": 6, "block13": 4}
# Square roots of the published grid of variances. There they are in raw units
# of one network; here in those of the code's spread.
SIGMAS = (0.01, 0.1, 0.32, 0.5, 0.71, 0.89, 1.0, 1.41, 2.0, 3.0)


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = lfw_gender.get_config("full")
  default.check_variant(variant)
  c.name = "Gender against identity in a face recognizer, on LFW"
  c.data.size = 150
  c.data.crop = 108
  c.input_shape = (150, 150, 3)
  c.input_mean = dlib.MEAN
  c.input_std = (dlib.SCALE,)
  c.network = {"function": "dlib.resnet29_dlib", "dtype": c.network.dtype}
  c.weights.function = "pretrained.resnet29_dlib"
  c.train.batch_size = 128
  c.train.seeds = 3
  c.train.base.start = "block10"
  c.train.finetune.start = "block10"
  c.train.base.steps = 400
  c.train.base.augment = ""
  c.train.base.optimizer.learning_rate = 1e-3
  c.train.base.optimizer.warmup_steps = 50
  c.train.finetune.steps = 100
  c.train.evaluate_every = 100
  c.privatizers.noise.sigma = SIGMAS
  c.audit.draws = 2  # times five attackers
  # Batches of 64 found less in Siamese features behind block 13.
  c.audit.transfer.batch_size = 128
  c.audit.transfer.steps = 2000
  c.audit.transfer.patience = 5
  c.audit.inversion.steps = 1500
  # These features take a stronger term than others before it costs anything.
  c.trainings.siamese.siamese.weight = (100.0, 1e3, 1e4, 1e5)
  set_cut(c, "block13")
  if variant == "small":
    c.train.base.steps = 150
    c.privatizers.noise.sigma = SIGMAS[2::2]
    c.audit.rotations = 3
  if variant == "tiny":
    c.data.size = 103
    c.data.crop = 0
    c.partition.min_audit = 6
    c.input_shape = (103, 103, 3)
    default.make_tiny(c)
  return c


def set_cut(c, cut: str) -> None:
  """Cut after a block, with as many components as the paper has there."""
  c.cut = cut
  for name in ("project", "noise"):
    c.privatizers[name].k = COMPONENTS[cut]
