import json

import pytest

WHOLE = "the whole network on the device"


def _row(what, ours, reference, unit, against=WHOLE, skipped=""):
  return {
    "what": what,
    "against": against,
    "unit": unit,
    "ours": ours,
    "reference": reference,
    "skipped": skipped,
  }


ROWS = [
  _row("net to a: parameters", 1000, 4000, ""),
  _row("net to a: sent, 8 values of a byte", 22, 2200, "bytes", "a picture"),
  _row("net to b: parameters", 3000, 4000, ""),
  _row("net to a, JAX: a sample", 0.0123, 0.0246, "s"),
  _row("net to b, JAX: a sample", 0.5, 2.0, "s"),
  _row("net to a, JAX, one thread: a sample", 0.02, 0.025, "s"),
  _row("net to a, ONNX int8: a sample", 0.004, 0.04, "s"),
  _row("net to a, ONNX int8: a sample", 0.004, 0.4, "s", "PyTorch float32"),
  _row("net, LiteRT", None, None, "", skipped="it is not installed"),
]


@pytest.fixture
def laid_out(launch, tmp_path):
  """The folder of what is laid out, and what the program said."""

  def run(found):
    path = tmp_path / "device.json"
    path.write_text(json.dumps(found))
    return launch("costs", path, f"--out={tmp_path / 'out'}", check=False)

  return run


def test_costs_and_their_shares_stand_by_cut_and_form(laid_out, tmp_path):
  done = laid_out({"bench": "device", "rows": ROWS})
  assert done.returncode == 0, done.stderr
  sizes, times, one = (
    (tmp_path / "out" / "device_costs.md").read_text().strip().split("\n\n")
  )
  assert "| net, a | 1,000 (0.25) | 22 bytes (0.01) |" in sizes
  assert "| net, b | 3,000 (0.75) |  |" in sizes
  assert times.startswith("| a sample | JAX | ONNX int8 |")
  # Not the comparison with PyTorch, which is of another kind.
  assert "| net, a | 12.3 ms (0.50) | 4 ms (0.10) |" in times
  assert "| net, b | 500 ms (0.25) |  |" in times
  assert "| net, a | 20 ms (0.80) |" in one
  for name in ("device_costs.png", "device_costs-dark.png"):
    assert (tmp_path / "out" / name).stat().st_size > 1000


@pytest.mark.parametrize(
  "found", [{"bench": "audit", "rows": ROWS}, {"bench": "device", "rows": []}]
)
def test_another_file_is_one_clear_error(laid_out, found):
  done = laid_out(found)
  assert done.returncode == 2 and "Traceback" not in done.stderr
  assert "is of no run of `launch/bench.py device`" in done.stderr
