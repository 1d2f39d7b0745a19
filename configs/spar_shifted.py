"""Does an attacker from the other wrist find as much as one from the same?

Question: attackers of configs/spar_activity.py learn from data like those that
they attack, which flatters them where the service's people differ from the
attacker's.  Here each question about the person is also asked to attackers who
have signals of left arms alone (the more common side), about codes of right
ones.  They have half as many samples: what the same perceptron makes of half of
its data stands beside them (saturation).

Command: python launch/run.py --config=configs/spar_shifted.py
  --workdir=runs/spar_shifted

Measured: seven and a half minutes on two CPU cores; three train seeds, five
attackers.  Person (chance 20.0), from the noisy Siamese code: 35.9 %
[28.4, 45.1] by attackers from the other arm, 58.3 [48.9, 68.7] by those of
both, who with half of their data (a perceptron) find 47.0 in place of 50.2.
Undefended 36.6 and 66.0.  docs/results/spar_shifted.md
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
