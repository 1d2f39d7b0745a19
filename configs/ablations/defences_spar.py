"""Defences on motion signals: noise added afterwards, and noise in the loop.

Question: a defence that was tuned without noise and is judged under it is not
judged fairly.  What changes when every training of configs/spar_defences.py has
the noise between the halves, and the cloud half is tuned on what it gets?
There `simple` is trained with noise too: what it leaks, and with it the levels
at which defences are ranked, are not those of the other arm.

Command: python launch/sweep.py --config=configs/ablations/defences_spar.py
  --workdir=runs/defences_spar

Measured: `afterwards`, see configs/spar_defences.py; `in_the_loop` 30 minutes
on two CPU cores.  Where both leak the same each defence is tied with itself
without it.  docs/results/spar_defences_in_the_loop.md
"""

from configs import default, spar_defences


def get_config(variant: str = "full"):
  """Return the study that every run starts from, and what each changes."""
  c = spar_defences.get_config(variant)
  c.sweep = arms(c)
  return c


def arms(c):
  """Make both arms of a study; the noise in training is the weakest of it."""
  sigma = c.privatizers.noise.sigma[0]
  return default.in_order(
    {
      "afterwards": {"train": {"privatizer": ""}},
      "in_the_loop": {
        "train": {
          "privatizer": f"noise sigma={sigma:g}",
          "retune_cloud": True,
        },
        # What more codes, data and width give is asked of the other arm.
        "audit": {
          "queries": (),
          "saturation": {"shares": (), "widths": ()},
        },
      },
    }
  )
