"""The published recipe at its three cuts.

Question: configs/paper/gender_vgg16.py cut after conv5_1, conv5_2 and conv5_3,
each with the published weight and number of components.

Command: python launch/sweep.py --config=configs/ablations/gender_vgg16.py:small
  --config.data.path=<folder> --workdir=runs/gender_vgg16

Measured: not yet run to its end in any size but the tests'.
"""

from configs import default
from configs.paper import gender_vgg16


def get_config(variant: str = "full"):
  """Return the study that every run starts from, and what each changes."""
  c = gender_vgg16.get_config(variant)
  c.sweep = default.in_order(
    {
      cut: {
        "cut": cut,
        "trainings": {"siamese": {"siamese": {"weight": (weight,)}}},
        "privatizers": {"project": {"k": k}, "noise": {"k": k}},
      }
      for cut, (weight, k) in gender_vgg16.CUTS.items()
    }
  )
  return c
