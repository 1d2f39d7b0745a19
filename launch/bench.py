"""Measure how fast hybridpriv is, beside the same work in other libraries.

  python launch/bench.py audit --json=out.json
  python launch/bench.py audit --quick

The argument names a bench, a file in launch/benches/; a wrong one lists them.
Where a library to compare with is missing, its rows are skipped and say so.
What is measured, and the format of the file: docs/performance.md.
"""

import importlib
import json
import os
import pathlib

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
  rows = bench.run(QUICK.value)
  found = measure.report(given[0], QUICK.value, rows, environment)
  print(measure.lines(found))
  if out:
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
  program.start(main, takes="a bench", study=False)
