"""The choice of an operating point under stated constraints.

Every defence of one or several studies (of other cuts, say) is an option.  What
is chosen is chosen on validation: utility of task-validation people, leakage to
the worst attack on the attacker's validation.  The test only confirms.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from hybridpriv.audit import drawing
from hybridpriv.audit.drawing import Theme
from hybridpriv.audit.results import Measurement, Results, Row

# By target, or under "" for every private one.
ByTarget = Mapping[str, float]


class Constraints(NamedTuple):
  """What an operating point must keep; None for anything.

  Attributes:
    max_leakage: of the worst attack, by target.
    min_utility: of the desired labels, balanced.
    max_bytes: of a code.
    max_device_ms: of the client half.
    min_guarantee: success that is proved to be out of any attacker's reach who
      has one code, by target: the proof must be at least as strong.
  """

  max_leakage: ByTarget | None = None
  min_utility: float | None = None
  max_bytes: float | None = None
  max_device_ms: float | None = None
  min_guarantee: ByTarget | None = None


class Option(NamedTuple):
  """One defence, as the constraints see it.

  Attributes:
    workdir: whose study it is of.
    row: the defence.
    utility: mean over desired labels, on validation.
    leakage: by private target, on validation.
    confirmed: utility, and leakage by target, on test; of many codes also that
      by codes of several inputs of one person, the worse on validation first.
    num_bytes: of a code.
    device_ms: of the client half; NaN if it was not measured.
    proved: success of any attacker with one code at most, by target.
  """

  workdir: pathlib.Path
  row: Row
  utility: float
  leakage: Mapping[str, float]
  confirmed: tuple[Sequence[Measurement], Mapping[str, Sequence[Measurement]]]
  num_bytes: int
  device_ms: float
  proved: Mapping[str, float]


class Limit(NamedTuple):
  """One constraint on one number.

  Attributes:
    name: the flag, with the target where it has one.
    value: the bound.
    is_lower: whether it bounds from below.
    of: reads the number off an option.
  """

  name: str
  value: float
  is_lower: bool
  of: Callable[[Option], float]

  def lacks(self, option: Option) -> float:
    """Say by how much an option misses it; 0 or less if it keeps it."""
    found = self.of(option)
    if math.isnan(found):
      return math.inf
    return self.value - found if self.is_lower else found - self.value


class Plan(NamedTuple):
  """What was found.

  Attributes:
    chosen: the option, or None if nothing fits.
    fitting: all that fit, best first.
    relaxed: by name of a constraint, where it alone stands in the way, the
      bound that would do and the option it would allow.
    nearest: where nothing fits, the option that misses the fewest.
  """

  chosen: Option | None
  fitting: tuple[Option, ...]
  relaxed: Mapping[str, tuple[float, Option]]
  nearest: Option


def options(
  studies: Mapping[pathlib.Path, Results],
  *,
  num_queries: int = 1,
  device_ms: Mapping[tuple[float, float], float] | None = None,
) -> list[Option]:
  """List every defence of studies that has all numbers to be judged by.

  Args:
    studies: by workdir.
    num_queries: codes that an attacker has.
    device_ms: of client halves, by parameters and multiply-accumulates; by
      default what the studies measured where they ran.

  Raises:
    ValueError: there is none, or the studies ask other questions.
  """
  roles = [s.study["roles"] for s in studies.values()]
  if any(r != roles[0] for r in roles):
    raise ValueError(
      "the workdirs hold studies with other desired or private labels: plan"
      " them one by one"
    )
  found = []
  for workdir, results in studies.items():
    private = results.study["roles"]["private"]
    cost = results.study.get("cost", {}).get("client", {})
    for row in results.rows:
      useful = [
        m
        for d in results.study["roles"]["desired"]
        if (m := row.utility_of(d)) and m.validation is not None
      ]
      leaks = {
        t: m
        for t in private
        if (m := _worst(row, t, num_queries)) and m[0].validation is not None
      }
      if not useful or len(leaks) < len(private):
        continue
      found.append(
        Option(
          workdir,
          row,
          sum(float(m.validation or 0) for m in useful) / len(useful),
          {t: _on_validation(row, m[0], num_queries) for t, m in leaks.items()},
          (useful, leaks),
          row.num_bytes,
          _device_ms(cost, device_ms),
          _proved(row, {t: m[0] for t, m in leaks.items()}, num_queries),
        )
      )
  if not found:
    raise ValueError(
      "no defence has utility and leakage measured on validation: run the audit"
      " first (launch/run.py)"
    )
  return found


def _device_ms(
  cost: Mapping[str, float], known: Mapping[tuple[float, float], float] | None
) -> float:
  """Read the time of a client half; NaN where nobody took it."""
  if known is None:
    return float(cost.get("time_ms", math.nan))
  return known.get((cost.get("params", 0), cost.get("macs", 0)), math.nan)


def _worst(row: Row, target: str, num_queries: int) -> list[Measurement]:
  """Find the worst attacks with so many codes, or fewer, the worst one first.

  A device repeats no code: what it sends more of is of other inputs, and these
  may be nearly the same, or different ones of one person.  One attack each.
  """
  worst = row.leakage_of(target)
  if worst is None or num_queries == 1:
    return [worst] if worst else []
  able = [
    m
    for m in row.leakage
    if (m.target, m.metric) == (target, worst.metric)
    and 1 < m.num_queries <= num_queries
    and m.validation is not None
  ]
  kinds = (
    [worst, *(m for m in able if "queries" not in m.extra)],
    [m for m in able if "queries" in m.extra],
  )

  def validation(m: Measurement) -> float:
    return m.validation or 0.0

  found = [max(own, key=validation) for own in kinds if own]
  return sorted(found, key=validation, reverse=True)


def _on_validation(row: Row, m: Measurement, num_queries: int) -> float:
  """Read a leakage; NaN where so many codes of a noisy row were not tried."""
  tried = {
    other.num_queries
    for other in row.leakage
    if other.target == m.target and "queries" not in other.extra
  }
  is_noisy = any(s["name"].startswith("noise.") for s in row.privatizer)
  if is_noisy and num_queries not in tried:
    return math.nan
  return float(m.validation or 0)


def _proved(
  row: Row, leaks: Mapping[str, Measurement], num_queries: int
) -> dict[str, float]:
  """Read what is proved for so many codes off a row's guarantees."""
  for one in row.guarantees:
    if one["num_queries"] == num_queries:
      return {
        target: one["leakage"][target][m.metric]
        for target, m in leaks.items()
        if m.metric in one["leakage"].get(target, {})
      }
  return {}


def ships(option: Option) -> bool:
  """Say whether its chain is one that a bundle can hold."""
  members = [stage["name"] for stage in option.row.privatizer]
  return bool(option.row.guarantees) and members[-2:] == [
    "noise.discrete",
    "quantize.saturate",
  ]


def limits(constraints: Constraints, targets: Sequence[str]) -> list[Limit]:
  """Write constraints out, one for each target.

  Raises:
    ValueError: a target is not private.
  """
  made = []
  for name in ("max_leakage", "min_guarantee"):
    asked = getattr(constraints, name)
    if asked is None:
      continue
    if unknown := sorted({*asked} - {"", *targets}):
      raise ValueError(
        f"--{name} names {', '.join(unknown)}; private are {', '.join(targets)}"
      )
    for target in targets:
      if (bound := asked.get(target, asked.get(""))) is None:
        continue

      def read(option: Option, target: str = target, name: str = name) -> float:
        by_target = option.leakage if name == "max_leakage" else option.proved
        return by_target.get(target, math.nan)

      full = f"--{name}" if len(targets) == 1 else f"--{name}={target}"
      made.append(Limit(full, bound, False, read))
  for name, is_lower, read in (
    ("min_utility", True, lambda o: o.utility),
    ("max_bytes", False, lambda o: float(o.num_bytes)),
    ("max_device_ms", False, lambda o: o.device_ms),
  ):
    if (bound := getattr(constraints, name)) is not None:
      made.append(Limit(f"--{name}", bound, is_lower, read))
  return made


def plan(found: Sequence[Option], constraints: Constraints) -> Plan:
  """Choose among options.

  Of those that keep all constraints the most useful one is taken, or, where
  utility alone is constrained, the one that leaks least of the first private
  label; of equals the one with fewer bytes.

  Args:
    found: see `options`.
    constraints: what must be kept.
  """
  targets = list(found[0].leakage)
  asked = limits(constraints, targets)
  thrifty = (
    constraints.min_utility is not None
    and constraints.max_leakage is None
    and constraints.min_guarantee is None
  )

  def order(option: Option) -> tuple[float, ...]:
    first = option.leakage[targets[0]]
    first = math.inf if math.isnan(first) else first  # nobody tried
    if thrifty:
      return (first, option.num_bytes, -option.utility)
    return (-option.utility, option.num_bytes, first)

  def missed(option: Option) -> list[Limit]:
    return [limit for limit in asked if limit.lacks(option) > 1e-9]

  fitting = tuple(sorted((o for o in found if not missed(o)), key=order))
  relaxed: dict[str, tuple[float, Option]] = {}
  for limit in asked:
    able = [
      o for o in found if missed(o) == [limit] and math.isfinite(limit.lacks(o))
    ]
    if able and not fitting:
      best = min(able, key=lambda o, limit=limit: (limit.lacks(o), order(o)))
      relaxed[limit.name] = (limit.of(best), best)

  def misses(option: Option) -> tuple[float, ...]:
    lacking = [
      m.lacks(option) / max(abs(m.value), 1e-9) for m in missed(option)
    ]
    return (len(lacking), sum(lacking), *order(option))

  nearest = min(found, key=misses)
  return Plan(fitting[0] if fitting else None, fitting, relaxed, nearest)


def front(found: Sequence[Option]) -> list[Option]:
  """Return the options that no other beats in utility and leakage at once.

  Leakage is that of the first private label; the least leaky comes first.
  """
  target = next(iter(found[0].leakage))
  kept: list[Option] = []
  known = [o for o in found if not math.isnan(o.leakage[target])]
  for option in sorted(known, key=lambda o: (o.leakage[target], -o.utility)):
    if not kept or option.utility > kept[-1].utility:
      kept.append(option)
  return kept


def draw(
  found: Sequence[Option], made: Plan, asked: Sequence[Limit], theme: Theme
) -> Figure:
  """Draw all options, the front, the constraints and the choice."""
  target = next(iter(found[0].leakage))
  figure, axes = drawing.panels(1, 1, 3.4)
  panel = axes[0][0]
  for number, workdir in enumerate(dict.fromkeys(o.workdir for o in found)):
    own = [o for o in found if o.workdir == workdir]
    panel.plot(
      [o.leakage[target] for o in own],
      [o.utility for o in own],
      ls="none",
      marker=drawing.mark(number),
      color=theme.colour(number),
      label=f"cut after {own[0].row.cut}",
    )
  best = front(found)
  panel.step(
    [o.leakage[target] for o in best],
    [o.utility for o in best],
    where="post",
    color=theme.ink,
    lw=0.8,
    label="nothing better on both",
  )
  for limit in asked:
    if limit.name == "--min_utility":
      panel.axhline(limit.value, color=theme.ink, ls=":", lw=0.9)
    elif limit.name in ("--max_leakage", f"--max_leakage={target}"):
      panel.axvline(limit.value, color=theme.ink, ls=":", lw=0.9)
  if made.chosen is not None:
    panel.plot(
      [made.chosen.leakage[target]],
      [made.chosen.utility],
      ls="none",
      marker="o",
      ms=12,
      mfc="none",
      mec=theme.ink,
      mew=1.4,
      label="chosen",
    )
  panel.set_xlabel(f"worst leakage of {target} on validation, %")
  panel.set_ylabel("utility on validation, %")
  panel.grid(alpha=0.6)
  panel.set_axisbelow(True)
  drawing.percent(panel.xaxis)
  drawing.percent(panel.yaxis)
  figure.legend(loc="outside lower center", ncols=3)
  return figure
