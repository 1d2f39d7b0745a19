"""Where to cut: the paper's layer study on a face recognizer, on LFW.

Question: how do utility, leakage and cost of each embedding change when the
recognizer of configs/lfw_recognizer.py is cut after its block 11, 12 or 13, the
counterparts of conv5_1, conv5_2 and conv5_3?

Command: python launch/sweep.py --config=configs/ablations/layers_lfw.py:small
  --config.data.path=<folder> --workdir=runs/layers

Measured, `small`: 35, 44 and 27 minutes for the cuts on two CPU cores that
other work shared during the first two; three train seeds, five attackers.
Identity (62 people, chance 1.6), the worst attack, balanced, in percent, behind
blocks 11, 12 and 13:

  simple                 94.9  82.9  75.1
  reduced simple         32.8  22.9  18.4
  noisy reduced simple    9.9   7.8   7.6   (gender 95.4, 94.3, 94.4)
  siamese                94.6  57.0  53.1
  reduced siamese        30.5  18.6  11.1
  noisy reduced siamese   7.2   3.1   3.2   (gender 97.0, 95.8, 94.5)

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
