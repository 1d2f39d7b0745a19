"""From a plain configuration to objects; the only place where names count.

A name is "module.function" inside a package of hybridpriv
("siamese.contrastive" in `losses`), or "my_package.my_module:my_loss" anywhere
on the Python path, so that a user extends hybridpriv from outside the clone.
"""

import functools
import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import optax

from hybridpriv import attacks, losses, networks, privatizers
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.data import dataset, partition, sources
from hybridpriv.networks import heads
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.train import augment as augment_lib
from hybridpriv.train import objective, optim, thumbnails
from hybridpriv.train import step as step_lib

Config = Mapping[str, Any]


class Roles(NamedTuple):
  """Which labels play which part, by the data set's own names."""

  desired: tuple[str, ...]
  private: tuple[str, ...]
  unforeseen: tuple[str, ...]


class Row(NamedTuple):
  """One defence: a training and what is done to its features.

  Attributes:
    name: "siamese/noise sigma=0.5".
    training: name of the training.
    embedding: name of the entry in `config.privatizers`.
    stages: (function, knobs) of every member of the chain.
    privatizer: the chain.
  """

  name: str
  training: str
  embedding: str
  stages: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]
  privatizer: privatizer_lib.Privatizer


def function(package: Any, name: str) -> Callable[..., Any]:
  """Look up "module.function" in a package, or "module:function" anywhere.

  Raises:
    ValueError: for an unknown name; lists the known ones.
  """
  outside = ":" in name
  divide = name.partition if outside else name.rpartition
  module, _, attribute = divide(":" if outside else ".")
  path = module if outside else f"{package.__name__}.{module}"
  try:
    if not (module and attribute):
      raise ModuleNotFoundError(name=path)
    found = getattr(importlib.import_module(path), attribute)
  except (ModuleNotFoundError, AttributeError) as error:
    missing = getattr(error, "name", None)
    if isinstance(error, ModuleNotFoundError) and missing not in (
      path,
      path.partition(".")[0],
    ):
      raise  # the module is there and fails to import something of its own
    raise ValueError(
      f"{name!r} is not known in {package.__name__}. Known are"
      f" {', '.join(_known(package))}; your own is written"
      " 'my_package.my_module:my_function'"
    ) from None
  return found


def _known(package: Any) -> list[str]:
  names = []
  for info in pkgutil.iter_modules(package.__path__):
    module = importlib.import_module(f"{package.__name__}.{info.name}")
    own = inspect.getmembers(module, inspect.isfunction)
    there = [k for k, v in own if v.__module__ == module.__name__]
    names += [f"{info.name}.{k}" for k in there if not k.startswith("_")]
  return names


def call(
  found: Callable[..., Any], knobs: Mapping[str, Any], where: str
) -> Any:
  """Call a factory with knobs from a configuration.

  Raises:
    ValueError: for a knob that the factory does not take, or one that lacks.
  """
  try:
    inspect.signature(found).bind(**knobs)
  except TypeError as error:
    raise ValueError(
      f"{where}: {error}. It takes {inspect.signature(found)}"
    ) from None
  return found(**knobs)


def roles(config: Config) -> Roles:
  """Read the comma-separated roles of `config.data`.

  Raises:
    ValueError: if there is no desired or no private label.
  """

  def names(text: str) -> tuple[str, ...]:
    return tuple(x.strip() for x in text.split(",") if x.strip())

  found = Roles(*(names(config["data"][role]) for role in Roles._fields))
  for role in ("desired", "private"):
    if not getattr(found, role):
      raise ValueError(
        f"config.data.{role} is empty: name a label of the data, e.g."
        f" --config.data.{role}=gender"
      )
  return found


def load_data(config: Config, cache: str = "") -> dataset.DataSet:
  """Load the data of `config.data`; a folder `cache` keeps decoded pictures."""
  others = ("source", *Roles._fields)
  options = {k: v for k, v in config["data"].items() if k not in others}
  name = config["data"]["source"]
  load = function(sources, name if ":" in name else f"{name}.load")
  if "cache" in inspect.signature(load).parameters:
    options = {"cache": cache, **options}
  found = call(load, {**roles(config)._asdict(), **options}, "config.data")
  return dataset.with_roles(found, **roles(config)._asdict())


def folds(config: Config, data_set: dataset.DataSet) -> Any:
  """Divide the people as `config.partition` says.

  A column that the source was asked for as `split` divides them.
  """
  knobs = dict(config["partition"])
  knobs["split"] = knobs.get("split") or config["data"].get("split", "")
  shared = {"desired": roles(config).desired, "seed": config["seed"]}
  return call(
    functools.partial(partition.make, data_set),
    {**shared, **knobs},
    "config.partition",
  )


def network(config: Config, num_classes: int) -> Any:
  """Build the network of `config.network` with so many logits."""
  usual = ("dtype", "float32")  # need not be an argument of every network
  knobs = dict(i for i in config["network"].items() if i != usual)
  found = function(networks, knobs.pop("function"))
  built = call(found, {**knobs, "num_classes": num_classes}, "config.network")
  names = list(built.stage_names())
  starts = [config["train"][phase]["start"] for phase in ("base", "finetune")]
  base, start = starts
  for name in (config["cut"], *starts):
    if name not in names and (name or name == config["cut"]):
      raise ValueError(
        f"there is no stage {name!r} to cut at: the stages are"
        f" {', '.join(names)}"
      )
  if start and names.index(start) > names.index(config["cut"]):
    raise ValueError(
      f"config.train.finetune.start is {start!r}, which comes after the cut"
      f" {config['cut']!r}: name the cut or a stage before it"
    )
  if base and (not start or names.index(base) > names.index(start)):
    raise ValueError(
      f"config.train.base.start is {base!r} and config.train.finetune.start is"
      f" {start!r}: what the base training keeps frozen, fine-tuning does too;"
      " name the same stage or a later one"
    )
  if base and not config["weights"]["function"]:
    raise ValueError(
      f"config.train.base.start={base!r} freezes stages that nothing has"
      " trained: name published weights, config.weights.function"
    )
  return built


def weights(
  config: Config, built: Any, shape: tuple[int, ...]
) -> tuple[dict[str, Any], str]:
  """Read the published weights of `config.weights`, {} if there are none.

  A function that has the parameters `network` or `input_shape` gets them.

  Returns:
    (variables by collection and stage, what its report says or "").
  """
  options = dict(config["weights"])
  name = options.pop("function")
  if not name:
    return {}, ""
  found = function(networks, name)
  offered = {"network": built, "input_shape": shape}
  takes = inspect.signature(found).parameters
  own = {k: v for k, v in offered.items() if k in takes}
  read = call(found, {**own, **options}, "config.weights")
  return (read[0], str(read[1])) if isinstance(read, tuple) else (read, "")


def terms(config: Config) -> tuple[list[objective.Term], dict[str, float]]:
  """Build the objective and the first values of its knobs.

  "{desired}" in an input makes one term for each desired label.
  """
  built, knobs = [], {}
  for name, entry in config["objective"].items():
    entry = dict(entry)
    found = function(losses, entry.pop("function"))
    inputs = entry.pop("inputs")
    player = entry.pop("player", step_lib.DEFENDER)
    mask = entry.pop("mask", "mask")
    ramp = entry.pop("ramp_steps", 0)
    if "weight" not in entry:
      raise ValueError(f"config.objective.{name} has no weight: give it one")
    each = any("{desired}" in value for value in inputs.values())
    for label in roles(config).desired if each else (None,):
      own = name if label is None else f"{name}/{label}"
      if label == roles(config).desired[0] or label is None:
        own = name
      built.append(
        objective.Term(
          name=own,
          function=found,
          inputs=_fill(inputs, label),
          knobs=tuple(k for k in entry if k != "weight"),
          schedule=optax.linear_schedule(0.0, 1.0, ramp) if ramp else None,
          mask=mask,
          player=player,
        )
      )
      knobs |= {f"{own}/{k}": float(v) for k, v in entry.items()}
  return built, knobs


def copies(knobs: Mapping[str, float], name: str) -> list[str]:
  """Name a knob and the same knob of its term's copies for further labels.

  Args:
    knobs: all knobs of the objective, see `terms`.
    name: "<term>/<knob>" as trainings set it.

  Raises:
    ValueError: if there is no such knob.
  """
  term, _, knob = name.rpartition("/")
  found = [
    k for k in knobs if k.startswith(f"{term}/") and k.endswith(f"/{knob}")
  ]
  if not found:
    raise ValueError(
      f"config.trainings sets {name!r}, which is not in the objective: its"
      f" knobs are {', '.join(knobs)}"
    )
  return found


def _fill(inputs: Config, label: str | None) -> tuple[tuple[str, str], ...]:
  return tuple(
    (k, v.replace("{desired}", label or "")) for k, v in inputs.items()
  )


def monitors(config: Config) -> list[step_lib.Monitor]:
  """Build what is logged and not minimised, for the first desired label."""
  built = []
  for name, entry in config["monitors"].items():
    found = function(losses, entry["function"])
    inputs = _fill(entry["inputs"], roles(config).desired[0])
    built.append(step_lib.Monitor(name, found, inputs))
  return built


def players(
  config: Config, data_set: dataset.DataSet
) -> tuple[list[step_lib.Player], dict[str, Any]]:
  """Build those who name a label or restore inputs, and their optimizers."""
  built, optimizers = [], {}
  for name, entry in config["players"].items():
    hidden, label = tuple(entry["hidden"]), entry.get("label")
    if ("size" in entry) == (label in data_set.classes):
      raise ValueError(
        f"config.players.{name} has {dict(entry)}: give it a size to restore,"
        f" or a label to name, one of {', '.join(data_set.classes)}"
      )
    if "size" in entry:
      full = tuple(config["input_shape"]) or data_set.inputs.shape[1:]
      shape = thumbnails.shape(full, entry["size"])
      head, output = heads.Restorer(hidden, shape), "restored"
    else:
      head, output = heads.Mlp(hidden, len(data_set.classes[label])), "logits"
    built.append(step_lib.Player(name, head, entry["input"], output))
    steps = config["train"]["finetune"]["steps"]
    optimizers[name] = optimizer(entry["optimizer"], steps)
  return built, optimizers


def optimizer(entry: Config, num_steps: int) -> Any:
  """Build an optimizer for a training of so many steps."""
  return call(optim.make, {**entry, "num_steps": num_steps}, "config optimizer")


def augment(name: str) -> Callable[..., Any] | None:
  """Look up an augmentation, "jitter" or "package.module:function"."""
  if not name:
    return None
  if ":" in name:
    return function(augment_lib, name)
  if not hasattr(augment_lib, name):
    raise ValueError(
      f"augmentation {name!r} is not known; known are crop_mirror, jitter,"
      " photo"
    )
  return getattr(augment_lib, name)


def rows(config: Config) -> list[Row]:
  """Build every defence: each training with each privatizer.

  A knob given as a tuple is a grid, from weak to strong; every value makes a
  row.  An entry may name the `trainings` that it goes with.

  Raises:
    ValueError: for a training that is not there, and as `call`.
  """
  built = []
  for training, (embedding, entry) in itertools.product(
    config["trainings"], config["privatizers"].items()
  ):
    only = entry.get("trainings", (training,))
    if unknown := sorted({*only} - {*config["trainings"]}):
      raise ValueError(
        f"config.privatizers.{embedding}.trainings names {unknown}; the"
        f" trainings are {', '.join(config['trainings'])}"
      )
    if training not in only:
      continue
    knobs = {k: v for k, v in entry.items() if k not in ("chain", "trainings")}
    grids = {k: v for k, v in knobs.items() if isinstance(v, (tuple, list))}
    for values in itertools.product(*grids.values()):
      swept = dict(zip(grids, values, strict=True))
      where = f"config.privatizers.{embedding}"
      chain, stages = _chain(entry["chain"], {**knobs, **swept}, where)
      suffix = "".join(f" {k}={_short(v)}" for k, v in swept.items())
      name = f"{training}/{embedding}{suffix}"
      built.append(Row(name, training, embedding, stages, chain))
  return built


def _short(value: Any) -> str:
  return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _chain(names: Sequence[str], knobs: dict[str, Any], where: str) -> Any:
  """Give every member of a chain the knobs that it takes."""
  left, members, stages = set(knobs), [], []
  for name in names:
    found = function(privatizers, name)
    takes = set(inspect.signature(found).parameters)
    own = {k: v for k, v in knobs.items() if k in takes}
    left -= takes
    members.append(call(found, own, where))
    stages.append((name, tuple(sorted(own.items()))))
  if left:
    raise ValueError(
      f"{where}: no member of the chain {tuple(names)} takes {sorted(left)}"
    )
  return privatizer_lib.chain(*members), tuple(stages)


def build_attacks(entries: Config, where: str) -> list[attack_lib.Attack]:
  """Build the attacks of a section, called "family.<entry>" in results."""
  built = []
  for name, entry in entries.items():
    knobs = dict(entry)
    path = knobs.pop("function")
    attack = call(function(attacks, path), knobs, f"{where}.{name}")
    family = "" if ":" in path else path.partition(".")[0] + "."
    built.append(attack._replace(name=family + name))
  return built


def num_logits(config: Config, data_set: dataset.DataSet) -> int:
  """Count the outputs: the classes of all desired labels, or an embedding."""
  classes = sum(len(data_set.classes[d]) for d in roles(config).desired)
  return config["verification"]["outputs"] or classes
