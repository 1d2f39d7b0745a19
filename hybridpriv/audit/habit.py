"""What one attacker would have said: the field's habit beside the worst."""

from __future__ import annotations

from hybridpriv.audit import embeddings, page, words
from hybridpriv.audit.results import Results

_FAMILY = "habit."


def section(results: Results) -> page.Section | None:
  """Print one attacker that was not tuned beside the worst of the audit."""
  cells = []
  for target in results.targets:
    for row in embeddings.main_rows(results):
      worst = row.leakage_of(target)
      alone = next(
        (m for m in row.attacks_on(target) if m.attack.startswith(_FAMILY)),
        None,
      )
      if worst is None or alone is None:
        continue
      best = max(row.attacks_on(target), key=lambda m: m.value)
      cells.append(
        (
          target,
          embeddings.title(row),
          words.measured(alone),
          words.measured(worst),
          words.points(worst.value - alone.value),
          words.share(best.value),
        )
      )
  if not cells:
    return None
  return page.Section(
    "habit",
    "One attacker beside the worst",
    (
      page.Text(
        "Privacy is often reported from one perceptron, not tuned, trained on "
        "codes that were stored once, noise and all. Here is what it would "
        "have said."
      ),
      page.Table(
        ("target", "embedding", "one attacker", "worst", "missed", "on test"),
        tuple(cells),
        "Leakage in percent: of one attacker, of the worst on the attacker's "
        "validation, how many points the first misses; and the highest on "
        "test.",
        words=(1,),
      ),
    ),
  )
