"""DPFE with more to keep: nested sets of desired labels, on LFW.

Question: the more the service must learn, the less can be hidden (Osia et al.,
arXiv 1802.03151, attribute sets).  LFW has two labels to nest: gender, and
gender with emotion.

Command: python launch/sweep.py --config=configs/ablations/dpfe_lfw.py:small
  --config.data.path=<folder> --workdir=runs/dpfe

Measured, `small`, gender alone: 14 minutes on two CPU cores that other work
shared; three train seeds, five attackers.  Identity (62 people, chance 1.6)
from ten values 33.0 % [25.2, 40.3], with the term 30.7 [23.4, 39.0]; at equal
utility a tie.  All of it: docs/results/lfw_dpfe.md.  Gender with emotion: 12
minutes, 34.6 [26.6, 42.5] and 37.0 [26.3, 47.5]; at equal utility ties:
docs/results/lfw_dpfe_gender_emotion.md.
"""

from configs import default, lfw_dpfe

SETS = {
  "gender": ("gender", "emotion"),
  "gender_emotion": ("gender,emotion", ""),
}


def get_config(variant: str = "full"):
  """Return the study that every run starts from, and what each changes."""
  c = lfw_dpfe.get_config(variant)
  c.sweep = default.in_order(
    {
      name: {"data": {"desired": desired, "unforeseen": unforeseen}}
      for name, (desired, unforeseen) in SETS.items()
    }
  )
  return c
