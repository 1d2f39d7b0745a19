"""Run a whole study: train, fit the privatizers, audit, report.

What the workdir already holds is skipped; what was interrupted goes on.

  python launch/run.py --config=configs/spar_activity.py --workdir=runs/demo

Experiments are in configs/; most have the variants :small and :tiny. Any key
can be changed, for instance --config.train.seeds=5.
"""

import processes
import program

if __name__ == "__main__":
  program.start(lambda _: processes.run("report"), "config", "workdir")
