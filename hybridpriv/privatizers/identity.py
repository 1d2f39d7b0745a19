"""No privatizer: the feature itself goes over the wire."""

from hybridpriv.privatizers import privatizer

__all__ = ["identity"]


def identity() -> privatizer.Privatizer:
  """Build the privatizer that changes nothing.

  Guarantee: none.
  """
  return privatizer.Privatizer(
    name="identity.identity",
    fit=lambda key, context: {},
    encode=lambda state, key, feature: feature,
    decode=lambda state, code: code,
    radius=lambda state, r: r,
  )
