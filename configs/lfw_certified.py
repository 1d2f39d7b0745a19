"""What can be proved on faces, and what attacks reach beside it, on LFW.

Question: the paper's path bounds nothing.  The same recognizer and components
as in configs/lfw_recognizer.py, but codes are clipped, put on a grid and sent
with integer noise: no attacker can pass what is then proved, and no service
either.  How far are attacks from it, and what does it cost?  Codes of people
whom nobody has seen are compared too (linkage).

Command: python launch/run.py --config=configs/lfw_certified.py:small
  --config.data.path=<folder> --workdir=runs/certified
  (needs the extra `pretrained`)

Measured, `small`: 17 minutes on two CPU cores; three train seeds, five attack
seeds.  At C / sigma of 4, 2, 1.5, 1, 0.5 identity is proved to stay below 100,
63.2, 37.8, 17.0 and 6.0 %; gender (simple) is answered with 86.4, 79.5, 75.1,
70.9 and 60.9.  docs/results/lfw_certified.md has all of it.
"""

from configs import default, lfw_recognizer

CHAIN = (
  "project.pca",
  "clip.unit_ball",
  "quantize.toward_zero",
  "noise.discrete",
  "quantize.saturate",
)
LEVELS = 24  # steps to the edge of the ball; a byte holds noise of 2 of them


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = lfw_recognizer.get_config(variant)
  c.name = "A guarantee for codes of a face recognizer, on LFW"
  c.privatizers = certified(k=4)
  c.audit.attacks.cosine = {"function": "linkage.cosine"}
  c.audit.attacks.two_covariance = {"function": "linkage.two_covariance"}
  c.audit.attacks.metric = {"function": "linkage.metric"}
  if variant != "full":  # the main study has both, on the same network
    c.audit.transfer.steps = c.audit.inversion.steps = 0
  return c


def certified(*, k: int):
  """Make the privatizers: whole features, k numbers, and these with noise."""
  return default.in_order(
    {
      "identity": {"chain": ()},
      "project": {"chain": ("project.pca",), "k": k},
      "noise": {
        "chain": CHAIN,
        "k": k,
        "clip_norm": 1.0,
        "levels": LEVELS,
        # C / sigma of 4, 2, 1.5, 1, 0.5.
        "sigma": tuple(LEVELS / r for r in (4.0, 2.0, 1.5, 1.0, 0.5)),
        "bits": 8,
      },
    }
  )
