"""Timing side by side, and the row that every bench is made of."""

import importlib.metadata
import pathlib
import platform
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm

SCHEMA = "hybridpriv.bench/1"


class Row(NamedTuple):
  """One comparison; fields of results are None where there is none.

  Attributes:
    what: the work.
    against: who does the same beside us, and how much of it was timed.
    unit: of `ours` and `reference`; less is better.
    ours: median over rounds.
    reference: median over rounds, for as much work as `ours`.
    ratio: reference over ours, higher is better: median of the rounds' ratios.
    low: first quartile of the rounds' ratios.
    high: third quartile.
    rounds: how often each side was timed, taking turns.
    compile_s: seconds that our side compiles before, in no other number here.
    skipped: why nothing was compared, "" if it was.
  """

  what: str
  against: str
  unit: str
  ours: float | None
  reference: float | None
  ratio: float | None
  low: float | None
  high: float | None
  rounds: int
  compile_s: float | None
  skipped: str


class Part(NamedTuple):
  """What a bench measures by itself, whatever becomes of its other parts.

  Attributes:
    what: the work.
    rows: measures it; rows may come one by one.
  """

  what: str
  rows: Callable[[], Iterable[Row]]


class Failure(NamedTuple):
  """A part that was not measured to its end."""

  what: str
  error: Exception


class Side(NamedTuple):
  """One way to do the work.

  Attributes:
    against: as in `Row`; "" for our own.
    run: does it.
    scale: how many times as much the whole work is, where `run` does a part.
    skipped: as in `Row`; `run` is not called then.
  """

  against: str
  run: Callable[[], Any]
  scale: float = 1.0
  skipped: str = ""


def each(parts: Iterable[Part]) -> Iterator[Row | Failure]:
  """Measure part after part; one that fails does not end the others."""
  for part in parts:
    try:
      yield from part.rows()
    except Exception as error:  # whatever it is, the others are measured
      yield Failure(part.what, error)


def compare(
  what: str, ours: Side, others: Sequence[Side], *, rounds: int
) -> list[Row]:
  """Time our side and others in turn, a row for each of the others.

  All run once before, which compiles ours. Sides take turns, so that a machine
  that is busy for a while is so for all of them, and a round's ratio is of
  times that lie side by side.

  Args:
    what: the work, as in `Row`.
    ours: our side.
    others: what it is compared with.
    rounds: how often each side is timed.
  """
  sides = [ours, *(side for side in others if not side.skipped)]
  with tqdm.tqdm(
    total=len(sides) * (rounds + 1), desc=what, leave=False, disable=None
  ) as bar:
    compiled: list[float] = []

    def heard(event: str, duration_secs: float, **_: Any) -> None:
      if event.startswith("/jax/core/compile/"):
        compiled.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
      _timed(ours, bar)
    finally:
      jax.monitoring.unregister_event_duration_listener(heard)
    for side in sides[1:]:
      _timed(side, bar)
    times = np.array(
      [[_timed(side, bar) for side in sides] for _ in range(rounds)]
    )
  first = Row(
    what=what,
    against="",
    unit="s",
    ours=_rounded(np.median(times[:, 0])),
    reference=None,
    ratio=None,
    low=None,
    high=None,
    rounds=rounds,
    compile_s=_rounded(sum(compiled)),
    skipped="",
  )
  rows = []
  for side in others:
    if side.skipped:
      rows.append(first._replace(against=side.against, skipped=side.skipped))
      continue
    pairs = times[:, [0, sides.index(side)]]
    found = row(what, side.against, "s", pairs)
    rows.append(found._replace(compile_s=first.compile_s))
  return rows


def row(what: str, against: str, unit: str, pairs: np.ndarray) -> Row:
  """Make a row of what was measured side by side.

  Args:
    what: the work.
    against: who does the same beside us.
    unit: of both.
    pairs: ours and the other's, by round [r, 2].
  """
  low, ratio, high = np.percentile(pairs[:, 1] / pairs[:, 0], (25, 50, 75))
  ours, reference = np.median(pairs, axis=0)
  return Row(
    what=what,
    against=against,
    unit=unit,
    ours=_rounded(ours),
    reference=_rounded(reference),
    ratio=_rounded(ratio),
    low=_rounded(low),
    high=_rounded(high),
    rounds=len(pairs),
    compile_s=None,
    skipped="",
  )


def rounds(sides: Sequence[Callable[[], Any]], number: int) -> np.ndarray:
  """Run all once, then time them in turn.

  Returns:
    Seconds, by round and side [r, s].
  """
  for side in sides:
    side()
  found = np.empty((number, len(sides)))
  for index in np.ndindex(found.shape):
    start = time.perf_counter()
    sides[index[1]]()
    found[index] = time.perf_counter() - start
  return found


def peak(run: Callable[[], Any]) -> int:
  """Run and give the most bytes that Python and NumPy held at a time."""
  tracemalloc.start()
  try:
    run()
    return tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()


def skipped(what: str, against: str, why: str) -> Row:
  """Make a row of what could not be measured."""
  none = dict.fromkeys(("ours", "reference", "ratio", "low", "high"))
  return Row(what, against, "", **none, rounds=0, compile_s=None, skipped=why)


def _timed(side: Side, bar: Any) -> float:
  """Run one side; give the seconds of the whole work."""
  start = time.perf_counter()
  side.run()
  spent = time.perf_counter() - start
  bar.update()
  return spent * side.scale


def _rounded(value: Any) -> float:
  """Keep four digits, and whole numbers as they are: they were counted."""
  value = float(value)
  return value if value.is_integer() else float(f"{value:.4g}")


def report(
  bench: str,
  quick: bool,
  rows: Sequence[Row],
  failed: Sequence[Failure],
  environment: Mapping[str, Any],
  *,
  ended: bool,
) -> dict[str, Any]:
  """Say what was measured, and where: the file's content.

  Args:
    bench: name of the command.
    quick: whether it was a short run.
    rows: what was found so far.
    failed: what could not be measured.
    environment: as `study.workdir.environment` described it beforehand.
    ended: whether all parts were tried.
  """
  machine = {"processor_model": _processor(), **environment["machine"]}
  versions = dict(environment["versions"])
  try:
    versions["torch"] = importlib.metadata.version("torch")
  except importlib.metadata.PackageNotFoundError:
    versions["torch"] = None
  return {
    "schema": SCHEMA,
    "bench": bench,
    "quick": quick,
    "complete": ended and not failed,
    "failed": [{"what": f.what, "why": said(f.error)} for f in failed],
    "rows": [row._asdict() for row in rows],
    "machine": machine,
    "versions": versions,
    "revision": environment["revision"],
    "date": environment["date"],
  }


def said(error: Exception) -> str:
  """Put an error into one line."""
  return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _processor() -> str:
  """Return the name that the processor has for itself."""
  path = pathlib.Path("/proc/cpuinfo")
  if path.exists():
    for line in path.read_text().splitlines():
      name, _, value = line.partition(":")
      if name.strip() == "model name":
        return value.strip()
  return platform.processor() or "unknown"


def lines(found: Mapping[str, Any]) -> str:
  """Lay a report out as text."""
  machine, said = found["machine"], []
  for row in found["rows"]:
    said.append(row["what"])
    if row["ours"] is not None:
      said.append(f"  ours       {row['ours']:10.4g} {row['unit']}")
    if row["compile_s"] is not None:
      said.append(f"  compiling  {row['compile_s']:10.4g} s, before and once")
    if row["skipped"]:
      said.append(f"  {row['against']}: skipped, {row['skipped']}")
      continue
    reference = f"{row['reference']:10.4g} {row['unit']}"
    said.append(f"  reference  {reference}, {row['against']}")
    said.append(
      f"  ratio      {row['ratio']:10.4g} [{row['low']:.4g}, {row['high']:.4g}]"
      f" quartiles of {row['rounds']} rounds; higher is better"
    )
  versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items() if v)
  said.append(
    f"{machine['processor_model']}, {machine['cores']} cores,"
    f" {', '.join(machine['devices'])}; {versions}"
  )
  return "\n".join(said)
