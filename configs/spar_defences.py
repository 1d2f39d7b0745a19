"""Which published defence leaks least at equal utility, on motion signals?

Question: defences that train against an attacker or a measure of dependence,
and those that are fitted afterwards, on the network and data of
configs/spar_activity.py, along a grid of noise added behind a projection to as
many numbers.  Each training has as many trials of its strength, chosen by one
rule on task-validation, each curve five settings; they are ranked where they
leak the same.  The whole feature, which is dear to attack, is sent by `simple`
alone.

`rate` and `entropy` are the terms of VIB and CEM without the noise in training
that both were published with: that is the other arm of
configs/ablations/defences_spar.py, which has it in all trainings.

Command: python launch/run.py --config=configs/spar_defences.py
  --workdir=runs/spar_defences

Measured: 35 minutes on two CPU cores; three train seeds, five attackers.
Exercise where the person leaks 58.1 % (undefended 77.4, floor 56.0): siamese
73.7, with reversal 73.7, with entropy 73.6, active 72.6, entropy 71.0, simple
70.3, learned 70.2, conceal 69.0, reversal 68.2, pruned 67.4, maxent 65.3, rate
63.9, nopeek 46.8, all ties: people are ten.  docs/results/spar_defences.md
"""

from typing import Any

from configs import default, spar_activity


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  c = spar_activity.get_config(variant)
  c.name = "Defences compared: exercise against person on SPAR"
  add_defences(c, private="person", size=50)
  add_audit(c)
  c.privatizers.identity.trainings = ("simple",)
  c.privatizers = default.in_order(
    {
      **c.privatizers,
      **fitted(c, private="person", weights=(0.003, 0.03, 0.3, 3.0)),
    }
  )
  if variant == "tiny":
    shrink(c)
  return c


def fitted(c, *, private: str, weights: tuple[float, ...]) -> dict[str, Any]:
  """Make the defences that are fitted to features, as long as the noise grid.

  Args:
    c: a study with projection and noise.
    private: the label that pruning asks about.
    weights: of learned noise; the projection alone is its weak end.
  """
  sigmas = (0.0, *c.privatizers.noise.sigma)  # as the projection alone
  noisy = {"k": c.privatizers.project.k, "sigma": sigmas}
  return {
    "pruned": {
      "chain": ("prune.channels", "project.pca", "noise.isotropic"),
      "drop": 0.5,
      "private": private,
      "trainings": ("simple",),
      **noisy,
    },
    "active": {
      "chain": ("project.active_subspace", "noise.isotropic"),
      "trainings": ("simple",),
      **noisy,
    },
    "learned": {
      "chain": ("project.pca", "noise.learned"),
      "k": c.privatizers.project.k,
      "weight": weights,
      "trainings": ("simple",),
    },
  }


def add_defences(
  c,
  *,
  private: str,
  size: int,
  siamese: tuple[float, ...] = (1.0, 10.0, 100.0, 1000.0),
) -> None:
  """Add a training for each defence; `simple` stays the reference.

  Args:
    c: a study with the contrastive term.
    private: the label that an adversary inside the training guesses.
    size: of the inputs that another one restores, pixels or samples a side.
    siamese: strengths of the contrastive term; as many as of the others.
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
    "siamese": siamese,
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
    middle = strengths[other][2]
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
  for attack in c.audit.attacks.values():
    if "max_steps" in attack:
      attack.max_steps = 20
