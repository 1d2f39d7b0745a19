r"""Run a sweep: a study for every entry, and one report over all of them.

  python launch/sweep.py --config=configs/ablations/layers_lfw.py:small \
    --config.data.path=lfw --workdir=runs/layers

The config is that of a study and has a key `sweep`: for every run, what it
changes. Each run has a workdir of its own, <workdir>/<run>, is skipped if it is
done and goes on where it was stopped. A run that fails does not stop the
others; it is named at the end, and the exit status is 1. One runs after the
other; --executor says how several do at once, with <workdir>/<run>.log for what
each says.
"""

import contextlib
import pathlib
import sys
from typing import Any

import executors
import program
from absl import flags

# Sections to which a run may add entries of its own.
_OPEN = ("attacks", "objective", "players", "privatizers", "trainings")

# Listed by --help as the program's own.
flags.FLAGS.register_key_flag_for_module(
  sys.argv[0], flags.FLAGS[program.AUDIT_ANEW.name]
)
RUNS = flags.DEFINE_list("runs", None, "run only these, as in block11,block12")
EXECUTOR = flags.DEFINE_enum(
  "executor",
  None,
  ["local", "slurm"],
  "local: a run on every accelerator of this machine; slurm: an array job",
)
AT_ONCE = flags.DEFINE_integer(
  "at_once", None, "most runs at once, with either executor", lower_bound=1
)
SLURM = flags.DEFINE_list(
  "slurm",
  [],
  "options of sbatch, as in partition=gpu,time=240,gpus=1; time in minutes",
)
RETRIES = flags.DEFINE_integer(
  "retries", 1, "how often Slurm runs a failed run again", lower_bound=0
)


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
  _check_executor()
  config["features"] = config["features"] or str(folder / "features")
  # Before the first one runs: a misspelt key is not to be found hours later.
  runs = {name: _overlaid(config, changes) for name, changes in sweep.items()}
  wanted = RUNS.value or list(runs)
  failing = _start(
    [
      executors.Study(
        runs[name], folder / name, program.command(), program.AUDIT_ANEW.value
      )
      for name in wanted
    ],
    folder,
  )
  failed = [name for name in wanted if name in failing]
  if failed:  # said whatever may come of the comparison
    line = (
      f"failed: {', '.join(failed)}; the same command runs only these again"
    )
    print(f"error: {line}", file=sys.stderr)
  done = [folder / name for name in runs if _is_done(folder / name)]
  if len(done) > 1:
    from hybridpriv.audit import compare

    print(compare.write(done, folder / "report"))
  if failed:
    sys.exit(1)


def _check_executor() -> None:
  """Refuse flags that would do nothing."""
  for flag, needed in (
    (SLURM, ("slurm",)),
    (RETRIES, ("slurm",)),
    (AT_ONCE, ("local", "slurm")),
  ):
    if flag.present and EXECUTOR.value not in needed:
      program.fail(
        f"--{flag.name} does nothing without --executor={' or '.join(needed)}"
      )


def _start(studies: list[executors.Study], folder: pathlib.Path) -> set[str]:
  """Run studies where the flags say; give the names of those that failed."""
  if EXECUTOR.value is None:
    return executors.run(studies, [{}])
  if EXECUTOR.value == "local":
    executors.check_folder(folder)
    return executors.run(studies, executors.slots(AT_ONCE.value), logged=True)
  import array_job
  import slurm

  cluster = slurm.open_cluster(folder / "slurm", SLURM.value, AT_ONCE.value)
  # What is done is looked at here: a place in a queue is dear.
  done = [study for study in studies if _has_nothing_to_do(study)]
  missing = [study for study in studies if study not in done]
  failed = executors.run(done, [{}])
  return failed | array_job.run(cluster, missing, RETRIES.value)


def _has_nothing_to_do(study: executors.Study) -> bool:
  """Tell whether a run is over: of another audit hours are missing."""
  from hybridpriv.study import workdir  # JAX takes seconds to load

  changed = ""
  with contextlib.suppress(workdir.Conflict):  # of which the run says so
    changed = workdir.check(study.folder, study.config)
  return _is_done(study.folder) and not (changed and study.anew)


def _is_done(folder: pathlib.Path) -> bool:
  return (folder / "report" / "index.html").exists()


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


if __name__ == "__main__":
  program.start(main, "config", "workdir")
