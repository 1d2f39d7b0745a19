r"""The rank measure: how far down the list of candidates the true one stands.

Every observed code $z_i = u_i + n_i$ is compared with the clean codes $u_j$ of
all candidates, which the adversary is given.  With isotropic Gaussian noise
the order by likelihood is the order by distance, so

$$ rank_i = 1 + |\{j : d_{ij} < d_{ii}\}|
          + |\{j \ne i : d_{ij} = d_{ii}\}| / 2 $$

(ties get the average rank).  The paper's privacy is mean(rank) / n: 0 for none,
1/2 for guessing.  By distance it neither underflows nor invents ties
(Osia et al., arXiv 1703.02952, and what its code does).

Candidates can also be people with several clean codes each (`by_person`): then
the noise law does not drop out, and the order is that of mean likelihoods.
"""

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.attacks import gallery, people


def by_distance(
  observed: np.ndarray,
  clean: np.ndarray,
  *,
  index: np.ndarray | None = None,
  block: int = 256,
) -> np.ndarray:
  """Rank the true candidate of every observed code, 1 for the first.

  Codes may be memory maps: they are read in pieces, and memory does not grow
  with their number but for the ranks.  Distances are those of
  `attacks.gallery`, to the last bit.

  Args:
    observed: codes as sent [m, ...].
    clean: codes of the candidates without noise [n, ...].
    index: which candidate each observed code belongs to [m]; the default is
      that there are as many, and the i-th belongs to the i-th.
    block: codes, and candidates, compared at once.

  Returns:
    Average ranks, float64 [m].

  Raises:
    ValueError: if the shapes do not fit, or a code is not finite.
  """
  index, same = gallery.check(observed, clean, index)
  if same:
    number = gallery.copies(clean)
    return (np.bincount(number)[number[index]] + 1) / 2
  return gallery.ranks(observed, clean, index, block=block)


def by_person(
  observed: np.ndarray,
  clean: np.ndarray,
  person: np.ndarray,
  *,
  std: float,
  block: int = 512,
) -> np.ndarray:
  r"""Rank the true person of every observed code, 1 for the first.

  A person $p$ with $n_p$ clean codes is as likely for a code $z$ as
  $\frac{1}{n_p} \sum_{j \in p} N(z; u_j, \mathrm{std}^2 I)$, the reading of the
  measure by class (arXiv 1703.02952).  The adversary has all clean codes, that
  of the very sample it observes among them.  Without noise the order is that by
  the nearest code of each person, the limit of the above.

  Computed in float64; the ranks are those of direct differences.  Codes are
  read in pieces, of whole people, as in `by_distance`.

  Args:
    observed: codes as sent [n, ...]; the i-th belongs to the i-th clean code.
    clean: codes without noise [n, ...].
    person: whose they are [n].
    std: standard deviation of the isotropic noise, in units of the code.
    block: observed codes compared at once.

  Returns:
    Average ranks among people, float64 [n].

  Raises:
    ValueError: if the shapes differ, a code is not finite, or `std` is negative
      or not finite.
  """
  _, same = gallery.check(observed, clean, None)
  if len(person) != len(clean):
    raise ValueError(
      f"{len(clean)} codes need as many people, one each; got {len(person)}"
    )
  if not 0 <= std < np.inf:
    raise ValueError(f"std={std}; expected a finite number, 0 or more")
  own = np.unique(person, return_inverse=True)[1]
  if std == 0 and same:
    number = gallery.copies(clean)
    pairs = np.unique(np.stack([number, own]), axis=1)
    return (np.bincount(pairs[0])[number] + 1) / 2
  return people.ranks(observed, clean, own, std=std, block=block)


def of_scores(
  scores: jax.Array, label: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Find the true class in an attacker's scores.

  Args:
    scores: [b, n], higher is held more likely; -inf for impossible. NaN is
      taken as -inf: an attack that breaks down knows nothing.
    label: true class, [b].

  Returns:
    (right [b], rank [b]): the chance that the first guess is right, 1/j when
    the true class ties with j - 1 others for the first place; and its rank,
    1 the best, ties averaged.
  """
  scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
  true = jnp.take_along_axis(scores, label[:, None], axis=1)
  above = jnp.sum(scores > true, axis=1)
  equal = jnp.maximum(jnp.sum(scores == true, axis=1), 1)
  right = jnp.where(above == 0, 1.0 / equal, 0.0)
  return right, 1.0 + above + (equal - 1) / 2


def ceiling(label: np.ndarray) -> float:
  r"""Return the best rank privacy that the class mix allows.

  A code that tells the desired label and nothing else ranks the true candidate
  uniformly within its own class: $\sum_c p_c^2 / 2$, exactly
  $\sum_c p_c (n_c + 1) / (2 n)$ for a finite list.

  Args:
    label: desired label of every candidate [n]; -1 counts as a class.
  """
  _, counts = np.unique(label, return_counts=True)
  num = counts.sum()
  return float(np.sum(counts / num * (counts + 1) / (2 * num)))


def person_ceiling(person: np.ndarray, label: np.ndarray) -> float:
  r"""Return the best rank privacy among people that the class mix allows.

  As `ceiling`, for `by_person`: a code that tells the desired label and nothing
  else ranks the true person uniformly among those of its label. With $K_c$ of
  $K$ people in class $c$ and $p_c$ of all codes theirs, that is
  $\sum_c p_c (K_c + 1) / (2 K)$.

  Args:
    person: whose each code is [n].
    label: desired label of each code [n]; -1 counts as a class.

  Raises:
    ValueError: if a person has codes of several labels; among such people a
      label alone does not order anyone uniformly.
  """
  pairs = np.unique(np.stack([person, label]), axis=1)
  people, times = np.unique(pairs[0], return_counts=True)
  if np.any(times > 1):
    raise ValueError(
      f"person {people[np.argmax(times)]} has codes of {times.max()} labels;"
      " the ceiling among people is for a label that each person has one of"
    )
  classes, size = np.unique(pairs[1], return_counts=True)
  own = size[np.searchsorted(classes, label)]
  return float(np.mean(own + 1) / (2 * len(people)))
