r"""Linkage: are two codes from one person, of people nobody trained on?

An attacker learns from codes of its own people what differs between people and
what within one, and compares codes of others by it.  Nobody's name is needed,
and no gallery: linked codes are a profile.  Scored by the area under the ROC
curve and by the share of true links found at one false alarm in a hundred.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from hybridpriv.attacks import adversary
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks.likelihood import product

# Values of a code that are compared themselves; longer ones are seen by as many
# whitened principal components.
_LARGEST = 256
FALSE_ALARMS = 0.01
_FIRST, _LAST = -(2**31), 2**31 - 1  # of int32


def cosine() -> attack_lib.Attack:
  """Compare codes by the angle between them, without learning who is who.

  Codes are standardised, and those of more than 256 values seen by as many
  whitened principal components.
  """

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    del knobs
    return _scale(key, victim, auxiliary)[0]

  def compare(attacker: Any, a: jax.Array, b: jax.Array) -> jax.Array:
    a, b = (_seen(attacker, x) for x in (a, b))
    return product(_unit(a), _unit(b).T)

  return attack_lib.Attack(
    "linkage.cosine", fit, compare, ({"none": 0.0},), links=True
  )


def two_covariance(
  *, shrink: tuple[float, ...] = (0.01, 0.1, 1.0)
) -> attack_lib.Attack:
  r"""Compare codes by the likelihood ratio of one person against two.

  With codes $z = y + e$ of a person $y \sim N(\mu, B)$ and $e \sim N(0, W)$,
  two codes of one person are Gaussian with covariance $B$ between them, those
  of two people with none, and $\log p(a, b | \mathrm{one}) - \log p(a, b |
  \mathrm{two})$ is what no test of such codes can better.  $W$, noise and all,
  and $B$ are estimated from the attacker's people.  Codes of more than 256
  values are seen by as many whitened principal components.

  Args:
    shrink: shares of the mean variance that are added to $W$, to try.

  References:
    Ioffe 2006, probabilistic linear discriminant analysis; Brummer and de
    Villiers 2010, the two-covariance model.
  """

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    scale, codes = _scale(key, victim, auxiliary)
    label = auxiliary.label[auxiliary.train_index]
    one_hot = jax.nn.one_hot(label, auxiliary.num_classes)
    one_hot = one_hot * auxiliary.train[:, None]  # [m, c]
    count = jnp.sum(one_hot, axis=0)
    known = count > 0
    people = jnp.maximum(jnp.sum(known), 2)
    centre = product(one_hot.T, codes) / jnp.maximum(count, 1)[:, None]
    left = (codes - product(one_hot, centre)) * auxiliary.train[:, None]
    free = jnp.maximum(jnp.sum(count) - people, 1)
    within = product(left.T, left) / free
    middle = jnp.sum(jnp.where(known[:, None], centre, 0), axis=0) / people
    apart = jnp.where(known[:, None], centre - middle[None], 0)
    between = product(apart.T, apart) / (people - 1)
    # A mean of n codes has a share of 1/n of their spread itself.
    each = jnp.sum(jnp.where(known, 1 / jnp.maximum(count, 1), 0)) / people
    size = codes.shape[1]
    within += knobs["shrink"] * jnp.trace(within) / size * jnp.eye(size)
    within += 1e-6 * jnp.eye(size)
    between -= each * within
    # Both diagonal in one basis: W becomes 1 and B the ratios r, 0 or more.
    root = jnp.linalg.cholesky(within)
    scaled = jax.scipy.linalg.solve_triangular(root, between, lower=True)
    scaled = jax.scipy.linalg.solve_triangular(root, scaled.T, lower=True)
    ratio, basis = jnp.linalg.eigh((scaled + scaled.T) / 2)
    to_basis = jax.scipy.linalg.solve_triangular(root.T, basis, lower=False)
    return {
      **scale,
      "middle": middle,
      "to_basis": to_basis,
      "ratio": jnp.maximum(ratio, 0),
    }

  def compare(attacker: Any, a: jax.Array, b: jax.Array) -> jax.Array:
    a, b = (
      product(
        _seen(attacker, x) - attacker["middle"][None], attacker["to_basis"]
      )
      for x in (a, b)
    )
    r = attacker["ratio"]
    # In each direction the sum has variance 1 + 2r or 1 + r, the difference 1
    # or 1 + r: (a + b)^2 / 2 and (a - b)^2 / 2.
    plus = (1 / (1 + r) - 1 / (1 + 2 * r)) / 4
    minus = (1 / (1 + r) - 1) / 4
    own = plus + minus
    squares = (a**2 @ own)[:, None] + (b**2 @ own)[None]
    return squares + 2 * product(a * (plus - minus)[None], b.T)

  return attack_lib.Attack(
    "linkage.two_covariance",
    fit,
    compare,
    tuple({"shrink": s} for s in shrink),
    links=True,
  )


def metric(
  *,
  width: int = 64,
  learning_rate: tuple[float, ...] = (0.001, 0.01),
  max_steps: int = 600,
  batch_size: int = 64,
  patience: int = 6,
) -> attack_lib.Attack:
  """Compare codes by a distance that was learned from pairs, with fresh noise.

  Standardised codes, or of more than 256 values as many whitened principal
  components, are mapped to `width` numbers by a matrix that starts as a
  projection at random, which keeps distances; the odds of one person fall with
  the squared distance of what it gives.

  Args:
    width: rows of the matrix.
    learning_rate: Adam's, rates to try.
    max_steps: limit of the training.
    batch_size: codes a step; all pairs of them count, those of one person as
      much as the others.
    patience: looks at validation without a new best before it stops.
  """

  def embed(params: Any, codes: jax.Array) -> jax.Array:
    return product(codes, params["matrix"])

  def logits(params: Any, a: jax.Array, b: jax.Array) -> jax.Array:
    return params["offset"] - jnp.exp(params["slope"]) * _squares(
      embed(params, a), embed(params, b)
    )

  def loss(
    params: Any, codes: jax.Array, label: jax.Array, mask: jax.Array
  ) -> jax.Array:
    same = label[:, None] == label[None]
    pair = mask[:, None] * mask[None] * (1 - jnp.eye(len(label)))
    value = optax.sigmoid_binary_cross_entropy(
      logits(params, codes, codes), same.astype(jnp.float32)
    )

    def mean(chosen: jax.Array) -> jax.Array:
      return jnp.sum(value * chosen) / jnp.maximum(jnp.sum(chosen), 1)

    return mean(pair * same) + mean(pair * ~same)

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    keys = jax.random.split(key, 4)
    weights, held_out = auxiliary.train_weights, auxiliary.validation_index
    ones, judged = jnp.ones(batch_size), auxiliary.validation
    scale, own = _scale(keys[0], victim, auxiliary)
    see, size = adversary.sight(scale, victim), own.shape[1]
    matrix = jax.random.normal(keys[1], (size, width)) / jnp.sqrt(size * width)
    params = {
      "matrix": matrix,
      "offset": jnp.zeros([]),
      "slope": jnp.zeros([]),
    }

    def draw(pick: jax.Array) -> jax.Array:
      # Half of the codes are of a person drawn already: pairs are rare.
      first = adversary.choose(pick, weights, batch_size // 2)
      mates = _mates(pick, first, auxiliary, weights)
      return jnp.concatenate([first, mates], axis=1)

    def cost(
      params: Any, noise: jax.Array, index: jax.Array, mask: jax.Array
    ) -> jax.Array:
      codes = attack_lib.flatten(see(noise, index))
      return loss(params, codes, auxiliary.label[index], mask)

    best = adversary.descend(
      keys[2],
      params,
      draw=draw,
      loss=lambda params, noise, index: cost(params, noise, index, ones),
      judge=lambda params, noise: cost(params, noise, held_out, judged),
      learning_rate=knobs["learning_rate"],
      max_steps=max_steps,
      patience=patience,
    )
    return {"params": best, **scale}

  def compare(attacker: Any, a: jax.Array, b: jax.Array) -> jax.Array:
    a, b = (_seen(attacker, x) for x in (a, b))
    return logits(attacker["params"], a, b)

  return attack_lib.Attack(
    "linkage.metric",
    fit,
    compare,
    tuple({"learning_rate": rate} for rate in learning_rate),
    links=True,
  )


def _scale(
  key: jax.Array, victim: attack_lib.Victim, auxiliary: attack_lib.Auxiliary
) -> tuple[dict[str, jax.Array], jax.Array]:
  """Find how an attacker sees codes; also give its own so, [m, r]."""
  weights = auxiliary.train_weights
  own = attack_lib.flatten(victim.sample(key, auxiliary.train_index))
  mean, std = attack_lib.moments(own, weights)
  scale = {"mean": mean, "std": std}
  if len(std) > _LARGEST:
    scale["turn"] = adversary.to_components(scale, own, weights, _LARGEST)
  return scale, _seen(scale, own)


def _seen(attacker: Any, codes: jax.Array) -> jax.Array:
  return attack_lib.flatten(adversary.scaled(attacker, codes))


def judge(
  scores: jax.Array, label: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  r"""Say how well scores of pairs tell one person from two, by first code.

  Every person is also among the others of everybody else, so that areas of two
  people are not independent, and their spread alone makes an interval of the
  mean too narrow, by up to a half. With $A_{ik}$ the share of the true links of
  code $i$ that score above $k$ and $a_i$ its area, the mean of $A_{ik}$ over
  the $m_i$ others, the influence of a person $q$ of $n_q$ codes on the mean
  over people is that of its own area and of

  $$ B_q = \sum_{k \in q} \sum_i (A_{ik} - a_i) / (n_i m_i) $$

  The third of the returned is $a_i + n_q b_i$ with $B_q = \sum_{i \in q} b_i$:
  its means by person have the mean of the areas, and can be resampled as if
  they were independent.

  Args:
    scores: of pairs, higher for one person [n, n]; a code is in no pair with
      another of the same input, the diagonal.
    label: the person of each [n].
    mask: 1 where there is one [n].

  Returns:
    For each code its area under the ROC curve [n], ties counted half; the
    share of its true links above the score that one in a hundred of all false
    ones pass [n]; and the area with what it does to those of others [n], which
    may leave [0, 1].

  References:
    Hoeffding 1948, a class of statistics with asymptotically normal
    distribution: the projection of a statistic of pairs.
  """
  pair = (mask[:, None] * mask[None]) * (1 - jnp.eye(len(label)))
  same = (label[:, None] == label[None]) & (pair > 0)
  other = (label[:, None] != label[None]) & (pair > 0)
  num_same = jnp.maximum(jnp.sum(same, axis=1), 1)
  num_other = jnp.maximum(jnp.sum(other, axis=1), 1)
  is_other, place, passed = _passed(scores, same, other)
  passed = passed / num_same[:, None]
  areas = jnp.sum(passed, axis=1) / num_other
  num_own = jnp.sum((label[:, None] == label[None]) * mask[None], axis=1)
  share = mask / jnp.maximum(num_own, 1) / num_other
  change = jnp.where(is_other, passed - areas[:, None], 0) * share[:, None]
  to_others = jnp.zeros(len(label)).at[place].add(change)
  # The largest number of false alarms that is allowed passes strictly.
  allowed = jnp.floor(FALSE_ALARMS * jnp.sum(other)).astype(jnp.int32)
  order = _ordered(scores)
  threshold = _highest_but(jnp.where(other, order, _FIRST), allowed)
  found = jnp.sum(same & (order > threshold), axis=1) / num_same
  return areas, found, areas + num_own * to_others


def _passed(
  scores: jax.Array, same: jax.Array, other: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Count, row by row, the same above each of the others, ties half.

  One sort of a row with what each score is; to search for every score in the
  sorted others takes three times as long.

  Returns:
    In the order of a row's scores: whether it is of another [n, n], whose it is
    [n, n], and the count, 0 but for others [n, n].
  """
  number = jnp.broadcast_to(jnp.arange(len(scores)), scores.shape)
  scores, kind, place = jax.lax.sort(
    (scores, other + 2 * same, number), num_keys=1
  )
  is_same = kind == 2
  upto = jnp.cumsum(is_same, axis=1)
  differ = scores[:, 1:] != scores[:, :-1]
  starts = jnp.pad(differ, ((0, 0), (1, 0)), constant_values=True)
  ends = jnp.pad(differ, ((0, 0), (0, 1)), constant_values=True)
  below = jax.lax.cummax(jnp.where(starts, upto - is_same, 0), axis=1)
  most = jnp.where(ends, upto, scores.shape[1])
  not_above = jax.lax.cummin(most, axis=1, reverse=True)
  above = upto[:, -1:] - (below + not_above) / 2
  return kind == 1, place, jnp.where(kind == 1, above, 0)


def _ordered(scores: jax.Array) -> jax.Array:
  """Give whole numbers in the order of scores in float32."""
  scores = jnp.where(scores == 0, 0.0, scores).astype(jnp.float32)  # -0 is 0
  bits = jax.lax.bitcast_convert_type(scores, jnp.int32)
  return jnp.where(bits < 0, bits ^ _LAST, bits)


def _highest_but(values: jax.Array, number: jax.Array) -> jax.Array:
  """Give the highest of int32 values when `number` higher ones are left out.

  By halving what it can be, 32 times: a tenth of the time of a sort.
  """

  def halve(
    _: int, between: tuple[jax.Array, jax.Array]
  ) -> tuple[jax.Array, jax.Array]:
    low, high = between
    middle = (low | high) - ((low ^ high) >> 1)  # rounded up, no overflow
    reached = jnp.sum(values >= middle) > number
    return jnp.where(reached, middle, low), jnp.where(reached, high, middle - 1)

  first, last = jnp.int32(_FIRST), jnp.int32(_LAST)
  return jax.lax.fori_loop(0, 32, halve, (first, last))[0]


def _mates(
  key: jax.Array,
  first: jax.Array,
  auxiliary: attack_lib.Auxiliary,
  weights: jax.Array,
) -> jax.Array:
  """Draw for every code [s, b] another place of the same person [s, b]."""
  label = auxiliary.label[auxiliary.train_index]
  # Padding comes last, and is nobody's.
  label = jnp.where(weights > 0, label, auxiliary.num_classes)
  order = jnp.argsort(label)
  low = jnp.searchsorted(label[order], label[first], side="left")
  high = jnp.searchsorted(label[order], label[first], side="right")
  count = high - low
  # So many places on from its own, round those of the person: never itself,
  # but for a person with one sample.
  own = jnp.argsort(order)[first]
  share = jax.random.uniform(jax.random.fold_in(key, 1), first.shape)
  on = 1 + jnp.floor(share * (count - 1)).astype(jnp.int32)
  return order[low + (own - low + on) % jnp.maximum(count, 1)]


def _squares(a: jax.Array, b: jax.Array) -> jax.Array:
  norms = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None]
  return jnp.maximum(norms - 2 * product(a, b.T), 0)


def _unit(x: jax.Array) -> jax.Array:
  return x / jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True) + 1e-12)
