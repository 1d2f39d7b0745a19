"""Where to cut: the paper's layer study on a face recognizer, on LFW.

Question: how do utility, leakage and cost of each embedding change when the
recognizer of configs/lfw_recognizer.py is cut after its block 11, 12 or 13, the
counterparts of conv5_1, conv5_2 and conv5_3?

Command: python launch/sweep.py --config=configs/ablations/layers_lfw.py:small
  --config.data.path=<folder> --workdir=runs/layers

Measured, `small`: 41, 38 and 32 minutes for the cuts on two CPU cores that
other work shared; three train seeds, five attackers.
Identity (62 people, chance 1.6), the worst attack, balanced, in percent, behind
blocks 11, 12 and 13:

  simple                 96.2  90.5  89.7
  reduced simple         30.0  23.3  18.5
  noisy reduced simple   10.1   8.6  10.7   (gender 95.0, 95.8, 96.7)
  siamese                94.3  75.9  85.0
  reduced siamese        31.4  15.5  11.4
  noisy reduced siamese   6.7   3.8   2.8   (gender 97.0, 96.0, 94.7)

docs/results/layers.md has the rest.
"""

from configs import lfw_recognizer


def get_config(variant: str = "full"):
  """Return the study that every run starts from, and what each changes."""
  c = lfw_recognizer.get_config(variant)
  c.sweep = {
    cut: {
      "cut": cut,
      "privatizers": {"project": {"k": k}, "noise": {"k": k}},
    }
    for cut, k in lfw_recognizer.COMPONENTS.items()
  }
  return c
