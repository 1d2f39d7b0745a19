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

default_role = "code"  # single backticks, as the docstrings have them
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures have them, and so do the descriptions
napoleon_use_ivar = True  # else every documented field is described twice

html_theme = "furo"
html_title = "hybridpriv"


def _dollar_math(app, what, name, obj, options, lines):
  """Reads $...$ of docstrings as the pages read it."""
  text = "\n".join(lines)
  text = re.sub(
    r"\$\$\s*(.+?)\s*\$\$",
    lambda match: f":math:`{match[1]}`",
    text,
    flags=re.DOTALL,
  )
  text = re.sub(
    r"\$(?=\S)([^$]+?)(?<=\S)\$",
    lambda match: f":math:`{match[1]}`",
    text,
  )
  lines[:] = text.split("\n")


def _skip_alias(app, what, name, obj, skip, options):
  """Skips the fields of named tuples: their class describes them."""
  return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app):
  app.connect("autodoc-process-docstring", _dollar_math, priority=100)
  app.connect("autodoc-skip-member", _skip_alias)
