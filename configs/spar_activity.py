"""Does a wrist's code for the exercise tell who is exercising?

Question: the paper's path on motion signals, seven exercises of ten people, on
data that a package ships; everybody is audited once, in two folds.

Command: make demo

Measured: 6 minutes on two CPU cores that tests shared; three train
seeds, five attackers; intervals are 95 % over people and seeds.  Balanced, on
people never seen, in percent:

  embedding (sigma)          exercise           person (of 5, same recordings)
  simple                     73.1 [64.4, 81.8]  66.0 [58.0, 73.2]
  reduced simple             70.9 [61.5, 79.6]  59.4 [50.5, 71.0]
  noisy reduced simple 0.2   70.0 [61.0, 78.7]  59.4 [51.1, 70.1]
  siamese                    74.4 [66.9, 82.5]  68.7 [60.8, 76.2]
  reduced siamese            73.8 [66.5, 81.8]  58.4 [48.7, 68.4]
  noisy reduced siamese 0.2  73.1 [65.6, 80.9]  58.2 [49.5, 68.2]

An attacker that sees only the answer of one of these reaches 51 to 57.  No
embedding differs from the undefended one by more than the interval of the
difference.  Across recordings nobody beats guessing (20), undefended neither.
"""

from configs import default


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  default.check_variant(variant)
  c = default.get_config()
  c.name = "Exercise against person on SPAR"
  c.data.source = "spar"
  c.data.desired = "exercise"
  c.data.private = "person"
  c.data.unforeseen = "side"
  c.data.window_s = 4.0
  c.data.max_samples = 0
  c.partition.folds = 2
  c.input_shape = (200, 6)
  c.network.function = "sensor.sensor"
  c.network.width = 0.5
  c.network.norm = "batch"
  c.network.dropout = 0.5
  c.cut = "pool3"
  c.privatizers.noise.sigma = (0.2, 0.5, 0.8, 1.2)
  c.train.base.steps = 600
  c.train.base.augment = "jitter"
  c.train.finetune.steps = 300
  c.train.finetune.start = "pool1"
  c.train.finetune.optimizer.learning_rate = 1e-3
  c.audit.draws = 2  # times five attackers
  c.audit.attacks.mlp = {
    "function": "attribute.mlp",
    "width": 32,
    "weight_decay": 0.001,
    "max_steps": 500,
  }
  c.audit.attacks.linear = {
    "function": "attribute.linear",
    "weight_decay": 0.001,
    "max_steps": 500,
  }
  c.audit.floor_attacks = {
    name: c.audit.attacks[name] for name in ("linear", "mlp")
  }
  if variant == "tiny":
    c.data.max_samples = 700
    default.make_tiny(c)
  return c
