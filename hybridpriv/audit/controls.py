"""Systems whose leakage is known beforehand: what attacks are checked with.

* `constant`: every sample sends the same code; nobody can beat chance.
* `equal-energy noise`: the code is noise of a defended code's energy.
* `shuffled labels`: the attacker learns from labels that mean nothing.
* `planted leak`: the code spells out the private label; an attack that does
  not find it is broken.
* `leak in the smallest direction`: what these attacks would make of a leak that
  stands in the codes under audit, where they vary least; not judged, since a
  system may well have directions that nobody can see.
* `raw input`: what an attacker makes of the sample itself.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from hybridpriv.attacks import outliers
from hybridpriv.audit import problems

_SMALLEST = 1e-3  # of the largest direction: a leak below is rounding
_APART = 8.0  # standard deviations between neighbouring classes


def planted(
  problem: problems.Problem, width: int, generator: np.random.Generator
) -> np.ndarray:
  """Make codes that tell a label: a corner for each class, and noise.

  Corners lie at random on a sphere, of many throws those farthest apart;
  a code of one number has them in a row.

  Args:
    problem: whose labels.
    width: numbers in a code.
    generator: for corners and noise.

  Returns:
    float32 [n, width]; unknown labels get the origin.
  """
  num = problem.num_classes
  corners = np.linspace(-1, 1, num)[:, None]
  if width > 1:
    # Of as many throws as fit in memory, 100 at most.
    throws = int(np.clip(2**24 / num**2, 1, 100))
    thrown = generator.normal(size=(throws, num, width))
    thrown /= np.linalg.norm(thrown, axis=2, keepdims=True)
    cosine = thrown @ thrown.swapaxes(1, 2) - 2 * np.eye(num)
    corners = thrown[np.argmin(cosine.max((1, 2)))]
  corners = 4 * np.sqrt(width) * corners
  codes = np.where(problem.label[:, None] >= 0, corners[problem.label], 0.0)
  noise = 0.1 * generator.normal(size=codes.shape)
  return (codes + noise).astype(np.float32)


def planted_beside(problem: problems.Problem, codes: np.ndarray) -> np.ndarray:
  """Plant a leak in given codes, in the direction in which they vary least.

  Classes are moved by eight standard deviations along it: whoever looks there
  names all of them.  Values are scaled by themselves first, without those that
  lie far out, and directions of less than a thousandth of the largest left out.

  Args:
    problem: whose labels; an unknown one moves nothing.
    codes: float32 [n, draws, k].

  Returns:
    float32 [n, draws, k].
  """
  first = jnp.asarray(codes[:, 0])
  bulk = outliers.bulk(first[outliers.some(jnp.ones(len(first)))])
  near = np.asarray(outliers.draw_in(first, bulk), np.float64)
  is_near = np.all(near == codes[:, 0], axis=1)
  near = near[is_near] if is_near.any() else near
  std = near.std(axis=0)
  std = np.where(std > 0, std, 1.0)
  near = (near - near.mean(axis=0)) / std
  values, vectors = np.linalg.eigh(near.T @ near / len(near))
  at = np.argmax(values >= _SMALLEST**2 * values[-1])
  unit = np.sqrt(values[at]) if values[at] > 0 else 1.0
  away = problem.label - (problem.num_classes - 1) / 2
  away = np.where(problem.label >= 0, away, 0.0)[:, None, None]
  return (codes + away * _APART * unit * vectors[:, at] * std).astype(
    np.float32
  )


def raw(inputs: np.ndarray) -> np.ndarray:
  """Lay inputs out as codes; images are averaged down to at most 32 pixels.

  Args:
    inputs: uint8 [n, h, w, c] or float32 [n, t, c].

  Returns:
    float32 [n, d].
  """
  x = inputs.astype(np.float32)
  if x.ndim == 4:
    step = max(1, -(-max(x.shape[1:3]) // 32))
    h, w = x.shape[1] // step, x.shape[2] // step
    x = x[:, : h * step, : w * step]
    x = x.reshape(len(x), h, step, w, step, -1).mean((2, 4))
  return x.reshape(len(x), -1)


def blocks(
  problem: problems.Problem, person: np.ndarray, recording: np.ndarray
) -> np.ndarray:
  """Choose what keeps one label when labels are shuffled.

  People, where a person has one label; else recordings, where a recording
  has one; an identity is shuffled by recording.
  """
  candidates: Sequence[np.ndarray] = (person, recording)
  if problem.kind == "identity":
    candidates = (recording,)
  for block in candidates:
    order = np.unique(block, return_inverse=True)[1]
    known = problem.label >= 0
    top = np.full(order.max() + 1, -1)
    np.maximum.at(top, order[known], problem.label[known])
    if np.all(top[order[known]] == problem.label[known]):
      return block
  return np.arange(len(person))
