"""The stages of a study as functions of a workdir: skip, resume, run.

`train` -> `fit` -> `audit` -> `report`.  Each stage first runs what it needs,
skips what the workdir already holds, and goes on where it was stopped.
"""

import contextlib
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import jax

from hybridpriv import build, mesh
from hybridpriv.audit import card
from hybridpriv.data import partition
from hybridpriv.networks import staged
from hybridpriv.study import (
  auditing,
  codes,
  fitting,
  inverting,
  judging,
  people,
  proofs,
  stored,
  training,
  workdir,
)
from hybridpriv.study.setup import Setup, trials
from hybridpriv.train import metrics, preemption

STAGES = ("train", "fit", "audit", "report")


def _say(line: str) -> None:
  if mesh.is_first():
    print(line, flush=True)  # stages take minutes, also where output is a file


def run(
  config: Mapping[str, Any],
  folder: pathlib.Path,
  upto: str = "report",
  *,
  command: str = "",
  profile: tuple[int, int] | None = None,
  anew: bool = False,
  say: Callable[[str], None] = _say,
) -> pathlib.Path:
  """Run a study up to a stage.

  Args:
    config: plain nested dictionary, see `configs/default.py`.
    folder: the workdir.
    upto: last stage to run, one of `STAGES`.
    command: what was typed, for the report.
    profile: first and last step of the base training to profile.
    anew: whether a study that was attacked in another way, and is the same
      otherwise, is attacked anew: its trainings stay, and so does what was
      found before.
    say: told one line for each stage.

  Returns:
    The report, or the folder where the last stage left its results.

  Raises:
    workdir.Conflict: if the workdir is in use or holds another study.
    preemption.Preempted: while training, told to stop by a signal.
    ValueError: for a configuration or data that cannot work, for a stage that
      several processes do not run together, and, when all is written, for an
      attack that passed what is proved of a chain.
  """
  results = {
    "train": folder / "trainings.json",
    "fit": folder / "privatizers" / "rows.json",
    "audit": folder / "audit" / "results.json",
    "report": folder / "report" / "index.html",
  }
  wanted = STAGES[: STAGES.index(upto) + 1]
  together = mesh.num_processes() > 1
  if together and upto != "train":
    raise ValueError(
      f"the stage {upto!r} runs in one process: {mesh.num_processes()} train"
      " together, and one goes on"
    )
  if codes.given(config):
    if upto in STAGES[:2]:
      raise ValueError(
        "codes of another system are audited: there is nothing to train; run"
        " launch/audit.py"
      )
    upto, wanted = "report", STAGES[2:]
  with nullcontext() if not mesh.is_first() else workdir.claim(folder):
    setup = None
    changed = workdir.check(folder, config)
    if codes.given(config) and results["audit"].exists():
      codes.check(config, results["audit"])
    if changed and "audit" in wanted:
      if not anew:
        raise workdir.Conflict(
          f"{folder} holds a study that is attacked in another way ({changed}):"
          " --audit_anew does it without training again and keeps what was"
          " found, or use another --workdir"
        )
      setup = prepare(config, folder)  # what cannot work sets nothing aside
      aside = workdir.set_aside(folder, config)
      kept = f"; what there was is in {aside}" if aside else ""
      say(f"audit: anew ({changed}){kept}")
    if results[upto].exists():
      say(f"{upto}: done before, see {results[upto]}")
      _check(results["audit"])
      return results[upto]
    for stage in wanted:
      if results[stage].exists():
        say(f"{stage}: done before")
        continue
      with _timed(folder, stage, say):
        if stage == "report":
          card.write(folder)
          continue
        setup = setup or prepare(config, folder)
        with contextlib.closing(_writer(setup)) as writer:
          if stage == "train":
            # Between two trainings one process does not stop alone.
            with preemption.kept_back() if together else nullcontext():
              training.run(setup, writer, profile)
          elif stage == "fit":
            fitting.run(setup, writer)
          elif codes.given(config):
            codes.run(setup, command)
          else:
            auditing.run(setup, command)
    _check(results["audit"])
  return results[upto]


def _check(path: pathlib.Path) -> None:
  """Stop where a guarantee was passed, when everything else is written."""
  if path.exists():
    proofs.check(json.loads(path.read_text()))


def prepare(config: Mapping[str, Any], folder: pathlib.Path) -> Setup:
  """Load the data, divide the people and build the network.

  Raises:
    ValueError: before any training, for data that do not fit.
  """
  if codes.given(config):
    return codes.prepare(config, folder)
  _check_names(config)
  judging.check(config)
  roles = build.roles(config)
  data = build.load_data(config, str(stored.place(config, folder)))
  folds = build.folds(config, data)
  network = build.network(config, build.num_logits(config, data))
  if network.dtype not in ("float32", "bfloat16"):
    raise ValueError(
      f"config.network.dtype is {network.dtype!r}; expected 'float32' or"
      " 'bfloat16'"
    )
  if jax.default_backend() == "cpu":
    # Slower there in any other, and by the compiler of JAX 0.12 not finite.
    network = network.copy(dtype="float32")
  shape = tuple(config["input_shape"]) or data.inputs.shape[1:]
  if len(shape) != data.inputs.ndim - 1 or any(
    want > have
    for want, have in zip(shape, data.inputs.shape[1:], strict=False)
  ):
    raise ValueError(
      f"config.input_shape is {shape}, and a sample of {data.name} has the"
      f" shape {data.inputs.shape[1:]}: ask for at most that much"
    )
  staged.describe(network, shape)  # the network must fit the input
  setup = Setup(config, roles, data, tuple(folds), network, folder)
  asked = auditing.list_problems(setup)  # who is attacked must be there
  inverting.attacked(setup, asked)
  jax.eval_shape(lambda: training.whole(setup, 0, 0))  # weights must fit
  # Only now: a study that cannot work leaves nothing in the way of the next.
  workdir.record(folder, config)
  path = folder / "partition.json"
  if path.exists():
    folds = partition.from_json(json.loads(path.read_text()), data)
    return setup._replace(folds=folds)
  workdir.write_json(path, partition.to_json(folds, data))
  return setup


def _check_names(config: Mapping[str, Any]) -> None:
  """Find out now what is misspelt, and not after the training."""
  build.rows(config)
  for phase in ("base", "finetune"):
    own = config["train"][phase]
    if own["start"] and own["augment"]:
      raise ValueError(
        f"config.train.{phase} has augment={own['augment']!r} and"
        f" start={own['start']!r}: stored outputs are of samples as they are;"
        " set one of the two to ''"
      )
  audit, names = config["audit"], set()
  for section in ("attacks", "floor_attacks"):
    where = f"config.audit.{section}"
    names |= {a.name for a in build.build_attacks(audit[section], where)}
  unknown = sorted(set(audit["query_attacks"]) - names)
  if unknown:
    raise ValueError(
      f"config.audit.query_attacks names {', '.join(unknown)}; the attacks are"
      f" {', '.join(sorted(names))}"
    )
  grown, means = audit["saturation"], people.sizes(config)
  dfil = audit.get("dfil", 0)  # as of `means`: not in earlier workdirs
  for name, values, able in (
    ("inputs", audit["inputs"], lambda x: x == int(x) and x >= 2),
    ("dfil", (dfil,), lambda x: x == int(x) and x >= 0),
    ("means", means, lambda x: x == int(x) and x >= 2),
    ("saturation.shares", grown["shares"], lambda x: 0 < x < 1),
    ("saturation.widths", grown["widths"], lambda x: x == int(x) and x >= 1),
  ):
    if bad := [x for x in values if not able(x)]:
      raise ValueError(
        f"config.audit.{name} has {bad}: expected inputs and means of 2 or"
        " more, dfil of 0 or more, shares between 0 and 1, widths of 1 or more"
      )
  if means and not any(
    not name.startswith("likelihood.") for name in audit["query_attacks"]
  ):
    raise ValueError(
      f"config.audit.means is {means}, and of"
      " config.audit.query_attacks none learns from means: name others there,"
      " such as attribute.linear"
    )
  hidden = {f"labels/{name}" for name in build.roles(config).unforeseen}
  terms, knobs = build.terms(config)
  for term in terms:
    if seen := sorted(hidden & {name for _, name in term.inputs}):
      raise ValueError(
        f"config.objective.{term.name} reads {', '.join(seen)}, which"
        " config.data.unforeseen keeps from all defences: make it private"
      )
  for trial in trials(config):
    for name, _ in trial.knobs:
      build.copies(knobs, name)


def _writer(setup: Setup) -> metrics.Writer:
  if not mesh.is_first():
    return metrics.Writer(None)
  board = setup.folder / "tensorboard"
  return metrics.Writer(
    setup.folder / "metrics.jsonl",
    board if setup.config["train"]["tensorboard"] else None,
  )


@contextlib.contextmanager
def _timed(folder: pathlib.Path, stage: str, say: Any) -> Iterator[None]:
  """Say what runs, and keep how long it took, also when it is stopped."""
  say(f"{stage} ...")
  start = time.monotonic()
  try:
    yield
  finally:
    seconds = time.monotonic() - start
    workdir.add_seconds(folder, stage, seconds)
  say(f"{stage}: done in {seconds:.0f} s")


def describe(config: Mapping[str, Any], num_classes: int) -> str:
  """Draw the stage table of a configuration, without data.

  Published weights that it names are read, and what they report comes last.

  Args:
    config: plain nested dictionary.
    num_classes: number of logits.

  Raises:
    ValueError: if `config.input_shape` does not say what the network takes, or
      the weights cannot be read.
  """
  if not config["input_shape"]:
    raise ValueError(
      "config.input_shape is empty, so only the data know it: give it, as in"
      " --config.input_shape='(64, 64, 3)'"
    )
  network = build.network(config, num_classes)
  shape = tuple(config["input_shape"])
  _, report = build.weights(config, network, shape)
  lines = [
    f"{config['network']['function']} on {shape},"
    f" {num_classes} classes, cut after {config['cut']}",
    f"{'stage':<12}{'shape':>16}{'values':>12}{'parameters':>14}"
    f"{'MACs':>16}{'bytes':>12}",
  ]
  params = macs = 0
  for row in staged.describe(network, shape):
    params, macs = params + row.num_params, macs + row.macs
    sides = "x".join(map(str, row.shape))
    lines.append(
      f"{row.name:<12}{sides:>16}{math.prod(row.shape):>12,}"
      f"{row.num_params:>14,}{row.macs:>16,}{row.num_bytes:>12,}"
    )
    if row.name == config["cut"]:
      lines.append(f"{'- device':<12}{'':>28}{params:>14,}{macs:>16,}")
  lines.append(f"{'all':<12}{'':>28}{params:>14,}{macs:>16,}")
  if report:
    lines.append(f"weights: {report}")
  return "\n".join(lines)
