r"""Run a sweep: one study after the other, and one report over all of them.

  python launch/sweep.py --config=configs/ablations/layers_lfw.py:small \
    --config.data.path=lfw --workdir=runs/layers

The config is that of a study and has a key `sweep`: for every run, what it
changes. Each run has a workdir of its own, <workdir>/<run>, is skipped if it is
done and goes on where it was stopped. A run that fails does not stop the
others; it is named at the end, and the exit status is 1.
"""

import multiprocessing
import pathlib
import signal
import sys
from typing import Any

import program
from absl import flags, logging

RUNS = flags.DEFINE_list("runs", None, "run only these, as in block11,block12")


def main(_: list[str]) -> None:
  """Run what is missing, then compare."""
  config = program.CONFIG.value
  if not config.get("sweep"):
    program.fail(
      "the configuration has no key 'sweep': name one of configs/ablations/"
    )
  names, folder = list(config.sweep), program.workdir()
  if unknown := sorted(set(RUNS.value or ()) - set(names)):
    program.fail(
      f"--runs: there is no {', '.join(unknown)}; the runs of this sweep are"
      f" {', '.join(names)}"
    )
  wanted = RUNS.value or names
  failed = [name for name in wanted if not _start(name, folder)]
  done = [
    folder / name
    for name in names
    if (folder / name / "report" / "index.html").exists()
  ]
  if len(done) > 1:
    from hybridpriv.audit import compare

    print(compare.write(done, folder / "report"))
  if failed:
    line = (
      f"failed: {', '.join(failed)}; the same command runs only these again"
    )
    print(f"error: {line}", file=sys.stderr)
    sys.exit(1)


def _start(name: str, folder: pathlib.Path) -> bool:
  """Run one study in a process of its own, which may die alone."""
  print(f"== {name}", flush=True)
  # Plain dictionaries: a copy of a ConfigDict has its keys sorted, and the
  # first training is the reference of all others.
  config = program.config()
  config = _overlaid(config, config.pop("sweep")[name])
  config["features"] = config["features"] or str(folder / "features")
  process = multiprocessing.get_context("spawn").Process(
    target=_run, args=(config, folder / name, program.command())
  )
  process.start()

  def stop(number: int, _: Any) -> None:
    process.terminate()  # or it would go on alone
    sys.exit(128 + number)

  signal.signal(signal.SIGTERM, stop)
  try:
    process.join()
  except KeyboardInterrupt:
    process.join()  # it was told as well
    raise
  status = process.exitcode or 0
  if status == 130:
    raise KeyboardInterrupt
  if status < 0:
    text = signal.Signals(-status).name
    print(f"error: {name}: ended by {text}", file=sys.stderr)
  return status == 0


def _overlaid(
  config: dict[str, Any], changes: dict[str, Any]
) -> dict[str, Any]:
  """Give the configuration with some of its values changed."""
  merged = dict(config)
  for key, value in changes.items():
    both = isinstance(value, dict) and isinstance(config.get(key), dict)
    merged[key] = _overlaid(config[key], value) if both else value
  return merged


def _run(config: dict[str, Any], folder: pathlib.Path, command: str) -> None:
  """Run a study here."""
  from hybridpriv import study

  flags.FLAGS(sys.argv[:1])
  flags.FLAGS.verbosity = logging.WARNING
  program.guarded(lambda _: study.run(config, folder, command=command), [])


if __name__ == "__main__":
  program.start(main, "config", "workdir")
