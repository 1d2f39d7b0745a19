"""How pictures look: two themes, colours, marks, and saving.

Colours are those of Okabe and Ito (safe for the colour-blind), lighter on dark
ground; marks differ in shape and fill as well, for print without colour.
"""

from __future__ import annotations

import dataclasses
import pathlib
import textwrap
from collections.abc import Callable, Sequence

import matplotlib
from matplotlib import patheffects, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 7.2  # inches, two columns of a paper
_GROUP = 0.84  # share of a group's width that its bars fill
MARKS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "h")


@dataclasses.dataclass(frozen=True)
class Theme:
  """Colours of one version of a picture."""

  name: str
  ground: str
  ink: str
  faint: str
  colours: tuple[str, ...]

  def colour(self, index: int) -> str:
    """Return the colour of the thing of that number."""
    return self.colours[index % len(self.colours)]

  @property
  def settings(self) -> dict:
    """Matplotlib settings; take them on with `matplotlib.rc_context`."""
    return {
      "axes.edgecolor": self.ink,
      "axes.facecolor": self.ground,
      "axes.labelcolor": self.ink,
      "axes.labelsize": 9,
      "axes.linewidth": 0.7,
      "axes.spines.right": False,
      "axes.spines.top": False,
      "axes.titlelocation": "left",
      "axes.titlesize": 9.5,
      "axes.titleweight": "bold",
      "errorbar.capsize": 0,
      "figure.edgecolor": self.ground,
      "figure.facecolor": self.ground,
      "font.family": "DejaVu Sans",
      "font.size": 8.5,
      "grid.color": self.faint,
      "grid.linewidth": 0.5,
      "legend.fontsize": 8.5,
      "legend.frameon": False,
      "lines.linewidth": 1.4,
      "pdf.fonttype": 42,
      "savefig.edgecolor": self.ground,
      "savefig.facecolor": self.ground,
      "text.color": self.ink,
      "xtick.color": self.ink,
      "xtick.labelsize": 8.5,
      "xtick.major.width": 0.7,
      "ytick.color": self.ink,
      "ytick.labelsize": 8.5,
      "ytick.major.width": 0.7,
    }


LIGHT = Theme(
  "light",
  "#ffffff",
  "#22262b",
  "#d9dde2",
  (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#b0559a",
    "#8a7500",
    "#4d4d4d",
    "#56b4e9",
    "#e69f00",
  ),
)
DARK = Theme(
  "dark",
  "#14171b",
  "#e3e6ea",
  "#363c44",
  (
    "#56b4e9",
    "#f5894f",
    "#2fc79a",
    "#dc94c6",
    "#e8d44a",
    "#b5bac1",
    "#3f8fd0",
    "#e69f00",
  ),
)


def save(
  draw: Callable[[Theme], Figure | None], folder: pathlib.Path, name: str
) -> bool:
  """Draw in both themes and write NAME.png, NAME.pdf and NAME-dark.png.

  Args:
    draw: makes the figure in the colours of a theme, or returns None where
      there is nothing to draw.
    folder: where the files go; it must be there.
    name: file name without ending.

  Returns:
    Whether there was something to draw.
  """
  for theme, stem in ((LIGHT, name), (DARK, f"{name}-dark")):
    with matplotlib.rc_context(theme.settings):
      figure = draw(theme)
      if figure is None:
        return False
      figure.savefig(folder / f"{stem}.png", dpi=200)
      if theme is LIGHT:
        figure.set_layout_engine("none")  # it is laid out
        figure.savefig(folder / f"{stem}.pdf", metadata={"CreationDate": None})
  return True


def mark(index: int) -> str:
  """Return the mark of the thing of that number."""
  return MARKS[index % len(MARKS)]


def panels(
  rows: int, columns: int, height: float, **options
) -> tuple[Figure, list[list[Axes]]]:
  """Make a figure of the common width; `height` is that of the whole."""
  figure = Figure(figsize=(WIDTH, height), layout="constrained")
  axes = figure.subplots(rows, columns, squeeze=False, **options)
  return figure, [list(row) for row in axes]


def heading(text: str, width: int = 22) -> str:
  """Break a panel's title so that it stays over its panel."""
  return "\n".join(textwrap.wrap(text, width)) or text


def percent(axis) -> None:
  """Print an axis of shares in percent."""
  axis.set_major_formatter(ticker.PercentFormatter(1.0, 0, symbol=""))


def logarithmic(axes: Axes) -> None:
  """Make the horizontal axis, of shares, logarithmic, in percent."""
  axes.set_xscale("log")
  axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
  axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
  axes.xaxis.set_minor_locator(ticker.NullLocator())


def up_to_all(axes: Axes) -> None:
  """Leave out what an upright axis of shares says above 100 %."""
  low, high = axes.get_ylim()
  axes.set_yticks([t for t in axes.get_yticks() if low <= t <= min(high, 1)])


def level(axes: Axes, at: float, text: str, style: str, theme: Theme, left):
  """Draw an upright line at a level and name it at the top, on one side."""
  axes.axvline(at, color=theme.ink, lw=0.8, ls=style, alpha=0.75, zorder=1)
  axes.annotate(
    text,
    (at, 1.0),
    (-2 if left else 2, -1),
    xycoords=("data", "axes fraction"),
    textcoords="offset points",
    ha="right" if left else "left",
    va="top",
    fontsize=7.5,
    rotation=90,
    color=theme.ink,
    alpha=0.85,
  )


def places(
  groups: Sequence[str], series: Sequence[str]
) -> tuple[dict[tuple[str, str], float], float]:
  """Return the middle of each bar by group and series, and the bars' width."""
  step = _GROUP / len(series)
  return {
    (group, name): i + (j + 0.5) * step - _GROUP / 2
    for i, group in enumerate(groups)
    for j, name in enumerate(series)
  }, 0.82 * step


def groups(axes: Axes, names: Sequence[str], top: float) -> None:
  """Name groups of bars, with room above the highest for its number."""
  axes.set_xticks(range(len(names)), names)
  axes.set_xlim(-0.5, len(names) - 0.5)
  axes.set_ylim(0, 1.2 * top)
  axes.tick_params(axis="x", length=0)
  axes.grid(axis="y", alpha=0.6)
  axes.set_axisbelow(True)


def across(axes: Axes, at: float, low: float, high: float, theme: Theme):
  """Draw a dashed level over one bar, set off from its colour."""
  style = {"linestyles": (0, (3, 1.5)), "zorder": 3.5}
  axes.hlines(at, low, high, theme.ink, lw=1, **style, **_halo(theme))


def interval(axes: Axes, at: float, low: float, high: float, theme: Theme):
  """Draw an upright interval, set off from the colour of its bar."""
  axes.vlines(at, low, high, theme.ink, lw=1, zorder=4, **_halo(theme))


def number(
  axes: Axes, at: float, top: float, text: str, bars: int, theme: Theme
) -> None:
  """Print a number over a bar, upright or not at all where bars are narrow.

  Args:
    axes: where to draw.
    at: place of the bar.
    top: upper end of all that is drawn of it.
    text: the number.
    bars: how many bars the panel has over the common width.
    theme: colours.
  """
  if bars > 48:
    return
  axes.annotate(
    text,
    (at, top),
    (0, 2),
    textcoords="offset points",
    ha="center",
    va="bottom",
    fontsize=6.5,
    rotation=0 if bars <= 20 else 90,
    color=theme.ink,
    zorder=5,
    **_halo(theme),
  )


def _halo(theme: Theme) -> dict:
  effect = patheffects.withStroke(linewidth=2.4, foreground=theme.ground)
  return {"path_effects": [effect]}
