"""Settings of every test: two simulated CPU devices, strict shapes.

The settings are environment variables, written before JAX is imported, so that
other workers and programs that a test launches inherit them.
"""

import atexit
import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["MPLBACKEND"] = "agg"
# Most of the time is compiling: it is hurried, and shared by all processes. The
# last of equal flags counts.
os.environ["XLA_FLAGS"] = (
  f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
  " --xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
)
if importlib.metadata.version("jaxlib").startswith("0.10."):
  # What makes fast loops compiles at half the speed. Later versions have no
  # such flag, and a flag that is not known ends the process.
  os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
if "PYTEST_XDIST_WORKER" not in os.environ:
  compiled = tempfile.TemporaryDirectory(prefix="compiled-")
  atexit.register(compiled.cleanup)
  os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled.name
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.02"

import jax
import numpy as np
import pytest
from absl import flags
from PIL import Image

# Libraries that read absl flags (TFDS, Grain) refuse to work before parsing.
flags.FLAGS.mark_as_parsed()


@pytest.fixture
def key() -> jax.Array:
  return jax.random.key(0)


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
  return pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
  """Forgets programs between files, when there are many.

  Each holds mappings of memory; past 65,530 of them Linux ends the process.
  """
  yield
  mappings = pathlib.Path("/proc/self/maps")
  if mappings.exists() and mappings.read_text().count("\n") > 30_000:
    jax.clear_caches()


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
  """Variables for launched programs: they compile even faster."""
  return {
    **os.environ,
    "XLA_FLAGS": os.environ["XLA_FLAGS"]
    + " --xla_backend_optimization_level=0",
    "PYTHONWARNINGS": "error::RuntimeWarning",
    "GLIBC_TUNABLES": "",  # as given: no second start for large pages
  }


@pytest.fixture(scope="session")
def launch(repository, environment):
  """Runs a program of `launch/` to its end, in the root of the repository."""

  def run(program, *arguments, check=True, **variables):
    done = subprocess.run(
      [sys.executable, f"launch/{program}.py", *map(str, arguments)],
      cwd=repository,
      env=environment | variables,
      capture_output=True,
      text=True,
      timeout=600,
    )
    if check:
      assert done.returncode == 0, done.stdout + done.stderr
    return done

  return run


# Sends the signal from within, at the first file that is opened or renamed
# after the awaited one is there, so that no machine is too fast for it. Where
# tests run in the background, Ctrl-C is switched off and inherited so.
_STOPPING = """
import os, pathlib, runpy, signal, sys
workdir, pattern, number = sys.argv[1:4]
sys.argv = sys.argv[4:]
sys.path.insert(0, "launch")
signal.signal(signal.SIGINT, signal.default_int_handler)
sent = []

def look(event, _):
  if sent or event not in ("open", "os.rename"):
    return
  if any(".tmp" not in p.name for p in pathlib.Path(workdir).glob(pattern)):
    sent.append(pattern)
    os.kill(os.getpid(), int(number))

sys.addaudithook(look)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="session")
def stopping():
  """Gives the command of a program that stops itself when a file is there."""

  def command(workdir, pattern, number, program, *flags):
    given = [str(workdir), pattern, str(int(number)), f"launch/{program}.py"]
    flags = (*flags, f"--workdir={workdir}")
    return [sys.executable, "-c", _STOPPING, *given, *map(str, flags)]

  return command


@pytest.fixture(scope="session")
def faces_folder(tmp_path_factory) -> pathlib.Path:
  """A folder as the `table` source reads it: the files and columns of LFW.

  Six people have 20 pictures, 18 have three. The gender is the brightness of
  the left half, the person the colour of the right half.
  """
  folder = tmp_path_factory.mktemp("faces")
  rng = np.random.default_rng(0)
  genders = ("female", "male")
  emotions = ("neutral", "happiness")
  rows = ["path,identity,gender,emotion,split_view1,n_images_of_identity"]
  with zipfile.ZipFile(folder / "images.zip", "w") as pictures:
    for person in range(24):
      name = f"Person_{person:02}"
      gender = person % 2
      split = "test" if person % 4 < 2 else "train"
      count = 20 if person < 6 else 3
      colour = rng.integers(60, 200, size=3)
      for number in range(count):
        pixels = np.empty((40, 40, 3))
        pixels[:, :20] = 60 + 120 * gender
        pixels[:, 20:] = colour
        pixels += rng.normal(scale=20, size=pixels.shape)
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        path = f"{name}/{name}_{number + 1:04}.jpg"
        with pictures.open(path, "w") as file:
          picture.save(file, format="jpeg")
        labels = f"{genders[gender]},{emotions[number % 2]}"
        rows.append(f"{path},{name},{labels},{split},{count}")
  (folder / "labels.csv").write_text("\n".join(rows) + "\n")
  return folder


@pytest.fixture(scope="session")
def published():
  """Finds lfw/ or sisfall/ where HYBRIDPRIV_DATA says, or skips the test."""

  def find(name: str) -> str:
    near = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    path = pathlib.Path(os.environ.get("HYBRIDPRIV_DATA", near)) / name
    if not path.is_dir():
      pytest.skip(f"no folder {name}/ in HYBRIDPRIV_DATA")
    return str(path)

  return find
