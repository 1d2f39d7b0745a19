"""Does a code for a face's gender tell whose face it is?

Question: the paper's main task (Osia et al., arXiv 1703.02952), gender desired
and identity private, on Labeled Faces in the Wild.

Command: python launch/run.py --config=configs/lfw_gender.py:small
  --config.data.path=<folder> --workdir=runs/lfw

Measured, `small`: 31 minutes on two CPU cores that other work shared, 3.2 GiB
at most; one train seed, five attackers; intervals are 95 % over people.
Balanced, on people never seen, in percent:

  embedding (sigma)          gender             identity (62 people, chance 1.6)
  simple                     94.2 [92.2, 95.9]  52.0 [45.7, 58.1]
  reduced simple             94.4 [92.5, 96.0]  18.6 [14.0, 23.6]
  noisy reduced simple 0.5   93.0 [90.9, 94.7]  10.8 [7.9, 13.9]
  siamese                    95.2 [93.5, 96.6]  40.3 [34.4, 46.2]
  reduced siamese            95.3 [93.6, 96.7]   8.8 [5.9, 12.3]
  noisy reduced siamese 1.5  90.9 [89.0, 92.5]   3.8 [2.3, 5.6]

At equal utility, 5 points below the undefended network, Siamese leaks 3.8
points less identity than simple [1.8, 5.7].  An attacker that sees only the
answer reaches 3.1 to 5.7.  docs/results.md has the whole of it.

Tried before, on task-validation: without turning and zooming the pictures
(1500 steps) 0.90 to 0.92; without warm-up one start of three stood still for
400 steps.  `full` (three train seeds, for an accelerator) was not run.
"""

from configs import default


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  default.check_variant(variant)
  c = default.get_config()
  c.name = "Gender against identity on LFW"
  c.data.source = "table"
  c.data.path = ""  # the folder with labels.csv and images.zip
  c.data.name = "Labeled Faces in the Wild"
  c.data.licence = "research use; the photographs belong to their owners"
  c.data.citation = "Huang et al. 2007, Labeled Faces in the Wild"
  c.data.desired = "gender"
  c.data.private = "identity"
  c.data.unforeseen = "emotion"
  c.data.identity = "identity"
  c.data.group = {
    "emotion": {
      "neutral": "neutral",
      "happiness": "happiness",
      "surprise": "",
      "anger": "",
      "sadness": "",
      "disgust": "",
      "fear": "",
      "contempt": "",
    }
  }
  c.data.size = 72  # pixels kept of the central square below
  c.data.crop = 144  # pixels of the picture: face and hair
  c.data.max_samples = 0
  c.partition.min_audit = 20
  c.partition.cap = 50
  c.partition.fractions = (0.78, 0.08, 0.14, 0.1)  # the last is not used
  c.input_shape = (64, 64, 3)
  c.network.function = "vgg.vgg16"
  c.network.width = 0.25
  c.network.norm = "batch"
  c.cut = "conv5_1"
  c.train.base.steps = 2500
  c.train.base.optimizer.warmup_steps = 200
  c.train.base.augment = "photo"
  c.train.finetune.steps = 400
  c.train.finetune.start = "pool3"
  c.privatizers.noise.sigma = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
  if variant == "small":
    c.train.seeds = 1
  if variant == "tiny":
    c.data.size = 36
    c.data.crop = 0
    c.partition.min_audit = 6
    c.input_shape = (32, 32, 3)
    c.network.width = 0.0625
    default.make_tiny(c)
  return c
