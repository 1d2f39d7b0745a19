"""Attack every defence of a study; trains and fits first where needed."""

import program

if __name__ == "__main__":
  program.start(lambda: program.stage("audit"), "config", "workdir")
