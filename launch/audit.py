"""Attack every defence of a study; trains and fits first where needed.

python launch/audit.py --config=configs/spar_activity.py --workdir=runs/demo
"""

import processes
import program

if __name__ == "__main__":
  program.start(lambda _: processes.run("audit"), "config", "workdir")
