"""A small network for a phone that tells a face's gender, with a guarantee.

Question: the network of configs/lfw_gender.py, whose device half is 64 times as
small as the recognizer's, with the chain of configs/lfw_certified.py.  What
does it answer, what is proved, and what does a device half in whole numbers
(int8) cost?

Command: python launch/run.py --config=configs/lfw_phone.py:small
  --config.data.path=<folder> --workdir=runs/phone

Measured: not yet.
"""

from configs import lfw_certified, lfw_gender


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = lfw_gender.get_config(variant)
  c.name = "A guarantee for codes of a small network, on LFW"
  c.privatizers = lfw_certified.certified(k=c.privatizers.project.k)
  return c
