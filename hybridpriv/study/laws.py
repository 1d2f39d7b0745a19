"""What is between the halves while they are fine-tuned: noise in the loop.

The chain is fitted once, before fine-tuning, on features of the base network
for task-train samples, and held fixed while these features change.  What a
defence is in the end is fitted anew, on features of the fine-tuned network
(`fitting`).
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.networks import staged
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.study import compiled, judging, workdir
from hybridpriv.study.setup import Setup, between, constants, key, spec
from hybridpriv.train import features
from hybridpriv.train import step as step_lib


def fit(
  setup: Setup,
  fold: int,
  seed: int,
  training: str,
  base: Mapping[str, Any],
  inputs: np.ndarray,
) -> None:
  """Fit what a training has between the halves, if anything, and keep it.

  Args:
    setup: the study.
    fold: number of the fold.
    seed: train seed.
    training: which one.
    base: all variables of the base network.
    inputs: what fine-tuning reads, [n, ...], see `training.fixed_inputs`.

  Raises:
    ValueError: if no gradient comes through it.
  """
  name, chain = between(setup.config, training)
  path = _file(setup, fold, seed, name)
  if chain is None or path.exists():
    return
  own, index = spec(setup, "finetune"), setup.folds[fold].train
  client = compiled.stages(own.network, own.shape, own.start, own.cut)
  fixed = constants(setup, fold)
  feature = features.compute(lambda x: client(base, fixed, x), inputs, index)
  root = key(setup, fold, seed, f"between {name}")
  law = chain.fit(root, context(setup, base, feature, index))
  _check_gradient(chain, law, jnp.asarray(feature[:2]), name)
  arrays = {
    f"{place}/{k}": np.asarray(v)
    for place, part in enumerate(law)
    for k, v in part.items()
  }
  workdir.write_arrays(path, arrays)


def context(
  setup: Setup,
  variables: Mapping[str, Any],
  feature: np.ndarray,
  index: np.ndarray,
) -> dict[str, Any]:
  """Gather what privatizers are fitted to.

  Labels that are unforeseen are none of it.  Where the answer is an embedding
  no label is desired in the sense of classes.

  Args:
    setup: the study.
    variables: of the network, or of what follows its frozen prefix.
    feature: features of the samples [n, ...].
    index: which samples they are [n].

  Returns:
    "features", "labels", "desired" and "cloud": a `jax.tree_util.Partial` from
    features [b, ...] to {desired label: logits [b, classes]}.  Those of all
    networks of one kind share compiled programs.
  """
  own, roles = spec(setup, "finetune"), setup.roles
  _, cloud = staged.split_variables(variables, own.network, own.cut)
  run = _answers(own.network, own.cut, own.answers)
  return {
    "features": feature,
    "labels": {
      name: setup.data.labels[name][index]
      for name in (*roles.desired, *roles.private)
    },
    "desired": () if judging.verifies(setup) else roles.desired,
    "cloud": jax.tree_util.Partial(run, cloud),
  }


@functools.cache
def _answers(network: Any, cut: str, answers: Any) -> Any:
  def run(variables: Any, x: jax.Array) -> dict[str, jax.Array]:
    logits = network.apply(variables, x, train=False, after=cut)[0]
    return step_lib.split_logits(logits, answers)

  return run


def read(setup: Setup, fold: int, seed: int, training: str) -> Any:
  """Read what `fit` kept: a tuple of dictionaries of arrays, or None."""
  name, chain = between(setup.config, training)
  if chain is None:
    return None
  with np.load(_file(setup, fold, seed, name)) as saved:
    return tuple(
      {
        k.partition("/")[2]: jnp.asarray(saved[k])
        for k in saved.files
        if k.partition("/")[0] == str(place)
      }
      for place in range(len(chain.stages))
    )


def _file(setup: Setup, fold: int, seed: int, name: str) -> pathlib.Path:
  folder = setup.folder / "privatizers" / f"fold{fold}" / f"seed{seed}"
  return folder / "between" / f"{name}.npz"


def _check_gradient(
  chain: privatizer_lib.Privatizer, law: Any, feature: jax.Array, name: str
) -> None:
  """Refuse what a client half cannot be trained through."""
  encode_key, other_key = jax.random.split(jax.random.key(0))

  def seen(feature: jax.Array) -> jax.Array:
    back = chain.decode(law, chain.encode(law, encode_key, feature))
    return jnp.sum(back * jax.random.normal(other_key, back.shape))

  if not np.any(jax.grad(seen)(feature)):
    raise ValueError(
      f"no gradient comes through the privatizer {name!r} ({chain.name}), as"
      " through whole numbers: put a chain between the halves that projects,"
      " clips or adds noise without them"
    )
