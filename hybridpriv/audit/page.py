"""A small document: blocks that are written as HTML and as Markdown.

Text may hold **strong** words and `code`; everything else is escaped. Cells of
tables are text or a `Badge`.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import pathlib
import re
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Badge:
  """A word that stands out: kind "good", "bad", "mark" or "plain"."""

  text: str
  kind: str = "plain"


@dataclasses.dataclass(frozen=True)
class Text:
  """A paragraph."""

  text: str


@dataclasses.dataclass(frozen=True)
class Note:
  """A paragraph that must not be missed: kind "info", "warn" or "bad"."""

  text: str
  kind: str = "info"


@dataclasses.dataclass(frozen=True)
class Points:
  """A list."""

  items: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Code:
  """Text as it is."""

  text: str


@dataclasses.dataclass(frozen=True)
class Table:
  """A table; its first column is text, the others stand to the right.

  Attributes:
    header: names of the columns.
    rows: cells.
    caption: what it shows.
    words: numbers of further columns of text.
  """

  header: tuple[str, ...]
  rows: tuple[tuple[str | Badge, ...], ...]
  caption: str
  words: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Picture:
  """A figure in `figures/NAME.png` and `figures/NAME-dark.png`."""

  name: str
  alt: str
  caption: str


@dataclasses.dataclass(frozen=True)
class Numbers:
  """A few numbers in large type: (number, what it is, its frame)."""

  items: tuple[tuple[str, str, str], ...]


@dataclasses.dataclass(frozen=True)
class Section:
  """A part with a heading; folded away where it is not for everyone."""

  name: str
  title: str
  blocks: tuple[Block, ...]
  folded: bool = False


Block = Text | Note | Points | Code | Table | Picture | Numbers | Section


@dataclasses.dataclass(frozen=True)
class Page:
  """A whole report."""

  title: str
  subtitle: str
  badges: tuple[Badge, ...]
  blocks: tuple[Block, ...]
  footer: str


def to_html(page: Page, folder: pathlib.Path) -> str:
  """Write a page as one HTML file with its pictures inside.

  Args:
    page: the report.
    folder: where `figures/` is.
  """
  style = pathlib.Path(__file__).with_name("page.css").read_text()
  links = "".join(
    f'<li><a href="#{b.name}">{html.escape(b.title)}</a></li>'
    for b in page.blocks
    if isinstance(b, Section)
  )
  badges = "".join(_html_badge(badge) for badge in page.badges)
  body = "\n".join(_html(block, folder) for block in page.blocks)
  title = html.escape(page.title)
  return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="subtitle">{_inline_html(page.subtitle)} {badges}</p>
</header>
<main>
<nav aria-label="Contents"><ul>{links}</ul></nav>
{body}
</main>
<footer><p>{_inline_html(page.footer)}</p></footer>
</body>
</html>
"""


def to_markdown(page: Page) -> str:
  """Write a page as Markdown, pictures by relative path."""
  head = [f"# {page.title}", _cell_markdown(page.subtitle)]
  head += [f"**{badge.text}**" for badge in page.badges]
  blocks = [_markdown(block) for block in page.blocks]
  return "\n\n".join([*head, *blocks, "---", page.footer]) + "\n"


def _html(block: Block, folder: pathlib.Path) -> str:
  match block:
    case Text():
      return f"<p>{_inline_html(block.text)}</p>"
    case Note():
      return (
        f'<p class="note {block.kind}" role="note">'
        f"{_inline_html(block.text)}</p>"
      )
    case Points():
      items = "".join(f"<li>{_inline_html(i)}</li>" for i in block.items)
      return f"<ul>{items}</ul>"
    case Code():
      return f'<pre tabindex="0">{html.escape(block.text)}</pre>'
    case Table():
      return _html_table(block)
    case Picture():
      return _html_picture(block, folder)
    case Numbers():
      items = "".join(
        f"<div><dt>{_inline_html(what)}</dt><dd><strong>{html.escape(number)}"
        f"</strong><span>{_inline_html(frame)}</span></dd></div>"
        for number, what, frame in block.items
      )
      return f'<dl class="numbers">{items}</dl>'
    case Section():
      body = "\n".join(_html(inner, folder) for inner in block.blocks)
      title = html.escape(block.title)
      if block.folded:
        return (
          f'<section id="{block.name}"><details><summary><h2>{title}</h2>'
          f"</summary>\n{body}\n</details></section>"
        )
      return f'<section id="{block.name}"><h2>{title}</h2>\n{body}\n</section>'
  raise TypeError(f"{block!r} is no block of a page")


def _html_table(block: Table) -> str:
  words = {0, *block.words}
  kind = [' class="word"' if i in words else "" for i in range(99)]
  head = "".join(
    f'<th scope="col"{kind[i]}>{_inline_html(name)}</th>'
    for i, name in enumerate(block.header)
  )
  rows = []
  for row in block.rows:
    first, *others = (_html_cell(cell) for cell in row)
    cells = "".join(f"<td{kind[i]}>{c}</td>" for i, c in enumerate(others, 1))
    rows.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
  caption = _inline_html(block.caption)
  label = html.escape(_bare(block.caption), quote=True)
  return (
    f'<figure class="table"><figcaption>{caption}</figcaption>'
    f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
    f"<table><thead><tr>{head}</tr></thead>"
    f"<tbody>{''.join(rows)}</tbody></table></div></figure>"
  )


def _html_picture(block: Picture, folder: pathlib.Path) -> str:
  light, dark = (
    base64.b64encode(
      (folder / "figures" / f"{block.name}{end}.png").read_bytes()
    ).decode()
    for end in ("", "-dark")
  )
  alt = html.escape(block.alt, quote=True)
  return (
    '<figure class="picture"><div class="scroll" role="region" tabindex="0" '
    f'aria-label="{alt}"><picture>'
    '<source media="(prefers-color-scheme: dark)" '
    f'srcset="data:image/png;base64,{dark}">'
    f'<img alt="{alt}" src="data:image/png;base64,{light}"></picture></div>'
    f"<figcaption>{_inline_html(block.caption)}</figcaption></figure>"
  )


def _html_cell(cell: str | Badge) -> str:
  if isinstance(cell, Badge):
    return _html_badge(cell)
  return re.sub(
    r"(\[[^\]]*\])", r'<span class="limits">\1</span>', _inline_html(cell)
  )


def _html_badge(badge: Badge) -> str:
  return f'<span class="badge {badge.kind}">{html.escape(badge.text)}</span>'


def _inline_html(text: str) -> str:
  text = html.escape(text, quote=False)
  text = re.sub(r"(\d) %", "\\1\u00a0%", text)
  text = re.sub(r"(\[[\d.+−]+,) ", "\\1\u00a0", text)
  text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
  return re.sub(r"`(.+?)`", r"<code>\1</code>", text)


def _bare(text: str) -> str:
  return text.replace("**", "").replace("`", "")


def _markdown(block: Block) -> str:
  match block:
    case Text():
      return _escape(block.text)
    case Note():
      return f"> {_escape(block.text)}"
    case Points():
      return "\n".join(f"- {_escape(item)}" for item in block.items)
    case Code():
      return f"```\n{block.text}\n```"
    case Table():
      return _markdown_table(block)
    case Picture():
      alt = block.alt.replace("[", "(").replace("]", ")")
      return f"![{alt}](figures/{block.name}.png)\n\n{_escape(block.caption)}"
    case Numbers():
      return "\n".join(
        f"- {_escape(what)}: **{number}** ({_escape(frame)})"
        for number, what, frame in block.items
      )
    case Section():
      body = "\n\n".join(_markdown(inner) for inner in block.blocks)
      if block.folded:
        return (
          f"<details><summary>{html.escape(block.title)}</summary>\n\n"
          f"{body}\n\n</details>"
        )
      return f"## {block.title}\n\n{body}"
  raise TypeError(f"{block!r} is no block of a page")


def _markdown_table(block: Table) -> str:
  words = {0, *block.words}
  rule = ["---" if i in words else "---:" for i in range(len(block.header))]
  lines: list[Sequence[str]] = [block.header, rule]
  lines += [[_cell_markdown(cell) for cell in row] for row in block.rows]
  body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
  return f"{_escape(block.caption)}\n\n{body}"


def _cell_markdown(cell: str | Badge) -> str:
  if isinstance(cell, Badge):
    return f"**{cell.text}**"
  return _escape(cell).replace("|", "\\|")


def _escape(text: str) -> str:
  return re.sub(r"([<_])", r"\\\1", text) if "`" not in text else text
