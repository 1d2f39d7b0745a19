"""Numbers and names as the report prints them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hybridpriv.audit.results import Measurement

NONE = "–"


def share(value: float | None) -> str:
  """Print a share in percent, without the sign."""
  return NONE if value is None else f"{100 * value:.1f}"


def points(value: float | None) -> str:
  """Print a difference of shares in points, with its sign."""
  if value is None:
    return NONE
  return f"{100 * value + 0.0:+.1f}".replace("-", "−")


def between(low: float, high: float) -> str:
  """Print limits in percent."""
  return f"[{share(low)}, {share(high)}]"


def number(m: Measurement, value: float | None) -> str:
  """Print a value of a measurement: decibels, or percent."""
  if m.metric == "psnr":
    return NONE if value is None else f"{value:.1f} dB"
  return share(value)


def measured(m: Measurement | None) -> str:
  """Print a measurement with its limits, in percent or decibels."""
  if m is None:
    return NONE
  if m.metric == "psnr":
    return f"{number(m, m.value)} [{m.low:.1f}, {m.high:.1f}]"
  return f"{share(m.value)} {between(m.low, m.high)}"


def stated(m: Measurement) -> str:
  """Print a measurement with its limits, for running text."""
  return f"{share(m.value)} % {between(m.low, m.high)}"


def listing(names: Iterable[str]) -> str:
  """Join names with commas and an "and"."""
  names = list(names)
  if len(names) < 2:
    return "".join(names)
  return f"{', '.join(names[:-1])} and {names[-1]}"


def count(number: int, thing: str, many: str = "") -> str:
  """Print a number of things."""
  return f"{number} {thing if number == 1 else many or thing + 's'}"


def flat(value: Any, name: str = "") -> dict[str, Any]:
  """Flatten nested mappings to dotted names."""
  if not isinstance(value, Mapping):
    return {name: value}
  out: dict[str, Any] = {}
  for key, inner in value.items():
    out.update(flat(inner, f"{name}.{key}" if name else str(key)))
  return out


def seconds(value: float) -> str:
  """Print a time."""
  if value < 60:
    return f"{value:.1f} s"
  if value < 3600:
    return f"{value / 60:.1f} min"
  return f"{value / 3600:.1f} h"
