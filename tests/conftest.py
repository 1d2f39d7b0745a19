"""Settings of every test: two simulated CPU devices, strict shapes.

The settings are environment variables, written before JAX is imported, so that
a program that a test launches inherits them.
"""

import os
import pathlib

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# The last of equal flags counts.
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)
os.environ["MPLBACKEND"] = "agg"

import jax
import pytest
from absl import flags

# Libraries that read absl flags (TFDS, Grain) refuse to work before parsing.
flags.FLAGS.mark_as_parsed()


@pytest.fixture
def key() -> jax.Array:
  return jax.random.key(0)


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
  return pathlib.Path(__file__).resolve().parents[1]
