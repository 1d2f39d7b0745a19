"""The part of the report that ranks defences at equal leakage."""

from __future__ import annotations

from collections.abc import Sequence

from hybridpriv.audit import page, words
from hybridpriv.audit.results import Results


def section(results: Results) -> page.Section | None:
  """Rank curves of defences by utility where they leak the same."""
  if not results.rankings:
    return None
  blocks: list[page.Block] = [
    page.Text(
      "Each defence is a curve over its strengths, read off where its worst "
      "leakage is the same; one that leaks less at all strengths counts with "
      "its most useful. All are compared with the most useful, paired by person"
      " and seed; the intervals are corrected for all pairs, because the "
      "first was picked after looking. A tie: zero lies in the interval, so "
      "that neither is better. Bytes differ; see the embeddings."
    )
  ]
  for one in results.rankings:
    cells = []
    for place, curve in enumerate(one["curves"], start=1):
      verdict = page.Badge("tie" if curve["tie"] else "lower")
      cells.append(
        (
          str(place),
          curve["name"],
          words.share(curve["utility"]),
          words.points(curve["difference"]) if place > 1 else words.NONE,
          f"[{words.points(curve['low'])}, {words.points(curve['high'])}]"
          if place > 1
          else words.NONE,
          page.Badge("most useful", "mark") if place == 1 else verdict,
        )
      )
    cells += [
      (words.NONE, name, *[words.NONE] * 3, page.Badge("no setting so low"))
      for name in one["short"]
    ]
    blocks.append(
      page.Table(
        ("", "defence", one["desired"], "difference", "95 % interval", ""),
        tuple(cells),
        f"**{one['target']}** at {words.share(one['leakage'])} %: "
        f"{words.share(one['share'])} % of what the undefended feature leaks "
        "above its floor. Utility in percent, differences in points."
        + _faced(one.get("attacks", ())),
        words=(1, 5),
      )
    )
  return page.Section("ranking", "Ranked at equal leakage", tuple(blocks))


def _faced(attacks: Sequence[str]) -> str:
  """Say whose worst it is, where the file does."""
  if not attacks:
    return ""
  return f" The worst of what every setting faced: {', '.join(attacks)}."
