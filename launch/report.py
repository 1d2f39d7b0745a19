"""Draw the report of an audited study again, or compare several studies.

  python launch/report.py runs/demo
  python launch/report.py runs/one runs/two --out=runs/comparison --csv --latex
  python launch/report.py docs/results/lfw_gender.json --out=runs/again
  python launch/report.py runs/one runs/two --against=likelihood.bayes:rank

Workdirs are arguments without a dash; --workdir names one as well. Results
files that were kept, as in docs/results/, may stand for workdirs. With
--config, as for the other programs, what is missing is run first.
"""

import pathlib

import program
from absl import flags

OUT = flags.DEFINE_string(
  "out",
  "comparison",
  "folder for the comparison of several workdirs, or the report of a file",
)
CSV = flags.DEFINE_bool(
  "csv", False, "also write every measurement, measurements.csv"
)
AGAINST = flags.DEFINE_list(
  "against",
  [],
  "attacks that a comparison draws utility against, each alone or with a"
  " metric, as in likelihood.bayes:rank; default: neighbour.first:accuracy and"
  " density.density:log_rank, where all studies have them",
)
LATEX = flags.DEFINE_bool(
  "latex", False, "also write a table for LaTeX (booktabs), embeddings.tex"
)


def main(given: list[str]) -> None:
  """Draw one report, or a comparison."""
  workdirs = [pathlib.Path(w) for w in given]
  if program.WORKDIR.value:
    workdirs.append(program.workdir())
  if not workdirs:
    program.require("workdir")
  if program.AUDIT_ANEW.value and program.CONFIG.value is None:
    program.fail("--audit_anew attacks what --config says, which is missing")
  if program.CONFIG.value is not None:
    if len(workdirs) > 1:
      program.fail("--config belongs to one study: name one workdir")
    from hybridpriv import study

    study.run(
      program.config(),
      workdirs[0],
      "audit",
      command=program.command(),
      anew=program.AUDIT_ANEW.value,
    )
  from hybridpriv.audit import card, compare

  if AGAINST.value and len(workdirs) == 1:
    program.fail("--against belongs to a comparison: name two workdirs")
  if len(workdirs) == 1:
    is_file = workdirs[0].suffix == ".json"
    out = pathlib.Path(OUT.value) if is_file else None
    page = card.write(workdirs[0], out)
  else:
    page = compare.write(workdirs, pathlib.Path(OUT.value), AGAINST.value)
  print(page)
  for wanted, name, table in (
    (CSV.value, "measurements.csv", compare.to_csv),
    (LATEX.value, "embeddings.tex", compare.to_latex),
  ):
    if wanted:
      path = page.with_name(name)
      path.write_text(table(workdirs))
      print(path)


if __name__ == "__main__":
  program.start(main, takes="workdirs")
