"""What is proved of each defence, beside what was measured on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hybridpriv.audit import averages, embeddings, page, words
from hybridpriv.audit.results import Results, Row

_KNOWN = frozenset(
  ("clip_norm", "sigma", "num_queries", "epsilon", "delta", "unit", "case")
  + ("assumes", "prior", "queries", "leakage", "utility")
)

_ONE, _DIFFERENT = "one input", "different inputs"


def section(results: Results) -> page.Section:
  """Print what is proved, and that nothing is where nothing is."""
  made = (*_worst(results), *averages.blocks(results.rows))
  return page.Section("guarantees", "Guarantees", made)


def _worst(results: Results) -> tuple[page.Block, ...]:
  """Print what holds for every input."""
  rows = [row for row in results.rows if row.guarantees]
  if not rows:
    text = (
      "None. No bound on attackers is proved for any row of this study: what "
      "is printed is what the attacks in this set reached, and a better one "
      "may reach more."
    )
    return (page.Text(text),)
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
    return (table,)
  text = (
    "No attacker, whatever it learns from and computes, names the secret more "
    f"often than proved here. Protected: {first['unit']}. {first['case']}. "
    f"Assumed: {first['assumes']}; and that nothing is known beforehand but "
    f"{first['prior']} (for balanced accuracy: equal classes). Codes are of "
    "one input that is sent again, or of different inputs that share the "
    "secret, such as those of one person. The same bound caps the service: no "
    "network answers better from one of these codes. Epsilon is that of local "
    f"differential privacy at delta = {first['delta']:g}."
  )
  table = page.Table(
    (
      *("embedding", "codes", "of", "C/sigma", "epsilon"),
      *("what", "proved", "measured"),
    ),
    tuple(c for row in rows for g in row.guarantees for c in _proved(row, g)),
    "Balanced accuracy that cannot be passed, beside the worst attack of this "
    "set, and the service itself, in percent.",
    words=(2, 5),
  )
  return (page.Text(text), table, *_told(rows))


def _told(rows: Sequence[Row]) -> tuple[page.Block, ...]:
  """Print what codes tell at most, and how often any attacker errs."""
  cells = tuple(
    c for row in rows for g in row.guarantees for c in _bits(row, g)
  )
  if not cells:
    return ()  # files of earlier versions
  found = (g.get("information") for row in rows for g in row.guarantees)
  said = next((own for own in found if own), None)
  text = (
    "Bits are the most that so many codes tell of their inputs together "
    "(mutual information): one bit halves what is open, and a secret of fewer "
    "bits may be told entirely."
  )
  if said:
    text += (
      " Wrong at least is how often, in percent, any attacker errs who names "
      "the secret, if its values are equally frequent (Fano's inequality); "
      "where the bits suffice for the secret, it says nothing. Protected: "
      f"{said['unit']}. {said['case']}. Assumed: {said['assumes']}."
    )
  table = page.Table(
    (
      *("embedding", "codes", "of", "bits at most"),
      *("secret", "values", "wrong at least"),
    ),
    cells,
    "What codes tell of their inputs, and how often whoever reads them errs.",
    words=(2, 4),
  )
  return page.Text(text), table


def _bits(row: Row, guarantee: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
  num = guarantee["num_queries"]
  for of, bits in guarantee.get("information_bits", {}).items():
    if num == 1 and of != _ONE:
      continue  # one code is of one input
    start = (embeddings.title(row), f"{num:,}", of, f"{bits:.3g}")
    errors = guarantee.get("fano_error", {}).get(of, {})
    if not errors:
      yield (*start, *(words.NONE,) * 3)
    for target, own in errors.items():
      least, most = own["classes"][0], own["classes"][-1]
      values = str(most) if least == most else f"{least}–{most}"
      wrong = own["balanced_accuracy"]
      said = words.share(wrong) if wrong > 0 else "says nothing"
      yield (*start, target, values, said)


def _proved(
  row: Row, guarantee: Mapping[str, Any]
) -> Iterator[tuple[str, ...]]:
  num = guarantee["num_queries"]
  several = guarantee.get("different_inputs", {}) if num > 1 else {}
  for of, own in ((_ONE, guarantee), (_DIFFERENT, several)):
    start = (
      embeddings.title(row),
      f"{num:,}",
      of,
      f"{guarantee['clip_norm'] / guarantee['sigma']:.3g}",
      f"{guarantee['epsilon']:.3g}",
    )
    for target, bounds in own.get("leakage", {}).items():
      reached = [
        m
        for m in row.leakage
        if (m.target, m.metric, m.num_queries)
        == (target, "balanced_accuracy", num)
        and ("queries" in m.extra) == (of == _DIFFERENT)
      ]
      best = max(reached, key=lambda m: m.value, default=None)
      cell = words.share(bounds["balanced_accuracy"])
      yield (*start, f"leakage: {target}", cell, words.measured(best))
    for target, bounds in own.get("utility", {}).items():
      reply = row.utility_of(target) if num == 1 else None
      cell = words.share(bounds["balanced_accuracy"])
      yield (*start, f"utility: {target}", cell, words.measured(reply))
