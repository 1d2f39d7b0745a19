"""Does a wrist's code for the exercise tell who is exercising?"""

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
    "max_steps": 500,
  }
  c.audit.attacks.linear = {"function": "attribute.linear", "max_steps": 500}
  c.audit.floor_attacks = {
    name: c.audit.attacks[name] for name in ("linear", "mlp")
  }
  if variant == "tiny":
    c.data.max_samples = 700
    default.make_tiny(c)
  return c
