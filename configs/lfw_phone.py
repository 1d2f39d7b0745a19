"""A small network for a phone that tells a face's gender, with a guarantee.

Question: the network of configs/lfw_gender.py, whose device half has a seventh
of the recognizer's parameters, with the chain of configs/lfw_certified.py.
What does it answer, and what is proved?  `launch/export.py` of its workdir
prints what a device half in whole numbers (int8) costs.

Command: python launch/run.py --config=configs/lfw_phone.py:small
  --config.data.path=<folder> --workdir=runs/phone

Measured, `small`, one train seed, on validation: gender 93.5 % undefended, 89.4
at C/sigma of 4 (simple), where nothing is proved.  Not audited.  The device
half has 2.6 MB, in int8 0.7, for 0.7 points by ONNX Runtime and none by LiteRT:
docs/bundle.md.
"""

from configs import lfw_certified, lfw_gender


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = lfw_gender.get_config(variant)
  c.name = "A guarantee for codes of a small network, on LFW"
  c.privatizers = lfw_certified.certified(k=c.privatizers.project.k)
  return c
