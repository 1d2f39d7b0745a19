"""Attack every defence of a study; trains and fits first where needed.

python launch/audit.py --config=configs/spar_activity.py --workdir=runs/demo
"""

import program

if __name__ == "__main__":
  program.start(lambda _: program.stage("audit"), "config", "workdir")
