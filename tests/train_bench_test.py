import pathlib
import sys

import jax
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def bench():
  """The module of the bench; programs find their neighbours in launch/."""
  sys.path.insert(0, str(ROOT / "launch"))
  from benches import train

  yield train
  sys.path.remove(str(ROOT / "launch"))


@pytest.mark.skipif(
  jax.default_backend() != "cpu", reason="other devices have their own"
)
def test_both_sides_compute_the_same_gradient_by_other_programs(
  bench, monkeypatch
):
  programs = []
  real = jax.stages.Lowered.compile

  def compile(self, *args, **kwargs):
    programs.append(self.as_text().count("stablehlo.convolution"))
    return real(self, *args, **kwargs)

  monkeypatch.setattr(jax.stages.Lowered, "compile", compile)
  ours, plain = (
    bench._step("block12", ours=which)() for which in (True, False)
  )
  few, many = programs
  assert few < many
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
    # Where a ReLU is at its kink, rounding takes one side or the other.
    assert np.linalg.norm(a - b) <= 1e-2 * np.linalg.norm(b) + 1e-9
