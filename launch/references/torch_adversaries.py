"""The audit's adversaries that learn by gradient, in PyTorch.

Twice: as most people write it, one network after another, and with the weights
of many networks stacked under `torch.func.vmap`.  Batches, noise, Adam, looks
at validation, the choice of a setting and the scores are those of
`attacks.adversary` and `audit.engine`; only random numbers differ.
"""

import functools
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from hybridpriv.audit import problems

_CHUNK = 25  # steps between two looks at validation
_LIMIT = 10.0  # spreads, as in `attack.standardise`
_BLOCKS = (8, 25, 100, 500)  # how many at a time, where many are

Pair = tuple[int, int]


class Work(NamedTuple):
  """What adversaries are trained on, and how.

  Attributes:
    codes: without noise [v, n, k].
    std: of each victim's noise [v].
    asked: the problems, none of which is padded.
    num_classes: number of classes.
    hidden: units of the hidden layers.
    grid: settings to try, learning rate and weight decay.
    seeds: attackers of the best one.
    draws: codes drawn for each sample when scored.
    steps: of each adversary.
    batch_size: samples a step.
    device: where PyTorch works, "cpu" or "cuda".
  """

  codes: np.ndarray
  std: np.ndarray
  asked: problems.Padded
  num_classes: int
  hidden: tuple[int, ...]
  grid: Sequence[Mapping[str, float]]
  seeds: int
  draws: int
  steps: int
  batch_size: int
  device: str = "cpu"


class Job(NamedTuple):
  """One adversary: whom it attacks, what it asks, with which setting."""

  victim: int
  problem: int
  knobs: Mapping[str, float]
  seed: int


class Score(NamedTuple):
  """Balanced accuracy on validation, accuracy and rank where attacked [t]."""

  validation: float
  right: np.ndarray
  rank: np.ndarray


Train = Callable[[Work, Sequence[Job]], list[Score]]


def attack_all(
  work: Work, pairs: Sequence[Pair], train: Train
) -> dict[Pair, np.ndarray]:
  """Try every setting, and train further seeds of the best one.

  Args:
    work: what to train on.
    pairs: victims and problems.
    train: `alone`, or `stacked` with its block.

  Returns:
    Share of right answers by seed and attacked sample [a, t], by pair.
  """
  jobs = [Job(*p, k, 0) for p, k in itertools.product(pairs, work.grid)]
  tried, num, more = train(work, jobs), len(work.grid), []
  found = {}
  for i, pair in enumerate(pairs):
    own = tried[i * num : (i + 1) * num]
    at = int(np.argmax([score.validation for score in own]))
    found[pair] = [own[at].right]
    more += [Job(*pair, work.grid[at], s) for s in range(1, work.seeds)]
  for job, score in zip(more, train(work, more), strict=True):
    found[job.victim, job.problem].append(score.right)
  return {pair: np.stack(right) for pair, right in found.items()}


def alone(work: Work, jobs: Sequence[Job]) -> list[Score]:
  """Train one adversary after another."""
  with torch.device(work.device):
    return [_alone(work, job) for job in jobs]


def _alone(work: Work, job: Job) -> Score:
  torch.manual_seed(job.seed)
  own = work.asked
  clean = torch.as_tensor(work.codes[job.victim])
  std = float(work.std[job.victim])
  rows = torch.as_tensor(own.rows[job.problem]).long()
  label = torch.as_tensor(own.label[job.problem]).long()
  num = own.train.shape[1]
  weights = _balanced(label[:num], work.num_classes)
  judge = _balanced(label[num:], work.num_classes)

  def send(rows: torch.Tensor) -> torch.Tensor:
    codes = clean[rows]
    return codes + std * torch.randn_like(codes)

  sent = send(rows[:num])
  mean = weights @ sent
  spread = (weights @ (sent - mean) ** 2).sqrt()

  def standard(codes: torch.Tensor) -> torch.Tensor:
    return ((codes - mean) / spread).clamp(-_LIMIT, _LIMIT)

  network = _network(work)
  # Its weight decay is decoupled, as ours is; without, it is Adam.
  optimizer = torch.optim.AdamW(
    network.parameters(),
    lr=job.knobs["learning_rate"],
    weight_decay=job.knobs["weight_decay"],
  )
  best, best_loss = network.state_dict(), math.inf
  for _ in range(work.steps // _CHUNK):
    picked = torch.multinomial(
      weights, _CHUNK * work.batch_size, replacement=True
    )
    for index in picked.view(_CHUNK, work.batch_size):
      logits = network(standard(send(rows[index])))
      loss = functional.cross_entropy(logits, label[index])
      optimizer.zero_grad()
      loss.backward()
      optimizer.step()
    with torch.no_grad():
      logits = network(standard(send(rows[num:])))
      each = functional.cross_entropy(logits, label[num:], reduction="none")
      now = float(judge @ each)
    if now < best_loss:
      best_loss = now
      best = {k: v.clone() for k, v in network.state_dict().items()}
  network.load_state_dict(best)
  asked = torch.as_tensor(own.test_rows[job.problem]).long()
  rows = torch.cat([rows[num:], asked])
  label = torch.cat(
    [label[num:], torch.as_tensor(own.test_label[job.problem]).long()]
  )
  with torch.no_grad():
    scores = torch.stack(
      [network(standard(send(rows))) for _ in range(work.draws)]
    )
  return _scored(scores, label, judge)


def stacked(work: Work, jobs: Sequence[Job], *, block: int) -> list[Score]:
  """Train `block` adversaries at a time, as one with stacked weights."""
  with torch.device(work.device):
    return [
      score
      for at in range(0, len(jobs), block)
      for score in _stacked(work, jobs[at : at + block])
    ]


def _stacked(work: Work, jobs: Sequence[Job]) -> list[Score]:
  torch.manual_seed(jobs[0].seed)
  own, size = work.asked, len(jobs)
  victim = [job.victim for job in jobs]
  problem = [job.problem for job in jobs]
  clean = torch.as_tensor(work.codes[victim])
  std = torch.as_tensor(work.std[victim])[:, None, None]
  rows = torch.as_tensor(own.rows[problem]).long()
  label = torch.as_tensor(own.label[problem]).long()
  num, each = own.train.shape[1], torch.arange(size)[:, None]
  weights = torch.stack([_balanced(y[:num], work.num_classes) for y in label])
  judge = torch.stack([_balanced(y[num:], work.num_classes) for y in label])

  def send(rows: torch.Tensor) -> torch.Tensor:
    codes = clean[each, rows]
    return codes + std * torch.randn_like(codes)

  sent = send(rows[:, :num])
  mean = weights[:, None] @ sent
  spread = (weights[:, None] @ (sent - mean) ** 2).sqrt()

  def standard(codes: torch.Tensor) -> torch.Tensor:
    return ((codes - mean) / spread).clamp(-_LIMIT, _LIMIT)

  networks = [_network(work) for _ in jobs]
  params, _ = torch.func.stack_module_state(networks)
  params = {k: v.detach() for k, v in params.items()}

  def answer(params: Any, codes: torch.Tensor) -> torch.Tensor:
    return torch.func.functional_call(networks[0], params, (codes,))

  def loss(params: Any, codes: torch.Tensor, label: torch.Tensor) -> Any:
    return functional.cross_entropy(answer(params, codes), label)

  answers = torch.func.vmap(answer)
  slope = torch.func.vmap(torch.func.grad(loss))
  rate, decay = (
    torch.tensor([job.knobs[name] for job in jobs])
    for name in ("learning_rate", "weight_decay")
  )
  first = {k: torch.zeros_like(v) for k, v in params.items()}
  second = {k: torch.zeros_like(v) for k, v in params.items()}
  best = {k: v.clone() for k, v in params.items()}
  best_loss, step = torch.full((size,), math.inf), 0
  for _ in range(work.steps // _CHUNK):
    picked = torch.multinomial(
      weights, _CHUNK * work.batch_size, replacement=True
    )
    for index in picked.view(size, _CHUNK, -1).unbind(1):
      step += 1
      codes = standard(send(rows.gather(1, index)))
      slopes = slope(params, codes, label.gather(1, index))
      for name, g in slopes.items():
        shape = (size,) + (1,) * (g.ndim - 1)
        first[name].lerp_(g, 0.1)
        second[name].mul_(0.999).addcmul_(g, g, value=0.001)
        root = (second[name] / (1 - 0.999**step)).sqrt_().add_(1e-8)
        update = first[name] / (1 - 0.9**step) / root
        update += decay.view(shape) * params[name]
        params[name] -= rate.view(shape) * update
    logits = answers(params, standard(send(rows[:, num:])))
    losses = functional.cross_entropy(
      logits.movedim(-1, 1), label[:, num:], reduction="none"
    )
    now = (judge * losses).sum(1)
    better = now < best_loss
    best_loss = torch.where(better, now, best_loss)
    for name, value in params.items():
      shape = (size,) + (1,) * (value.ndim - 1)
      best[name] = torch.where(better.view(shape), value, best[name])
  asked = torch.as_tensor(own.test_rows[problem]).long()
  rows = torch.cat([rows[:, num:], asked], 1)
  label = torch.cat(
    [label[:, num:], torch.as_tensor(own.test_label[problem]).long()], 1
  )
  scores = torch.stack(
    [answers(best, standard(send(rows))) for _ in range(work.draws)], 1
  )
  return [_scored(*one) for one in zip(scores, label, judge, strict=True)]


def _network(work: Work) -> torch.nn.Sequential:
  """Make a dense network; He's start, the last layer from 0."""
  sizes = (work.codes.shape[-1], *work.hidden, work.num_classes)
  layers: list[torch.nn.Module] = []
  for a, b in itertools.pairwise(sizes):
    layer = torch.nn.Linear(a, b)
    torch.nn.init.kaiming_normal_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    layers += [layer, torch.nn.ReLU()]
  torch.nn.init.zeros_(layers[-2].weight)
  return torch.nn.Sequential(*layers[:-1])


def _balanced(label: torch.Tensor, num_classes: int) -> torch.Tensor:
  """Weigh samples [m] so that every class weighs the same, sum 1."""
  count = torch.bincount(label, minlength=num_classes)
  return 1.0 / (count[label] * (count > 0).sum())


def _scored(
  scores: torch.Tensor, label: torch.Tensor, judge: torch.Tensor
) -> Score:
  """Score answers [draws, validation and attacked, n], means over draws."""
  true = scores.gather(2, label.expand(len(scores), -1)[..., None])
  above = (scores > true).sum(2)
  equal = (scores == true).sum(2)
  right = torch.where(above == 0, 1.0 / equal, 0.0).mean(0)
  rank = (1.0 + above + (equal - 1) / 2).mean(0)
  num = len(judge)
  validation = float(judge @ right[:num])
  return Score(validation, right[num:].cpu().numpy(), rank[num:].cpu().numpy())


def device(backend: str) -> str:
  """Find where PyTorch can work that JAX works.

  Args:
    backend: of JAX.

  Returns:
    What PyTorch calls it; "" if there is no such place.
  """
  if backend == "gpu" and torch.cuda.is_available():
    # As JAX multiplies there: TF32 where the card has it.
    torch.set_float32_matmul_precision("high")
    return "cuda"
  return "cpu" if backend == "cpu" else ""


def fastest(
  work: Work, way: str, pairs: Sequence[Pair]
) -> tuple[Callable[[], dict[Pair, np.ndarray]], str]:
  """Find the number of threads, and of networks at a time, that suits best.

  Args:
    work: what to train on.
    way: "alone" or "stacked".
    pairs: what to run.

  Returns:
    A function that runs it so, and the settings in words.
  """
  default, short = torch.get_num_threads(), work._replace(steps=_CHUNK)
  jobs = [Job(*p, k, 0) for p, k in itertools.product(pairs, work.grid)]
  ways: list[tuple[Train, int, str]] = [(alone, 1, "")]
  if way == "stacked":
    ways = [
      (functools.partial(stacked, block=b), b, f", {b} at a time")
      for b in _BLOCKS
      if b <= max(len(jobs), _BLOCKS[0])
    ]
  best, best_s = (default, *ways[0]), math.inf
  for threads in sorted({1, default}):
    torch.set_num_threads(threads)
    for train, num, text in ways:
      part = jobs[:num]
      spent = _seconds(functools.partial(train, short, part)) / len(part)
      if spent < best_s:
        best, best_s = (threads, train, num, text), spent
  torch.set_num_threads(default)
  threads, train, _, text = best

  def run() -> dict[Pair, np.ndarray]:
    torch.set_num_threads(threads)
    return attack_all(work, pairs, train)

  return run, f"{threads} thread{'s' * (threads > 1)}{text}"


def _seconds(run: Callable[[], Any]) -> float:
  """Time the second of two runs."""
  run()
  start = time.perf_counter()
  run()
  return time.perf_counter() - start
