"""VGG-16 and ResNets in PyTorch, as they are usually written, and their step.

The architectures are those of `hybridpriv.networks`: the numbers of parameters
agree, which a test holds.

  python -m references.torch_networks '["ResNet-50", 112, 8]'

takes three steps and prints the bytes that the process had at most.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from references import peak

_VGG = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512,) * 3)
_GROUPS = (64, 128, 256, 512)
_HIDDEN = 4096
_TRIALS = 3


def vgg16(
  *,
  side: int,
  num_classes: int,
  norm: bool = False,
  width: float = 1.0,
  dropout: float = 0.5,
) -> nn.Sequential:
  """Build VGG-16 for images of `side` pixels."""
  layers: list[nn.Module] = []
  channels = 3
  for block in _VGG:
    for size in block:
      outputs = round(size * width)
      layers.append(nn.Conv2d(channels, outputs, 3, padding=1, bias=not norm))
      if norm:
        layers.append(nn.BatchNorm2d(outputs))
      layers.append(nn.ReLU(inplace=True))
      channels = outputs
    layers.append(nn.MaxPool2d(2))
  flat, hidden = channels * (side // 32) ** 2, round(_HIDDEN * width)
  layers.append(nn.Flatten())
  for size in (flat, hidden):
    layers += [nn.Linear(size, hidden), nn.ReLU(inplace=True)]
    layers.append(nn.Dropout(dropout))
  return nn.Sequential(*layers, nn.Linear(hidden, num_classes))


class _Block(nn.Module):
  """Two convolutions of 3 x 3, or one between two of 1 x 1."""

  def __init__(
    self, channels: int, size: int, stride: int, is_bottleneck: bool
  ):
    super().__init__()
    outputs = 4 * size if is_bottleneck else size
    if is_bottleneck:
      parts = (
        (channels, size, 1, 1),
        (size, size, 3, stride),
        (size, outputs, 1, 1),
      )
    else:
      parts = ((channels, size, 3, stride), (size, size, 3, 1))
    layers: list[nn.Module] = []
    for a, b, kernel, step in parts:
      layers += [_conv(a, b, kernel, step), nn.BatchNorm2d(b)]
      layers.append(nn.ReLU(inplace=True))
    self.branch = nn.Sequential(*layers[:-1])
    self.shortcut = nn.Sequential()
    if stride > 1 or channels != outputs:
      self.shortcut.append(_conv(channels, outputs, 1, stride))
      self.shortcut.append(nn.BatchNorm2d(outputs))
    self.relu = nn.ReLU(inplace=True)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.relu(self.branch(x) + self.shortcut(x))


def resnet(
  blocks: Sequence[int], *, is_bottleneck: bool, num_classes: int
) -> nn.Sequential:
  """Build a ResNet: (2, 2, 2, 2) is 18, (3, 4, 6, 3) with bottlenecks 50."""
  layers: list[nn.Module] = [
    _conv(3, 64, 7, 2),
    nn.BatchNorm2d(64),
    nn.ReLU(inplace=True),
    nn.MaxPool2d(3, 2, 1),
  ]
  channels = 64
  for group, number in enumerate(blocks):
    for block in range(number):
      stride = 2 if group and not block else 1
      size = _GROUPS[group]
      layers.append(_Block(channels, size, stride, is_bottleneck))
      channels = 4 * size if is_bottleneck else size
  layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
  return nn.Sequential(*layers, nn.Linear(channels, num_classes))


def _conv(channels: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
  return nn.Conv2d(
    channels, outputs, size, stride, padding=size // 2, bias=False
  )


class Work(NamedTuple):
  """What a step is taken of.

  Attributes:
    network: name, one of `NETWORKS`.
    side: of the images in pixels.
    batch: images.
    device: where PyTorch works.
    is_half: whether products are in bfloat16, by autocast.
  """

  network: str
  side: int
  batch: int
  device: str = "cpu"
  is_half: bool = False


_CLASSES = 1000
NETWORKS: dict[str, Callable[[int], nn.Sequential]] = {
  "VGG-16": lambda side: vgg16(side=side, num_classes=_CLASSES),
  "ResNet-18": lambda _: resnet(
    (2, 2, 2, 2), is_bottleneck=False, num_classes=_CLASSES
  ),
  "ResNet-50": lambda _: resnet(
    (3, 4, 6, 3), is_bottleneck=True, num_classes=_CLASSES
  ),
}
# Ways to run it: the layout, and whether it is compiled.
PLAIN, LAST, COMPILED = "plain", "channels_last", "channels_last, compiled"


def step(work: Work, way: str) -> Callable[[], None]:
  """Make a function that takes one step of SGD with momentum."""
  layout = torch.contiguous_format if way == PLAIN else torch.channels_last
  torch.backends.cudnn.benchmark = True  # JAX tries its convolutions as well
  with torch.device(work.device):
    network = NETWORKS[work.network](work.side).to(memory_format=layout).train()
    images = torch.randn(work.batch, 3, work.side, work.side)
    images = images.contiguous(memory_format=layout)
    labels = torch.arange(work.batch) % _CLASSES
  optimizer = torch.optim.SGD(
    network.parameters(), lr=1e-3, momentum=0.9, fused=True
  )
  # Layers one by one are what `Sequential` runs: only its call is compiled.
  forward = torch.compile(network) if way == COMPILED else network

  def run() -> None:
    optimizer.zero_grad()
    with torch.autocast(work.device, torch.bfloat16, enabled=work.is_half):
      loss = functional.cross_entropy(forward(images), labels)
    loss.backward()
    optimizer.step()
    if work.device != "cpu":
      torch.cuda.synchronize()

  return run


def client(side: int, way: str) -> Callable[[], torch.Tensor]:
  """Make a function that runs VGG-16 with BatchNorm to conv5_1, one image."""
  layout = torch.contiguous_format if way == PLAIN else torch.channels_last
  whole = vgg16(side=side, num_classes=2, norm=True)
  kernels = [i for i, m in enumerate(whole) if isinstance(m, nn.Conv2d)]
  half = whole[: kernels[10] + 3].eval().to(memory_format=layout)
  image = torch.randn(1, 3, side, side).contiguous(memory_format=layout)
  half.requires_grad_(False)
  # Frozen, so that the compiler may fold BatchNorm and prepare the kernels.
  run = half
  if way == COMPILED:
    run = torch.compile(half, options={"freezing": True})

  def answer() -> torch.Tensor:
    with torch.inference_mode():
      return run(image)

  return answer


def fastest(
  make: Callable[[str], Callable[[], Any]], ways: Sequence[str]
) -> tuple[Callable[[], Any], str, str]:
  """Find the way that is fastest in a short trial.

  Args:
    make: makes what runs one way; the compiler is left out where it fails, for
      want of a compiler of C++.
    ways: what to try.

  Returns:
    What runs it, the way, and the same in words: what was not tried.
  """
  tried: list[tuple[float, str, Callable[[], Any]]] = []
  failed = ""
  for way in ways:
    run = make(way)
    try:
      run()
      run()
    except Exception as error:  # of the compiler, or of what it calls
      if way != COMPILED:
        raise
      failed = f" (torch.compile failed: {type(error).__name__})"
      continue
    tried.append((min(_seconds(run) for _ in range(_TRIALS)), way, run))
  _, way, run = min(tried, key=lambda one: one[0])
  left = "" if COMPILED in ways else ", torch.compile not tried"
  return run, way, f"{way}{left}{failed}"


def _seconds(run: Callable[[], Any]) -> float:
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def main(given: str) -> None:
  """Take three steps and print the bytes."""
  run = step(Work(*json.loads(given)), LAST)
  for _ in range(3):
    run()
  print(peak.num_bytes())


if __name__ == "__main__":
  main(sys.argv[1])
