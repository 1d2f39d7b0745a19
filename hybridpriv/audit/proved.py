"""What is proved of each defence, beside what was measured on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hybridpriv.audit import embeddings, page, words
from hybridpriv.audit.results import Results, Row

_KNOWN = frozenset(
  ("clip_norm", "sigma", "num_queries", "epsilon", "delta", "unit", "case")
  + ("assumes", "prior", "queries", "leakage", "utility")
)


def section(results: Results) -> page.Section:
  """Print what is proved, and that nothing is where nothing is."""
  rows = [row for row in results.rows if row.guarantees]
  if not rows:
    text = (
      "None. No bound on attackers is proved for any row of this study: what "
      "is printed is what the attacks in this set reached, and a better one "
      "may reach more."
    )
    return page.Section("guarantees", "Guarantees", (page.Text(text),))
  first = rows[0].guarantees[0]
  if not all(_KNOWN <= g.keys() for row in rows for g in row.guarantees):
    cells = [  # another program's words
      (embeddings.title(row), key, str(value))
      for row in rows
      for guarantee in row.guarantees
      for key, value in words.flat(guarantee).items()
    ]
    table = page.Table(
      ("embedding", "field", "value"),
      tuple(cells),
      "What its file states for each row; it was not proved here.",
      words=(1, 2),
    )
    return page.Section("guarantees", "Guarantees", (table,))
  text = (
    "No attacker, whatever it learns from and computes, names the secret more "
    f"often than proved here. Protected: {first['unit']}. {first['case']}. "
    f"Assumed: {first['assumes']}; and that nothing is known beforehand but "
    f"{first['prior']} (for balanced accuracy: equal classes). Codes are "
    f"{first['queries']}. The same bound caps the service: no network answers "
    "better from one of these codes. Epsilon is that of local differential "
    f"privacy at delta = {first['delta']:g}. Bits are the most that so many "
    "codes tell of their inputs together (mutual information), of one input "
    "and of different ones: a secret of fewer may still be told entirely."
  )
  cells = []
  for row in rows:
    for guarantee in row.guarantees:
      cells += _proved(row, guarantee)
  table = page.Table(
    (
      *("embedding", "codes", "C/sigma", "epsilon", "bits, one input"),
      *("bits, different", "what", "proved", "measured"),
    ),
    tuple(cells),
    "Balanced accuracy that cannot be passed, beside the worst attack of this "
    "set, and the service itself, in percent.",
    words=(6,),
  )
  return page.Section("guarantees", "Guarantees", (page.Text(text), table))


def _proved(row: Row, guarantee: Mapping[str, Any]) -> list[tuple[str, ...]]:
  num = guarantee["num_queries"]
  bits = guarantee.get("information_bits", {})
  start = (
    embeddings.title(row),
    f"{num:,}",
    f"{guarantee['clip_norm'] / guarantee['sigma']:.3g}",
    f"{guarantee['epsilon']:.3g}",
    *(
      f"{bits[of]:.3g}" if of in bits else words.NONE
      for of in ("one input", "different inputs")
    ),
  )
  found: list[tuple[str, ...]] = []
  for target, bounds in guarantee["leakage"].items():
    reached = [
      m
      for m in row.leakage
      if (m.target, m.metric, m.num_queries)
      == (target, "balanced_accuracy", num)
      and "queries" not in m.extra
    ]
    best = max(reached, key=lambda m: m.value, default=None)
    cell = words.share(bounds["balanced_accuracy"])
    found.append((*start, f"leakage: {target}", cell, words.measured(best)))
  for target, bounds in guarantee["utility"].items():
    own = row.utility_of(target) if num == 1 else None
    cell = words.share(bounds["balanced_accuracy"])
    found.append((*start, f"utility: {target}", cell, words.measured(own)))
  return found
