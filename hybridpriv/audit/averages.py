"""What holds on average over people, under assumptions: no guarantee.

Kept apart from what is proved: one person, or one input, may be far from the
average.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hybridpriv.audit import embeddings, page, words
from hybridpriv.audit.results import Row

_DECIMALS = "{:.3g}"
_SAID = {"num_samples", "num_units", "unit", "case", "assumes", "num_queries"}
_KNOWN = {
  "pac": {"budget_bits", "information_bits", "standard_error_bits", "leakage"},
  "dfil": {"dfil", "standard_error", "least_error", "spread"}
  | {"scale", "method"},
}


def blocks(rows: Sequence[Row]) -> tuple[page.Block, ...]:
  """Print the estimates of rows, each kind with what it assumes.

  Args:
    rows: of a study; those of which nothing is estimated are left out.
  """
  return _told(rows) + _restored(rows)


def _of(
  rows: Sequence[Row], kind: str
) -> Iterator[tuple[Row, Mapping[str, Any]]]:
  for row in rows:
    for own in row.estimates:
      # Another program's may be of its own kind, and lack what is printed.
      if own["kind"] == kind and _SAID | _KNOWN[kind] <= own.keys():
        yield row, own


def _words(own: Mapping[str, Any]) -> str:
  over = words.count(own["num_samples"], "sample")
  if own["num_units"] < own["num_samples"]:
    over += f" of {words.count(own['num_units'], 'person', 'people')}"
  return (
    f"Protected: {own['unit']}. {own['case']} ({over}). Assumed: "
    f"{own['assumes']}."
  )


def _told(rows: Sequence[Row]) -> tuple[page.Block, ...]:
  """Print what codes with a budget of bits tell of a population."""
  found = list(_of(rows, "pac"))
  if not found:
    return ()
  cells = []
  for row, own in found:
    bits = (own["information_bits"], own["standard_error_bits"])
    start = (
      embeddings.title(row),
      f"{own['num_queries']:,}",
      _DECIMALS.format(own["budget_bits"]),
      " ± ".join(map(_DECIMALS.format, bits)),
    )
    if not own["leakage"]:
      cells.append((*start, *(words.NONE,) * 3))
    for target, bound in own["leakage"].items():
      reached = [
        m
        for m in row.leakage
        if (m.target, m.metric, m.num_queries)
        == (target, "accuracy", own["num_queries"])
        and "queries" not in m.extra
      ]
      best = max(reached, key=lambda m: m.value, default=None)
      share = words.share(bound["accuracy"])
      cells.append((*start, target, share, words.measured(best)))
  text = (
    "**On average, not for everyone: a budget of bits (PAC privacy).** The "
    "noise was made so loud that a code tells no more bits than its budget of "
    "the input of an average person; a person unlike all others may tell more. "
    "Estimated is what codes of people tell who were not asked when the noise "
    "was made, with its standard error; few people for each value of a code "
    "make it too low. Right on average: no attacker names the secret more "
    "often, over all those people, if the estimate and two standard errors "
    f"hold. {_words(found[0][1])}"
  )
  table = page.Table(
    (
      *("embedding", "codes", "budget, bits", "estimated, bits"),
      *("secret", "right on average", "measured"),
    ),
    tuple(cells),
    "Codes of one input, and plain accuracy in percent, beside the worst "
    "attack of this set.",
    words=(4,),
  )
  return page.Text(text), table


def _restored(rows: Sequence[Row]) -> tuple[page.Block, ...]:
  """Print by how much restored inputs are off."""
  found = list(_of(rows, "dfil"))
  if not found:
    return ()
  cells = tuple(
    (
      embeddings.title(row),
      f"{own['num_queries']:,}",
      _DECIMALS.format(own["dfil"])
      + " ± "
      + _DECIMALS.format(own["standard_error"]),
      _DECIMALS.format(own["least_error"]),
      _DECIMALS.format(own["spread"]),
      own["method"],
    )
    for row, own in found
  )
  first = found[0][1]
  text = (
    "**On average, and only for some attackers: restored inputs (dFIL).** Who "
    "restores an input value by value, and is right on average, is off by the "
    f"error given at least (in {first['scale']}). The spread is how far the "
    "inputs lie from their mean. An error below it says that such an attacker "
    "may tell inputs apart. **An error above it is no protection**: whoever "
    "names the mean of all inputs is nearer, and every attacker in earnest "
    "does so. It is no bound on a decoder that knows what inputs look like, "
    "and says nothing of attributes or of who somebody is. "
    f"{_words(first)}"
  )
  table = page.Table(
    (
      *("embedding", "codes", "dFIL", "error at least", "spread"),
      "computed",
    ),
    cells,
    "Diagonal Fisher information leakage of codes of one input, and the root "
    "mean square error that it leaves.",
    words=(5,),
  )
  return page.Text(text), table
