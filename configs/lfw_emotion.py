"""Does a code for a face's emotion tell whose face it is, or its gender?

Question: the second task of the paper's first versions, emotion desired,
identity and gender private, on the recognizer of configs/lfw_recognizer.py.
LFW has enough of happiness and neutral only.

Command: python launch/run.py --config=configs/lfw_emotion.py:small
  --config.data.path=<folder> --workdir=runs/emotion
  (needs the extra `pretrained`)

Measured: not yet run to its end in any size but the tests'.
"""

from configs import lfw_recognizer


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = lfw_recognizer.get_config(variant)
  c.name = "Emotion against identity and gender in a face recognizer, on LFW"
  c.data.desired = "emotion"
  c.data.private = "identity,gender"
  c.data.unforeseen = ""
  if variant == "small":  # the main study has both, on the same network
    c.audit.transfer.steps = c.audit.inversion.steps = 0
  return c
