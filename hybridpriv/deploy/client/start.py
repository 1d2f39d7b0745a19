"""Ask a service about a photo or a signal; see --help.

Needs Python 3.11 and the packages of requirements.txt beside it.
"""

import pathlib
import sys

_HERE = pathlib.Path(__file__).resolve().parent

if __name__ == "__main__":
  # A device's own Python may be older than what this was exported with.
  if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"error: this needs Python 3.11, and is run by {sys.version}")
  sys.path.insert(0, str(_HERE / "lib"))
  try:
    from hybridpriv.deploy.client import main

    sys.exit(main.main(_HERE))
  except ModuleNotFoundError as error:
    sys.exit(
      f"error: {error.name} is not installed: pip install -r"
      f" {_HERE / 'requirements.txt'}"
    )
