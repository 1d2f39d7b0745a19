"""Export a finished study: the client half for a device, the cloud half beside.

  python launch/export.py --workdir=runs/certified --out=bundle

The bundle holds both halves, a manifest and a client that needs no JAX; what it
costs in utility is printed. Only a defence with a guarantee on whole numbers
ships, as those of configs/lfw_certified.py. Needs the extra `deploy`.
"""

import pathlib
import signal
import sys

import program
from absl import flags

OUT = flags.DEFINE_string("out", "bundle", "the folder to make")
ROW = flags.DEFINE_string(
  "row", "", "the defence, as the report names it; by default the one selected"
)
SEED = flags.DEFINE_integer("seed", 0, "which of the trained networks")
MAX_QUERIES = flags.DEFINE_integer(
  "max_queries", 100, "codes that a device may send before it refuses"
)
INT8 = flags.DEFINE_bool("int8", True, "also export the client half in int8")
TFLITE = flags.DEFINE_bool(
  "tflite", False, "also export it for LiteRT; needs the extra `tflite`"
)
DEMO = flags.DEFINE_bool(
  "demo", False, "also train attackers that the page /demo shows at work"
)


def main(_: list[str]) -> None:
  """Export, and say where the bundle is."""
  from hybridpriv.study import shipping  # JAX takes seconds to load

  # An exception, so that what is half written is taken away.
  signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
  made = shipping.run(
    program.workdir(),
    pathlib.Path(OUT.value),
    row=ROW.value,
    seed=SEED.value,
    max_queries=MAX_QUERIES.value,
    int8=INT8.value,
    tflite=TFLITE.value,
    demo=DEMO.value,
    command=program.command(),
  )
  print(f"bundle {made.id.hex()}: {made.folder}")


if __name__ == "__main__":
  program.start(main, "workdir")
