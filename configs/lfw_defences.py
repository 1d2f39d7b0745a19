"""Which published defence leaks least at equal utility, on faces?

Question: the defences of configs/spar_defences.py on the recognizer and the
data of configs/lfw_recognizer.py, cut after its 13th block.  To have room for
all of them, its blocks up to the 12th stay frozen; a defence can change one
block of convolutions before the cut.  Neither the transfer adversary nor
inversion is run.

Command: python launch/run.py --config=configs/lfw_defences.py:small
  --config.data.path=<folder> --workdir=runs/lfw_defences
  (needs the extra `pretrained`)

Measured, `small`: 52 minutes on two CPU cores; three train seeds, five
attackers.  Gender where identity leaks 22.9 % (undefended 97.4, floor 14.6):
active 97.0, learned 95.0, rate 94.1, nopeek 91.7, ties; pruned 92.6, siamese
with reversal 91.4, entropy 91.3, siamese 91.2, siamese with entropy 90.9,
reversal 90.9, maxent 90.7, simple 90.6, conceal 90.3, lower.  The grids of all
but rate end before the point that they may cost.  docs/results/lfw_defences.md
"""

from configs import default, lfw_recognizer, spar_defences


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = lfw_recognizer.get_config(variant)
  c.name = "Defences compared: gender against identity on LFW"
  c.train.base.start = c.train.finetune.start = "block12"
  spar_defences.add_defences(
    c, private="identity", size=16, siamese=(100.0, 1e3, 1e4, 1e5)
  )
  spar_defences.add_audit(c)
  # What is linear in four numbers cannot tell 62 people apart, however plainly
  # these are told: restoring by ridge regression fails its control.
  del c.audit.attacks.ridge
  c.audit.attacks.restoring_mlp = {
    "function": "decensoring.mlp",
    "max_steps": 500,
  }
  # Few of the people in training have more than two pictures.
  c.train.groups = "identity"
  c.privatizers.identity.trainings = ("simple",)
  num = len(c.privatizers.noise.sigma)
  weights = tuple(0.003 * 10 ** (i / 2) for i in range(num))
  c.privatizers = default.in_order(
    {
      **c.privatizers,
      **spar_defences.fitted(c, private="identity", weights=weights),
    }
  )
  c.audit.transfer.steps = c.audit.inversion.steps = 0
  if variant == "tiny":
    spar_defences.shrink(c)
  return c
