"""What a device pays, as the bench `device` wrote it down."""

import json
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

_WHAT = re.compile(
  r"(?P<network>.*) to (?P<cut>\w+)(, (?P<form>[^:]*))?: (?P<kind>.*)"
)
SENT = "sent (of the picture as JPEG, or the window)"
_THREAD = ", one thread"


class Cost(NamedTuple):
  """One cost of one cut.

  Attributes:
    network: name.
    cut: last stage on the device.
    form: what runs it, "" where that does not matter.
    kind: what is paid.
    ours: for the client half.
    share: of what the whole network costs.
    unit: of `ours`.
  """

  network: str
  cut: str
  form: str
  kind: str
  ours: float
  share: float
  unit: str


def read(path: pathlib.Path) -> list[Cost]:
  """Read what the bench wrote.

  Raises:
    ValueError: it is another file.
  """
  try:
    found = json.loads(path.read_text())
    rows = found["rows"] if found["bench"] == "device" else []
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{path} cannot be read ({error})") from error
  costs = []
  for row in rows:
    parts = _WHAT.fullmatch(row["what"])
    if not parts or row["skipped"] or row["against"].startswith("PyTorch"):
      continue
    form, kind = parts["form"] or "", parts["kind"]
    if form.endswith(_THREAD):
      form, kind = form.removesuffix(_THREAD), kind + _THREAD
    costs.append(
      Cost(
        parts["network"],
        parts["cut"],
        form,
        SENT if kind.startswith("sent") else kind,
        row["ours"],
        row["ours"] / row["reference"],
        row["unit"],
      )
    )
  if not costs:
    raise ValueError(f"{path} is of no run of `launch/bench.py device`")
  return costs


def times(costs: Sequence[Cost], form: str) -> dict[tuple[float, float], float]:
  """Find how long client halves take, on all threads.

  Args:
    costs: see `read`.
    form: what runs them, as in "ONNX int8".

  Returns:
    Seconds, by parameters and multiply-accumulates: what tells halves apart
    and does not depend on how a study names them.

  Raises:
    ValueError: nothing was timed so.
  """
  size: dict[tuple[str, str], dict[str, float]] = {}
  for cost in costs:
    if not cost.form:
      size.setdefault((cost.network, cost.cut), {})[cost.kind] = cost.ours
  timed = [c for c in costs if c.kind == "a sample"]
  found = {}
  for cost in timed:
    own = size[cost.network, cost.cut]
    if cost.form == form:
      key = own["parameters"], own["multiply-accumulates"]
      found[key] = cost.ours
  if not found:
    forms = ", ".join(dict.fromkeys(c.form for c in timed))
    raise ValueError(f"nothing was timed as {form!r}; there are {forms}")
  return found
