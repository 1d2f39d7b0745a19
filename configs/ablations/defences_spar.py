"""Defences on motion signals: noise added afterwards, and noise in the loop.

Question: a defence that was tuned without noise and is judged under it is not
judged fairly.  What changes when the cloud half of configs/spar_defences.py is
tuned on what it gets, and what when every training has the noise between the
halves as well?  There `simple` is trained with noise too: what it leaks, and
with it the levels at which defences are ranked, are not those of other arms.

Command: python launch/sweep.py --config=configs/ablations/defences_spar.py
  --workdir=runs/defences_spar

Measured: `afterwards`, see configs/spar_defences.py; the others not yet.
"""

from configs import default, spar_defences


def get_config(variant: str = "full"):
  """Return the study that every run starts from, and what each changes."""
  c = spar_defences.get_config(variant)
  sigma = c.privatizers.noise.sigma[0]
  c.sweep = default.in_order(
    {
      "afterwards": {"train": {"privatizer": ""}},
      "retuned": {"train": {"retune_cloud": True}},
      "in_the_loop": {
        "train": {
          "privatizer": f"noise sigma={sigma:g}",
          "retune_cloud": True,
        }
      },
    }
  )
  return c
