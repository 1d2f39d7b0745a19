"""Published weights that a study starts from."""

import functools
import json
from typing import Any

from hybridpriv import build
from hybridpriv.study.setup import Setup


def published(setup: Setup) -> dict[str, Any]:
  """Read the weights that the configuration names, {} if there are none.

  Raises:
    ValueError: if they cannot be read, or are those of another network.
  """
  shape = tuple(setup.config["input_shape"]) or setup.data.inputs.shape[1:]
  options = json.dumps({"weights": setup.config["weights"]})
  return _read(options, setup.network, shape)


@functools.lru_cache(maxsize=2)
def _read(options: str, network: Any, shape: tuple[int, ...]) -> dict[str, Any]:
  return build.weights(json.loads(options), network, shape)
