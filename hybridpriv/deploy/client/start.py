"""Ask a service about a photo or a signal; see --help.

Needs Python 3.11 and the packages of requirements.txt beside it.
"""

import pathlib
import sys

_HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE / "lib"))

from hybridpriv.deploy.client import main  # noqa: E402, after its folder

if __name__ == "__main__":
  sys.exit(main.main(_HERE))
