"""A Slurm of one node, this machine, in a temporary folder.

Needs Debian's slurm-wlm and munge, and root, since a slurmd starts jobs as
whoever submits them. Nothing outside of the folder is changed.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

_START_S = 60
_STOP_S = 15
_NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "srun")

# Nobody else's processes are counted, no cgroup is needed, and a job that was
# requeued starts again within seconds (it waits for old credentials to expire).
_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SchedulerParameters=sched_interval=2,batch_sched_delay=1
KillWait=5
MessageTimeout=20
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=low Nodes={host} Default=YES MaxTime=60 PriorityTier=1 GraceTime=5
PartitionName=high Nodes={host} MaxTime=60 PriorityTier=2 PreemptMode=OFF
"""


def missing() -> str:
  """Say why a Slurm cannot be started here, "" if it can be tried."""
  if absent := [
    name for name in _NEEDED if not shutil.which(name, path=_path())
  ]:
    return f"no {', '.join(absent)} here: apt-get install slurm-wlm munge"
  return "" if os.geteuid() == 0 else "a slurmd needs root"


def _path() -> str:
  return f"{os.environ['PATH']}:/usr/sbin:/sbin"


@contextlib.contextmanager
def started() -> Iterator[dict[str, str]]:
  """Start a Slurm, give the variables that lead to it, and stop it.

  Raises:
    RuntimeError: if it does not start; the message is one line.
  """
  with contextlib.ExitStack() as stack:
    # A short name: that of a socket has at most 107 characters.
    folder = pathlib.Path(
      stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm"))
    )
    folder.chmod(0o755)
    for name in ("state", "spool"):
      (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    ports = _free_ports(2)
    conf = folder / "slurm.conf"
    conf.write_text(
      _CONF.format(
        host=socket.gethostname().partition(".")[0],
        controller_port=ports[0],
        node_port=ports[1],
        folder=folder,
        cpus=os.cpu_count(),
        memory=1024,
      )
    )
    variables = {"SLURM_CONF": str(conf), "PATH": _path()}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munge += [f"--socket={folder}/munge.socket", "--num-threads=2"]
    munge += [
      f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")
    ]
    for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
      log = stack.enter_context((folder / f"{command[0]}.out").open("w"))
      daemon = subprocess.Popen(
        command, stdout=log, stderr=log, env=os.environ | variables
      )
      stack.callback(_stop, daemon)
      if command is munge:
        _wait(folder, (folder / "munge.socket").exists)
    _wait(folder, lambda: _is_idle(variables))
    yield variables
    # Or a job that a test has left would keep the folder.
    subprocess.run(
      ["scancel", "--me", "--signal=KILL", "--full"],
      env=os.environ | variables,
    )


def _free_ports(count: int) -> list[int]:
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for one in sockets:
      one.bind(("127.0.0.1", 0))
    return [one.getsockname()[1] for one in sockets]


def _is_idle(variables: dict[str, str]) -> bool:
  done = subprocess.run(
    ["sinfo", "--noheader", "--format=%T"],
    capture_output=True,
    text=True,
    env=os.environ | variables,
  )
  return set(done.stdout.split()) == {"idle"}


def _wait(folder: pathlib.Path, ready) -> None:
  end = time.monotonic() + _START_S
  while not ready():
    if time.monotonic() > end:
      logs = [path.read_text() for path in sorted(folder.glob("*.out"))]
      lines = "".join(logs).splitlines()
      wrong = [line for line in lines if "fatal:" in line or "error:" in line]
      why = wrong[-1] if wrong else f"nothing in {_START_S} s"
      raise RuntimeError(f"Slurm does not start here: {why}")
    time.sleep(0.2)


def _stop(daemon: subprocess.Popen) -> None:
  daemon.terminate()
  try:
    daemon.wait(_STOP_S)
  except subprocess.TimeoutExpired:
    daemon.kill()
    daemon.wait()


def _why_not() -> str:
  """Say why a Slurm does not run here, "" if it does."""
  try:
    if reason := missing():
      return reason
    with started():
      return ""
  except RuntimeError as error:
    return str(error)


if __name__ == "__main__":
  print(_why_not())
