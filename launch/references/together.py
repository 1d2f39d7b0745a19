"""One of several processes that train together, step by step as it is told.

  python together.py vgg16 64 64 127.0.0.1:8476 2 0

Takes the network, the side of its images, the samples of the whole batch, and
of a job of several processes the coordinator, their number, and which one this
is.  For every line that it reads, a number of steps, it trains on made-up
images for so long and prints the seconds.
"""

import sys
import time
from typing import Any

import jax
import numpy as np
import optax

from hybridpriv import mesh as mesh_lib
from hybridpriv.losses import classification
from hybridpriv.networks import resnet, vgg
from hybridpriv.train import loop, objective, step

_CLASSES = 10
_NETWORKS = {
  "vgg16": (vgg.vgg16(num_classes=_CLASSES, width=0.25), "conv5_1"),
  "resnet18": (resnet.resnet18(num_classes=_CLASSES), "block4_2"),
}
_TASK = objective.Term(
  "task",
  classification.cross_entropy,
  (("logits", "logits/class"), ("labels", "labels/class")),
)


def main(name: str, side: str, size: str, *job: str) -> None:
  """Train when told to."""
  if job:
    place, number, process = job
    mesh_lib.join(place, int(number), int(process), timeout_s=120)
  network, cut = _NETWORKS[name]
  spec = step.Spec(
    network=network,
    answers=(("class", _CLASSES),),
    cut=cut,
    shape=(int(side), int(side), 3),
    optimizers={"defender": optax.sgd(0.01, momentum=0.9)},
    terms=(_TASK,),
  )
  constants = {"mean": np.full(3, 127.0), "std": np.full(3, 60.0)}
  constants = jax.tree.map(np.float32, constants)
  key = jax.random.key(0)
  knobs = {"task/weight": 1.0}
  state = step.initialise(spec, key, knobs=knobs, constants=constants)
  mesh = mesh_lib.data_mesh()
  state, key = mesh_lib.replicate((state, key), mesh)
  run = loop.compile_step(step.make_step(spec), vmapped=False)
  batch = mesh_lib.shard(_batch(int(side), int(size)), mesh)
  for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(int(line)):
      state, metrics = run(state, batch, key)
    jax.block_until_ready((state, metrics))
    print("took", time.perf_counter() - start, flush=True)
  if job:
    mesh_lib.leave()


def _batch(side: int, size: int) -> dict[str, Any]:
  """Make this process's part of a batch up."""
  rng = np.random.default_rng(0)
  rows = mesh_lib.own_part(np.arange(size))
  images = rng.integers(256, size=(size, side, side, 3), dtype=np.uint8)
  return {
    "inputs": images[rows],
    "mask": np.ones(len(rows), np.float32),
    "labels/class": (rows % _CLASSES).astype(np.int32),
  }


if __name__ == "__main__":
  main(*sys.argv[1:])
