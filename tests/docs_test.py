import copy
import csv
import doctest
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import jsonschema
import pytest

from hybridpriv.audit import results

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
DOCTEST_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
COMMAND_LIMIT_S = 600

# Commands of the README that cannot or need not run here.
SKIPPED = {
  r"make (test|test-slow|lint|docs)\b": "this test is part of them",
  r"(git clone|cd) ": "the test stands in a clone already",
  r"(\.|source) .*activate$": "PATH does it",
  r"pip install ": "packages are the environment's business",
}


def _blocks(text, *languages):
  """Returns the fenced blocks of the given languages, in order."""
  fence = re.compile(r"^```(\S+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
  return [
    block for language, block in fence.findall(text) if language in languages
  ]


def _commands(text):
  """Returns the shell commands, one line each."""
  lines = []
  for block in _blocks(text, "bash", "sh", "shell", "console"):
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
      line = re.sub(r"\s#\s.*", "", line.removeprefix("$ ")).strip()
      if line and not line.startswith("#"):
        lines += [part.strip() for part in line.split("&&")]
  return lines


def _run_examples(text, name):
  """Runs text as a doctest, in a namespace of its own."""
  runner = doctest.DocTestRunner(optionflags=DOCTEST_FLAGS)
  test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
  output = []
  runner.run(test, out=output.append)
  assert not runner.failures, "".join(output)


def _python_blocks():
  for page in PAGES:
    for number, block in enumerate(_blocks(page.read_text(), "python")):
      yield pytest.param(block, id=f"{page.name}-{number}")


def _modules():
  for path in sorted(ROOT.glob("hybridpriv/**/*.py")):
    if ">>>" in path.read_text():
      name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
      yield name.removesuffix(".__init__")


@pytest.mark.parametrize("name", list(_modules()))
def test_examples_in_docstrings_hold(name):
  module = importlib.import_module(name)
  failed, _ = doctest.testmod(module, optionflags=DOCTEST_FLAGS)
  assert failed == 0


@pytest.mark.parametrize("block", list(_python_blocks()))
def test_examples_in_pages_hold(block, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  if ">>>" in block:
    _run_examples(block, "example")
  else:
    exec(compile(block, "example", "exec"), {"__name__": "__main__"})


def test_readme_starts_with_the_two_commands():
  commands = _commands((ROOT / "README.md").read_text())
  setup = re.compile(r"(git clone|cd) ")
  first = [command for command in commands if not setup.match(command)][:2]
  assert first == ["make demo", "make test"]


def test_readme_links_lead_somewhere():
  text = (ROOT / "README.md").read_text()
  targets = re.findall(r"\]\(([^)#\s]+)", text)
  targets += re.findall(r"\ssrc(?:set)?=\"([^\"]+)\"", text)
  local = [target for target in targets if "://" not in target]
  missing = [target for target in local if not (ROOT / target).exists()]
  assert not missing


def _own_folder(faces, folder, columns):
  """Makes a folder of the same pictures with the columns a command names."""
  folder.mkdir()
  (folder / "images.zip").symlink_to(faces / "images.zip")
  with open(faces / "labels.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  for row in rows:
    for role, names in columns.items():
      like = {"desired": "gender", "identity": "identity"}.get(role, "emotion")
      row.update({name: row[like] for name in names if name not in row})
  with open(folder / "labels.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)


def _tiny(command, faces, folders):
  """Returns the command with tiny variants, on made-up data.

  Commands that name the same data get the same folder.
  """
  if command == "make demo":
    # This environment is the one to use, so nothing is to be installed.
    return f"make -o {sys.prefix}/.core demo VENV={sys.prefix} VARIANT=:tiny"
  command = re.sub(r"(configs/[\w/]+\.py)(:\w+)?", r"\1:tiny", command)
  if path := re.search(r"--config\.data\.path[= ](\w+)", command):
    folder = folders / f"data-{path[1]}"
    columns = {}
    for role in ("desired", "private", "unforeseen", "identity"):
      value = re.search(rf"--config\.data\.{role}=(\"[^\"]*\"|\S+)", command)
      columns[role] = re.findall(r"\w+", value[1]) if value else []
    if not folder.exists():
      _own_folder(faces, folder, columns)
    command = re.sub(
      r"(--config\.data\.path[= ])(\"[^\"]*\"|\S+)", rf"\1{folder}", command
    )
  return command


def test_readme_commands_run(faces_folder, tmp_path, environment):
  # One test, because a later command reads the workdir of an earlier one.
  # What a command writes lands in a copy of the tree made of links.
  clone = tmp_path / "clone"
  clone.mkdir()
  for entry in ROOT.iterdir():
    if entry.name not in (".git", ".venv", "runs"):
      (clone / entry.name).symlink_to(entry)
  environment = dict(environment)
  environment["PATH"] = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"
  environment["PYTHONPATH"] = str(ROOT)
  environment.pop("MAKEFLAGS", None)  # the outer make is none of its business

  for command in _commands((ROOT / "README.md").read_text()):
    if any(re.match(pattern, command) for pattern in SKIPPED):
      continue
    tiny = _tiny(command, faces_folder, tmp_path)
    run = subprocess.run(
      ["bash", "-euo", "pipefail", "-c", tiny],
      cwd=clone,
      env=environment,
      capture_output=True,
      text=True,
      timeout=COMMAND_LIMIT_S,
    )
    assert run.returncode == 0, f"{tiny}\n{run.stdout}\n{run.stderr}"


def test_the_documented_results_follow_the_schema():
  schema = json.loads(
    (ROOT / "hybridpriv" / "audit" / "results.schema.json").read_text()
  )
  validator = jsonschema.Draft202012Validator(schema)
  validator.check_schema(schema)
  page = (ROOT / "docs" / "results_format.md").read_text()
  results = json.loads(_blocks(page, "json")[0])
  validator.validate(results)

  # A measurement without chance, floor and interval is an error.
  for field in ("chance", "floor", "low", "high", "interval"):
    broken = copy.deepcopy(results)
    del broken["rows"][0]["leakage"][0][field]
    assert not validator.is_valid(broken), field


@pytest.mark.parametrize(
  "file", sorted(ROOT.glob("docs/results/*.json")), ids=lambda file: file.stem
)
def test_a_results_page_says_what_its_results_file_holds(file):
  value = json.loads(file.read_text())
  schema = ROOT / "hybridpriv" / "audit" / "results.schema.json"
  jsonschema.validate(value, json.loads(schema.read_text()))
  found = results.from_json(value)
  assert file.stat().st_size < 512 * 1024
  assert not re.search(r'"/\w', file.read_text())  # no path of a machine
  assert ":tiny" not in found.study["command"]
  assert found.study["revision"] and "dirty" not in found.study["revision"]
  page = file.with_suffix(".md").read_text()
  table = re.search(r"^## The embeddings\n(.*?)^## ", page, re.M | re.S)[1]
  for row in found.rows:
    utility = row.utility[0]
    low, high = (100 * v for v in (utility.low, utility.high))
    cell = f"{100 * utility.value:.1f} [{low:.1f}, {high:.1f}]"
    leaks = [row.leakage[at] for at in row.worst.values()]
    if row.selected:
      assert cell in table
      for m in leaks:
        assert f"{100 * m.value:.1f} [{100 * m.low:.1f}, " in table
