"""What went wrong is one line, whoever noticed it."""

import pathlib
import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.path.insert(0, "launch")
import pathlib
import numpy as np
import program

def body(given):
  {statement}

program.start(body, study=False)
"""


@pytest.fixture
def said(repository, environment):
  """Runs a program of one statement; gives its status and last words."""

  def run(statement):
    done = subprocess.run(
      [sys.executable, "-c", PROGRAM.format(statement=statement)],
      cwd=repository,
      env=environment,
      capture_output=True,
      text=True,
    )
    return done.returncode, done.stderr.strip().splitlines()

  return run


@pytest.mark.skipif(
  not pathlib.Path("/dev/full").exists(), reason="there is no /dev/full"
)
def test_a_full_disk_is_one_line_wherever_it_was_found(said):
  status, lines = said('pathlib.Path("/dev/full").write_text("a")')
  assert status == 2 and len(lines) == 1
  assert (
    lines[0].startswith("error: ") and "No space left on device" in lines[0]
  )


def test_a_fault_inside_a_library_keeps_its_traceback(said):
  status, lines = said('np.load("README.md")')
  assert status == 1 and lines[0].startswith("Traceback")
