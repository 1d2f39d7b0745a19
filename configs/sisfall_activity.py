"""Does a waist's code for the activity tell who moves, or of which gender?

Question: the journal paper's second task, activity against identity and gender,
on SisFall, with a network and cut of our own (the paper's are not known).  38
people, everybody is audited once, in two folds.

Command: python launch/run.py --config=configs/sisfall_activity.py:small
  --config.data.path=<folder> --workdir=runs/sisfall

Measured, `small`: 20 minutes on two CPU cores that other work shared; three
train seeds, five attackers; intervals are 95 % over people and seeds.
Balanced, in percent:

  embedding (sigma)          activity           identity (19, chance 5.3)
  simple                     82.3 [80.0, 84.6]  29.0 [25.1, 33.3], floor 16.4
  reduced simple             77.0 [73.8, 79.7]  24.3 [18.6, 29.6], floor 18.4
  noisy reduced simple 0.2   73.2 [69.3, 76.4]  18.6 [15.0, 22.6], floor 15.6
  siamese                    82.1 [79.5, 84.6]  29.7 [25.5, 33.9], floor 15.2
  reduced siamese            78.3 [75.7, 80.9]  31.4 [24.9, 37.7], floor 22.0
  noisy reduced siamese 0.2  75.7 [73.7, 77.7]  25.8 [20.0, 31.7], floor 16.2

At equal utility Siamese leaks more than simple here, by 3.9 points [0.6, 7.2].
Gender (51.3 to 53.9) and age are above what the answer tells by no more than
their intervals.
docs/results/sisfall_activity.md has all of it.
"""

from configs import default

_GROUPS = {
  "walk": ("D01", "D02"),
  "jog": ("D03", "D04"),
  "stairs": ("D05", "D06"),
  "sit": ("D07", "D08", "D09", "D10", "D11", "D12", "D13", "D17"),
  "bend": ("D15", "D16"),
}
_GRAVITY, _DEGREE = 1 / 256, 2000 / 32768 / 100  # g, and hundreds of deg/s


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  default.check_variant(variant)
  c = default.get_config()
  c.name = "Activity against identity and gender on SisFall"
  c.data.source = "table"
  c.data.path = ""  # the folder with labels.csv and signals.npz
  c.data.name = "SisFall, activities of daily living"
  c.data.licence = "offered for research by the authors of its article"
  c.data.citation = (
    "Sucerquia, Lopez and Vargas-Bonilla, Sensors 17(1):198, 2017"
  )
  c.data.desired = "activity"
  c.data.private = "identity,gender"
  c.data.unforeseen = "age"
  c.data.identity = "identity"
  c.data.group = {
    "activity": {a: group for group, own in _GROUPS.items() for a in own}
  }
  c.data.bins = {"age": (45,)}
  c.data.rate_hz = 50.0
  c.data.window_s = 4.0
  c.data.overlap = 0.5
  c.data.scale = (_GRAVITY,) * 3 + (_DEGREE,) * 3
  c.data.max_samples = 0
  c.partition.folds = 2
  c.input_shape = (200, 6)
  c.network.function = "sensor.sensor"
  c.network.width = 0.5
  c.network.norm = "batch"
  c.network.dropout = 0.5
  c.cut = "pool3"
  # From 1 on, where others start, the term costs this network utility.
  c.trainings.siamese.siamese.weight = (0.01, 0.1, 1.0, 10.0)
  c.privatizers.noise.sigma = (0.2, 0.5, 0.8, 1.2, 2.0)
  c.train.base.steps = 800
  c.train.base.augment = "jitter"
  c.train.finetune.steps = 300
  c.train.finetune.start = "pool1"
  c.train.finetune.optimizer.learning_rate = 1e-3
  c.audit.draws = 2
  c.audit.attacks.mlp = {
    "function": "attribute.mlp",
    "width": 32,
    "max_steps": 500,
  }
  c.audit.attacks.linear = {"function": "attribute.linear", "max_steps": 500}
  c.audit.floor_attacks = {
    name: c.audit.attacks[name] for name in ("linear", "mlp")
  }
  if variant == "small":
    c.data.overlap = 0.0  # fewer windows, and everybody
    c.partition.cap = 100  # windows of 800 values are dear to attack
    c.audit.rotations = 3
  if variant == "tiny":
    c.data.max_samples = 1200
    default.make_tiny(c)
  return c
