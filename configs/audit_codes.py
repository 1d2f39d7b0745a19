"""The same audit for codes of any other system.

Question: what do codes give away that were made elsewhere?  One file,
codes.npz, has `codes` [n, draws, k] or [n, k] as they are sent and `private`
[n]; where known `desired` [n], `person` [n] and `unforeseen` [n, m].  With
`inputs` [n, d] in place of codes and --config.data.encoder=module:function, or
an .onnx file, the codes are made here.

Command: python launch/audit.py --config=configs/audit_codes.py
  --config.data.path=codes.npz --workdir=runs/codes
"""

from configs import default


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  default.check_variant(variant)
  c = default.get_config()
  c.name = "Codes of another system"
  c.data.source = "codes"
  c.data.path = ""  # codes.npz
  c.data.name = ""  # what the card calls them; the file's name
  c.data.licence = "not given"
  c.data.citation = ""
  c.data.encoder = ""  # "module:function" of (inputs, seed), or a file .onnx
  c.data.draws = 20  # of the encoder, for each input: two means of ten
  c.train.seeds = 1  # whoever made the codes, made them once
  # Of another system nothing is known: neither units nor what noise it has.
  c.audit.attacks.histogram = {"function": "histogram.bayes"}
  c.audit.attacks.digits = {"function": "histogram.digits"}
  c.audit.rotations = 5 if variant == "full" else 3
  if variant == "tiny":
    default.make_tiny(c)
    c.train.seeds = 1
  return c
