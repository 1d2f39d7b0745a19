"""Visual inversion: attackers for each embedding, and what they restore.

Those that `config.audit.inversion.attacks` names, each with no more of the
system than it needs, learn from pictures of task-train people and of the
attacker's gallery, are stopped or tuned by those of task-validation people, and
restore the attacked samples of the audit people from codes as they are sent.
Judged by error, structural similarity and, where the recognizer is installed,
whether it still finds the right person.
"""

import dataclasses
import functools
import inspect
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from hybridpriv import attacks as attacks_package
from hybridpriv import build
from hybridpriv.attacks import inversion, outliers, restoration, similarity
from hybridpriv.audit import assemble, problems, statistics
from hybridpriv.networks import dlib, pretrained
from hybridpriv.study import fitting, granting, parts, workdir
from hybridpriv.study.setup import Setup, key
from hybridpriv.train import features
from hybridpriv.train import state as state_lib

PEAK_DB = 60.0  # decibels that a table of scores in [0, 1] can hold
_LEAST = 10 ** (-PEAK_DB / 10)  # mean squared error of so many
_SHOWN = 8  # people in the figure
_SIDE = 150  # pixels that the recognizer takes
_OWN = "pictures of task-train people and a gallery of the audited"
# Whom a recognizer finds in what was restored, it finds among these.
_GALLERY = "other pictures of the attacked people, by name, to compare with"

Measured = list[tuple[dict[str, Any], statistics.Table]]
# An attack, and all knobs that it was made with.
Attack = tuple[restoration.Inversion, Mapping[str, Any]]


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
  size = setup.config["audit"]["inversion"]["size"]
  attacks = list_attacks(setup.config)
  selected = fitting.read_rows(setup)
  chosen = granting.choose(setup, problem)
  index, images, learn = chosen.index, chosen.images, chosen.learn
  test, gallery = chosen.test, chosen.gallery
  audit = setup.folds[problem.fold].audit
  truth = granting.pictures(setup, audit[test], size)
  judge = _judge()
  found: dict[str, dict[str, np.ndarray]] = {}
  held: dict[str, dict[str, float]] = {}
  by_name = {r.name: r for r in rows if selected[r.name]["selected"]}
  for name, row in tqdm.tqdm(
    by_name.items(), desc="inversion", leave=False, disable=None, unit="row"
  ):
    found[name], held[name] = _restored(
      setup, row, problem.fold, chosen, attacks
    )
  gallery_codes = judge(granting.pictures(setup, audit[gallery], size))
  label = problem.label

  def scores(restored: np.ndarray) -> dict[str, np.ndarray]:
    both = np.concatenate([restored, truth], axis=-1)
    result = features.compute(_likeness, both, np.arange(len(both)))
    result["psnr"] = result["psnr"] / PEAK_DB
    result = {name: np.clip(value, 0, 1) for name, value in result.items()}
    if gallery_codes is not None:
      result["matched"] = similarity.matched(
        judge(restored), gallery_codes, label[gallery], label[test]
      )
    return result

  desired = setup.data.labels[setup.roles.desired[0]]
  seen = setup.data.person[audit[test]]
  mean = images[learn].mean(axis=0)
  by_class = {
    c: images[learn][desired[index[learn]] == c].mean(axis=0)
    for c in np.unique(desired[index[learn]])
  }
  guesses = np.stack([by_class.get(c, mean) for c in desired[audit[test]]])
  references = {
    "chance": scores(np.broadcast_to(mean, truth.shape).copy()),
    "floor": scores(guesses),
    "original": scores(truth),
  }
  made: dict[str, Measured] = {}
  for name, own in found.items():
    for attack, _ in attacks:
      made.setdefault(name, []).extend(
        _measure(
          setup,
          attack,
          metric,
          value,
          label[test],
          seen,
          references,
          held[name][attack.name] if metric == "psnr" else None,
          granting.num_queries(setup, by_name[name]),
        )
        for metric, value in scores(own[attack.name]).items()
      )
  _keep(setup, problem, test, truth, found)
  return made


def list_attacks(config: Mapping[str, Any]) -> list[Attack]:
  """Build the attacks of `config.audit.inversion`, "inversion.<entry>".

  Raises:
    ValueError: an entry names no attack that restores pictures, or there is
      none.
  """
  options, found = config["audit"]["inversion"], []
  for name, entry in options["attacks"].items():
    own, where = dict(entry), f"config.audit.inversion.attacks.{name}"
    path = own.pop("function", "")
    factory = build.function(attacks_package, path)
    takes = inspect.signature(factory).parameters
    shared = {k: options[k] for k in ("steps", "width") if k in takes}
    attack = build.call(factory, shared | own, where)
    if not isinstance(attack, restoration.Inversion):
      raise ValueError(
        f"{where}: {path} is no attack that restores pictures, as"
        " inversion.decoder and descent.pixels are; docs/method.md lists them"
      )
    attack = attack._replace(name=f"inversion.{name}")
    found.append((attack, {"function": path} | shared | own))
  if not found:
    raise ValueError(
      "config.audit.inversion.attacks is empty: name one, or set its steps to 0"
    )
  return found


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
    ValueError: if the samples are no images, nobody is to be identified, or
      an attack cannot be built or run.
  """
  if not setup.config["audit"]["inversion"]["steps"]:
    return None
  identity = [p for p in asked if p.kind == "identity" and "(" not in p.target]
  if setup.data.kind != "image" or not identity:
    raise ValueError(
      "config.audit.inversion restores pictures of people: it needs images, and"
      " the person among the private labels; set its steps to 0"
    )
  for attack, _ in list_attacks(setup.config):
    if "labels" in attack.needs and setup.config["verification"]["outputs"]:
      raise ValueError(
        f"{attack.name} learns from classes that the service answers, and this"
        " one answers pairs: leave it out of config.audit.inversion.attacks"
      )
  return identity[0]


@jax.jit
def _likeness(both: jax.Array) -> dict[str, jax.Array]:
  """Compute likenesses of pairs of pictures, stacked along the channels."""
  pair = jnp.split(both, 2, axis=-1)
  return {"psnr": similarity.psnr(*pair), "ssim": similarity.ssim(*pair)}


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

  def judge(images: np.ndarray) -> np.ndarray:
    # A mean picture is asked of once, however many samples it stands for.
    own, at = np.unique(images, axis=0, return_inverse=True)
    found = features.compute(embed, own, np.arange(len(own)), name="recognizer")
    return found[at.ravel()]

  return judge


def _restored(
  setup: Setup,
  row: build.Row,
  fold: int,
  chosen: granting.Chosen,
  attacks: Sequence[Attack],
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
  """Train the attackers of one embedding, or read what they restored.

  Returns:
    (pictures by attack, and those of the best as "best"; decibels on the
    pictures held out, by attack).
  """
  knowledge, sent = granting.of_row(setup, row, fold, chosen)
  root = key(setup, fold, 0, f"inversion {row.name}")
  restored, held, sample = {}, {}, knowledge.sample
  bulk = _bulk(sample, chosen.learn, state_lib.stream(root, "look"))
  options = dict(setup.config["audit"]["inversion"]) | {"attacks": None}
  for attack, knobs in attacks:
    granted = knowledge.granting(attack.needs)
    has = [getattr(granted, name) for name in attack.needs]
    name = parts.digest(
      (row.name, attack.name, sorted(knobs.items()), sorted(options.items())),
      (sample, sent, granted.law, has, chosen.index, chosen.learn),
      code=__file__,
    )
    path = setup.folder / "audit" / "parts" / f"{name}-images.npz"
    if not path.exists():
      # Who runs a half of the network needs codes as that half has them.
      if set(attack.needs) & {"client", "cloud"}:
        _attack(path, attack, granted, sample, sent, root)
      else:
        drawn_in = jax.tree_util.Partial(_drawn_in, sample, bulk)
        granted = dataclasses.replace(granted, sample=drawn_in)
        seen = np.asarray(outliers.draw_in(jnp.asarray(sent), bulk))
        _attack(path, attack, granted, drawn_in, seen, root)
    with np.load(path) as saved:
      restored[attack.name] = saved[attack.name].astype(np.float32) / 255
      error = max(float(saved[f"{attack.name}/error"]), _LEAST)
    held[attack.name] = -10 * math.log10(error)
  restored["best"] = restored[max(held, key=held.__getitem__)]
  return restored, held


def _bulk(sample: Any, learn: np.ndarray, key: jax.Array) -> outliers.Bulk:
  """Find where most codes of pictures that an attacker learns from lie."""
  places = outliers.some(jnp.ones(len(learn)))
  return outliers.bulk(sample(key, jnp.asarray(learn)[places]))


def _drawn_in(
  sample: Any, bulk: outliers.Bulk, key: jax.Array, index: jax.Array
) -> jax.Array:
  return outliers.draw_in(sample(key, index), bulk)


def _attack(
  path: pathlib.Path,
  attack: restoration.Inversion,
  granted: restoration.Knowledge,
  sample: Any,
  sent: np.ndarray,
  root: jax.Array,
) -> None:
  """Train an attacker, let it restore what was sent, and write that.

  How well it does on pictures held out is found by the study, which may draw
  codes of them where the attacker may not.
  """
  _, _, entry = attack.name.partition(".")
  attacker = attack.fit(state_lib.stream(root, entry), granted)
  images = np.clip(attack.restore(attacker, sent), 0, 1)
  own = functools.partial(
    inversion.draw, sample, state_lib.stream(root, "error")
  )
  places = np.arange(len(granted.images))
  codes = features.compute(own, places, granted.held_out, batch_size=64)
  wrong = attack.restore(attacker, codes) - granted.images[granted.held_out]
  workdir.write_arrays(
    path,
    {
      attack.name: np.round(255 * images).astype(np.uint8),
      f"{attack.name}/error": np.mean(wrong**2, dtype=np.float64),
    },
  )


def _measure(
  setup: Setup,
  attack: restoration.Inversion,
  metric: str,
  value: np.ndarray,
  label: np.ndarray,
  person: np.ndarray,
  references: Mapping[str, Mapping[str, np.ndarray]],
  validation: float | None,
  num_queries: int,
) -> tuple[dict[str, Any], statistics.Table]:
  """Make a measurement; a person counts once, and decibels are decibels."""
  num = int(label.max()) + 1
  table = statistics.tabulate(value[None, None], label, person, num)

  def mean(name: str) -> float:
    other = references[name][metric][None, None]
    return statistics.value(statistics.tabulate(other, label, person, num))

  beside = [restoration.GRANTS[n] for n in attack.needs if n != "sample"]
  if "sample" not in attack.needs:
    beside.insert(0, "no codes of these")
  if metric == "matched":
    beside.append(_GALLERY)
  own = assemble.measurement(
    target=str(setup.data.identity) if metric == "matched" else "picture",
    attack=attack.name,
    metric=metric,
    table=table,
    chance=mean("chance"),
    floor=mean("floor"),
    floor_of="mean image of the desired class",
    auxiliary="; ".join([_OWN, *beside]),
    num_queries=num_queries,
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
