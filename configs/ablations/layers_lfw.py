"""Where to cut: the paper's layer study on a face recognizer, on LFW.

Question: how do utility, leakage and cost of each embedding change when the
recognizer of configs/lfw_recognizer.py is cut after its block 11, 12 or 13, the
counterparts of conv5_1, conv5_2 and conv5_3?

Command: python launch/sweep.py --config=configs/ablations/layers_lfw.py:small
  --config.data.path=<folder> --workdir=runs/layers

Measured, `small`: 30 to 55 minutes for a cut on two CPU cores that other work
shared; three train seeds, five attackers.  Identity (62 people, chance 1.6),
the worst attack, balanced, in percent, behind blocks 11, 12 and 13:

  simple                 94.9  88.0  83.0
  reduced simple         30.4  21.5  20.0
  noisy reduced simple   10.1   6.8   7.5   (gender 94.7, 94.0, 95.0)
  siamese                94.8  68.8  56.4
  reduced siamese        31.4  16.7  13.4
  noisy reduced siamese   6.0   3.3   3.5   (gender 96.5, 96.4, 96.8)

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
