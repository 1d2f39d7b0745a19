"""What the field often does: one attacker on noise that was drawn once.

Not meant to be strong.  Beside the worst of an audit it shows how far such a
number would have been off.
"""

from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import attribute
from hybridpriv.privatizers import privatizer as privatizer_lib


def frozen_mlp(
  *,
  width: int = 64,
  depth: int = 2,
  learning_rate: float = 0.001,
  max_steps: int = 1000,
) -> attack_lib.Attack:
  """Attack with one perceptron, not tuned, on one stored code of each sample.

  It is scored as all others are, on codes with fresh noise.

  Args:
    width: units of every hidden layer.
    depth: number of hidden layers.
    learning_rate: of Adam; the only one that is tried.
    max_steps: limit of the training.
  """
  inner = attribute.mlp(
    width=width,
    depth=depth,
    learning_rate=float(learning_rate),
    weight_decay=0.0,
    max_steps=max_steps,
    components=0,
  )

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    once, learning = jax.random.split(key)
    places = jnp.arange(victim.rows.shape[0])
    stored = attack_lib.Victim(
      codes=victim.sample(once, places)[None],
      law=(),
      which=jnp.zeros([], jnp.int32),
      rows=places,
      noise=privatizer_lib.chain(),
    )
    return inner.fit(learning, stored, auxiliary, knobs)

  return inner._replace(name="habit.frozen_mlp", fit=fit)
