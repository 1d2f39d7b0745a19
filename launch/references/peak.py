"""The memory that this process had at most."""

import pathlib
import resource
import sys

_STATUS = pathlib.Path("/proc/self/status")


def num_bytes() -> int:
  """Return the highest resident size so far, in bytes."""
  if _STATUS.exists():
    # Unlike that of `getrusage`, it is not inherited from who started it.
    for line in _STATUS.read_text().splitlines():
      if line.startswith("VmHWM:"):
        return 1024 * int(line.split()[1])
  found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return found if sys.platform == "darwin" else 1024 * found
