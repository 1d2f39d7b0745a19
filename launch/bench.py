"""Measure how fast hybridpriv is, beside the same work in other libraries.

  python launch/bench.py audit --json=out.json
  python launch/bench.py audit --quick

The argument names a bench, a file in launch/benches/; a wrong one lists them.
Where a library to compare with is missing, its rows are skipped and say so.
The file is written after every row: a part that fails, or a stop, loses no
other.  What is measured, and the format of the file: docs/performance.md.
"""

import importlib
import os
import pathlib
import sys
import traceback
from typing import Any

import program
from absl import flags

JSON = flags.DEFINE_string("json", None, "file for the rows, as JSON")
QUICK = flags.DEFINE_bool(
  "quick", False, "fewer steps, under three minutes: to look, not to quote"
)


def main(given: list[str]) -> None:
  """Run one bench."""
  folder = pathlib.Path(__file__).parent / "benches"
  known = sorted(path.stem for path in folder.glob("[!_]*.py"))
  if len(given) != 1 or given[0] not in known:
    program.fail(
      f"{' '.join(given) or 'nothing'} is no bench: name one of"
      f" {', '.join(known)}, as in python launch/bench.py {known[0]}"
    )
  out = pathlib.Path(JSON.value) if JSON.value else None
  # Before minutes of work, not after.
  if out and (out.is_dir() or not out.absolute().parent.is_dir()):
    program.fail(f"--json={out}: name a file, in a folder that is there")
  # On a card JAX leaves room for the library it is compared with.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  import measure  # after the flags: JAX takes seconds to load

  from hybridpriv.study import workdir

  environment = workdir.environment()  # of the code that runs, not of a later
  bench = importlib.import_module(f"benches.{given[0]}")
  rows: list[measure.Row] = []
  failed: list[measure.Failure] = []

  def report(*, ended: bool = False) -> dict[str, Any]:
    return measure.report(
      given[0], QUICK.value, rows, failed, environment, ended=ended
    )

  stopped = False
  try:
    for one in measure.each(bench.run(QUICK.value)):
      if isinstance(one, measure.Failure):
        failed.append(one)
        _say(one.what, one.error)
      else:
        rows.append(one)
      if out:
        workdir.write_json(out, report())
    if out:
      workdir.write_json(out, report(ended=True))
  except KeyboardInterrupt:
    stopped = True
  finally:
    if rows:
      print(measure.lines(report()))
  place = f"in {out}" if out else "above"
  where = f"what was measured, {len(rows)} rows, is {place}"
  where = where if rows else "nothing was measured"
  if stopped:
    print(f"stopped; {where}", file=sys.stderr)
    program.end(130)
  if failed:
    names = "; ".join(one.what for one in failed)
    program.fail(f"not measured: {names}; {where}")
  if out:
    print(out)


def _say(what: str, error: Exception) -> None:
  """Tell why a part failed: one line, or where it was if that is no message."""
  import measure

  if not program.is_ours(error):
    traceback.print_exception(error)
  print(f"{what}: failed, {measure.said(error)}", file=sys.stderr)


if __name__ == "__main__":
  program.start(main, takes="a bench", study=False)
