"""What attackers who restore pictures are granted of a study's defences."""

import functools
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv import build
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import restoration
from hybridpriv.audit import problems
from hybridpriv.networks import staged
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.study import fitting, training
from hybridpriv.study.setup import Setup, key
from hybridpriv.train import augment, features
from hybridpriv.train import state as state_lib
from hybridpriv.train import step as step_lib


class Chosen(NamedTuple):
  """Which samples play which part, the same for all defences.

  Attributes:
    index: the attacker's own, numbers of samples [n].
    images: their pictures [n, s, s, c].
    learn: places of those to learn from.
    held_out: places of those of task-validation people.
    gallery: places among the audit samples of those that the attacker owns.
    test: places among the audit samples of those attacked.
    others: places of those whose codes are received as well.
  """

  index: np.ndarray
  images: np.ndarray
  learn: np.ndarray
  held_out: np.ndarray
  gallery: np.ndarray
  test: np.ndarray
  others: np.ndarray


def choose(setup: Setup, problem: problems.Problem) -> Chosen:
  """Choose the attacker's own samples and those attacked.

  Args:
    setup: the study; `config.audit.inversion` limits their numbers.
    problem: the one on identity.
  """
  options, parts = setup.config["audit"]["inversion"], setup.folds[problem.fold]
  seed = setup.config["seed"]
  rng = np.random.default_rng(seed)
  own = rng.permutation(parts.train)[: options["max_images"]]

  def some(values: np.ndarray, most: int) -> np.ndarray:
    if not most:
      return values
    order = np.random.default_rng((seed, len(values))).permutation(len(values))
    return values[np.sort(order[:most])]

  known = problem.label >= 0
  test = np.flatnonzero((problem.role == problems.TEST) & known)
  gallery = np.flatnonzero((problem.role == problems.TRAIN) & known)
  # The network was fitted to task-train people, whose codes may be more alike
  # than those of others: the attacker learns from its gallery as well.
  own = np.concatenate([own, parts.audit[gallery]])
  validation = some(parts.validation, options["max_held_out"])
  index = np.sort(np.concatenate([own, validation]))
  attacked = some(test, options["max_attacked"])
  return Chosen(
    index=index,
    images=pictures(setup, index, options["size"]),
    learn=np.flatnonzero(np.isin(index, own)),
    held_out=np.flatnonzero(~np.isin(index, own)),
    gallery=gallery,
    test=attacked,
    others=np.setdiff1d(np.arange(len(parts.audit)), [*attacked, *gallery]),
  )


def pictures(setup: Setup, index: np.ndarray, size: int) -> np.ndarray:
  """Give what the network sees of samples, 0 to 1, [n, size, size, c]."""
  shape = _input_shape(setup)

  @jax.jit
  def cut(x: jax.Array) -> jax.Array:
    x = augment.centre(x, shape=shape).astype(jnp.float32) / 255
    whole = (x.shape[0], size, size, x.shape[-1])
    return jnp.clip(jax.image.resize(x, whole, "linear"), 0, 1)

  return features.compute(cut, setup.data.inputs, index)


def of_row(
  setup: Setup, row: build.Row, fold: int, chosen: Chosen
) -> tuple[restoration.Knowledge, np.ndarray]:
  """Gather all that can be granted of a defence, and what it sends.

  Args:
    setup: the study.
    row: the defence, of the first trained network.
    fold: whose people.
    chosen: the samples.

  Returns:
    (knowledge, codes of the attacked samples as sent [m, ...]).
  """
  trial = training.chosen(setup)[fold][row.training]["chosen"]
  system = fitting.load_system(setup, fold, 0, trial)
  law = fitting.read_law(setup, fold, 0, row)
  prefix, suffix = map(shared, privatizer_lib.split_random(row.privatizer))
  prefix_law, suffix_law = privatizer_lib.split_state(row.privatizer, law)
  root = key(setup, fold, 0, f"inversion {row.name}")
  audit = setup.folds[fold].audit

  def clean(at: np.ndarray) -> np.ndarray:
    feature = jnp.asarray(system.features(at))
    return np.asarray(prefix.encode(prefix_law, root, feature))

  codes = clean(chosen.index)
  queries = num_queries(setup, row)

  def send(name: str, at: np.ndarray) -> np.ndarray:
    own, code = state_lib.stream(root, name), jnp.asarray(clean(audit[at]))
    if queries == 1:
      return np.asarray(suffix.encode(suffix_law, own, code))
    drawn = (
      np.asarray(suffix.encode(suffix_law, k, code), np.float32) / queries
      for k in jax.random.split(own, queries)
    )
    return functools.reduce(np.add, drawn)

  victim = attack_lib.Victim(
    codes=jnp.asarray(codes)[None],
    law=jax.tree.map(lambda x: jnp.asarray(x)[None], suffix_law),
    which=jnp.zeros([], jnp.int32),
    rows=jnp.arange(len(codes)),
    noise=suffix,
    num_queries=queries,
  )
  sent = send("sent", chosen.test)
  received = sent
  if len(chosen.others):
    received = np.concatenate([sent, send("others", chosen.others)])
  # A label of pairs is no class.
  verifies = bool(setup.config["verification"]["outputs"])
  return restoration.Knowledge(
    images=chosen.images,
    index=chosen.learn,
    held_out=chosen.held_out,
    noise=suffix,
    law=suffix_law,
    num_queries=queries,
    sample=jax.tree_util.Partial(attack_lib.Victim.sample, victim),
    client=client(setup, system, prefix, prefix_law),
    cloud=_cloud(fitting.retuned(setup, fold, 0, system, row), row, law),
    labels=None
    if verifies
    else {d: setup.data.labels[d][chosen.index] for d in setup.roles.desired},
    received=received,
  ), sent


def num_queries(setup: Setup, row: build.Row) -> int:
  """Say how many codes of one input are averaged; without noise, one is all."""
  asked = setup.config["audit"]["inversion"]["queries"]
  return asked if row.privatizer.is_random else 1


def _input_shape(setup: Setup) -> tuple[int, ...]:
  return tuple(setup.config["input_shape"]) or setup.data.inputs.shape[1:]


_CHAINS: dict[Hashable, privatizer_lib.Privatizer] = {}


def shared(chain: privatizer_lib.Privatizer) -> privatizer_lib.Privatizer:
  """Give the same chain for all that differ in their state: one program."""
  return _CHAINS.setdefault(privatizer_lib.program(chain), chain)


def inputs(
  setup: Setup, system: fitting.System, index: np.ndarray
) -> jax.Array:
  """Give what the network sees of samples, in the units of `client`.

  Args:
    setup: the study.
    system: for what is cut out.
    index: numbers of samples [n].

  Returns:
    Float32 [n, ...].
  """
  x = jnp.asarray(np.asarray(setup.data.inputs[index]))
  x = augment.centre(x, shape=system.shape).astype(jnp.float32)
  return x / _scale(setup, system)


def _scale(setup: Setup, system: fitting.System) -> jax.Array:
  """Give the unit of inputs: all of their range, or a channel's deviation."""
  if setup.data.kind == "image":
    return jnp.asarray(255.0)
  std = jnp.asarray(system.constants["std"])
  return std.reshape((1,) * len(system.shape) + (-1,))


def client(
  setup: Setup,
  system: fitting.System,
  prefix: privatizer_lib.Privatizer,
  law: Any,
) -> jax.tree_util.Partial:
  """Make the function from inputs to codes before noise, with gradients.

  It runs the whole client, also where the study reads the outputs of a frozen
  prefix from a file. Pictures are 0 to 1 and of any size; signals are in units
  of the standard deviation of a channel.
  """
  half, _ = staged.split_variables(system.variables, system.network, system.cut)
  mean = jnp.asarray(system.constants["mean"])
  if mean.ndim > 1:  # of what is stored; pictures are what is cut out
    mean = augment.centre(mean[None], shape=system.shape)[0]
  constants = {
    "mean": mean,
    "std": jnp.asarray(system.constants["std"]),
    "scale": _scale(setup, system),
  }
  run = _half(
    system.network,
    system.cut,
    system.shape,
    restoration.with_gradients(prefix),
  )
  return jax.tree_util.Partial(run, half, constants, law)


@functools.cache
def _half(
  network: Any,
  cut: str,
  shape: tuple[int, ...],
  prefix: privatizer_lib.Privatizer,
) -> Any:
  def run(
    variables: Any, constants: Any, law: Any, inputs: jax.Array
  ) -> jax.Array:
    x = jax.image.resize(inputs, (len(inputs), *shape), "linear")
    x = constants["scale"] * x
    x = step_lib.prepare(x, constants, shape=shape)
    feature = network.apply(variables, x, train=False, upto=cut)[0]
    return prefix.encode(law, jax.random.key(0), feature)  # nothing is random

  return run


def _cloud(
  system: fitting.System, row: build.Row, law: Any
) -> jax.tree_util.Partial:
  """Make the function from codes as sent to logits by desired label."""
  _, cloud = staged.split_variables(
    system.variables, system.network, system.cut
  )
  run = _other_half(
    system.network, system.cut, system.answers, shared(row.privatizer)
  )
  return jax.tree_util.Partial(run, cloud, law)


@functools.cache
def _other_half(
  network: Any,
  cut: str,
  answers: tuple[tuple[str, int], ...],
  chain: privatizer_lib.Privatizer,
) -> Any:
  def run(
    variables: Any, law: Any, codes: jax.Array
  ) -> Mapping[str, jax.Array]:
    x = chain.decode(law, codes)
    logits = network.apply(variables, x, train=False, after=cut)[0]
    return step_lib.split_logits(logits, answers)

  return run
