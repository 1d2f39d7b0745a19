"""Run a whole study: train, fit the privatizers, audit, report."""

import program

if __name__ == "__main__":
  program.start(lambda: program.stage("report"), "config", "workdir")
