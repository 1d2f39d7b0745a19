"""Train the networks of a study; with --dry_run, print the stage table.

python launch/train.py --config=configs/spar_activity.py --workdir=runs/demo
python launch/train.py --config=configs/lfw_gender.py --dry_run
"""

import processes
import program
from absl import flags

DRY_RUN = flags.DEFINE_bool(
  "dry_run",
  False,
  "print shape, parameters, MACs and bytes of every stage, and what published"
  " weights report",
)
CLASSES = flags.DEFINE_integer(
  "classes", 2, "logits of a --dry_run, which reads no data", lower_bound=1
)
PROFILE = flags.DEFINE_list(
  "profile_steps",
  None,
  "first and last step of the base training to profile, as in 10,20",
)


def main(_: list[str]) -> None:
  """Train, or describe what would be trained."""
  profile = _profile()
  if DRY_RUN.value:
    from hybridpriv import study  # after the flags: JAX takes seconds to load

    print(study.describe(program.config(), CLASSES.value))
    return
  program.require("workdir")
  processes.run("train", profile=profile)


def _profile() -> tuple[int, int] | None:
  """Read the steps to profile."""
  if not PROFILE.value:
    return None
  given = ",".join(PROFILE.value)
  steps = [int(x) for x in PROFILE.value if x.isdigit()]
  if len(steps) != 2 or len(PROFILE.value) != 2 or not 0 < steps[0] <= steps[1]:
    program.fail(
      f"--profile_steps is {given!r}: give the first and the last step, counted"
      " from 1, as in 10,20"
    )
  return steps[0], steps[1]


if __name__ == "__main__":
  program.start(main, "config")
