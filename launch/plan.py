r"""Choose what to ship, under constraints that you state.

  python launch/plan.py runs/certified --max_leakage=0.1 --min_utility=0.85
  python launch/plan.py runs/layers/block11 runs/layers/block13 \
    --min_utility=0.94 --max_device_ms=8 --export=bundle

Every defence of the workdirs (say, of other cuts) is an option. The choice is
made on validation, the test confirms it; where nothing fits, it says which
constraint to relax and by how much. Shares are of 1. A constraint on a private
label may name it: --max_leakage=identity=0.1,gender=0.6.
"""

import functools
import math
import pathlib
import sys
from collections.abc import Sequence

import device_costs
import program
from absl import flags

MAX_LEAKAGE = flags.DEFINE_list(
  "max_leakage", None, "largest success of the worst attack on a private label"
)
MIN_UTILITY = flags.DEFINE_float(
  "min_utility", None, "least balanced accuracy of the service"
)
MAX_BYTES = flags.DEFINE_float("max_bytes", None, "largest code, in bytes")
MAX_DEVICE_MS = flags.DEFINE_float(
  "max_device_ms", None, "longest client half, in ms"
)
DEVICE_COSTS = flags.DEFINE_string(
  "device_costs",
  "",
  "file of `launch/bench.py device`, for times there",
)
RUNTIME = flags.DEFINE_string(
  "runtime", "ONNX float32", "what runs it there, as that file names it"
)
MIN_GUARANTEE = flags.DEFINE_list(
  "min_guarantee",
  None,
  "success that is proved to be out of reach with one code",
)
MAX_QUERIES = flags.DEFINE_integer(
  "max_queries",
  1,
  "codes that an attacker has; 1, or 10 or 100 where audited",
)
OUT = flags.DEFINE_string("out", "", "folder for the figure of the front")
EXPORT = flags.DEFINE_string("export", "", "also make the bundle of the choice")
_ALTERNATIVES = 3


def main(given: list[str]) -> None:
  """Choose, confirm, print; export where asked to."""
  from hybridpriv.audit import drawing, planning, results

  workdirs = [pathlib.Path(w) for w in given]
  if program.WORKDIR.value:
    workdirs.append(program.workdir())
  if not workdirs:
    program.require("workdir")
  constraints = planning.Constraints(
    _by_target("max_leakage", MAX_LEAKAGE.value),
    MIN_UTILITY.value,
    MAX_BYTES.value,
    MAX_DEVICE_MS.value,
    _by_target("min_guarantee", MIN_GUARANTEE.value),
  )
  found = planning.options(
    {w: results.read(w) for w in workdirs},
    num_queries=MAX_QUERIES.value,
    device_ms=_device_ms(),
  )
  if EXPORT.value and not (found := [o for o in found if planning.ships(o)]):
    program.fail(
      "--export: no defence of these studies ships; one must end in"
      " noise.discrete and quantize.saturate, as in configs/lfw_certified.py"
    )
  asked = planning.limits(constraints, list(found[0].leakage))
  made = planning.plan(found, constraints)
  if OUT.value:
    folder = pathlib.Path(OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    drawing.save(
      functools.partial(planning.draw, found, made, asked), folder, "front"
    )
    print(folder / "front.png")
  if made.chosen is None:
    _explain(made, asked)
  else:
    print("chosen:")
    _show(made.chosen, asked)
    for other in made.fitting[1 : _ALTERNATIVES + 1]:
      print("also fits:")
      _show(other, asked)
    if EXPORT.value:
      _export(made.chosen)


def _device_ms() -> dict[tuple[float, float], float] | None:
  """Read what client halves take on the device, if that was measured."""
  if not DEVICE_COSTS.value:
    return None
  costs = device_costs.read(pathlib.Path(DEVICE_COSTS.value))
  found = device_costs.times(costs, RUNTIME.value)
  return {half: 1e3 * seconds for half, seconds in found.items()}


def _by_target(name: str, given: Sequence[str] | None) -> dict | None:
  """Read 0.1, or identity=0.1,gender=0.6."""
  if given is None:
    return None
  found = {}
  for part in given:
    target, _, text = part.rpartition("=")
    try:
      found[target] = float(text)
    except ValueError:
      program.fail(
        f"--{name}={','.join(given)}: expected a share, as in 0.1, or one for"
        " each private label, as in identity=0.1,gender=0.6"
      )
  return found


def _show(option, asked) -> None:
  """Print an option: what it is, and what validation and test say."""
  from hybridpriv.audit import planning

  print(f"  {option.row.name}, cut after {option.row.cut} ({option.workdir})")
  useful, leaks = option.confirmed
  lines = [f"utility {100 * option.utility:.1f} % on validation"]
  lines += [_tested(m) for m in useful]
  print("   ", "; ".join(lines))
  for target, value in option.leakage.items():
    said = "with so many codes nobody tried" if math.isnan(value) else ""
    said = said or f"{100 * value:.1f} % on validation"
    line = f"leaks {target} {said}"
    for m in leaks[target]:
      line += f"; {_tested(m)}{_of_several(m)}"
    line += f", chance {100 * leaks[target][0].chance:.1f}"
    if target in option.proved:
      line += f"; proved: at most {100 * option.proved[target]:.1f} %"
    print("   ", line)
  device = (
    "time on the device not measured"
    if math.isnan(option.device_ms)
    else f"{option.device_ms:.1f} ms for the client half ({_runtime()})"
  )
  for target in option.row.worst:
    if target not in option.leakage:
      print("    beside it:", _tested(option.row.leakage_of(target)))
  print(f"    {option.num_bytes} bytes and the frame's 14, {device}")
  if not planning.ships(option):
    print("    does not ship: nothing is proved of it on whole numbers")
  for limit in asked:
    measured = _test_value(option, limit.name)
    if measured is None:
      continue
    over = limit.value - measured if limit.is_lower else measured - limit.value
    if over > 0:
      print(
        f"    warning: on test it misses {limit.name} by"
        f" {100 * over:.1f} points"
      )


def _runtime() -> str:
  return RUNTIME.value if DEVICE_COSTS.value else "JAX, where it ran"


def _tested(m) -> str:
  return (
    f"{m.target} {100 * m.value:.1f} % [{100 * m.low:.1f}, {100 * m.high:.1f}]"
    " on test"
  )


def _of_several(m) -> str:
  """Say of how many inputs an attack had codes, where it is more than one."""
  if "queries" not in m.extra:
    return ""
  return f" by codes of {m.num_queries} {m.extra['queries']}"


def _test_value(option, name: str) -> float | None:
  """Read what the test says of a constrained number."""
  useful, leaks = option.confirmed
  if name == "--min_utility":
    return sum(m.value for m in useful) / len(useful)
  flag, _, target = name.partition("=")
  if flag == "--max_leakage":
    return max(m.value for m in leaks[target or next(iter(leaks))])
  return None


def _explain(made, asked) -> None:
  """Say why nothing fits, and what would."""
  print("nothing fits all of:")
  for limit in asked:
    print(f"  {limit.name}: {limit.value:g}")
  for name, (bound, option) in made.relaxed.items():
    print(f"with {name} at {bound:.4g}, and all else as it is:")
    _show(option, ())
  if not made.relaxed:
    missed = [x for x in asked if x.lacks(made.nearest) > 0]
    print("more than one has to give; nearest:")
    _show(made.nearest, ())
    for limit in missed:
      lacks = limit.lacks(made.nearest)
      print(
        f"  {limit.name}: "
        + (
          f"it has {limit.of(made.nearest):.4g}"
          if math.isfinite(lacks)
          else "it has none"
        )
      )
  sys.exit(3)


def _export(option) -> None:
  if not option.workdir.is_dir():
    program.fail(
      f"--export needs the workdir of a study, and {option.workdir} is a file"
    )
  from hybridpriv.study import shipping  # JAX takes seconds to load

  made = shipping.run(
    option.workdir,
    pathlib.Path(EXPORT.value),
    row=option.row.name,
    max_queries=MAX_QUERIES.value,
    command=program.command(),
  )
  print(f"bundle {made.id.hex()}: {made.folder}")


if __name__ == "__main__":
  program.start(main, takes="workdirs")
