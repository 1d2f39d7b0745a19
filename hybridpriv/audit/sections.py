"""The measured parts of the report: embeddings, ranks, repeats, controls."""

from __future__ import annotations

from hybridpriv.audit import embeddings, page, words
from hybridpriv.audit.results import Measurement, Results, Row


def table(results: Results) -> page.Section:
  """Compare the embeddings: utility, bytes, worst leakage by target."""
  rows = embeddings.main_rows(results)
  desired = results.study["roles"]["desired"]
  header = ["embedding", "bytes"]
  header += [f"{name}, balanced (plain)" for name in desired]
  header += [f"leakage: {target}" for target in results.targets]
  cells = []
  for row in rows:
    line: list[str] = [embeddings.title(row), f"{row.num_bytes:,}"]
    for name in desired:
      plain = row.utility_of(name, "accuracy")
      line.append(
        words.measured(row.utility_of(name))
        + (f" ({words.share(plain.value)})" if plain else "")
      )
    line += [words.measured(row.leakage_of(t)) for t in results.targets]
    cells.append(tuple(line))
  blocks: list[page.Block] = [
    page.Table(
      tuple(header),
      tuple(cells),
      "Utility and worst leakage of each embedding, in percent, with "
      f"{_interval(rows)}. Noisy rows stand at the operating point chosen on "
      "validation.",
    )
  ]
  blocks += [_by_target(rows, target) for target in results.targets]
  return page.Section("embeddings", "The embeddings", tuple(blocks))


def _by_target(rows: tuple[Row, ...], target: str) -> page.Table:
  cells = []
  for row in rows:
    leak = row.leakage_of(target)
    if leak is None:
      continue
    best = max(row.attacks_on(target), key=lambda m: m.value)
    cells.append(
      (
        embeddings.title(row),
        leak.attack,
        words.measured(leak),
        words.share(leak.chance),
        words.share(leak.floor),
        words.points(leak.excess),
        f"{words.share(best.value)} ({best.attack})",
      )
    )
  of = sorted({m.floor_of for row in rows if (m := row.leakage_of(target))})
  sources = words.listing(name for name in of if name)
  floor = f" The floor is that of the {sources}." if sources else ""
  if any(m.metric == "auc" for row in rows if (m := row.leakage_of(target))):
    floor += (
      " Leakage is the area under the ROC curve of pairs of codes, of one "
      "person or of two whom the attacker has never seen."
    )
  return page.Table(
    (
      "embedding",
      "worst attack",
      "leakage",
      "chance",
      "floor",
      "excess",
      "highest on test",
    ),
    tuple(cells),
    f"**{target}**: the attack that is worst on the attacker's validation, "
    f"scored on test, in percent; excess over chance and floor in points."
    f"{floor}",
    words=(1, 6),
  )


def ranks(results: Results) -> page.Section | None:
  """Print the rank measures as privacy, with the ceiling they can reach."""
  columns: dict[tuple[str, str, str], list[Measurement | None]] = {}
  rows = [
    row
    for row in results.rows
    if any(m.is_rank and m.num_queries == 1 for m in row.leakage)
  ]
  for row in rows:
    for m in row.leakage:
      if m.is_rank and m.num_queries == 1:
        columns.setdefault((m.target, m.metric, _among(m)), [])
  if not rows:
    return None
  for (target, metric, among), column in columns.items():
    for row in rows:
      own = [
        m
        for m in row.leakage
        if (m.target, m.metric, m.num_queries) == (target, metric, 1)
        and _among(m) == among
      ]
      column.append(max(own, key=_strength, default=None))
  header = [
    f"{'log-rank' if metric == 'log_rank' else 'rank'}, "
    + (among or target).format(target)
    for target, metric, among in columns
  ]
  cells = [
    (
      embeddings.title(row),
      *(_privacy(column[i]) for column in columns.values()),
    )
    for i, row in enumerate(rows)
  ]
  for name, pick in (("guessing", _chance), ("ceiling", _ceiling)):
    cells.append((name, *(_span(c, pick) for c in columns.values())))
  return page.Section(
    "ranks",
    "Rank and log-rank privacy",
    (
      page.Text(
        "Where the true one stands when candidates are sorted by how likely "
        "they are: mean rank divided by the number of candidates, or mean "
        "log-rank divided by its logarithm. Here **higher is more private**. "
        "The ceiling is what a code would reach that tells the desired label "
        "and nothing else: the class mix allows no more. For a record, and for "
        "a person by records, the clean codes of all records are given, the "
        "true one among them; otherwise candidates are people, and the "
        "attacker has codes of a gallery only."
      ),
      page.Table(
        ("embedding", *header),
        tuple(cells),
        f"Rank privacy, in percent, with {_interval(tuple(rows))}.",
      ),
    ),
  )


def _among(m: Measurement) -> str:
  """Say what the candidates of a rank measure are, "" for a trained attack."""
  names = {"rank.image": "record ({})", "rank.person": "{}, by records"}
  return names.get(m.attack, "")


def _strength(m: Measurement) -> float:
  return m.value if m.validation is None else m.validation


def _privacy(m: Measurement | None) -> str:
  if m is None:
    return words.NONE
  limits = words.between(1 - m.high, 1 - m.low)
  return f"{words.share(1 - m.value)} {limits}"


def _chance(m: Measurement) -> float:
  return 1 - m.chance


def _ceiling(m: Measurement) -> float | None:
  return None if m.floor is None else 1 - m.floor


def _span(column: list[Measurement | None], pick) -> str:
  found = [x for m in column if m is not None and (x := pick(m)) is not None]
  if not found:
    return words.NONE
  low, high = min(found), max(found)
  same = words.share(low) == words.share(high)
  return words.share(low) if same else f"{words.share(low)}–{words.share(high)}"


def repeats(results: Results) -> page.Section | None:
  """Print what several codes of one input, or of one person, give away."""
  numbers = sorted({m.num_queries for row in results.rows for m in row.leakage})
  if numbers[-1:] in ([], [1]):
    return None
  lines: dict[tuple[str, ...], dict[int, Measurement]] = {}
  for row in results.rows:
    metrics = {m.metric for m in map(row.leakage_of, row.worst) if m}
    for m in row.leakage:
      if m.metric in metrics:
        of = m.extra.get("queries", "one input")
        key = (embeddings.title(row), m.target, m.attack, of, m.metric)
        lines.setdefault(key, {})[m.num_queries] = m
  cells = [
    (
      *key[:4],
      *(words.measured(found.get(number)) for number in numbers),
      words.share(next(iter(found.values())).floor),
    )
    for key, found in lines.items()
    if max(found) > 1
  ]
  return page.Section(
    "repeats",
    "Repeat queries",
    (
      page.Text(
        "Noise is drawn anew for each query, so an attacker that sees several "
        "codes of one input can average the noise away. Who knows that codes "
        "come from one device has different inputs of one person, and adds up "
        "what they tell."
      ),
      page.Table(
        (
          "embedding",
          "target",
          "attack",
          "codes of",
          *(words.count(n, "query", "queries") for n in numbers),
          "floor",
        ),
        tuple(cells),
        "Leakage by the number of codes joined, in percent.",
        words=(1, 2, 3),
      ),
    ),
  )


def controls(results: Results) -> page.Section:
  """Print whether the attacks found what they must, and nothing else."""
  cells = []
  for row in results.controls:
    if row.passed is None or row.expected == "reference":
      verdict = page.Badge("not judged")
    elif row.passed:
      verdict = page.Badge("passed", "good")
    else:
      verdict = page.Badge("FAILED", "bad")
    found = [row.leakage_of(target) for target in row.worst] or row.leakage
    values = "; ".join(
      f"{m.target} {words.measured(m)}, chance {words.share(m.chance)}"
      for m in found
      if m is not None
    )
    expected = {"chance": "chance", "high": "near perfect"}
    cells.append(
      (
        row.name.removeprefix("control/"),
        verdict,
        expected.get(row.expected, row.expected),
        values or words.NONE,
      )
    )
  failed = sum(row.passed is False for row in results.controls)
  passed = sum(row.passed is True for row in results.controls)
  blocks: list[page.Block] = []
  if failed:
    blocks.append(
      page.Note(f"**{words.count(failed, 'control')} FAILED.**", "bad")
    )
  elif passed:
    blocks.append(page.Text("All controls came out as they must."))
  blocks.append(
    page.Table(
      ("control", "verdict", "expected", "worst attack, %"),
      tuple(cells),
      "The same attacks on codes whose leakage is known beforehand.",
      words=(1, 2, 3),
    )
  )
  return page.Section("controls", "Controls", tuple(blocks))


def comparisons(results: Results) -> page.Section | None:
  """Print paired differences; a difference that may be none is a tie."""
  if not results.comparisons:
    return None
  names = {row.name: embeddings.title(row) for row in results.rows}
  cells = []
  for c in results.comparisons:
    if c.tie:
      verdict = page.Badge("tie")
    else:
      side = "lower" if c.difference < 0 else "higher"
      verdict = page.Badge(f"a {side}", "mark")
    cells.append(
      (
        c.what,
        names.get(c.a, c.a),
        names.get(c.b, c.b),
        words.points(c.difference),
        f"[{words.points(c.low)}, {words.points(c.high)}]",
        verdict,
      )
    )
  return page.Section(
    "comparisons",
    "Paired comparisons",
    (
      page.Table(
        ("what", "a", "b", "a − b", "95 % interval", "verdict"),
        tuple(cells),
        "Differences in points, paired by person and seed. A tie: zero lies "
        "in the interval, so no winner is named.",
        words=(1, 2, 5),
      ),
    ),
  )


def all_rows(results: Results) -> page.Section:
  """Print every measurement of every row."""
  cells = []
  for row in results.rows:
    headline = {id(row.leakage_of(target)) for target in row.worst}
    for m in (*row.utility, *row.leakage):
      cells.append(
        (
          row.name,
          m.target,
          m.attack or "utility",
          m.metric.replace("_", " "),
          str(m.num_queries) + (" inputs" if "queries" in m.extra else ""),
          words.measured(m),
          words.number(m, m.chance),
          words.number(m, m.floor),
          page.Badge("worst", "mark") if id(m) in headline else "",
        )
      )
  return page.Section(
    "all",
    f"All {len(cells)} measurements",
    (
      page.Table(
        (
          "row",
          "target",
          "attack",
          "metric",
          "queries",
          "value",
          "chance",
          "floor",
          "",
        ),
        tuple(cells),
        "In percent; higher is more leakage, or more utility. The worst of a "
        "target is chosen on the attacker's validation.",
        words=(1, 2, 3, 8),
      ),
    ),
    folded=True,
  )


def _interval(rows: tuple[Row, ...]) -> str:
  found = [
    m.interval
    for row in rows
    for m in (*(row.leakage_of(target) for target in row.worst), *row.utility)
    if m is not None
  ]
  first, *others = dict.fromkeys(found) or ("",)
  over = first.partition(" over ")[0] + " over "
  texts = "; or over ".join([first, *(t.removeprefix(over) for t in others)])
  return f"intervals ({texts})" if texts else "intervals"
