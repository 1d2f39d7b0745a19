"""Defences on faces: noise added afterwards, and noise in the loop.

Question: that of configs/ablations/defences_spar.py, on the recognizer of
configs/lfw_defences.py.

Command: python launch/sweep.py --config=configs/ablations/defences_lfw.py:small
  --config.data.path=<folder> --workdir=runs/defences_lfw
  (needs the extra `pretrained`)

Measured: `afterwards`, see configs/lfw_defences.py; `in_the_loop` 88 minutes on
two CPU cores that other work shared: where 22.1 % of identity leaks, active
97.0 of gender, learned 96.7, nopeek and siamese with reversal 94.3, ties;
simple 91.6.  docs/results/lfw_defences_in_the_loop.md
"""

from configs import lfw_defences
from configs.ablations import defences_spar


def get_config(variant: str = "full"):
  """Return the study that every run starts from, and what each changes."""
  c = lfw_defences.get_config(variant)
  c.sweep = defences_spar.arms(c)
  return c
