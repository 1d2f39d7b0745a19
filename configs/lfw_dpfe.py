"""Does a feature trained against identity (DPFE) still tell whose face it is?

Question: Deep Private-Feature Extraction (Osia et al., arXiv 1802.03151) on the
recognizer of configs/lfw_recognizer.py: ten values behind its 13th block, put
in as principal components and trained with the reversed contrastive loss on
identity, against the same without it.  Its noise is in proportion to the
covariance of the code, its measures are the density of each identity
(`density.kde`; the metric log_rank is one minus its log-rank privacy) and the
nearest neighbour.

Command: python launch/run.py --config=configs/lfw_dpfe.py:small
  --config.data.path=<folder> --workdir=runs/dpfe
  (needs the extra `pretrained`)

Measured: docs/results/lfw_dpfe.md; in short in configs/ablations/dpfe_lfw.py.
"""

from configs import default, lfw_recognizer


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = lfw_recognizer.get_config(variant)
  c.name = "DPFE: gender against identity in a face recognizer, on LFW"
  c.network = {
    "function": "bottleneck.dpfe",
    "inner": c.network.function,
    "after": "block13",
    "k": 10,
    "dtype": c.network.dtype,
  }
  c.cut = "private"
  c.objective.dpfe = {
    "function": "siamese.reversed_contrastive",
    "inputs": {"feature": "feature", "labels": "labels/identity"},
    "weight": 0.0,
    "margin": 10.0,  # as published: ten standardised values, mostly nearer
  }
  del c.objective.siamese
  c.monitors = {
    "pairs": {
      "function": "siamese.pair_statistics",
      "inputs": {
        "feature": "feature",
        "labels": "labels/identity",
        "margin": "knobs/dpfe/margin",
      },
    }
  }
  # At random 4 of the 8,128 pairs of a batch are of one person; so 64 are.
  c.train.groups = "identity"
  c.train.margin_unit = "raw"
  weights, scales = (0.01, 1.0, 10.0, 100.0), (0.1, 0.5, 1.0, 2.5, 6.0)
  if variant == "full":  # as published, but for 0
    scales = (0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 4.0, 6.0, 8.0)
  if variant == "small":
    # DPFE has neither, and they are half of the time of the main study.
    c.audit.transfer.steps = c.audit.inversion.steps = 0
  if variant == "tiny":
    weights, scales = (0.01, 1.0), (0.1, 2.5)
  c.trainings = default.in_order(
    {
      "simple": {"dpfe": {"weight": 0.0}},
      "dpfe": {"dpfe": {"weight": weights}},
    }
  )
  c.privatizers = default.in_order(
    {
      "identity": {"chain": ()},
      "noise": {"chain": ("noise.covariance",), "scale": scales},
    }
  )
  c.audit.attacks.density = {"function": "density.kde"}
  c.audit.attacks.first = {"function": "neighbour.nearest", "neighbours": (1,)}
  return c
