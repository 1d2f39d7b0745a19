"""A training step: of whole networks beside PyTorch, and of parts of one.

Forward, backward, update by SGD with momentum, BatchNorm in training, dropout.
On a card the networks take images of 224 pixels in bfloat16.  Beside them: the
client half of VGG-16 with BatchNorm, frozen; what follows a frozen prefix of
the face recognizer, as the main study trains it; many small trainings as one
program.
"""

import functools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import measure
import numpy as np
import optax
from references import our_step

from hybridpriv.networks import convolution, dlib, frozen, sensor, staged, vgg

_BATCH = 128
_CUTS = ("block10", "block11", "block12")
_REPLICAS = 32
_WINDOW = (200, 6)  # of SPAR, with the network and batches of its study
_MISSING = "torch is not installed: pip install torch"


class Shape(NamedTuple):
  """A network, the side of its images and how many a step takes."""

  network: str
  side: int
  batch: int

  @property
  def said(self) -> str:
    """What is measured, in words."""
    return f"{self.network}, {self.side} px, batch of {self.batch}"


ON_CPU = (
  Shape("ResNet-50", 112, 8),
  Shape("VGG-16", 64, 16),
  Shape("VGG-16", 112, 8),
  Shape("ResNet-18", 112, 8),
)
ON_CARD = (Shape("VGG-16", 224, 64), Shape("ResNet-50", 224, 128))
# Dense products in bfloat16 a second, from the makers' data sheets.
# The first name that is part of a card's is taken.
PEAKS = {
  "H200": 989e12,
  "H100 PCIe": 756e12,
  "H100 NVL": 835e12,
  "H100": 989e12,
  "A100": 312e12,
  "L40S": 362e12,
  "L4": 121e12,
}


def run(quick: bool) -> Iterator[measure.Part]:
  """Measure all of it, or with `quick` two networks, few rounds, one cut.

  Args:
    quick: whether to look only; PyTorch is not compiled then.
  """
  shapes = ON_CPU if jax.default_backend() == "cpu" else ON_CARD
  timed: list[measure.Row] = []
  for shape in shapes[-2:] if quick else shapes:
    rows = functools.partial(_whole, shape, quick, timed)
    yield measure.Part(f"{shape.said}: training step", rows)
  yield measure.Part(
    "training step: geometric mean", functools.partial(_mean, timed)
  )
  yield measure.Part(
    "VGG-16 with BatchNorm, frozen", functools.partial(client, quick)
  )
  for cut in _CUTS[-1:] if quick else _CUTS:
    rows = functools.partial(behind, cut, 5 if quick else 21)
    yield measure.Part(f"resnet29_dlib behind {cut}", rows)
  rows = functools.partial(replicas, 3 if quick else 11)
  yield measure.Part(f"{_REPLICAS} replicas", rows)


def _whole(
  shape: Shape, quick: bool, timed: list[measure.Row]
) -> Iterator[measure.Row]:
  """Compare the step of a whole network with PyTorch; keep its time."""
  is_cpu = jax.default_backend() == "cpu"
  ours = our_step.make(*shape, is_half=not is_cpu)
  what = f"{shape.said}{'' if is_cpu else ', bfloat16'}: training step"
  (row,) = measure.compare(
    what,
    measure.Side("", ours),
    [_torch(shape, quick)],
    rounds=_rounds(quick),
  )
  yield row
  timed.append(row)
  yield _memory(shape) if is_cpu else _utilisation(shape, row)


def _mean(timed: list[measure.Row]) -> Iterator[measure.Row]:
  """Average what was compared."""
  pairs = [(r.ours, r.reference) for r in timed if r.ratio]
  if len(pairs) > 1:
    mean = np.exp(np.log(np.array([pairs], float)).mean(axis=1))
    what = f"training step: geometric mean of {len(pairs)}"
    yield measure.row(what, "PyTorch, as above", "s", mean)


def _rounds(quick: bool) -> int:
  return 3 if quick else 9


def _torch(shape: Shape, quick: bool) -> measure.Side:
  """Give PyTorch's side of a step, at its best."""
  try:
    from references import torch_adversaries, torch_networks
  except ModuleNotFoundError as error:
    if error.name != "torch":
      raise
    return measure.Side("PyTorch", lambda: None, skipped=_MISSING)
  device = torch_adversaries.device(backend := jax.default_backend())
  if not device:
    why = f"JAX is on {backend}, PyTorch has none: JAX_PLATFORMS=cpu"
    return measure.Side("PyTorch", lambda: None, skipped=why)
  work = torch_networks.Work(*shape, device=device, is_half=device != "cpu")
  run, _, way = torch_networks.fastest(
    functools.partial(torch_networks.step, work), _ways(quick)
  )
  return measure.Side(f"PyTorch, {way}", run)


def _ways(quick: bool) -> list[str]:
  from references import torch_networks

  ways = [torch_networks.PLAIN, torch_networks.LAST]
  return ways if quick else [*ways, torch_networks.COMPILED]


def _memory(shape: Shape) -> measure.Row:
  """Compare the memory of processes that take three steps, at its highest."""
  found = []
  launch = str(pathlib.Path(__file__).parents[1])
  for name in ("our_step", "torch_networks"):
    done = subprocess.run(
      [sys.executable, "-m", f"references.{name}", json.dumps(shape)],
      env={**os.environ, "PYTHONPATH": os.pathsep.join([launch, *sys.path])},
      stdout=subprocess.PIPE,
      text=True,
    )
    if done.returncode:
      why = f"{name} failed, see above"
      return measure.skipped(f"{shape.said}: memory", "PyTorch", why)
    found.append(float(done.stdout.splitlines()[-1]) / 2**20)
  return measure.row(
    f"{shape.said}: memory of the process at its highest",
    "PyTorch, channels_last",
    "MiB",
    np.array([found]),
  )


def _utilisation(shape: Shape, timed: measure.Row) -> measure.Row:
  """Hold a step against what the card could do at most."""
  what = f"{shape.said}, bfloat16: model FLOP utilisation"
  kind = jax.devices()[0].device_kind
  peak = next((v for name, v in PEAKS.items() if name in kind), None)
  if peak is None or timed.ours is None:
    why = f"no peak is known of {kind}: name it in PEAKS"
    return measure.skipped(what, "the card's peak", why)
  network = our_step.NETWORKS[shape.network](dtype="bfloat16")
  info = staged.describe(network, (shape.side, shape.side, 3))
  # Of a multiply-accumulate two; backward takes twice what forward takes.
  flops = 6 * shape.batch * sum(stage.macs for stage in info)
  pair = np.array([[timed.ours, flops / peak]])
  return measure.row(what, f"the card's peak, {peak:.3g} a second", "s", pair)


def client(quick: bool) -> list[measure.Row]:
  """Compare the frozen half of VGG-16 with BatchNorm, one image of 112 px.

  Args:
    quick: whether to look only.
  """
  side, cut = 112, "conv5_1"
  network = vgg.vgg16(num_classes=2, norm="batch")
  image = jax.random.normal(jax.random.key(1), (1, side, side, 3))
  variables = jax.jit(functools.partial(network.init, train=False))(
    jax.random.key(0), image
  )
  half, _ = staged.split_variables(variables, network, cut)
  what = f"VGG-16 with BatchNorm to {cut}, {side} px, one image, frozen"
  try:
    from references import torch_networks
  except ModuleNotFoundError as error:
    if error.name != "torch":
      raise
    other = measure.Side("PyTorch", lambda: None, skipped=_MISSING)
  else:
    run, _, way = torch_networks.fastest(
      functools.partial(torch_networks.client, side), _ways(quick)
    )
    other = measure.Side(f"PyTorch on the processor, {way}", run)
  as_is = jax.jit(lambda v, x: network.apply(v, x, train=False, upto=cut)[0])
  prepared = frozen.prepare(network, half)
  fast = jax.jit(functools.partial(frozen.run, network, cut))
  rows = []
  for said, answer in (
    ("as trained", lambda: as_is(half, image)),
    ("prepared", lambda: fast(prepared, image)),
  ):
    ours = measure.Side("", lambda f=answer: jax.block_until_ready(f()))
    rows += measure.compare(
      f"{what}, {said}", ours, [other], rounds=5 if quick else 21
    )
  return rows


def behind(cut: str, rounds: int) -> list[measure.Row]:
  """Compare our convolutions with the compiler's behind a frozen prefix.

  Args:
    cut: last stage of the prefix.
    rounds: how often each is timed.
  """
  return measure.compare(
    f"resnet29_dlib behind {cut}: gradient of a batch of {_BATCH}",
    measure.Side("", _step(cut, ours=True)),
    [measure.Side("the compiler's convolutions", _step(cut, ours=False))],
    rounds=rounds,
  )


def _step(cut: str, *, ours: bool) -> Callable[[], Any]:
  """Compile the gradient for one cut."""
  network, shape = dlib.resnet29_dlib(num_classes=62), (150, 150, 3)
  info = staged.describe(network, shape)
  size = next(stage.shape for stage in info if stage.name == cut)
  images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  variables = jax.jit(
    lambda x: network.init(jax.random.key(0), x, train=False)
  )(jnp.zeros(images.shape))
  _, cloud = staged.split_variables(variables, network, cut)
  features = jax.random.normal(jax.random.key(1), (_BATCH, *size))
  labels = jnp.arange(_BATCH) % 62

  def loss(cloud: Any, x: jax.Array) -> jax.Array:
    logits = network.apply(cloud, x, train=True, after=cut)[0]
    return jnp.mean(
      optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    )

  few = convolution.FEW
  try:
    convolution.FEW = few if ours else _BATCH + 1  # read while it is traced
    compiled = jax.jit(jax.grad(loss)).lower(cloud, features).compile()
  finally:
    convolution.FEW = few
  return lambda: jax.block_until_ready(compiled(cloud, features))


def replicas(rounds: int) -> list[measure.Row]:
  """Compare many small trainings as one program with one after another.

  Args:
    rounds: how often each is timed.
  """
  network = sensor.sensor(num_classes=7, width=0.5)
  windows = jax.random.normal(jax.random.key(1), (64, *_WINDOW))
  labels = jnp.arange(64) % 7
  init, step = our_step.update(network, labels)
  keys = jax.random.split(jax.random.key(0), _REPLICAS)
  states = jax.jit(jax.vmap(lambda key: init(key, windows)))(keys)
  alone = [jax.tree.map(lambda x, i=i: x[i], states) for i in range(_REPLICAS)]
  one = jax.jit(step)
  many = jax.jit(jax.vmap(step, in_axes=(0, None)))
  return measure.compare(
    f"{_REPLICAS} replicas of the SPAR network, batch of 64: training step",
    measure.Side(
      "as one program", lambda: jax.block_until_ready(many(states, windows))
    ),
    [
      measure.Side(
        "the same program, one replica after another",
        lambda: jax.block_until_ready([one(s, windows) for s in alone]),
      )
    ],
    rounds=rounds,
  )
