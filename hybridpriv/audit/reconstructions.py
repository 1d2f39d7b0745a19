"""What an attacker restores from each embedding, in pictures and numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hybridpriv.audit import drawing, embeddings, page, words
from hybridpriv.audit.results import Measurement, Results, Row

_NAMES = 1.35  # inches for the names at the left
_LINE = 0.145  # inches of a line of these
_GAP = 0.03  # around an image, of its size
_ORIGINAL = "original"
# What tells how much of an input came back, and its heading.
_METRICS = {"psnr": "PSNR", "ssim": "SSIM, in percent", "matched": "matched"}
GALLERY = (
  "the attacker has other pictures of the people attacked, with their names, "
  "and never the attacked one"
)


def caption(*, psnr: float, ssim: float, matched: float | None = None) -> str:
  """Word how good reconstructions are, a line each.

  Args:
    psnr: decibels.
    ssim: structural similarity.
    matched: share in which a recognizer finds the person; None if not asked.
  """
  lines = [f"PSNR {psnr:.1f} dB", f"SSIM {ssim:.2f}"]
  if matched is not None:
    lines.append(f"matched {100 * matched:.0f} %")
  return "\n".join(lines)


def of_row(row: Row) -> str:
  """Word the inversion of a row whose pictures are shown."""
  _, best = restoring(row)[0]
  return caption(**{name: m.value for name, m in best.items()})


def restoring(row: Row) -> list[tuple[str, dict[str, Measurement]]]:
  """List the attacks that restore inputs, whatever they are called.

  Returns:
    (attack, its measurements by metric), the worst on people held out first:
    by decibels; those without any by likeness, or by who is found, come last.
  """
  attacks: dict[tuple[str, int], dict[str, Measurement]] = {}
  for m in row.leakage:
    if m.metric in _METRICS:
      attacks.setdefault((m.attack, m.num_queries), {})[m.metric] = m

  def order(own: Mapping[str, Measurement]) -> tuple[float, ...]:
    return tuple(_on_held_out(own.get(name)) for name in _METRICS)

  listed = sorted(attacks.items(), key=lambda a: order(a[1]), reverse=True)
  return [
    (attack + (f", {num} codes averaged" if num > 1 else ""), own)
    for (attack, num), own in listed
  ]


def _on_held_out(m: Measurement | None) -> float:
  if m is None:
    return -1.0
  return m.value if m.validation is None else m.validation


def figure(
  originals: np.ndarray,
  by_row: Mapping[str, np.ndarray],
  captions: Mapping[str, str],
) -> Figure:
  """Draw people, and below each what was restored from every embedding.

  Args:
    originals: images [m, s, s, c] of m people, 0 to 1, with 1 or 3 channels.
    by_row: reconstructions of these by embedding, in the order of the rows.
    captions: what to say below the name of an embedding, see `caption`;
      embeddings without one have their name only.

  Returns:
    A figure of the common width, a column for each person.

  Raises:
    ValueError: images have other shapes or values, or a caption has no row.
  """
  if unknown := sorted(set(captions) - set(by_row)):
    raise ValueError(f"captions of {unknown}, but rows are {list(by_row)}")
  rows = {_ORIGINAL: np.asarray(originals)}
  for name, images in by_row.items():
    if name in rows:
      raise ValueError(f"a row is named {name!r}, as are the originals")
    rows[name] = np.asarray(images)
  for name, images in rows.items():
    _check(name, images, rows[_ORIGINAL].shape)
  texts = {n: _named(n, captions.get(n, "")) for n in rows}
  count = len(rows[_ORIGINAL])
  side = (drawing.WIDTH - _NAMES) / count
  heights = [
    max(side, _LINE * (text.count("\n") + 1.5)) for text in texts.values()
  ]
  # Names have their place, however long they are, so that columns keep theirs.
  made = Figure(figsize=(drawing.WIDTH, sum(heights)))
  axes = made.subplots(
    len(rows),
    count,
    squeeze=False,
    gridspec_kw={
      "left": _NAMES / drawing.WIDTH,
      "right": 1.0,
      "bottom": 0.0,
      "top": 1.0,
      "wspace": 0.0,
      "hspace": 0.0,
      "height_ratios": heights,
    },
  )
  for line, (name, images) in zip(axes, rows.items(), strict=True):
    for panel, image in zip(line, images, strict=True):
      _show(panel, image)
    _name(line[0], texts[name])
  return made


def section(results: Results, picture: list[page.Block]) -> page.Section | None:
  """Print what is restored by every attack, beside pictures of it."""
  found = [
    (embeddings.title(row), attack, own)
    for row in results.rows
    for attack, own in restoring(row)
  ]
  if not found:
    return None
  # Not every attack was judged by all of them.
  first = {
    name: known[0]
    for name in _METRICS
    if (known := [own[name] for *_, own in found if name in own])
  }
  cells = [
    (title, attack, *(words.measured(own.get(name)) for name in first))
    for title, attack, own in found
  ]
  for title, pick in (
    ("no code: the mean picture", lambda m: m.chance),
    ("the mean picture of the desired class", lambda m: m.floor),
    ("the picture itself", lambda m: m.extra.get("original")),
  ):
    values = (words.number(m, pick(m)) for m in first.values())
    cells.append((title, "", *values))
  text = (
    "Attackers of each embedding, on one trained network, the worst on people "
    "held out first, whose pictures these are; what they were granted is among "
    "all measurements. Higher is more leakage."
  )
  if "matched" in first:
    text += (
      " Matched: how often the nearest person to the reconstruction, as a face "
      "recognizer sees it, is the right one. That takes a gallery, and is "
      f"knowledge beside the code: {GALLERY}. Who has none may restore a face, "
      "and not say whose it is."
    )
  return page.Section(
    "restored",
    "What a decoder restores",
    (
      *picture,
      page.Table(
        ("embedding", "attack", *(_METRICS[name] for name in first)),
        tuple(cells),
        text,
        words=(1,),
      ),
    ),
  )


def _named(name: str, text: str) -> str:
  name = drawing.heading(name, 20)
  return f"{name}\n{text}" if text else name


def _check(name: str, images: np.ndarray, shape: tuple[int, ...]) -> None:
  if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
    raise ValueError(
      f"{name}: images {images.shape}; expected [m, s, s, c] with 1 or more"
      " people and 1 or 3 channels"
    )
  if images.shape != shape:
    raise ValueError(
      f"{name}: images {images.shape}, but the originals are {shape}; each"
      " row shows the same people in the same size"
    )
  if not (images.min() >= 0 and images.max() <= 1):
    raise ValueError(
      f"{name}: values from {images.min():g} to {images.max():g}; expected 0"
      " to 1"
    )


def _show(panel: Axes, image: np.ndarray) -> None:
  # Axis off would hide the row's name.
  panel.set(xticks=[], yticks=[])
  panel.spines[:].set_visible(False)
  if image.shape[-1] == 1:
    panel.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
  else:
    panel.imshow(image)
  height, width = image.shape[:2]
  panel.set_xlim(-0.5 - _GAP * width, width - 0.5 + _GAP * width)
  panel.set_ylim(height - 0.5 + _GAP * height, -0.5 - _GAP * height)


def _name(panel: Axes, text: str) -> None:
  """Put a row's text left of its first image, at the page's edge."""
  panel.annotate(
    text,
    (0.01, 0.5),
    xycoords=("figure fraction", "axes fraction"),
    ha="left",
    va="center",
    fontsize=8,
  )
