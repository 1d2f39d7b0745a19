"""DPFE by cut: nested sets of desired labels behind three blocks, on LFW.

Question: does a private feature that stands deeper keep more private at equal
utility (Osia et al., arXiv 1802.03151, by layer)?  What dpfe_lfw.py beside this
asks, behind blocks 11, 12 and 13 of the recognizer, ten values each.

Command: python launch/sweep.py
  --config=configs/ablations/dpfe_layers_lfw.py:small
  --config.data.path=<folder> --workdir=runs/dpfe_layers
  with --runs=block11_gender,block12_gender for some of it; what
  configs/ablations/dpfe_lfw.py made behind block 13 joins the comparison by
  python launch/report.py runs/dpfe_layers/block11_gender runs/dpfe/gender

Measured: not yet run to its end in any size.
"""

from configs import default, lfw_dpfe, lfw_recognizer
from configs.ablations import dpfe_lfw


def get_config(variant: str = "full"):
  """Return the study that every run starts from, and what each changes."""
  c = lfw_dpfe.get_config(variant)
  c.sweep = default.in_order(
    {
      f"{cut}_{name}": {
        "data": {"desired": desired, "unforeseen": unforeseen},
        "network": {"after": cut},
      }
      for cut in lfw_recognizer.COMPONENTS
      for name, (desired, unforeseen) in dpfe_lfw.SETS.items()
    }
  )
  return c
