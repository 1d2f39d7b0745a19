import jax
import numpy as np
import pytest
from benches import train as bench


@pytest.mark.skipif(
  jax.default_backend() != "cpu", reason="other devices have their own"
)
def test_both_sides_compute_the_same_gradient_by_other_programs(monkeypatch):
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


@pytest.mark.parametrize("name", ["VGG-16", "ResNet-18", "ResNet-50"])
def test_pytorch_has_the_same_parameters(name):
  torch = pytest.importorskip("torch", reason="PyTorch is not installed")
  from references import our_step, torch_networks

  with torch.device("meta"):
    theirs = torch_networks.NETWORKS[name](64)
  ours = jax.eval_shape(
    lambda x: our_step.NETWORKS[name]().init(jax.random.key(0), x, train=False),
    jax.ShapeDtypeStruct((1, 64, 64, 3), "float32"),
  )
  sizes = [
    sorted(int(np.prod(x.shape)) for x in leaves)
    for leaves in (
      jax.tree.leaves(ours["params"]),
      list(theirs.parameters()),
    )
  ]
  assert sizes[0] == sizes[1]


def test_a_step_moves_parameters_statistics_and_the_key():
  from references import our_step

  from hybridpriv.networks import sensor

  network = sensor.sensor(num_classes=2, width=0.1, norm="batch")
  x = jax.random.normal(jax.random.key(0), (4, 16, 3))
  init, step = our_step.update(network, np.arange(4) % 2)
  before = init(jax.random.key(1), x)
  after = jax.jit(step)(before, x)
  for a, b in zip(before, after, strict=True):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    assert all((x != y).any() for x, y in leaves)
  assert jax.tree.structure(before) == jax.tree.structure(after)


def test_the_fastest_way_is_taken_and_a_compiler_may_be_missing():
  pytest.importorskip("torch", reason="PyTorch is not installed")
  import time

  from references import torch_networks

  taken = {torch_networks.PLAIN: 0.02, torch_networks.LAST: 0.0}

  def make(way):
    def run():
      if way == torch_networks.COMPILED:
        raise RuntimeError("no compiler")
      time.sleep(taken[way])

    return run

  *_, said = torch_networks.fastest(make, [*taken, torch_networks.COMPILED])
  assert said == "channels_last (torch.compile failed: RuntimeError)"
  *_, said = torch_networks.fastest(make, list(taken))
  assert said == "channels_last, torch.compile not tried"
