"""Train the networks of a study; with --dry_run, print the stage table."""

import program
from absl import flags

DRY_RUN = flags.DEFINE_bool(
  "dry_run", False, "print shape, parameters, MACs and bytes of every stage"
)
CLASSES = flags.DEFINE_integer("classes", 2, "logits of a --dry_run")
PROFILE = flags.DEFINE_list(
  "profile_steps", None, "first and last step to profile, as in 10,20"
)


def main() -> None:
  """Train, or describe what would be trained."""
  from hybridpriv import study

  config = program.config()
  if DRY_RUN.value:
    print(study.describe(config, CLASSES.value))
    return
  profile = None
  if PROFILE.value:
    if len(PROFILE.value) != 2 or not all(x.isdigit() for x in PROFILE.value):
      raise ValueError(
        f"--profile_steps is {','.join(PROFILE.value)!r}: give two step"
        " numbers, as in 10,20"
      )
    profile = (int(PROFILE.value[0]), int(PROFILE.value[1]))
  if not program.WORKDIR.value:
    raise ValueError("--workdir is missing: name the folder of the study")
  print(
    study.run(
      config,
      program.workdir(),
      "train",
      command=program.command(),
      profile=profile,
    )
  )


if __name__ == "__main__":
  program.start(main, "config")
