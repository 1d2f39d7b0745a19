"""A study of made-up signals that takes seconds, for tests of programs."""

from configs import default


def signals():
  c = default.get_config()
  default.make_tiny(c)
  c.name = "Cuts"
  c.data.source = "tests.study.made_up:signals"
  c.data.desired = "answer"
  c.data.private = "person"
  c.partition.fractions = (0.4, 0.1, 0.1, 0.4)
  c.network.function = "tests.study.made_up:Network"
  c.cut = "inner"
  c.train.base.steps = c.train.finetune.steps = 2
  c.privatizers.noise.sigma = (0.5,)
  c.privatizers.noise.k = 4
  del c.privatizers.project
  c.audit.attacks = {"nearest": {"function": "neighbour.nearest"}}
  c.audit.query_attacks = ()
  c.trainings = default.in_order({"simple": {"siamese": {"weight": 0.0}}})
  return c
