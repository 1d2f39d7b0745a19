"""The systems under attack: codes of audit people, grouped by shape."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv import build
from hybridpriv.attacks import rank
from hybridpriv.audit import controls, engine, problems
from hybridpriv.privatizers import noise as noise_lib
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.privatizers import project
from hybridpriv.study import fitting, judging, training, workdir
from hybridpriv.study.setup import Setup, key

# Codes this small go through the noise program even without noise (of standard
# deviation 0): one compiled program less for every attack.
_SMALL = 64

_COMPONENTS = 64  # of uncensored features, at most

# Uncensored features of the audit samples [n, r], by (fold, train seed).
References = Mapping[tuple[int, int], np.ndarray]


class Sent(NamedTuple):
  """What one defence of one trained network sends and answers.

  Attributes:
    clean: deterministic part of the codes of the audit samples [n, ...].
    suffix: random part of the chain.
    law: its state.
    answers: the cloud's logits on audit samples [n, draws, classes].
    right: right answers on test samples, by desired label [draws, n'].
    num_bytes: bytes of a code on the wire.
    rank: rank of every audit sample among all ("rank.image"), and of every
      person among all ("rank.person"), by draw [draws, n].
    example: codes of the audit samples as sent, one draw [n, ...].
  """

  clean: np.ndarray
  suffix: privatizer_lib.Privatizer
  law: Any
  answers: np.ndarray
  right: Mapping[str, np.ndarray]
  num_bytes: int
  rank: Mapping[str, np.ndarray]
  example: np.ndarray


def send(
  setup: Setup, fold: int, seed: int, rows: Sequence[build.Row]
) -> dict[str, Sent]:
  """Run every defence of one training on the test and audit people."""
  parts = setup.folds[fold]
  trial = training.chosen(setup)[fold][rows[0].training]["chosen"]
  system = fitting.load_system(setup, fold, seed, trial)
  draws = setup.config["audit"]["draws"]
  audit = system.features(parts.audit)
  index = judging.samples(setup, fold, "test")
  same = np.array_equal(parts.audit, index)
  test = audit if same else system.features(index)
  found = {}
  for row in rows:
    own = fitting.retuned(setup, fold, seed, system, row)
    law = fitting.read_law(setup, fold, seed, row)
    root = key(setup, fold, seed, f"audit {row.name}")
    keys = [jax.random.fold_in(root, i) for i in range(4)]
    chain = row.privatizer
    prefix, suffix = privatizer_lib.split_random(chain)
    prefix_law, suffix_law = privatizer_lib.split_state(chain, law)
    clean = np.asarray(prefix.encode(prefix_law, keys[0], jnp.asarray(audit)))

    def draw(noise_key: jax.Array, suffix=suffix, law=suffix_law, clean=clean):
      return np.asarray(suffix.encode(law, noise_key, jnp.asarray(clean)))

    answers = fitting.answer(own, chain, law, audit, keys[1], draws=draws)
    replies = fitting.answer(own, chain, law, test, keys[2], draws=draws)
    drawn = [
      draw(jax.random.fold_in(keys[3], i))
      for i in range(draws if chain.is_random else 1)
    ]
    found[row.name] = Sent(
      clean=clean,
      suffix=suffix,
      law=suffix_law,
      answers=np.concatenate(list(answers.values()), axis=-1),
      right=judging.right(setup, fold, "test", replies),
      num_bytes=drawn[0][0].nbytes,
      rank=_ranks(drawn, clean, suffix_law, setup.data.person[parts.audit]),
      example=drawn[0],
    )
  return found


def _ranks(
  drawn: Sequence[np.ndarray], clean: np.ndarray, law: Any, person: np.ndarray
) -> dict[str, np.ndarray]:
  """Rank by likelihood: by distance once the noise is made isotropic."""
  drawn = [code.reshape((len(code), -1)) for code in drawn]
  clean = clean.reshape((len(clean), -1))
  # One level for all components, or one each.
  levels = np.zeros(1)
  for state in law:
    levels = levels + np.square(np.ravel(state.get("std", 0.0)).astype("f8"))
  std = 1.0
  if any("factor" in state for state in law):
    covariance = np.diag(np.broadcast_to(levels, clean.shape[1:]))
    for state in law:
      if "factor" in state:
        covariance = covariance + np.asarray(
          state["factor"] @ state["factor"].T
        )
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 1e-9 * max(values.max(), 1e-30))
    root = (vectors / np.sqrt(values)) @ vectors.T
    drawn, clean = [code @ root for code in drawn], clean @ root
  elif len(levels) > 1 and levels.any():
    root = 1 / np.sqrt(np.maximum(levels, 1e-9 * levels.max()))
    drawn, clean = [code * root for code in drawn], clean * root
  else:
    std = float(np.sqrt(levels[0]))
  return {
    "rank.image": np.stack([rank.by_distance(code, clean) for code in drawn]),
    "rank.person": np.stack(
      [rank.by_person(code, clean, person, std=std) for code in drawn]
    ),
  }


# (name, codes of the audit samples, state of the random part, random part)
Member = tuple[Any, np.ndarray, Any, privatizer_lib.Privatizer]


def rows(sent: Mapping[tuple[int, int], Mapping[str, Sent]]) -> list[Member]:
  """List every defence as a system under attack, named (row, fold, seed)."""
  return [
    ((row, fold, seed), *audible(one))
    for (fold, seed), by_row in sent.items()
    for row, one in by_row.items()
  ]


def references(setup: Setup) -> References:
  """Give features of the audit samples that no defence has censored.

  They are those of the base network at the cut, before any fine-tuning, in
  their principal components on task-train, 64 of them or as many as there are.
  They are computed once, and kept in the workdir.

  Returns:
    Float32 [n, r] by (fold, train seed); {} where no attack of the study reads
    them.
  """
  wanted = [
    attack.needs_reference
    for section in ("attacks", "floor_attacks")
    for attack in build.build_attacks(
      setup.config["audit"][section], f"config.audit.{section}"
    )
  ]
  if setup.network is None or not any(wanted):
    return {}
  return {
    (fold, seed): _reference(setup, fold, seed)
    for fold in range(len(setup.folds))
    for seed in range(setup.config["train"]["seeds"])
  }


def _reference(setup: Setup, fold: int, seed: int) -> np.ndarray:
  """Compute the features of one base network, or read what is kept."""
  folder = setup.folder / "audit" / "reference"
  path = folder / f"fold{fold}" / f"seed{seed}.npz"
  if not path.exists():
    parts = setup.folds[fold]
    chosen = next(iter(training.chosen(setup)[fold].values()))["chosen"]
    base = dataclasses.replace(
      fitting.load_system(setup, fold, seed, chosen),
      variables=training.trained_base(setup, fold, seed),
    )
    feature = base.features(parts.train)
    # As many in every fold.
    most = min(len(f.train) for f in setup.folds) - 1
    stage = project.pca(k=min(_COMPONENTS, most, feature[0].size))
    root = key(setup, fold, seed, "reference")
    law = stage.fit(root, {"features": feature})
    found = stage.encode(law, root, jnp.asarray(base.features(parts.audit)))
    workdir.write_arrays(path, {"features": np.asarray(found)})
  with np.load(path) as saved:
    return saved["features"]


def group(
  members: Sequence[Member], features: References | None = None
) -> list[engine.Victims]:
  """Group systems by code shape and random part: one program for each.

  Args:
    members: the systems.
    features: see `references`; a control, which is of no training, gets those
      of one of its fold's networks.
  """
  found: dict[Any, list[Member]] = {}
  for member in members:
    program = privatizer_lib.program(member[3])
    leaves, tree = jax.tree.flatten(member[2])
    law = (tree, *(np.shape(leaf) for leaf in leaves))
    found.setdefault((member[1].shape[1:], program, law), []).append(member)
  return [_stack(own, features or {}) for own in found.values()]


def audible(one: Sent) -> tuple[np.ndarray, Any, privatizer_lib.Privatizer]:
  """Return codes, law and random part as they are attacked."""
  if not one.suffix.stages and np.prod(one.clean.shape[1:]) <= _SMALL:
    suffix, law = silent()
    return one.clean, law, suffix
  return one.clean, one.law, one.suffix


def silent() -> tuple[privatizer_lib.Privatizer, Any]:
  """Return Gaussian noise of standard deviation 0, and its state."""
  chain = privatizer_lib.chain(noise_lib.isotropic(sigma=0.0))
  return chain, ({"std": jnp.zeros([])},)


def _stack(members: Sequence[Member], features: References) -> engine.Victims:
  """Stack systems of one shape; the codes of short folds are padded."""
  names = [m[0] for m in members]
  longest = max(len(m[1]) for m in members)

  def pad(x: np.ndarray) -> np.ndarray:
    return np.pad(x, [(0, longest - len(x))] + [(0, 0)] * (x.ndim - 1))

  known = [
    pad(features.get((fold, number), features[fold, 0]))
    for _, fold, number in (names if features else ())
  ]
  return engine.Victims(
    names=names,
    fold=np.asarray([name[1] for name in names]),
    codes=np.stack([pad(m[1]) for m in members]),
    law=jax.tree.map(lambda *x: jnp.stack(x), *[m[2] for m in members]),
    noise=members[0][3],
    reference=np.stack(known) if known else None,
  )


def replay(num_draws: int) -> privatizer_lib.Privatizer:
  """Make the random part that sends one of several stored answers.

  The cloud's answers are drawn beforehand; every look takes one at random.
  """

  def encode(law: Any, noise_key: jax.Array, stored: jax.Array) -> jax.Array:
    del law
    at = jax.random.randint(noise_key, (stored.shape[0],), 0, num_draws)
    return jnp.take_along_axis(stored, at[:, None, None], axis=1)[:, 0]

  return privatizer_lib.chain(
    privatizer_lib.Privatizer(
      name="audit.replay",
      fit=lambda noise_key, context: {},
      encode=encode,
      decode=lambda law, code: code,
      radius=lambda law, r: jnp.inf,
      is_random=num_draws > 1,
    )
  )


def floors(
  setup: Setup, sent: Mapping[tuple[int, int], Mapping[str, Sent]]
) -> list[Member]:
  """Make systems that send what no defence can hide.

  Some send only the cloud's answers to a row's codes, one of several drawn;
  one in each fold, named "desired label", sends the true desired labels.
  """
  draws = max(
    one.answers.shape[1] for rows in sent.values() for one in rows.values()
  )

  def member(name: Any, stored: np.ndarray) -> Member:
    repeated = np.take(stored, np.arange(draws) % stored.shape[1], axis=1)
    return name, repeated, ({},), replay(draws)

  members = [
    member((row, fold, seed), one.answers)
    for (fold, seed), by_row in sent.items()
    for row, one in by_row.items()
  ]
  if judging.verifies(setup):
    return members  # whose picture it is, is what the answer tells
  return members + desired_labels(setup, draws)


def desired_labels(setup: Setup, draws: int) -> list[Member]:
  """Make the systems that send the true desired labels, one in each fold.

  Args:
    setup: the study; without a desired label there is none.
    draws: how often each is stored, to be of the shape of others.
  """
  members: list[Member] = []
  for fold, parts in enumerate(setup.folds if setup.roles.desired else ()):
    hot = []
    for d in setup.roles.desired:
      label = setup.data.labels[d][parts.audit]
      # An unknown label (-1) is no class: a row of zeros.
      one_hot = label[:, None] == np.arange(len(setup.data.classes[d]))
      hot.append(one_hot.astype(np.float32))
    codes = np.repeat(np.concatenate(hot, axis=-1)[:, None], draws, axis=1)
    name = ("desired label", fold, 0)
    members.append((name, codes, ({},), replay(draws)))
  return members


def control_systems(
  setup: Setup, asked: Sequence[problems.Problem], example: np.ndarray
) -> list[Member]:
  """Make the systems whose leakage is known beforehand.

  Args:
    setup: the study.
    asked: all problems; a planted leak is made for each.
    example: codes of a small defence [n, ...], whose shape and energy the
      controls copy.
  """
  rng = np.random.default_rng(setup.config["seed"])
  width = example[0].size
  chain, quiet = silent()
  loud = ({"std": jnp.asarray(np.std(example), jnp.float32)},)
  found = []
  for fold, parts in enumerate(setup.folds):
    empty = np.zeros((len(parts.audit), width), np.float32)
    found.append((("constant", fold, 0), empty, quiet, chain))
    found.append((("equal-energy noise", fold, 0), empty, loud, chain))
    for i, problem in enumerate(asked):
      if problem.fold == fold:
        codes = controls.planted(problem, width, rng)
        found.append((("planted leak", fold, i), codes, quiet, chain))
  return found


def raw_inputs(setup: Setup) -> list[Member]:
  """Make systems that send the sample itself."""
  return [
    (
      ("raw input", fold, 0),
      controls.raw(setup.data.inputs[parts.audit]),
      (),
      privatizer_lib.chain(),
    )
    for fold, parts in enumerate(setup.folds)
  ]
