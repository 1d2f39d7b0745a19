"""Flags and error lines, the same for all programs of this folder."""

import contextlib
import pathlib
import shlex
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

# Configurations import one another from the root of the clone.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "experiment, configs/<file>.py[:variant]; change a key with"
  " --config.<key>=<value>",
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "folder of the study; resumed where it stopped"
)


def start(body: Callable[[], Any], *required: str) -> None:
  """Parse the flags, run `body`, and say errors in one line.

  Args:
    body: the program.
    *required: flags that must be given.
  """
  for name in required:
    flags.mark_flag_as_required(name)
  app.run(lambda argv: _guarded(body, argv), flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
  """Parse flags; a wrong one is one line that says what would be right."""
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    _fail(f"{error}")
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    _fail(f"{error}. Keys and types are those of the config file")
  except FileNotFoundError as error:
    _fail(f"there is no config file {error.filename}; see configs/")
  raise AssertionError("not reached")


def _guarded(body: Callable[[], Any], argv: list[str]) -> None:
  if len(argv) > 1:
    _fail(f"not understood: {' '.join(argv[1:])}; flags start with --")
  if not any(x.startswith(("-v", "--v")) for x in sys.argv[1:]):
    logging.set_verbosity(logging.WARNING)  # Orbax tells every read
  try:
    body()
  except (ValueError, FileNotFoundError, RuntimeError) as error:
    if _is_ours(error):
      _fail(str(error))
    raise
  except KeyboardInterrupt:
    _fail("stopped; the same command goes on from here", code=130)


def _is_ours(error: BaseException) -> bool:
  """Tell our own messages from faults deep inside a library."""
  last = error.__traceback__
  while last is not None and last.tb_next is not None:
    last = last.tb_next
  root = pathlib.Path(__file__).resolve().parents[1]
  raised = pathlib.Path(last.tb_frame.f_code.co_filename) if last else root
  return root in raised.parents and ".venv" not in raised.parts


def _fail(message: str, code: int = 2) -> None:
  with contextlib.suppress(BrokenPipeError):
    print(f"error: {message}", file=sys.stderr)
  sys.exit(code)


def config() -> dict[str, Any]:
  """Return the configuration as a plain dictionary of tuples and scalars."""
  CONFIG.value.lock()
  return CONFIG.value.to_dict()


def workdir() -> pathlib.Path:
  """Return the workdir."""
  return pathlib.Path(WORKDIR.value)


def command() -> str:
  """Return what was typed, for the report."""
  return "python " + shlex.join(sys.argv)


def stage(upto: str) -> None:
  """Run a study up to one of its stages and print where the result is."""
  from hybridpriv import study  # after the flags: JAX takes seconds to load

  result = study.run(config(), workdir(), upto, command=command())
  print(result)
