"""Programs that run where nothing but the device's own can be imported."""

_ABSENT = """
import importlib.abc, importlib.metadata, re, runpy, sys

def required(names):
  # What these packages need, and what that needs, without extras.
  found = set()
  while names:
    name = re.sub("[-_.]+", "-", names.pop()).lower()
    if name in found:
      continue
    found.add(name)
    try:
      lines = importlib.metadata.requires(name) or ()
    except importlib.metadata.PackageNotFoundError:
      continue
    names |= {
      re.match("[A-Za-z0-9._-]+", line)[0]
      for line in lines
      if "extra ==" not in line
    }
  return found

THERE = required({"numpy", "onnxruntime", "opendp", "pillow"})
# Modules of what is installed for others, by the packages that bring them.
ABSENT = {
  module
  for module, packages in importlib.metadata.packages_distributions().items()
  if not {re.sub("[-_.]+", "-", p).lower() for p in packages} & THERE
} - sys.stdlib_module_names - {"hybridpriv"}
OWN = {"data", "deploy"}

class Absent(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    first, _, rest = name.partition(".")
    own = first == "hybridpriv" and rest and rest.split(".")[0] not in OWN
    if first in ABSENT or own:
      raise ModuleNotFoundError(f"{name} is not on a device", name=name)

sys.meta_path.insert(0, Absent())
"""

# Imports all of the folder that is given.
IMPORT = f"""{_ABSENT}
sys.path.insert(0, sys.argv[1])
for name in ("jax", "scipy", "onnx", "starlette", "hybridpriv.networks"):
  try:
    __import__(name)
  except ModuleNotFoundError:
    continue
  sys.exit(f"{{name}} was imported: the test proves nothing")
import hybridpriv
assert hybridpriv.__file__.startswith(sys.argv[1]), hybridpriv.__file__
from hybridpriv.deploy import wire
from hybridpriv.deploy.client import (
  inputs, ledger, main, manifest, noise, sending
)
"""

# Runs the program that is given.
RUN = f"""{_ABSENT}
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
