"""Do defences that were made against restoring pictures hide them, on LFW?

Question: NoPeek, the reconstruction adversary and conditional entropy were
published against inversion, the rate term against everything.  The trainings of
configs/lfw_defences.py with these four, without projection or noise, against
decoders and linear inversion that are trained for each: what is restored from
the whole feature, and what did hiding it cost?  They restore what the first
trained network sends; `small` has one.  Identity and emotion are asked by the
attackers of the main study only.

Command: python launch/run.py --config=configs/lfw_restored.py:small
  --config.data.path=<folder> --workdir=runs/restored
  (needs the extra `pretrained`)

Measured: not yet.
"""

from configs import default, lfw_defences, lfw_recognizer

_AGAINST = ("nopeek", "conceal", "entropy", "rate")


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = lfw_defences.get_config(variant)
  c.name = "Defences against restored pictures, on LFW"
  if variant == "small":
    c.train.seeds = 1
  c.trainings = default.in_order(
    {k: v for k, v in c.trainings.items() if k in ("simple", *_AGAINST)}
  )
  c.privatizers = default.in_order({"identity": {"chain": ()}})
  c.audit.attacks = lfw_recognizer.get_config(variant).audit.attacks
  c.audit.queries = ()
  c.audit.saturation.shares = c.audit.saturation.widths = ()
  c.audit.inversion.steps = 10 if variant == "tiny" else 1500
  return c
