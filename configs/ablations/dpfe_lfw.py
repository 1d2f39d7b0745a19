"""DPFE with more to keep: nested sets of desired labels, on LFW.

Question: the more the service must learn, the less can be hidden (Osia et al.,
arXiv 1802.03151, attribute sets).  LFW has two labels to nest: gender, and
gender with emotion.

Command: python launch/sweep.py --config=configs/ablations/dpfe_lfw.py:small
  --config.data.path=<folder> --workdir=runs/dpfe

Measured, `small`, gender alone: 18 minutes on two CPU cores that other work
shared; three train seeds, five attackers.  Identity (62 people, chance 1.6)
from ten values 25.0 % [18.9, 31.6], with the term 21.0 [15.9, 25.6]; at equal
utility a tie.  All of it: docs/results/lfw_dpfe.md.  Gender with emotion: 13
minutes, 23.7 [19.2, 29.0] and 22.1 [17.7, 26.7]; at equal utility 3 to 4 points
less, a tie but for one: docs/results/lfw_dpfe_gender_emotion.md.
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
