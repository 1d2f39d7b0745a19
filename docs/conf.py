import re

import hybridpriv

project = "hybridpriv"
release = version = hybridpriv.__version__
author = "the hybridpriv authors"

extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.autosummary",
  "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3  # links such as overview.md#workdir

# Of extras that the pages are built without.
autodoc_mock_imports = [
  "fastapi",
  "opendp",
  "prometheus_client",
  "starlette",
  "uvicorn",
]

default_role = "code"  # single backticks, as the docstrings have them
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures have them, and so do the descriptions
napoleon_use_ivar = True  # else every documented field is described twice

html_theme = "furo"
html_title = "hybridpriv"


# Docstrings are written as the pages are, in Markdown; autodoc reads reST.
_MARKDOWN = re.compile(
  r"^(?P<fence>[ ]*)```\w*\n(?P<block>.*?)^[ ]*```$"
  r"|^(?P<display>[ ]*)\$\$(?P<formula>.+?)\$\$$"
  r"|(?P<code>`[^`]+`)"
  r"|\$(?=\S)(?P<inline>[^$]+?)(?<=\S)\$"
  r"|(?P<star>(?<!\*)\*(?=\w))",
  flags=re.DOTALL | re.MULTILINE,
)


def _to_rest(match):
  if match["block"] is not None:
    block = match["block"].replace("\n", "\n  ")
    return f"{match['fence']}::\n\n  {block}\n"
  if match["formula"]:
    return f"{match['display']}.. math:: {' '.join(match['formula'].split())}"
  if match["inline"]:
    return f":math:`{' '.join(match['inline'].split())}`"
  return match["code"] or "\\*"


def _convert_docstring(app, what, name, obj, options, lines):
  lines[:] = _MARKDOWN.sub(_to_rest, "\n".join(lines)).split("\n")


def _skip_alias(app, what, name, obj, skip, options):
  """Skips the fields of named tuples: their class describes them."""
  return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app):
  app.connect("autodoc-process-docstring", _convert_docstring, priority=100)
  app.connect("autodoc-skip-member", _skip_alias)
