"""The top of the report: what was found, in words, and what it leaves out."""

from __future__ import annotations

from hybridpriv.audit import embeddings, page, words
from hybridpriv.audit.results import Measurement, Results, Row

_TRAIN_SEEDS, _ATTACK_SEEDS = 3, 5


def section(results: Results) -> page.Section:
  """Say what was asked, what was found, and how far it can be trusted."""
  study = results.study
  roles = study["roles"]
  desired = words.listing(f"**{name}**" for name in roles["desired"])
  private = words.listing(f"**{name}**" for name in roles["private"])
  asked = f"The service must answer {desired}; it must not learn {private}."
  if not roles["desired"]:
    asked = f"The service must not learn {private}."
  if roles["unforeseen"]:
    unforeseen = words.listing(roles["unforeseen"])
    asked += f" Also attacked, though no training knew of it: {unforeseen}."
  blocks: list[page.Block] = [*warnings(results), page.Text(asked)]
  point = embeddings.operating_point(results)
  bare = embeddings.undefended(results)
  if point is None:
    blocks.append(
      page.Note("No operating point was chosen in this study.", "warn")
    )
  else:
    blocks.append(_numbers(results, point, bare))
    blocks.append(page.Text(_service(results, point, bare)))
    blocks += [
      page.Text(text)
      for target in results.targets
      if (text := sentence(point, bare, target))
    ]
  blocks += limits(results)
  return page.Section("headline", "What was found", tuple(blocks))


def warnings(results: Results) -> list[page.Note]:
  """Return what must be read before anything else."""
  notes = []
  failed = [row.name for row in results.controls if row.passed is False]
  if failed:
    notes.append(
      page.Note(
        f"**FAILED: {words.count(len(failed), 'control')} of "
        f"{len(results.controls)}** ({words.listing(failed)}). The attacks of "
        "this audit did not behave as they must; do not rely on its numbers "
        "before this is understood.",
        "bad",
      )
    )
  if not results.controls:
    notes.append(
      page.Note(
        "**No controls were run.** Nothing here shows that the attacks would "
        "have found a leak, or that they find none where there is none.",
        "bad",
      )
    )
  if results.study["data"]["synthetic"]:
    notes.append(
      page.Note(
        "**Synthetic data.** These samples were drawn by a program. The numbers"
        " show that the method runs; they say nothing about real people.",
        "warn",
      )
    )
  for text in results.study["data"].get("warnings", ()):
    notes.append(page.Note(text, "warn"))
  if results.study["data"].get("identity", "") is None:
    notes.append(
      page.Note(
        "**Units are samples, not people.** The data names no person, so one "
        "person may stand on both sides of a division, and intervals are "
        "narrower than they would be over people.",
        "warn",
      )
    )
  return notes


def limits(results: Results) -> list[page.Note]:
  """Say what the intervals leave out where there are few seeds."""
  train = min(row.train_seeds for row in results.rows)
  attack = min(row.attack_seeds for row in results.rows)
  said = []
  if train == 1:
    said.append(
      "There is **one train seed**: how far another training would give other "
      "numbers is not in the intervals."
    )
  elif train < _TRAIN_SEEDS:
    said.append(
      f"There are **{train} train seeds**: the intervals know little of how "
      "far another training would give other numbers."
    )
  if attack == 1:
    said.append(
      "There is **one attack seed**: the spread between attackers trained anew "
      "is not in the intervals."
    )
  elif attack < _ATTACK_SEEDS:
    said.append(
      f"There are **{attack} attack seeds**: the spread between attackers "
      "trained anew is known roughly."
    )
  if not said:
    return []
  said.append(
    f"A headline claim needs at least {_TRAIN_SEEDS} train and "
    f"{_ATTACK_SEEDS} attack seeds."
  )
  return [page.Note(" ".join(said), "warn")]


def _numbers(results: Results, point: Row, bare: Row | None) -> page.Numbers:
  items = []
  for desired in results.study["roles"]["desired"]:
    if useful := embeddings.utility(point, [desired]):
      was = embeddings.utility(bare, [desired]) if bare else None
      items.append(
        (
          f"{words.share(useful.value)} %",
          f"utility: {desired}",
          f"{words.between(useful.low, useful.high)}"
          + (f"; undefended {words.share(was.value)}" if was else ""),
        )
      )
  for target in results.targets:
    if leak := point.leakage_of(target):
      was = bare.leakage_of(target) if bare else None
      items.append(
        (
          f"{words.share(leak.value)} %",
          f"leakage: {target}",
          f"{words.between(leak.low, leak.high)}"
          + (f"; undefended {words.share(was.value)}" if was else "")
          + f"; chance {words.share(leak.chance)}"
          + (f"; from the answer {more}" if (more := _more(leak)) else ""),
        )
      )
  size = f"{point.num_bytes:,} bytes"
  was = f"undefended {bare.num_bytes:,}" if bare else "each query"
  return page.Numbers((*items, (size, "sent with each query", was)))


def _service(results: Results, point: Row, bare: Row | None) -> str:
  """Say how well the desired questions are answered."""
  said = []
  for desired in results.study["roles"]["desired"]:
    useful = embeddings.utility(point, [desired])
    was = embeddings.utility(bare, [desired]) if bare else None
    if useful is None:
      continue
    text = (
      f"{desired} with {words.stated(useful)} {useful.metric.replace('_', ' ')}"
    )
    if was and bare is not point:
      text += f", {words.points(useful.value - was.value)} points against "
      text += f"{words.stated(was)} undefended"
    said.append(text)
  if not said:
    return "No utility was measured at the operating point."
  text = "**Service.** It answers " + words.listing(said) + "."
  return text + _missed(results, point, bare)


def _missed(results: Results, point: Row, bare: Row | None) -> str:
  """Say that no setting was cheap enough, where it is so."""
  desired = results.study["roles"]["desired"]
  allowed = results.study.get("config", {}).get("audit", {}).get("max_cost")
  own = embeddings.utility(point, desired)
  full = embeddings.utility(bare, desired) if bare else None
  if allowed is None or own is None or full is None:
    return ""
  if own.validation is None or full.validation is None:
    return ""
  cost = full.validation - own.validation
  if cost <= allowed:
    return ""
  return (
    " **No setting was cheap enough**: an operating point may cost "
    f"{words.share(allowed)} points on validation; the weakest setting, taken "
    f"here, costs {words.share(cost)}."
  )


def sentence(point: Row, bare: Row | None, target: str) -> str:
  """Say what the strongest attack on a target reached, and beside what."""
  leak = point.leakage_of(target)
  if leak is None:
    return ""
  best = max(point.attacks_on(target), key=lambda m: m.value)
  kind = leak.metric.replace("_", " ")
  seen = "one code of a sample"
  if kind == "auc":
    kind, seen = "area under the ROC curve", "two codes"
  text = (
    f"**{target[:1].upper()}{target[1:]}.** At the operating point "
    f"({embeddings.title(point)}) no attack in this set did better than "
    f"**{words.share(best.value)} %** {kind} from {seen}"
  )
  if best is leak:
    text += f" {words.between(best.low, best.high)}; that was `{leak.attack}`"
    text += ", which the attacker's own validation had chosen"
  else:
    text += (
      f" (`{best.attack}`, the best on test); the one that the attacker's own "
      f"validation had chosen, `{leak.attack}`, reached {words.stated(leak)}"
    )
  text += _of_few(point, leak) + _restored(point, target, best.value)
  text += f". Guessing gives {words.share(leak.chance)} %"
  if leak.floor is not None and leak.floor_of != "chance":
    text += "; " + _floor(leak.floor, leak.floor_of, best.value)
  was = bare.leakage_of(target) if bare else None
  if was and bare is not point:
    text += (
      f". On the undefended feature `{was.attack}` reached {words.stated(was)}"
    )
    if leak.value >= was.value:
      text += "; **the defence did not lower it**"
    elif leak.high >= was.low:
      text += " (the intervals overlap; see the paired comparison)"
  return text + "."


def _of_few(point: Row, leak: Measurement) -> str:
  """Say where fewer seeds stand behind a number than behind its row."""
  said = []
  for kind, of_row, needed in (
    ("train", point.train_seeds, _TRAIN_SEEDS),
    ("attack", point.attack_seeds, _ATTACK_SEEDS),
  ):
    own = leak.extra.get(f"{kind}_seeds", of_row)
    if own < min(of_row, needed):
      said.append(words.count(own, f"{kind} seed"))
  if not said:
    return ""
  return (
    f" (**of {words.listing(said)}** only, where others have"
    f" {point.train_seeds} and {point.attack_seeds}: what more of them would"
    " change is not in the interval)"
  )


def _restored(point: Row, target: str, best: float) -> str:
  """Say how often restored pictures are named rightly, if it was asked."""
  found = [
    m
    for m in point.leakage
    if (m.target, m.metric, m.num_queries) == (target, "matched", 1)
  ]
  if not found:
    return ""
  most = max(found, key=lambda m: m.value)
  text = (
    f"; a recognizer with other pictures of these people names"
    f" {words.stated(most)} of those rightly that `{most.attack}` restores"
  )
  return text + (", **more than any of these**" if most.value > best else "")


def _more(leak: Measurement) -> str:
  """Return what the cloud's answer tells, where that is more."""
  if leak.floor_of != "cloud answer" or leak.floor is None:
    return ""
  return words.share(leak.floor) if leak.floor > leak.value else ""


def _floor(floor: float, floor_of: str, best: float) -> str:
  """Say what the answer tells, and what that means.

  The cloud computes its answer from the code: what it tells, the code tells.
  """
  value = f"{words.share(floor)} %"
  if floor_of == "desired label":
    return (
      "the true answer to the desired question, which nobody sends, would give "
      f"{value}"
    )
  if floor_of != "cloud answer":
    seen = floor_of or "what the service must learn"
    return f"an attacker that sees only {seen} gets {value}"
  text = f"an attacker that sees only the service's answer gets {value}"
  if floor > best:
    return (
      f"{text}, **more than any attack on the code itself**: the cloud has "
      "that answer, so this is what leaks"
    )
  return f"{text}, which no defence that keeps these answers can take away"
