"""Where to cut: the paper's layer study on a face recognizer, on LFW.

Question: how do utility, leakage and cost of each embedding change when the
recognizer of configs/lfw_recognizer.py is cut after its block 11, 12 or 13, the
counterparts of conv5_1, conv5_2 and conv5_3?

Command: python launch/sweep.py --config=configs/ablations/layers_lfw.py:small
  --config.data.path=<folder> --workdir=runs/layers

Measured: block 13 only, see configs/lfw_recognizer.py.
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
