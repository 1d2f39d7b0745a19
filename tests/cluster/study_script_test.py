"""The script of a study of several tasks, with a Slurm that is made up."""

import os
import subprocess

import pytest


@pytest.mark.parametrize("status", [0, 2, 75])
def test_a_job_is_sent_again_when_it_was_told_to_stop(
  repository, tmp_path, status
):
  for name, text in (
    ("srun", f'printf "<%s>" "$@"; echo; exit {status}'),
    ("scontrol", 'echo "$@"'),
  ):
    (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
    (tmp_path / name).chmod(0o755)
  done = subprocess.run(
    ["bash", "docs/cluster/study.sbatch", "--config=my own"],
    cwd=repository,
    env={
      "PATH": f"{tmp_path}:{os.environ['PATH']}",
      "PYTHON": "python",
      "SLURM_JOB_ID": "7",
    },
    capture_output=True,
    text=True,
  )
  started = "<python><launch/run.py><--config=my own>"
  requeued = ["requeue 7"] if status == 75 else []
  assert done.stdout.splitlines() == [started, *requeued]
  assert done.returncode == status and not done.stderr
