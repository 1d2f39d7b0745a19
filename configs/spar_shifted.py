"""Does an attacker from the other wrist find as much as one from the same?

Question: attackers of configs/spar_activity.py learn from data like those that
they attack, which flatters them where the service's people differ from the
attacker's.  Here each question about the person is also asked to attackers who
have signals of left arms alone (the more common side), about codes of right
ones.  They have half as many samples: what the same perceptron makes of half of
its data stands beside them (saturation).

Command: python launch/run.py --config=configs/spar_shifted.py
  --workdir=runs/spar_shifted

Measured: not yet.
"""

from configs import spar_activity


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = spar_activity.get_config(variant)
  c.name = "Exercise against person on SPAR, by attackers from the other arm"
  c.audit.shift = "side"
  c.audit.saturation.shares = (0.5,)
  c.audit.queries = ()  # the main study has them
  c.audit.inputs = ()
  if variant == "tiny":
    c.data.max_samples = 0  # of fewer, too few people have both arms
    c.audit.saturation.shares = ()
  return c
