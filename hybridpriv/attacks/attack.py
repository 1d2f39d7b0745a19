"""The contract between attacks and the audit."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hybridpriv.attacks import outliers
from hybridpriv.privatizers import privatizer as privatizer_lib

LIMIT = 10.0  # spreads: farther out is held for no farther than that


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["codes", "law", "which", "rows", "uncensored", "bulk"],
  meta_fields=["noise", "num_queries"],
)
@dataclasses.dataclass(frozen=True)
class Victim:
  """The defended system as the threat card grants it: a sampler of codes.

  Samples are addressed by their place in the attacker's own auxiliary set, so
  nothing here reaches the codes of attacked samples.

  Attributes:
    codes: deterministic part of the codes, [v, n, ...], v victims stacked.
    law: state of the random part, stacked alike (leading axis v).
    which: index of this victim in the stack, [].
    rows: where the auxiliary samples are in `codes`, [m + v].
    noise: the random part of the privatizer (static).
    num_queries: how many codes of the same input are averaged (static).
    uncensored: features of the same samples by another encoder, one that no
      defence has censored [v, n, r]; None where the attacker has none.
    bulk: where most codes lie, to draw in what lies far out; None for not.
  """

  codes: jax.Array
  law: Any
  which: jax.Array
  rows: jax.Array
  noise: privatizer_lib.Privatizer
  num_queries: int = 1
  uncensored: jax.Array | None = None
  bulk: outliers.Bulk | None = None

  def sample(self, key: jax.Array, index: jax.Array) -> jax.Array:
    """Draw codes of auxiliary samples as they are sent, with fresh noise.

    Args:
      key: typed key, a new one every call.
      index: places in the auxiliary set, [b].

    Returns:
      [b, ...]; the mean of `num_queries` draws.  Each is drawn in before, if
      `bulk` says where most lie: one that lies far out would be the mean.
    """
    law = jax.tree.map(lambda x: x[self.which], self.law)
    clean = self.codes[self.which, self.rows[index]]

    def draw(key: jax.Array) -> jax.Array:
      return self._seen(self.noise.encode(law, key, clean))

    if self.num_queries == 1:
      return draw(key)
    keys = jax.random.split(key, self.num_queries)

    def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
      return total + draw(key), None

    # A running sum: a hundred draws of every sample need not fit in memory.
    start = jnp.zeros(jax.eval_shape(draw, keys[0]).shape)
    return jax.lax.scan(add, start, keys)[0] / self.num_queries

  def clean(self, index: jax.Array) -> jax.Array:
    """Compute codes without noise.

    The attacker can: these inputs are its own, and it knows client and
    privatizer.
    """
    return self._seen(self.codes[self.which, self.rows[index]])

  def _seen(self, codes: jax.Array) -> jax.Array:
    """Draw in codes [b, ...] that lie far out, and leave all others."""
    return codes if self.bulk is None else outliers.draw_in(codes, self.bulk)

  def reference(self, index: jax.Array) -> jax.Array:
    """Give the uncensored features of auxiliary samples, [b, r].

    The attacker can: these inputs are its own, and so is the encoder.
    """
    if self.uncensored is None:
      raise ValueError(
        "this attack needs features of an uncensored encoder: give the victim"
        " `uncensored`"
      )
    return self.uncensored[self.which, self.rows[index]]


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["label", "train", "validation"],
  meta_fields=["num_classes"],
)
@dataclasses.dataclass(frozen=True)
class Auxiliary:
  """The attacker's own labelled samples: m for training, then v to validate.

  Both parts are padded; padding has mask 0.

  Attributes:
    label: private label, int32 [m + v].
    train: 1 where a training sample is one, float32 [m].
    validation: 1 where a validation sample is one, float32 [v].
    num_classes: number of classes scored (static).
  """

  label: jax.Array
  train: jax.Array
  validation: jax.Array
  num_classes: int

  @property
  def train_index(self) -> jax.Array:
    """Places of the training samples in the auxiliary set, [m]."""
    return jnp.arange(self.train.shape[0])

  @property
  def validation_index(self) -> jax.Array:
    """Places of the validation samples, [v]: for knobs and stopping only."""
    return self.train.shape[0] + jnp.arange(self.validation.shape[0])

  @property
  def train_weights(self) -> jax.Array:
    """Weights of the training samples [m], every class alike, sum 1."""
    label = self.label[self.train_index]
    return class_weights(label, self.train, self.num_classes)

  @property
  def validation_weights(self) -> jax.Array:
    """Weights of the validation samples [v], every class alike, sum 1."""
    label = self.label[self.validation_index]
    return class_weights(label, self.validation, self.num_classes)


class Attack(NamedTuple):
  """An adversary.

  Attributes:
    name: "family.function", as in results.
    fit: (key, victim, auxiliary, knobs) -> attacker, a pytree of arrays.
    score: (attacker, codes [b, ...]) -> scores [b, num_classes], higher for
      the class held more likely; of an attack on linkage (attacker, codes
      [n, ...], codes [m, ...]) -> [n, m], higher where both are held to be of
      one person.
    grid: the knobs to try, all with the same names and numbers as values; the
      best on attacker validation is kept.
    applies: (noise, shape of a code as sent) -> whether the attack can be run
      on such codes; None for always.
    links: whether it compares codes.
    needs_reference: whether it learns from features of an encoder that no
      defence has censored, see `Victim.reference`.
    is_fixed: whether the victim's noise is all that is random in it; of codes
      without noise all its attackers are one.
    settings: what it was made with, in words; what it finds is kept under them.
  """

  name: str
  fit: Callable[..., Any]
  score: Callable[..., jax.Array]
  grid: tuple[Mapping[str, float], ...]
  applies: (
    Callable[[privatizer_lib.Privatizer, tuple[int, ...]], bool] | None
  ) = None
  links: bool = False
  needs_reference: bool = False
  is_fixed: bool = False
  settings: str = ""


def grid(**tried: float | Sequence[float]) -> tuple[dict[str, float], ...]:
  """List all settings of knobs, of each of which one or several are tried."""
  values = [x if isinstance(x, Sequence) else (x,) for x in tried.values()]
  return tuple(
    dict(zip(tried, each, strict=True)) for each in itertools.product(*values)
  )


def class_weights(
  label: jax.Array, chosen: jax.Array, num_classes: int
) -> jax.Array:
  """Weigh chosen samples so that every class present weighs the same.

  Args:
    label: [m].
    chosen: 1 where a sample counts, [m].
    num_classes: number of classes.

  Returns:
    [m], sum 1, 0 where not chosen.
  """
  one_hot = jax.nn.one_hot(label, num_classes) * chosen[:, None]
  count = jnp.sum(one_hot, axis=0)
  present = jnp.maximum(jnp.sum(count > 0), 1)
  each = jnp.where(count > 0, 1.0 / jnp.maximum(count, 1.0), 0.0) / present
  return one_hot @ each


def moments(
  codes: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Give mean and `spread` of components.

  Args:
    codes: [m, d].
    weights: of the samples, sum 1 [m].

  Returns:
    [d] and [d].
  """
  mean = jnp.sum(codes * weights[:, None], axis=0)
  return mean, spread(codes - mean[None], weights, jnp.abs(mean))


def spread(
  codes: jax.Array, weights: jax.Array, rounded: jax.Array | float = 0.0
) -> jax.Array:
  """Give the standard deviations of components, whatever their units.

  No square over- or underflows: one component that holds the largest float now
  and then, to mark what is missing, would leave nothing but NaN to attack.  Nor
  does one component's size say anything about another's.

  Args:
    codes: centred [m, d].
    weights: of the samples, sum 1 [m].
    rounded: size of what was taken off to centre them [d], whose last digits
      are no spread.

  Returns:
    [d], never 0.
  """
  codes = jnp.where(weights[:, None] > 0, codes, 0.0)
  top = jnp.maximum(jnp.max(jnp.abs(codes), axis=0), 1e-30)
  variance = jnp.sum((codes / top[None]) ** 2 * weights[:, None], axis=0)
  return top * jnp.sqrt(variance) + 1e-6 * rounded + 1e-30


def scale(variance: jax.Array) -> jax.Array:
  """Give standard deviations [d] in one unit, never far below the largest."""
  std = jnp.sqrt(variance)
  return std + 1e-6 * jnp.max(std) + 1e-12


def standardise(codes: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
  """Bring every component to its mean and spread, and to at most ten of these.

  A component that is all but silent in the attacker's own samples says nothing
  about its size elsewhere: without the limit it would drown all others as soon
  as an attacked sample excites it.

  Args:
    codes: [b, ...].
    mean: of the attacker's own codes [d].
    std: see `spread` [d].

  Returns:
    [b, d].
  """
  codes = (flatten(codes) - mean[None]) / std[None]
  return jnp.clip(codes, -LIMIT, LIMIT)


def reach(
  codes: jax.Array, used: jax.Array, std: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Bound where codes are held to lie, as `standardise` does.

  Args:
    codes: the attacker's own [m, d].
    used: which of them count [m].
    std: how far others lie from these [d], or [].

  Returns:
    Lowest and highest value of every component [d]: ten spreads beyond.
  """
  low = jnp.min(jnp.where(used[:, None], codes, jnp.inf), axis=0)
  high = jnp.max(jnp.where(used[:, None], codes, -jnp.inf), axis=0)
  return low - LIMIT * std, high + LIMIT * std


def flatten(codes: jax.Array) -> jax.Array:
  """Lay every code out as a vector, [b, ...] -> [b, d], float32."""
  return codes.reshape(codes.shape[0], -1).astype(jnp.float32)
