"""Does a code for a face's emotion tell whose face it is, or its gender?

Question: the second task of the paper's first versions, emotion desired,
identity and gender private, on the recognizer of configs/lfw_recognizer.py.
LFW has enough of happiness and neutral only.

Command: python launch/run.py --config=configs/lfw_emotion.py:small
  --config.data.path=<folder> --workdir=runs/emotion
  (needs the extra `pretrained`)

Measured, `small`: 16 minutes on two CPU cores that other work shared; three
train seeds, five attackers.  Emotion 93.6 % [92.2, 94.8] from the undefended
feature, which names the person with 91.1 [87.1, 94.6]; 90.3 [88.6, 91.8] and
2.6 [1.0, 4.5] from the noisy reduced Siamese one.  All of it:
docs/results/lfw_emotion.md
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
