"""Programs on a study start again for memory in large pages, where it helps."""

import os
import pathlib
import subprocess
import sys

import program
import pytest

PROGRAM = """
import os, sys
sys.path.insert(0, "launch")
import program
program.start(
  lambda given: print(given, os.environ.get("GLIBC_TUNABLES")), takes="words"
)
"""


@pytest.fixture
def ask(monkeypatch, tmp_path):
  """Asks where Linux says `text`; gives what the process became."""

  def run(text, **variables):
    became = []
    file = tmp_path / "enabled"
    file.write_text(text)
    monkeypatch.setattr(program, "_LARGE_PAGES", file)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-B", "run.py", "--x=1"])
    monkeypatch.setattr(os, "execv", lambda *given: became.append(given))
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    for name, value in variables.items():
      monkeypatch.setenv(name, value)
    program._ask_for_large_pages()
    return became, os.environ.get("GLIBC_TUNABLES")

  return run


def test_it_is_the_same_command_that_starts_again(ask):
  again = (sys.executable, [sys.executable, "-B", "run.py", "--x=1"])
  asked = "glibc.malloc.hugetlb=1"
  assert ask("always [madvise] never\n") == ([again], asked)


@pytest.mark.parametrize(
  "text", ["[always] madvise never\n", "always madvise [never]\n"]
)
def test_where_asking_changes_nothing_it_is_not_done(ask, text):
  assert ask(text) == ([], None)


@pytest.mark.parametrize("own", ["", "glibc.malloc.check=1"])
def test_what_somebody_set_stands(ask, own):
  found = ask("always [madvise] never\n", GLIBC_TUNABLES=own)
  assert found == ([], own)


def test_without_such_a_file_it_goes_on(ask, monkeypatch, tmp_path):
  ask("")
  monkeypatch.setattr(program, "_LARGE_PAGES", tmp_path / "none")
  program._ask_for_large_pages()
  assert "GLIBC_TUNABLES" not in os.environ


def test_a_program_that_started_again_does_what_it_was_told(
  repository, environment
):
  unset = {k: v for k, v in environment.items() if k != "GLIBC_TUNABLES"}
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM, "a word", "another"],
    cwd=repository,
    env=unset,
    check=True,
    capture_output=True,
    text=True,
  )
  enabled = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
  asks = enabled.exists() and "[madvise]" in enabled.read_text()
  value = "glibc.malloc.hugetlb=1" if asks else None
  assert done.stdout == f"['a word', 'another'] {value}\n"
