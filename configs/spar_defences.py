"""Which published defence leaks least at equal utility, on motion signals?

Question: every defence that trains against an attacker or a measure of
dependence, and every one that is fitted afterwards, on the network and data of
configs/spar_activity.py: without noise, and along a grid of noise added behind
the same projection.  All have as many trials of their strength, chosen by the
same rule on task-validation, and are ranked where they leak the same.

Command: python launch/run.py --config=configs/spar_defences.py
  --workdir=runs/spar_defences

Measured: not yet run to its end in any size but the tests'.
"""

from typing import Any

from configs import default, spar_activity

TRIALS = 4  # strengths of every defence


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = spar_activity.get_config(variant)
  c.name = "Defences compared: exercise against person on SPAR"
  add_defences(c, private="person", size=50)
  add_audit(c)
  c.privatizers = default.in_order(
    {
      **c.privatizers,
      "pruned": {
        "chain": ("prune.channels",),
        "drop": (0.25, 0.5, 0.75),
        "private": "person",
        "trainings": ("simple",),
      },
      "active": {
        "chain": ("project.active_subspace", "noise.isotropic"),
        "k": 8,
        "sigma": c.privatizers.noise.sigma,
        "trainings": ("simple",),
      },
      "learned": {
        "chain": ("project.pca", "noise.learned"),
        "k": 8,
        "weight": (0.01, 0.1, 1.0),
        "trainings": ("simple",),
      },
    }
  )
  if variant == "tiny":
    shrink(c)
    c.privatizers.pruned.drop = (0.5, 0.75)
  return c


def add_defences(c, *, private: str, size: int) -> None:
  """Add a training for each defence; `simple` stays the reference.

  Args:
    c: a study with the contrastive term.
    private: the label that an adversary inside the training guesses.
    size: of the inputs that another one restores, pixels or samples a side.
  """
  quick = {**c.train.finetune.optimizer, "learning_rate": 3e-3}
  quick["schedule"] = "constant"
  c.players = {
    "adversary": {
      "label": private,
      "input": "feature",
      "hidden": (64,),
      "optimizer": quick,
    },
    "artist": {
      "size": size,
      "input": "feature",
      "hidden": (128,),
      "optimizer": quick,
    },
  }
  both = {"restored": "artist/restored", "target": f"inputs/{size}"}
  guess = {"logits": "adversary/logits", "labels": f"labels/{private}"}
  terms = {
    # Of the adversaries: they learn in every training, whoever hears them.
    "guess": ("classification.cross_entropy", guess, {"player": "adversary"}),
    "reversal": ("adversarial.reversed_cross_entropy", guess, {}),
    "maxent": (
      "adversarial.negative_entropy",
      {"logits": guess["logits"]},
      {},
    ),
    "nopeek": (
      "dependence.distance_correlation",
      {"feature": "feature", "other": f"inputs/{size}"},
      {},
    ),
    "draw": ("reconstruction.squared_error", both, {"player": "artist"}),
    "conceal": ("reconstruction.advantage", both, {}),
    "rate": ("dependence.gaussian_rate", {"feature": "feature"}, _VARIANCE),
    "entropy": (
      "dependence.conditional_entropy",
      {"feature": "feature", "labels": "labels/{desired}"},
      _VARIANCE,
    ),
  }
  for name, (function, inputs, more) in terms.items():
    weight = 1.0 if "player" in more else 0.0
    c.objective[name] = {
      "function": function,
      "inputs": inputs,
      "weight": weight,
      **more,
    }
  strengths = {
    "siamese": (1.0, 10.0, 100.0, 1000.0),
    "reversal": (0.03, 0.1, 0.3, 1.0),
    "maxent": (0.03, 0.1, 0.3, 1.0),
    "nopeek": (0.1, 0.3, 1.0, 3.0),
    "conceal": (0.1, 1.0, 10.0, 100.0),
    "rate": (1e-4, 1e-3, 1e-2, 1e-1),
    "entropy": (0.01, 0.1, 1.0, 10.0),
  }
  trainings: dict[str, Any] = {"simple": {"siamese": {"weight": 0.0}}}
  for name, weights in strengths.items():
    trainings[name] = {name: {"weight": weights}}
  for other in ("reversal", "entropy"):
    middle = strengths[other][TRIALS // 2]
    trainings[f"siamese_{other}"] = {
      "siamese": {"weight": strengths["siamese"]},
      other: {"weight": middle},
    }
  c.trainings = default.in_order(trainings)


_VARIANCE = {"variance": 1.0}


def add_audit(c) -> None:
  """Ask for more attacks, the field's habit beside them, and saturation."""
  c.audit.attacks.conv = {"function": "attribute.conv", "max_steps": 500}
  c.audit.attacks.ridge = {"function": "decensoring.ridge", "max_steps": 500}
  c.audit.attacks.frozen_mlp = {
    "function": "habit.frozen_mlp",
    "max_steps": 500,
  }
  c.audit.saturation.shares = (0.25, 0.5)
  c.audit.saturation.widths = (8, 128)


def shrink(c) -> None:
  """Leave few enough for a test."""
  c.trainings = default.in_order(
    {k: c.trainings[k] for k in ("simple", "siamese_reversal", "entropy")}
  )
  for knobs in c.trainings.values():
    for knob in knobs.values():
      if isinstance(knob.weight, tuple):
        knob.weight = knob.weight[:1]
  c.privatizers.learned.weight = (0.1, 1.0)
  c.audit.saturation.shares, c.audit.saturation.widths = (0.5,), ()
