"""How time, memory and bytes grow: each measured over three decades or more.

Every row is compared with what a tenth of the work takes, ten times where it is
time or bytes: 1 is growth in proportion, and of memory 1 is none.  Then what a
step of a training computes and what it sends, counted by the compiler.
`python launch/scaling.py` fits and predicts from the file.
"""

import functools
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import measure
import numpy as np
import optax

from benches import audit, train
from benches import rank as rank_bench
from hybridpriv.attacks import rank
from hybridpriv.deploy import wire
from hybridpriv.networks import dlib, resnet, sensor, vgg

_OBSERVED = 4096
_BATCH = 128
_WINDOW = (128, 6)
NETWORKS = (
  ("VGG-16, 224 px", vgg.vgg16(num_classes=2), (224, 224, 3)),
  ("ResNet-50, 224 px", resnet.resnet50(num_classes=2), (224, 224, 3)),
  ("resnet29_dlib, 150 px", dlib.resnet29_dlib(num_classes=2), (150, 150, 3)),
  (
    "VGG-16 of a quarter of the width, 64 px",
    vgg.vgg16(num_classes=2, width=0.25, norm="batch"),
    (64, 64, 3),
  ),
  ("sensor network", sensor.sensor(num_classes=7), _WINDOW),
)


def run(quick: bool) -> Iterator[measure.Part]:
  """Measure all series, or with `quick` without the last decade.

  Args:
    quick: whether to look only.
  """
  end, rounds = (3, 2) if quick else (4, 3)
  decades = [10**i for i in range(end)]
  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)

    def ranked() -> Iterator[measure.Row]:
      times, memory = _ranks(folder, decades, rounds)
      name = f"ranks of {_OBSERVED:,} codes, by gallery: s"
      yield from _series(name, times, 10)
      yield from _series("memory of that, by gallery: MiB", memory, 1)

    def trained() -> list[measure.Row]:
      found = _pass(folder, decades)
      return _series("training, by windows in a file: s", found, 10)

    yield measure.Part("ranks, by gallery", ranked)
    yield measure.Part("training, by windows in a file", trained)

  def attacked() -> list[measure.Row]:
    return _series("audit, by attackers: s", _attackers(decades, rounds), 10)

  def framed() -> list[measure.Row]:
    return _series("a frame, by values: bytes", _frames(decades), 10)

  yield measure.Part("audit, by attackers", attacked)
  yield measure.Part("a frame, by values", framed)
  for name, *own in NETWORKS:
    counted = functools.partial(_traffic, name, *own)
    yield measure.Part(f"{name}, gradients and operations", counted)

  def stepped() -> list[measure.Row]:
    step = train._step("block12", ours=True)
    step()
    name = f"resnet29_dlib behind block12, a step of {_BATCH}: s"
    return _series(name, {_BATCH: _timed(step, rounds)}, 1)

  yield measure.Part("resnet29_dlib behind block12, a step", stepped)


def _series(
  name: str, found: dict[int, float], factor: float
) -> list[measure.Row]:
  """Make the rows of one series; `factor` is the growth in proportion."""
  text, unit = name.split(": ")
  rows: list[measure.Row] = []
  last: float | None = None
  for x, value in found.items():
    what = f"{text}: {x:,}"
    if last is None:
      row = measure.skipped(what, "a tenth of it", "the first of its series")
      rows.append(row._replace(unit=unit, ours=float(f"{value:.4g}")))
    else:
      pair = np.array([[value, factor * last]])
      against = "a tenth of it" + (", ten times" if factor > 1 else "")
      rows.append(measure.row(what, against, unit, pair))
    last = value
  return rows


def _timed(run: Callable[[], Any], rounds: int) -> float:
  """Return the median of the seconds that it takes."""
  times = []
  for _ in range(rounds):
    start = time.perf_counter()
    run()
    times.append(time.perf_counter() - start)
  return float(np.median(times))


def _ranks(
  folder: pathlib.Path, decades: list[int], rounds: int
) -> tuple[dict[int, float], dict[int, float]]:
  """Rank in galleries that grow: seconds, and MiB of a fresh process."""
  times, memory = {}, {}
  for gallery in [1000 * d for d in decades]:
    observed = min(_OBSERVED, gallery)
    paths = rank_bench.write_codes(folder, observed, gallery)
    sent, clean = (np.load(path, mmap_mode="r") for path in paths)
    # As many for the shortest, which has not so many of its own.
    index = np.arange(_OBSERVED) % observed
    sent = sent[index]

    def ranks(sent: Any = sent, clean: Any = clean, index: Any = index) -> Any:
      return rank.by_distance(sent, clean, index=index)

    ranks()
    times[gallery] = _timed(ranks, rounds)
    found = rank_bench.in_fresh_process(folder, observed, gallery)
    memory[gallery] = found["bytes"] / 2**20
  return times, memory


def _pass(folder: pathlib.Path, decades: list[int]) -> dict[int, float]:
  """Train once over windows that lie in a file, batch after batch."""
  network = sensor.sensor(num_classes=7)
  most = _BATCH * decades[-1]
  windows = np.lib.format.open_memmap(
    folder / "windows.npy", "w+", np.float32, (most, *_WINDOW)
  )
  rng = np.random.default_rng(0)
  for start in range(0, most, _BATCH):
    windows[start : start + _BATCH] = rng.normal(size=(_BATCH, *_WINDOW))
  labels = np.arange(_BATCH) % 7
  variables = network.init(
    jax.random.key(0), jnp.zeros((1, *_WINDOW)), train=False
  )

  @jax.jit
  def step(variables: Any, x: jax.Array) -> Any:
    grads = jax.grad(lambda v: _loss(network, v, x, labels))(variables)
    return jax.tree.map(lambda v, g: v - 0.01 * g, variables, grads)

  jax.block_until_ready(step(variables, windows[:_BATCH]))
  found = {}
  for num in [_BATCH * d for d in decades]:
    order = rng.permutation(num)

    def once(order: np.ndarray = order) -> None:
      now = variables
      for start in range(0, len(order), _BATCH):
        now = step(now, windows[np.sort(order[start : start + _BATCH])])
      jax.block_until_ready(now)

    found[num] = _timed(once, 1 if num > 10_000 else 5)
  return found


def _loss(network: Any, variables: Any, x: jax.Array, labels: Any) -> jax.Array:
  """Cross-entropy of a training step; statistics of the batch are dropped."""
  rngs = {"dropout": jax.random.key(0)}
  logits, _ = network.apply(
    variables, x, train=True, mutable=["batch_stats"], rngs=rngs
  )
  return jnp.mean(
    optax.softmax_cross_entropy_with_integer_labels(logits[0], labels)
  )


def _attackers(decades: list[int], rounds: int) -> dict[int, float]:
  """Train linear adversaries, eight for each question."""
  found = {}
  for questions in decades:
    size = audit.Size(victims=questions, divisions=1, steps=50)
    made, attack = audit.make(size), audit.dense((), size)

    def ask(attack: Any = attack, made: Any = made, size: Any = size) -> Any:
      return audit.ours(attack, made, size.pairs)

    ask()
    found[8 * questions] = _timed(ask, 1 if questions > 100 else rounds)
  return found


def _frames(decades: list[int]) -> dict[int, float]:
  """Count the bytes of frames."""
  bundle = bytes(wire.ID_BYTES)
  return {
    k: len(wire.encode(np.zeros(k, np.int64), bits=8, bundle=bundle))
    for k in decades
  }


def _traffic(name: str, network: Any, shape: Any) -> list[measure.Row]:
  """Count what a training step computes for an image, and its gradients."""
  x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  variables = jax.eval_shape(
    lambda x: network.init(jax.random.key(0), x, train=False), x
  )
  labels = np.zeros(1, np.int32)
  lowered = jax.jit(jax.grad(lambda v, x: _loss(network, v, x, labels))).lower(
    variables, x
  )
  costs = lowered.cost_analysis()
  assert costs  # every backend of ours counts operations
  sizes = [leaf.size for leaf in jax.tree.leaves(variables["params"])]
  return [
    *_series(f"{name}, gradients of a step: bytes", {1: 4.0 * sum(sizes)}, 1),
    *_series(
      f"{name}, operations of a step, by images: FLOP",
      {1: float(costs["flops"])},
      1,
    ),
  ]
