"""How pictures look: two themes, colours, marks, and saving.

Colours are those of Okabe and Ito (safe for the colour-blind), lighter on dark
ground; marks differ in shape and fill as well, for print without colour.
"""

from __future__ import annotations

import dataclasses
import pathlib
import textwrap
from collections.abc import Callable

import matplotlib
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 7.2  # inches, two columns of a paper
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
