"""The two-branch recipe in PyTorch: pairs drawn at random, weights shared.

Two batches go through the same network one after the other; the k-th of each
are a pair.  The loss is the cross-entropy of both and the contrastive loss of
the pairs, as published (Osia et al., arXiv 1703.02952).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from references import torch_networks


def make(
  work: Any,
  rate: float,
  seed: int,
  way: str,
  clip: float | None = None,
) -> Any:
  """Start a training.

  Args:
    work: pictures, labels and the recipe, `benches.siamese.Work`.
    rate: learning rate.
    seed: of weights and pairs.
    way: one of those of `torch_networks`.
    clip: norm of the gradient for Adam; None for SGD with momentum.

  Returns:
    Two functions: one takes a step, one looks at validation and returns
    accuracy and contrastive loss.
  """
  torch.manual_seed(seed)
  layout = (
    torch.contiguous_format
    if way == torch_networks.PLAIN
    else torch.channels_last
  )
  whole = torch_networks.vgg16(
    side=work.train[0].shape[1],
    num_classes=work.num_classes,
    norm=True,
    width=work.width,
  ).to(memory_format=layout)
  for layer in whole:
    if isinstance(layer, nn.Conv2d | nn.Linear):
      nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if isinstance(layer, nn.Linear):
      nn.init.zeros_(layer.bias)
  last = [layer for layer in whole if isinstance(layer, nn.Linear)][-1]
  with torch.no_grad():
    last.weight /= 2**0.5  # as LeCun has it: no ReLU follows
  ends = [i for i, layer in enumerate(whole) if isinstance(layer, nn.ReLU)]
  cut = ends[work.convs - 1] + 1
  client, cloud = whole[:cut], whole[cut:]
  if way == torch_networks.COMPILED:
    client, cloud = torch.compile(client), torch.compile(cloud)
  train, held = (
    (
      torch.as_tensor(x).permute(0, 3, 1, 2).contiguous(memory_format=layout),
      torch.as_tensor(y).long(),
    )
    for x, y in (work.train, work.held)
  )
  params = list(whole.parameters())
  optimizer = (
    torch.optim.SGD(params, lr=rate, momentum=0.9)
    if clip is None
    else torch.optim.Adam(params, lr=rate)
  )
  rng = np.random.default_rng(seed)

  def step() -> None:
    features, labels, loss = [], [], 0.0
    for _ in range(2):
      index = torch.as_tensor(rng.integers(len(train[1]), size=work.batch))
      features.append(client(train[0][index]))
      labels.append(train[1][index])
      logits = cloud(features[-1])
      loss = loss + functional.cross_entropy(logits, labels[-1])
    left, right = (x.flatten(1) for x in features)
    squared = ((left - right) ** 2).sum(1)
    pairs = pair_loss(squared, labels[0] == labels[1], work.margin)
    loss = loss + work.weight * pairs.mean()
    optimizer.zero_grad()
    loss.backward()
    if clip is not None:
      nn.utils.clip_grad_norm_(params, clip)
    optimizer.step()

  def look() -> tuple[float, float]:
    whole.eval()
    with torch.no_grad():
      feature = client(held[0])
      right = cloud(feature).argmax(1) == held[1]
    whole.train()
    return float(right.float().mean()), work.contrastive(
      feature.permute(0, 2, 3, 1).numpy()
    )

  return step, look


def pair_loss(
  squared: torch.Tensor, same: torch.Tensor, margin: float
) -> torch.Tensor:
  """Compute the contrastive loss of pairs, given squared distances."""
  hinge = (margin - (squared + 1e-12).sqrt()).clamp(min=0)
  return 0.5 * torch.where(same, squared, hinge**2)


def fastest(
  work: Any, ways: list[str]
) -> tuple[Callable[[float | None, float, int], Any], str]:
  """Find the way that is fastest.

  Returns:
    What starts a training, given the clip, the rate and the seed of `make`; and
    the way in words.
  """
  tried = {way: make(work, 0.0, 0, way)[0] for way in ways}
  _, said = torch_networks.fastest(lambda way: tried[way], ways)
  way = next(way for way in reversed(ways) if said.startswith(way))

  def start(clip: float | None, rate: float, seed: int) -> Any:
    return make(work, rate, seed, way, clip)

  return start, said
