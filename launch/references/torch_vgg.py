"""The client half of VGG-16 in PyTorch, as published, up to conv5_1."""

from collections.abc import Callable

import torch
from torch import nn

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512,))


def client(side: int) -> Callable[[], object]:
  """Make a function that runs it on one image of `side` pixels."""
  layers: list[nn.Module] = []
  channels = 3
  for number, block in enumerate(_BLOCKS):
    if number:
      layers.append(nn.MaxPool2d(2))
    for size in block:
      layers += [nn.Conv2d(channels, size, 3, padding=1), nn.ReLU(inplace=True)]
      channels = size
  network = nn.Sequential(*layers).eval()
  image = torch.rand(1, 3, side, side)

  def run() -> object:
    with torch.inference_mode():
      return network(image)

  return run
