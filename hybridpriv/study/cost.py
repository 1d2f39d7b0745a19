"""What the device pays: size, work, bytes, time and memory of its half."""

import statistics
import time
from typing import Any

import jax

from hybridpriv.networks import staged
from hybridpriv.study import compiled, training
from hybridpriv.study.setup import Setup, constants

_REPEATS = 15


def measure(setup: Setup) -> dict[str, Any]:
  """Measure the client half, and the whole network beside it.

  One sample at a time, as a device has it; the two halves take turns, so that
  their ratio holds also on a machine that does other things. Medians.

  Args:
    setup: the study.

  Returns:
    "client" and "whole", each with `params`, `macs`, `num_bytes` (of what
    leaves the stage), `time_ms`, and `memory_bytes`: weights, input, output
    and the largest intermediate values, as the compiler plans them.
  """
  shape = tuple(setup.config["input_shape"]) or setup.data.inputs.shape[1:]
  values, fixed = training.whole(setup, 0, 0), constants(setup, 0)
  client, _ = staged.split_variables(values, setup.network, setup.config["cut"])
  sample = setup.data.inputs[:1]
  parts = {
    "client": (client, setup.config["cut"]),
    "whole": (values, setup.network.stage_names()[-1]),
  }
  runs, found = {}, {}
  table = staged.describe(setup.network, shape)
  for name, (variables, upto) in parts.items():
    run = compiled.stages(setup.network, shape, None, upto)
    program = run.lower(variables, fixed, sample).compile()
    memory = program.memory_analysis()
    last = [stage.name for stage in table].index(upto) + 1
    found[name] = {
      "params": sum(stage.num_params for stage in table[:last]),
      "macs": sum(stage.macs for stage in table[:last]),
      "num_bytes": table[last - 1].num_bytes,
      "memory_bytes": int(
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
      ),
    }
    given = jax.device_put((variables, fixed, sample))
    runs[name] = (program, given)
  times: dict[str, list[float]] = {name: [] for name in runs}
  for _ in range(_REPEATS):
    for name, (program, given) in runs.items():
      start = time.perf_counter()
      jax.block_until_ready(program(*given))
      times[name].append(1e3 * (time.perf_counter() - start))
  for name, own in times.items():
    found[name]["time_ms"] = statistics.median(own[1:])
  return found
