"""The two-branch recipe in PyTorch: pairs drawn at random, weights shared.

Two batches go through the same network one after the other; the k-th of each
are a pair.  The loss is the cross-entropy of both and the contrastive loss of
the pairs, as published (Osia et al., arXiv 1703.02952).
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from references import torch_networks


class Made(NamedTuple):
  """A network in two halves, compiled or not, for all trainings."""

  whole: nn.Sequential
  client: Any
  cloud: Any
  layout: torch.memory_format


def make(work: Any, way: str) -> Made:
  """Build the network.

  Args:
    work: pictures, labels and the recipe, `benches.siamese.Work`.
    way: one of those of `torch_networks`.
  """
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
  ends = [i for i, layer in enumerate(whole) if isinstance(layer, nn.ReLU)]
  cut = ends[work.convs - 1] + 1
  client, cloud = whole[:cut], whole[cut:]
  if way == torch_networks.COMPILED:
    client, cloud = torch.compile(client), torch.compile(cloud)
  return Made(whole, client, cloud, layout)


def _draw(whole: nn.Sequential, seed: int) -> None:
  """Draw the weights as ours are drawn."""
  torch.manual_seed(seed)
  for layer in whole:
    if isinstance(layer, nn.Conv2d | nn.Linear):
      nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if isinstance(layer, nn.Linear):
      nn.init.zeros_(layer.bias)
    if isinstance(layer, nn.BatchNorm2d):
      layer.reset_parameters()
  last = [layer for layer in whole if isinstance(layer, nn.Linear)][-1]
  with torch.no_grad():
    last.weight /= 2**0.5  # as LeCun has it: no ReLU follows


def start(
  work: Any, made: Made, clip: float | None, rate: float, seed: int
) -> Any:
  """Start a training; one before it with the same network is over.

  Args:
    work: pictures, labels and the recipe, `benches.siamese.Work`.
    made: the network.
    clip: norm of the gradient for Adam; None for SGD with momentum.
    rate: learning rate.
    seed: of weights and pairs.

  Returns:
    Two functions: one takes a step, one looks at validation and returns
    accuracy and contrastive loss.
  """
  whole, client, cloud, layout = made
  _draw(whole, seed)
  whole.train()
  train, held = (
    (
      torch.as_tensor(x).permute(0, 3, 1, 2).contiguous(memory_format=layout),
      torch.as_tensor(y).long(),
    )
    for x, y in (work.train, work.held)
  )
  params = list(whole.parameters())
  optimizer = (
    torch.optim.SGD(params, lr=rate, momentum=0.9, fused=True)
    if clip is None
    else torch.optim.Adam(params, lr=rate, fused=True)
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


def fastest(work: Any, ways: list[str]) -> tuple[Made, str]:
  """Build the network in the way that is fastest; return it and the way."""
  built = {way: make(work, way) for way in ways}
  _, way, said = torch_networks.fastest(
    lambda way: start(work, built[way], None, 0.0, 0)[0], ways
  )
  return built[way], said
