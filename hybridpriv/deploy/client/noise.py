"""Noise of the device: exact, on whole numbers, from the system's source."""

import numpy as np


def discrete_gaussian(values: np.ndarray, *, sigma: float) -> np.ndarray:
  """Add noise of the discrete Gaussian law to whole numbers.

  Of a whole number j it has the probability exp(-j^2 / (2 sigma^2)), up to a
  constant, exactly: by rejection in rational arithmetic, with bits of the
  operating system (Canonne, Kamath and Steinke 2020, arXiv 2004.00010, as
  implemented by OpenDP).

  Args:
    values: whole numbers [k].
    sigma: above 0.

  Returns:
    int64 [k].

  Raises:
    ValueError: the values are no whole numbers, or sigma is not above 0.
    RuntimeError: the system gives no random bits.
  """
  import opendp.prelude as dp  # what exports, but draws nothing, lacks it

  values = np.asarray(values)
  if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
    raise ValueError(
      f"values of shape {values.shape} and type {values.dtype}; expected whole"
      " numbers [k]"
    )
  if not 0 < sigma < np.inf:
    raise ValueError(f"sigma={sigma}; expected a number above 0")
  dp.enable_features("contrib")
  space = dp.vector_domain(dp.atom_domain(T=dp.i64)), dp.l2_distance(T=float)
  try:
    mechanism = dp.m.make_gaussian(*space, scale=float(sigma))
    return np.asarray(mechanism([int(v) for v in values]), np.int64)
  except dp.OpenDPException as error:  # which is no RuntimeError
    raise RuntimeError(f"no noise could be drawn: {error}") from error
