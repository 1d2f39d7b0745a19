"""The parts of the report on where its numbers come from."""

from __future__ import annotations

import json
import re
from typing import Any

from hybridpriv.audit import page, words
from hybridpriv.audit import results as results_lib
from hybridpriv.audit.results import Results

_PARTS = ("train", "validation", "test", "audit")


def threat(results: Results) -> page.Section:
  """Say what the attacker knows, has and wants."""
  data = sorted(
    {
      f"{m.target}: {m.auxiliary}"
      for row in results.rows
      for m in row.leakage
      if m.auxiliary
    }
  )
  blocks: list[page.Block] = [page.Text(results.study["threat"]["text"])]
  if before := results.study.get("earlier_audits"):
    times = "1 time" if before == 1 else f"{before} times"
    blocks.append(
      page.Text(
        f"The same was audited {times} before, with other attacks or settings."
        " What was found then is in the workdir, in `earlier/`."
      )
    )
  if data:
    blocks += [page.Text("The attacker's own data:"), page.Points(tuple(data))]
  if lacking := _without_result(results):
    blocks += [
      page.Text(
        "**Attacks of the configuration without a result here**: those that "
        "cannot be run on such codes or such noise, and those that a file "
        "which was kept of a study leaves out."
      ),
      page.Points(tuple(lacking)),
    ]
  return page.Section("threat", "The threat", tuple(blocks))


def _without_result(results: Results) -> list[str]:
  """List attacks that were asked for and are missing from some rows."""
  asked = set()
  # Of another program the configuration may be anything.
  for key, path in words.flat(results.study.get("config", {})).items():
    if entry := re.fullmatch(r"audit\.attacks\.(\w+)\.function", key):
      # Called as `build.build_attacks` does.
      family = "" if ":" in str(path) else str(path).partition(".")[0] + "."
      asked.add(family + entry[1])
  found = []
  for name in sorted(asked):
    rows = [
      row.name
      for row in results.rows
      if name not in {m.attack for m in row.leakage}
    ]
    if len(rows) == len(results.rows):
      found.append(f"`{name}` on all rows")
    elif rows:
      found.append(
        f"`{name}` on {len(rows)} of {words.count(len(results.rows), 'row')},"
        f" among them {rows[0]}"
      )
  return found


def people(results: Results) -> page.Section:
  """Count samples and people by fold and part."""
  study = results.study
  named = study["data"].get("identity", "") is not None
  cells = []
  for number, fold in enumerate(study["partition"]):
    cells.append((f"fold {number}", *(_part(fold[p], named) for p in _PARTS)))
  blocks: list[page.Block] = [
    page.Table(
      ("", *_PARTS),
      tuple(cells),
      "Samples by fold and part"
      + (", and how many people they come from." if named else "."),
    )
  ]
  if study["data"].get("kind") == "code":
    text = "Attackers learn, choose and are scored within audit."
  elif named:
    text = (
      "Networks and privatizers are fitted on train and chosen on validation; "
      "utility is measured on test; attackers learn, choose and are scored "
      "within audit, whose people took part in neither training nor choice."
    )
  else:
    text = "No person is named in this data: parts are divided by sample."
  blocks.append(page.Text(text))
  if notes := study["data"].get("notes"):
    blocks += [page.Text("Rows left out:"), page.Points(tuple(notes))]
  return page.Section("people", "Who is where", tuple(blocks))


def _part(part: dict[str, int], named: bool) -> str:
  samples = words.count(part["samples"], "sample")
  if not named:
    return samples
  return f"{samples}, {words.count(part['people'], 'person', 'people')}"


def trainings(results: Results, pictures: list[page.Block]) -> page.Section:
  """Print trials, choices and the rule, with the curves."""
  study, cells, rules = results.study, [], []
  for name, training in study.get("trainings", {}).items():
    for number, fold in enumerate(results_lib.folds(training)):
      where = f"{name}, fold {number}"
      if fold.get("rule") and len(fold.get("trials", ())) > 1:
        rules.append(f"{where}: {fold['rule']}")
      for trial in fold.get("trials", ()):
        chosen = trial.get("name") == fold.get("chosen")
        cells.append(
          (
            where,
            str(trial.get("name", "")),
            words.share(trial.get("utility")),
            page.Badge("chosen", "mark") if chosen else "",
          )
        )
  blocks = list(pictures)
  if cells:
    blocks.append(
      page.Table(
        ("training", "trial", "validation utility", ""),
        tuple(cells),
        "Trials, in percent of balanced utility on task-validation (never on "
        "test).",
        words=(1, 3),
      )
    )
  if rules:
    blocks += [page.Text("The choice was:"), page.Points(tuple(rules))]
  return page.Section("trainings", "Trainings", tuple(blocks))


def environment(results: Results) -> page.Section:
  """Print command, machine, versions, times and the whole config."""
  study = results.study
  data = study["data"]
  facts: list[tuple[str, str]] = [
    ("data", _data(data)),
    ("network", f"{study['network']}, cut after {study['cut']}"),
    ("machine", _plain(study["machine"])),
    ("date", str(study.get("date", words.NONE))),
    ("revision", str(study.get("revision") or words.NONE)),
  ]
  facts += [(f"{k} version", str(v)) for k, v in study["versions"].items()]
  blocks: list[page.Block] = [
    page.Table(("", ""), tuple(facts), "What was run, and where.", words=(1,))
  ]
  if spent := study.get("seconds"):
    times = [(stage, words.seconds(s)) for stage, s in spent.items()]
    times.append(("all", words.seconds(sum(spent.values()))))
    blocks.append(page.Table(("stage", "time"), tuple(times), "Time by stage."))
  if command := study.get("command"):
    blocks += [page.Text("Command:"), page.Code(command)]
  if config := study.get("config"):
    blocks += [
      page.Text("Config:"),
      page.Code(json.dumps(config, indent=2, ensure_ascii=False)),
    ]
  return page.Section(
    "environment", "Command, machine, config", tuple(blocks), folded=True
  )


def _data(data: dict[str, Any]) -> str:
  parts = [
    data["name"],
    "**synthetic**" if data["synthetic"] else "",
    f"licence {data['licence']}",
    data.get("citation", ""),
  ]
  return "; ".join(part for part in parts if part)


def _plain(machine: Any) -> str:
  if isinstance(machine, dict):
    return ", ".join(f"{k} {v}" for k, v in words.flat(machine).items())
  return str(machine)
