"""Systems whose leakage is known beforehand: what attacks are checked with.

* `constant`: every sample sends the same code; nobody can beat chance.
* `equal-energy noise`: the code is noise of a defended code's energy.
* `shuffled labels`: the attacker learns from labels that mean nothing.
* `planted leak`: the code spells out the private label; an attack that does
  not find it is broken.
* `raw input`: what an attacker makes of the sample itself.
"""

from collections.abc import Sequence

import numpy as np

from hybridpriv.audit import problems


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
