"""What does the face recognizer tell before anybody tunes it, on LFW?

Question: configs/ablations/layers_lfw.py tunes the recognizer for gender first,
which may take identity away. Here nothing is trained: the feature behind each
cut is the published one. Its answer on gender means nothing; what
attackers of the feature reach does.

Command: python launch/sweep.py --config=configs/ablations/untuned_lfw.py:small
  --config.data.path=<folder> --workdir=runs/untuned
  (needs the extra `pretrained`)

Measured, `small`: three minutes for a cut on two CPU cores; five attack seeds.
Identity (62 people, chance 1.6) behind blocks 11, 12 and 13: whole 98.0, 97.8,
97.5 %, components 74.5, 70.4, 56.1.  docs/results/lfw_untuned_block13.md
"""

from configs.ablations import layers_lfw


def get_config(variant: str = "full"):
  """Return the study that every run starts from, and what each changes."""
  c = layers_lfw.get_config(variant)
  c.name = "Identity in a face recognizer before it is tuned, on LFW"
  c.trainings = {"simple": {"siamese": {"weight": 0.0}}}
  c.train.seeds = 1  # there is nothing to draw
  c.train.base.steps = 0
  c.train.finetune.steps = 0
  c.privatizers.noise.sigma = (1.0,)
  c.audit.transfer.steps = 0
  c.audit.inversion.steps = 0
  return c
