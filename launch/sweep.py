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

# Sections to which a run may add entries of its own.
_OPEN = ("attacks", "objective", "players", "privatizers", "trainings")

RUNS = flags.DEFINE_list("runs", None, "run only these, as in block11,block12")


def main(_: list[str]) -> None:
  """Run what is missing, then compare."""
  # Plain dictionaries: a copy of a ConfigDict has its keys sorted, and the
  # first training is the reference of all others.
  config = program.config()
  sweep, folder = config.pop("sweep", None), program.workdir()
  if not sweep:
    program.fail(
      "the configuration has no key 'sweep': name one of configs/ablations/"
    )
  if unknown := sorted(set(RUNS.value or ()) - set(sweep)):
    program.fail(
      f"--runs: there is no {', '.join(unknown)}; the runs of this sweep are"
      f" {', '.join(sweep)}"
    )
  config["features"] = config["features"] or str(folder / "features")
  # Before the first one runs: a misspelt key is not to be found hours later.
  runs = {name: _overlaid(config, changes) for name, changes in sweep.items()}
  wanted = RUNS.value or list(runs)
  failed = [name for name in wanted if not _start(runs[name], folder / name)]
  done = [
    folder / name
    for name in runs
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


def _start(config: dict[str, Any], folder: pathlib.Path) -> bool:
  """Run one study in a process of its own, which may die alone."""
  print(f"== {folder.name}", flush=True)
  process = multiprocessing.get_context("spawn").Process(
    target=_run, args=(config, folder, program.command())
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
    print(f"error: {folder.name}: ended by {text}", file=sys.stderr)
  return status == 0


def _overlaid(
  config: dict[str, Any], changes: dict[str, Any], where: str = "config"
) -> dict[str, Any]:
  """Give the configuration with some of its values changed."""
  merged = dict(config)
  for key, value in changes.items():
    own = f"{where}.{key}"
    if key not in config and where.rpartition(".")[2] not in _OPEN:
      program.fail(
        f"the sweep sets {own}, which the configuration does not have: {where}"
        f" has {', '.join(config)}"
      )
    both = isinstance(value, dict) and isinstance(config.get(key), dict)
    merged[key] = _overlaid(config[key], value, own) if both else value
  return merged


def _run(config: dict[str, Any], folder: pathlib.Path, command: str) -> None:
  """Run a study here."""
  from hybridpriv import study

  flags.FLAGS(sys.argv[:1])
  flags.FLAGS.verbosity = logging.WARNING
  program.guarded(lambda _: study.run(config, folder, command=command), [])


if __name__ == "__main__":
  program.start(main, "config", "workdir")
