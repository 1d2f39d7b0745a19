"""One writer for all numbers of a study: JSON lines, TensorBoard on demand."""

import json
import math
import pathlib
from collections.abc import Mapping


class Writer:
  """Append measurements to `metrics.jsonl`, each step of each run once.

  A line is {"run", "step", <name>: <number>, ...}.  Lines are flushed as they
  are written; `rewind` drops those that a resumed run will write again.

  Args:
    path: the file; None where another process of the job writes it.
    tensorboard: also write TensorBoard events into this folder.

  Raises:
    ValueError: if TensorBoard is asked for and not installed.
  """

  def __init__(
    self, path: pathlib.Path | None, tensorboard: pathlib.Path | None = None
  ):
    self._path = path
    self._tensorboard = None
    if tensorboard is not None:
      try:
        from tensorboardX import SummaryWriter
      except ImportError as error:
        raise ValueError(
          "config.train.tensorboard is on, but its package is missing:"
          " pip install 'hybridpriv[tensorboard]'"
        ) from error
      self._make = lambda run: SummaryWriter(str(tensorboard / run))
      self._tensorboard = {}

  def rewind(self, run: str, step: int) -> None:
    """Forget what `run` wrote after `step`, and any half-written last line."""
    if self._path is None or not self._path.exists():
      return
    kept = []
    for line in self._path.read_text().splitlines():
      try:
        record = json.loads(line)
      except json.JSONDecodeError:
        continue  # cut off by a kill
      if record["run"] != run or record["step"] <= step:
        kept.append(line)
    fresh = self._path.with_suffix(".tmp")
    fresh.write_text("".join(f"{line}\n" for line in kept))
    fresh.replace(self._path)

  def write(self, run: str, step: int, values: Mapping[str, float]) -> None:
    """Append one line; numbers that are not finite are written as null."""
    if self._path is None:
      return
    numbers = {
      k: float(v) if math.isfinite(float(v)) else None
      for k, v in values.items()
    }
    with self._path.open("a") as file:
      file.write(json.dumps({"run": run, "step": step, **numbers}) + "\n")
    if self._tensorboard is not None:
      if run not in self._tensorboard:
        self._tensorboard[run] = self._make(run)
      for name, number in numbers.items():
        if number is not None:
          self._tensorboard[run].add_scalar(name, number, step)

  def close(self) -> None:
    """Flush and close the TensorBoard files, if any."""
    for events in (self._tensorboard or {}).values():
      events.close()
