import subprocess
import sys

from importlinter import cli


def test_imports_keep_the_contracts(repository):
  # The contracts are in pyproject.toml, each with a sentence for a name; what
  # breaks is printed, and shown by pytest.
  status = cli.lint_imports(
    config_filename=str(repository / "pyproject.toml"), no_cache=True
  )
  assert status == cli.EXIT_STATUS_SUCCESS


def test_data_and_reports_run_without_jax(repository):
  # The contracts see imports; this sees what an import runs, packages included.
  package = repository / "hybridpriv"
  modules = [
    f"hybridpriv.audit.{name}"
    for name in ("card", "compare", "figures", "statistics")
  ]
  for path in sorted(package.glob("data/**/*.py")):
    name = ".".join(path.relative_to(repository).with_suffix("").parts)
    if name != "hybridpriv.data.sources.tfds":
      modules.append(name.removesuffix(".__init__"))
  program = "\n".join(
    ["import sys", *(f"import {module}" for module in modules)]
    + ["loaded = {'jax', 'flax', 'optax'} & set(sys.modules)"]
    + ["sys.exit(f'loaded: {loaded}' if loaded else 0)"]
  )
  run = subprocess.run(
    [sys.executable, "-c", program],
    cwd=repository,
    capture_output=True,
    text=True,
  )
  assert run.returncode == 0, run.stderr
