"""Which published defence leaks least at equal utility, on faces?

Question: the defences of configs/spar_defences.py on the recognizer and the
data of configs/lfw_recognizer.py, cut after its 13th block.  To have room for
all of them, its blocks up to the 12th stay frozen; a defence can change one
block of convolutions before the cut.

Command: python launch/run.py --config=configs/lfw_defences.py:small
  --config.data.path=<folder> --workdir=runs/lfw_defences
  (needs the extra `pretrained`)

Measured: not yet run to its end in any size but the tests'.
"""

from configs import default, lfw_recognizer, spar_defences


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = lfw_recognizer.get_config(variant)
  c.name = "Defences compared: gender against identity on LFW"
  if variant != "full":
    c.train.base.start = c.train.finetune.start = "block12"
  spar_defences.add_defences(c, private="identity", size=16)
  spar_defences.add_audit(c)
  c.trainings.siamese.siamese.weight = (100.0, 1e3, 1e4, 1e5)
  # Few of the people in training have more than two pictures.
  c.train.groups = "identity"
  k = c.privatizers.project.k
  c.privatizers = default.in_order(
    {
      **c.privatizers,
      "pruned": {
        "chain": ("prune.channels", "project.pca", "noise.isotropic"),
        "drop": 0.5,
        "private": "identity",
        "k": k,
        "sigma": c.privatizers.noise.sigma,
        "trainings": ("simple",),
      },
      "active": {
        "chain": ("project.active_subspace", "noise.isotropic"),
        "k": k,
        "sigma": c.privatizers.noise.sigma,
        "trainings": ("simple",),
      },
      "learned": {
        "chain": ("project.pca", "noise.learned"),
        "k": k,
        "weight": (0.003, 0.01, 0.03, 0.1, 0.3),
        "trainings": ("simple",),
      },
    }
  )
  c.audit.transfer.steps = c.audit.inversion.steps = 0
  if variant == "tiny":
    spar_defences.shrink(c)
  return c
