"""Both sides of the bench of ranks do the same work."""

import numpy as np
import pytest
from benches import rank as bench

from hybridpriv.attacks import rank


@pytest.fixture
def codes(tmp_path):
  paths = bench.write_codes(tmp_path, 60, 200)
  return tuple(np.load(path) for path in paths)


def test_others_rank_as_ours_does(codes):
  observed, clean = codes
  expected = rank.by_distance(observed, clean, index=np.arange(60))
  assert len(np.unique(expected)) > 10
  np.testing.assert_array_equal(bench._by_definition(observed, clean), expected)
  pytest.importorskip("torch", reason="PyTorch is not installed")
  from references import torch_ranks

  found = torch_ranks.by_distance(observed, clean, block=16)
  # `torch.cdist` takes roots, and rounds otherwise: no ties here.
  np.testing.assert_array_equal(found, expected)


def test_memory_is_that_of_a_fresh_process(tmp_path):
  found = bench.in_fresh_process(tmp_path, 100, 1000)
  assert 0 < found["bytes"] < 2**30 and found["s"] > 0


def test_rows_say_how_much_was_timed(tmp_path):
  rows = bench._speed(tmp_path, 100, 10**4, rounds=1)
  assert [row.what for row in rows] == [
    "ranks of 100 codes among 10,000, 8 numbers a code"
  ] * 2
  assert rows[0].against == "NumPy; 100 of 100 timed"
  assert rows[0].ratio > 0
