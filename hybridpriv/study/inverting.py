"""Visual inversion: attackers for each embedding, and what they restore.

A decoder and a ridge regression learn from codes of task-train people and of
the attacker's gallery, are stopped or tuned by those of task-validation people,
and restore the attacked samples of the audit people from codes as they are
sent.  Judged by error, structural similarity and, where the recognizer is
installed, whether it still finds the right person.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from hybridpriv import build
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import inversion, ridge
from hybridpriv.audit import assemble, problems, statistics
from hybridpriv.networks import decoders, dlib, pretrained
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.study import fitting, parts, training, workdir
from hybridpriv.study.setup import Setup, key
from hybridpriv.train import augment, features
from hybridpriv.train import state as state_lib

_ATTACKS = DECODER, RIDGE = "inversion.decoder", "inversion.ridge"
_DRAWS = 8  # of noisy codes that the regression sees
PEAK_DB = 60.0  # decibels that a table of scores in [0, 1] can hold
_LEAST = 10 ** (-PEAK_DB / 10)  # mean squared error of so many
_SHOWN = 8  # people in the figure
_SIDE = 150  # pixels that the recognizer takes

Measured = list[tuple[dict[str, Any], statistics.Table]]


def run(
  setup: Setup, rows: Sequence[build.Row], asked: Sequence[problems.Problem]
) -> dict[str, Measured]:
  """Invert the paper's embeddings, noisy ones at their operating points.

  Args:
    setup: the study; `config.audit.inversion` says how large and how long.
    rows: all defences.
    asked: all problems; the one on identity says which samples are attacked
      and which are the recognizer's gallery.

  Returns:
    Measurements with their tables, by name of the row; {} if not asked for.
  """
  problem = attacked(setup, asked)
  if problem is None:
    return {}
  options = setup.config["audit"]["inversion"]
  size = options["size"]
  chosen = fitting.read_rows(setup)
  parts_of = setup.folds[problem.fold]
  rng = np.random.default_rng(setup.config["seed"])
  own = rng.permutation(parts_of.train)[: options["max_images"]]
  test = np.flatnonzero((problem.role == problems.TEST) & (problem.label >= 0))
  gallery = np.flatnonzero(
    (problem.role == problems.TRAIN) & (problem.label >= 0)
  )
  # The network was fitted to task-train people, whose codes may be more alike
  # than those of others: the attacker learns from its gallery as well.
  own = np.concatenate([own, parts_of.audit[gallery]])
  index = np.sort(np.concatenate([own, parts_of.validation]))
  learn = np.flatnonzero(np.isin(index, own))
  held_out = np.flatnonzero(~np.isin(index, own))
  images = pictures(setup, index, size)
  truth = pictures(setup, parts_of.audit[test], size)
  judge = _judge()
  found: dict[str, dict[str, np.ndarray]] = {}
  held: dict[str, dict[str, float]] = {}
  selected = [row for row in rows if chosen[row.name]["selected"]]
  for row in tqdm.tqdm(
    selected, desc="inversion", leave=False, disable=None, unit="row"
  ):
    found[row.name], held[row.name] = _restored(
      setup, row, problem.fold, index, learn, held_out, images, test
    )
  gallery_codes = judge(pictures(setup, parts_of.audit[gallery], size))
  label = problem.label

  def scores(restored: np.ndarray) -> dict[str, np.ndarray]:
    result = {
      "psnr": np.clip(
        _batched(inversion.psnr, restored, truth) / PEAK_DB, 0, 1
      ),
      "ssim": np.clip(_batched(inversion.ssim, restored, truth), 0, 1),
    }
    if gallery_codes is not None:
      result["matched"] = inversion.matched(
        judge(restored), gallery_codes, label[gallery], label[test]
      )
    return result

  desired = setup.data.labels[setup.roles.desired[0]]
  seen = setup.data.person[parts_of.audit[test]]
  mean = images[learn].mean(axis=0)
  by_class = {
    c: images[learn][desired[index[learn]] == c].mean(axis=0)
    for c in np.unique(desired[index[learn]])
  }
  guesses = np.stack(
    [by_class.get(c, mean) for c in desired[parts_of.audit[test]]]
  )
  references = {
    "chance": scores(np.broadcast_to(mean, truth.shape).copy()),
    "floor": scores(guesses),
    "original": scores(truth),
  }
  made: dict[str, Measured] = {}
  for name, own in found.items():
    for attack in _ATTACKS:
      made.setdefault(name, []).extend(
        _measure(
          setup,
          attack,
          metric,
          value,
          label[test],
          seen,
          references,
          held[name][attack] if metric == "psnr" else None,
        )
        for metric, value in scores(own[attack]).items()
      )
  _keep(setup, problem, test, truth, found)
  return made


def attacked(
  setup: Setup, asked: Sequence[problems.Problem]
) -> problems.Problem | None:
  """Find whose pictures are restored; None if that is not asked for.

  Args:
    setup: the study.
    asked: all problems.

  Returns:
    The problem on identity, of the first fold.

  Raises:
    ValueError: if the samples are no images, or nobody is to be identified.
  """
  if not setup.config["audit"]["inversion"]["steps"]:
    return None
  identity = [p for p in asked if p.kind == "identity" and "(" not in p.target]
  if setup.data.kind != "image" or not identity:
    raise ValueError(
      "config.audit.inversion restores pictures of people: it needs images, and"
      " the person among the private labels; set its steps to 0"
    )
  return identity[0]


def pictures(setup: Setup, index: np.ndarray, size: int) -> np.ndarray:
  """Give what the network sees of samples, 0 to 1, [n, size, size, c]."""
  shape = tuple(setup.config["input_shape"]) or setup.data.inputs.shape[1:]

  @jax.jit
  def cut(x: jax.Array) -> jax.Array:
    x = augment.centre(x, shape=shape).astype(jnp.float32) / 255
    whole = (x.shape[0], size, size, x.shape[-1])
    return jnp.clip(jax.image.resize(x, whole, "linear"), 0, 1)

  return features.compute(cut, setup.data.inputs, index)


def _batched(measure: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Apply a measure of image pairs in batches of one shape."""
  both = np.concatenate([a, b], axis=-1)
  channels = a.shape[-1]
  run = jax.jit(lambda x: measure(x[..., :channels], x[..., channels:]))
  return features.compute(run, both, np.arange(len(both)))


def _judge() -> Any:
  """Make the function from images to embeddings of the published recognizer.

  Where the package with its weights is not installed it gives None.
  """
  if not pretrained.has_resnet29_dlib():
    return lambda images: None
  variables = pretrained.resnet29_dlib()
  network = dlib.resnet29_dlib(num_classes=128)

  @jax.jit
  def embed(x: jax.Array) -> jax.Array:
    x = jax.image.resize(x, (len(x), _SIDE, _SIDE, 3), "linear")
    mean = jnp.asarray(dlib.MEAN)[None, None, None]
    return network.apply(variables, (255 * x - mean) / dlib.SCALE, train=False)[
      0
    ]

  return lambda images: features.compute(
    embed, images, np.arange(len(images)), name="recognizer"
  )


def _restored(
  setup: Setup,
  row: build.Row,
  fold: int,
  index: np.ndarray,
  learn: np.ndarray,
  held_out: np.ndarray,
  images: np.ndarray,
  test: np.ndarray,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
  """Train the attackers of one embedding, or read what they restored.

  Returns:
    (pictures by attack, and those of the better as "best"; decibels on the
    pictures held out, by attack).
  """
  options = setup.config["audit"]["inversion"]
  trial = training.chosen(setup)[fold][row.training]["chosen"]
  system = fitting.load_system(setup, fold, 0, trial)
  law = fitting.read_law(setup, fold, 0, row)
  prefix, suffix = privatizer_lib.split_random(row.privatizer)
  prefix_law, suffix_law = privatizer_lib.split_state(row.privatizer, law)
  root = key(setup, fold, 0, f"inversion {row.name}")

  def clean(at: np.ndarray) -> np.ndarray:
    feature = jnp.asarray(system.features(at))
    return np.asarray(prefix.encode(prefix_law, root, feature))

  audit = setup.folds[fold].audit[test]
  codes, attacked = clean(index), clean(audit)
  name = parts.digest(
    ("inversion", row.name, sorted(options.items())),
    (codes, attacked, suffix_law, index),
    code=__file__,
  )
  path = setup.folder / "audit" / "parts" / f"{name}-images.npz"
  if not path.exists():
    victim = attack_lib.Victim(
      codes=jnp.asarray(codes)[None],
      law=jax.tree.map(lambda x: jnp.asarray(x)[None], suffix_law),
      which=jnp.zeros([], jnp.int32),
      rows=jnp.arange(len(codes)),
      noise=suffix,
    )
    sample = jax.tree_util.Partial(attack_lib.Victim.sample, victim)
    decoder = decoders.up_convolutional(
      size=options["size"],
      channels=images.shape[-1],
      width=options["width"],
    )
    attackers = {
      DECODER: inversion.train(
        state_lib.stream(root, "decoder"),
        sample,
        images,
        network=decoder,
        index=learn,
        held_out=held_out,
        steps=options["steps"],
        name=row.name,
      ),
      RIDGE: ridge.fit(
        state_lib.stream(root, "ridge"),
        sample,
        images,
        index=learn,
        held_out=held_out,
        draws=_DRAWS if suffix.is_random else 1,
      ),
    }
    sending = state_lib.stream(root, "sent")
    sent = np.asarray(suffix.encode(suffix_law, sending, jnp.asarray(attacked)))
    arrays = {}
    for attack, attacker in attackers.items():
      images_of = features.compute(
        functools.partial(inversion.reconstruct, attacker),
        sent,
        np.arange(len(sent)),
      )
      arrays[attack] = np.round(255 * images_of).astype(np.uint8)
      arrays[f"{attack}/error"] = np.asarray(
        inversion.error(
          attacker, sample, state_lib.stream(root, "error"), images, held_out
        )
      )
    workdir.write_arrays(path, arrays)
  with np.load(path) as saved:
    errors = {a: max(float(saved[f"{a}/error"]), _LEAST) for a in _ATTACKS}
    held = {a: -10 * math.log10(error) for a, error in errors.items()}
    restored = {a: saved[a].astype(np.float32) / 255 for a in _ATTACKS}
  restored["best"] = restored[max(_ATTACKS, key=held.__getitem__)]
  return restored, held


def _measure(
  setup: Setup,
  attack: str,
  metric: str,
  value: np.ndarray,
  label: np.ndarray,
  person: np.ndarray,
  references: Mapping[str, Mapping[str, np.ndarray]],
  validation: float | None,
) -> tuple[dict[str, Any], statistics.Table]:
  """Make a measurement; a person counts once, and decibels are decibels."""
  num = int(label.max()) + 1
  table = statistics.tabulate(value[None, None], label, person, num)

  def mean(name: str) -> float:
    other = references[name][metric][None, None]
    return statistics.value(statistics.tabulate(other, label, person, num))

  own = assemble.measurement(
    target=str(setup.data.identity) if metric == "matched" else "picture",
    attack=attack,
    metric=metric,
    table=table,
    chance=mean("chance"),
    floor=mean("floor"),
    floor_of="mean image of the desired class",
    auxiliary="pictures of task-train people and a gallery of the audited",
    validation=validation,
    original=mean("original"),
  )
  if metric == "psnr":
    for name in ("value", "low", "high", "chance", "floor", "original"):
      own[name] *= PEAK_DB
  return own, table


def _keep(
  setup: Setup,
  problem: problems.Problem,
  test: np.ndarray,
  truth: np.ndarray,
  found: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
  """Keep one picture of some people, and what was made of it, for the card."""
  people, first = np.unique(problem.label[test], return_index=True)
  rng = np.random.default_rng(setup.config["seed"])
  shown = np.sort(first[rng.permutation(len(people))[:_SHOWN]])

  def pixels(x: np.ndarray) -> np.ndarray:
    return np.round(255 * x[shown]).astype(np.uint8)

  arrays = {"original": pixels(truth)}
  arrays |= {f"{n}/restored": pixels(v["best"]) for n, v in found.items()}
  workdir.write_arrays(setup.folder / "audit" / "pictures.npz", arrays)
