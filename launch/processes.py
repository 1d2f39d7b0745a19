"""Studies in one process or in several: flags, the start, how they end."""

import os
import re
import sys
import threading
import traceback
from typing import Any

import program
from absl import flags

COORDINATOR = flags.DEFINE_string(
  "coordinator",
  None,
  "host:port of process 0 of several; auto: as JAX finds it; none: alone."
  " Default: auto in a Slurm step of several tasks and on a TPU pod",
)
NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "how many processes train together", lower_bound=1
)
PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "which one this is, from 0", lower_bound=0
)
TIMEOUT_S = flags.DEFINE_integer(
  "join_timeout_s", 300, "seconds to wait for the others", lower_bound=1
)
for flag in (
  COORDINATOR,
  NUM_PROCESSES,
  PROCESS_ID,
  TIMEOUT_S,
  program.AUDIT_ANEW,
):
  # Listed by --help as the program's own.
  flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[flag.name])

# What JAX says where it can no longer reach another process.
_GONE = re.compile("gloo|nccl|coordinat|connection|socket", re.IGNORECASE)


def run(upto: str, **options: Any) -> None:
  """Run a study up to a stage and print where the result is.

  Several processes train together; then process 0 goes on alone, and the others
  leave.

  Args:
    upto: the stage.
    **options: further arguments of `study.run`.
  """
  config, workdir = program.config(), program.workdir()
  options["command"] = program.command()
  if program.AUDIT_ANEW.value and upto == "train":
    program.fail("--audit_anew attacks: it goes with launch/audit.py or run.py")
  options["anew"] = program.AUDIT_ANEW.value
  together = _join()
  from hybridpriv import study  # after the flags: JAX takes seconds to load
  from hybridpriv.train import preemption

  with preemption.at_once():
    if together:
      _train_together(config, workdir, upto, options)
    else:
      print(study.run(config, workdir, upto, **options))


def _train_together(
  config: dict[str, Any], workdir: Any, upto: str, options: dict[str, Any]
) -> None:
  """Train as one of several processes, and end as one of them."""
  from hybridpriv import mesh, study
  from hybridpriv.train import preemption

  try:
    found = study.run(config, workdir, "train", **options)
  except preemption.Preempted:
    mesh.leave()
    raise
  except Exception as error:
    print(f"error: {_reason(error)}", file=sys.stderr)
    program.end(2)  # at once: the others are not to wait for this one
  is_first = mesh.is_first()
  mesh.leave()
  if not is_first:
    program.end(0)
  if upto == "train":
    print(found)
  elif _is_pod():
    print("trained; run what follows on one machine that is not of a pod")
  else:
    sys.stdout.flush()
    # A program of its own, with the devices of this process alone.
    again = [sys.executable, *sys.orig_argv[1:], "--coordinator=none"]
    os.execv(sys.executable, again)


def _reason(error: Exception) -> str:
  """Say in one line what ended the training in this process."""
  line = str(error)
  if not program.is_ours(error):
    if not _GONE.search(line):
      traceback.print_exception(error)
      return f"{type(error).__name__} in a process of the job, see above"
    line = (
      "another process of this job is gone, see what it said; the same command"
      f" goes on from the last checkpoint ({line[:200]})"
    )
  return " ".join(line.split())


def _join() -> bool:
  """Become one of several processes, if there are; say whether."""
  given = COORDINATOR.value
  name = given or ("auto" if _is_step_of_several() or _is_pod() else "none")
  number, process = NUM_PROCESSES.value, PROCESS_ID.value
  if name == "none":
    if given is None and (number, process) != (None, None):
      program.fail(
        "--num_processes and --process_id go with --coordinator=host:port of"
        " process 0, which is missing"
      )
    return False
  if name != "auto":
    _check(name, number, process)
  elif number is None and _is_step_of_several():
    number = int(os.environ["SLURM_STEP_NUM_TASKS"])  # the job may have more
  place = None if name == "auto" else name
  who = "another process" if process == 0 else f"process 0 ({name})"
  watch = threading.Timer(TIMEOUT_S.value, _give_up, [who])
  watch.daemon = True
  watch.start()
  from hybridpriv import mesh

  try:
    # JAX, when it gives up, ends the process with a page of its own: later.
    mesh.join(place, number, process, timeout_s=2 * TIMEOUT_S.value + 60)
  except (ValueError, RuntimeError) as error:
    text = " ".join(str(error).split())
    print(f"error: cannot join a job, {name}: {text}", file=sys.stderr)
    program.end(2)
  finally:
    watch.cancel()
  return True


def _check(place: str, number: int | None, process: int | None) -> None:
  """Stop at a coordinator, a number or a process that cannot be."""
  host, _, port = place.rpartition(":")
  if not host or not port.isdigit() or not 0 < int(port) < 65536:
    program.fail(
      f"--coordinator is {place!r}: give host:port of process 0, as in"
      " --coordinator=10.0.0.1:8476, or auto, or none"
    )
  if number is None or process is None or process >= number:
    program.fail(
      f"--num_processes is {number} and --process_id is {process}: with"
      " --coordinator give both, and count processes from 0"
    )


def _give_up(who: str) -> None:
  """End a start that does not come to pass."""
  print(
    f"error: {who} did not answer within {TIMEOUT_S.value} s: start all"
    " processes of the job with the same --coordinator and --num_processes,"
    " each with its own --process_id, or set --join_timeout_s to wait longer",
    file=sys.stderr,
  )
  program.end(2)


def _is_step_of_several() -> bool:
  """Say whether Slurm runs this program several times, in one step."""
  return int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1


def _is_pod() -> bool:
  """Say whether this is one of several machines of a TPU slice."""
  return "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
