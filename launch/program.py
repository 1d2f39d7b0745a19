"""Flags and error lines, the same for all programs of this folder."""

import contextlib
import difflib
import errno
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_dict, config_flags

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The status of a program that was told to stop by a signal: neither done nor
# failed; the same command goes on.
STOPPED = 75
_TUNABLES = "GLIBC_TUNABLES"
# Nothing that a traceback would explain.
_OF_THE_SYSTEM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}
_LARGE_PAGES = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
# Configurations import one another from the root of the clone.
sys.path.insert(0, str(ROOT))

CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "experiment, configs/<file>.py[:variant]; change a key with"
  " --config.<key>=<value>",
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "folder of the study; resumed where it stopped"
)
AUDIT_ANEW = flags.DEFINE_bool(
  "audit_anew",
  False,
  "attack what was trained anew, where config.audit alone differs; what was"
  " found before is kept in earlier/",
)
_MISSING = {
  "config": "name an experiment, as in --config=configs/spar_activity.py",
  "workdir": "name the folder of the study, as in --workdir=runs/mine",
}


def start(
  body: Callable[[list[str]], Any],
  *required: str,
  takes: str = "",
  study: bool = True,
) -> None:
  """Parse the flags, run `body`, and say errors in one line.

  Args:
    body: the program; given the arguments without a dash.
    *required: flags that must be given.
    takes: what such arguments are, "" if the program has none.
    study: whether it works on a study, so that --help lists its flags; else
      they are refused.
  """
  if study:
    _ask_for_large_pages()
  for name in ("config", "workdir") if study else ():
    # Listed by --help as the program's own.
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])

  def parse(argv: list[str]) -> list[str]:
    for name in () if study else (*_MISSING, "audit_anew"):
      if any(re.match(rf"--?(no)?{name}\b", a) for a in argv[1:]):
        fail(f"--{name} is a flag of programs that work on a study")
    left = _parse(argv)
    require(*required)
    if len(left) > 1 and not takes:
      fail(f"not understood: {' '.join(left[1:])}; flags start with --")
    return left

  app.run(lambda argv: guarded(body, argv[1:]), flags_parser=parse)


def _ask_for_large_pages() -> None:
  """Begin again as a process whose memory comes in large pages, where it can.

  A training step takes hundreds of MB and gives them back; on a virtual machine
  a step was seen to take 14 to 20 % less where Linux hands them out by 2 MiB
  and not by 4 KiB.  It does for who asks, and glibc asks if it is told so when
  a process starts.  Where pages are larger to begin with, a large one is too
  large; and a program that is read from standard input cannot be read again.
  """
  if sys.platform != "linux" or _TUNABLES in os.environ:
    return
  if os.sysconf("SC_PAGE_SIZE") > 4096 or sys.argv[0] in ("", "-"):
    return
  with contextlib.suppress(OSError):
    if "[madvise]" in _LARGE_PAGES.read_text():
      os.environ[_TUNABLES] = "glibc.malloc.hugetlb=1"
      os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def require(*names: str) -> None:
  """Stop unless the flags were given."""
  for name in names:
    if not flags.FLAGS[name].value:
      fail(f"--{name} is missing: {_MISSING[name]}")


def _parse(argv: list[str]) -> list[str]:
  """Parse flags; a wrong one is one line that says what would be right."""
  if {"--help", "-help", "-h"} & set(argv):
    app.usage(shorthelp=True, writeto_stdout=True, exitcode=0)
  path = _config_path(argv)
  if path is None and any(a.startswith("--config.") for a in argv):
    require("config")
  if path and not pathlib.Path(path.partition(":")[0]).is_file():
    known = sorted(ROOT.glob("configs/**/*.py"))
    names = [str(p.relative_to(ROOT)) for p in known if p.stem != "default"]
    fail(f"there is no config file {path}; known are {', '.join(names)}")
  try:
    left = flags.FLAGS(argv)
  except (flags.Error, TypeError, ValueError) as error:
    fail(_origin(error))
  except (AttributeError, KeyError):
    unknown = _unknown_key(path, argv) if path else ""
    if not unknown:
      raise  # a fault of the config file itself
    fail(unknown)
  if flags.FLAGS["verbosity"].using_default_value:
    # Said, or else `app.run` turns it up; Orbax and matplotlib talk much.
    flags.FLAGS.verbosity = logging.WARNING
  return left


def _config_path(argv: Sequence[str]) -> str | None:
  for argument, after in zip(argv, [*argv[1:], ""], strict=True):
    name, given, value = argument.partition("=")
    if name in ("--config", "-config"):
      return value if given else after
  return None


def _origin(error: BaseException) -> str:
  """Dig out what a config file said, from under what is wrapped around it."""
  while "whilst parsing config file" in str(error) and error.__context__:
    error = error.__context__
  return str(error)


def _unknown_key(path: str, argv: Sequence[str]) -> str:
  """Name the first key that the configuration lacks, "" if it has all."""
  config = flags.FLAGS["config"].parser.parse(path)
  for argument in argv:
    if not argument.startswith("--config."):
      continue
    value, where = config, "config"
    for key in argument.partition("=")[0].split(".")[1:]:
      if not isinstance(value, config_dict.ConfigDict):
        return f"{where} is {value!r} and has no keys of its own, no {key!r}"
      if key not in value:
        near = difflib.get_close_matches(key, list(value), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"{where} has no key {key!r}.{hint} It has {', '.join(value)}"
      value, where = value[key], f"{where}.{key}"
  return ""


def guarded(body: Callable[[list[str]], Any], given: list[str]) -> None:
  """Run `body`; what went wrong is one line and an exit status."""
  from hybridpriv.train import preemption

  try:
    body(given)
  except (ValueError, OSError, RuntimeError) as error:
    if is_ours(error) and flags.FLAGS.verbosity <= logging.INFO:
      fail(str(error))
    raise  # with --verbosity=1 our own messages have their traceback as well
  except KeyboardInterrupt:
    print("stopped; the same command goes on from here", file=sys.stderr)
    end(130)
  except preemption.Preempted as stopped:
    line = f"stopped by {stopped}; the same command goes on from here"
    print(line, file=sys.stderr)
    end(STOPPED)


def end(status: int) -> NoReturn:
  """End the process at once, whatever its threads compute or wait for.

  Every file is written whole or not at all.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)


def is_ours(error: BaseException) -> bool:
  """Tell what one line says from faults deep inside a library.

  A message of ours does, and so does a disk that is full or may not be written,
  wherever that was found out.
  """
  if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
    return True
  last = error.__traceback__
  while last is not None and last.tb_next is not None:
    last = last.tb_next
  raised = pathlib.Path(last.tb_frame.f_code.co_filename) if last else ROOT
  return ROOT in raised.parents and ".venv" not in raised.parts


def fail(message: str) -> NoReturn:
  """Print one line to stderr and stop the program with status 2."""
  with contextlib.suppress(BrokenPipeError):
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
  sys.exit(2)


def config() -> dict[str, Any]:
  """Return the configuration as a plain dictionary of tuples and scalars."""
  return CONFIG.value.to_dict()


def workdir() -> pathlib.Path:
  """Return the workdir."""
  require("workdir")
  return pathlib.Path(str(WORKDIR.value))


def command() -> str:
  """Return what was typed, for the report."""
  return "python " + shlex.join(sys.argv)
