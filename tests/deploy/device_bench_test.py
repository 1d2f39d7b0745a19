import numpy as np
import pytest
from benches import device as bench

pytest.importorskip("onnxruntime")
pytest.importorskip("jax2onnx")


@pytest.fixture(scope="module")
def rows():
  model = next(m for m in bench.MODELS if m.name == "sensor network")
  return list(bench.measured(model, 1, 1))


def _found(rows, *words):
  return [row for row in rows if all(w in row.what for w in words)]


def test_every_form_is_timed_on_one_thread_and_on_all(rows):
  forms = ["JAX", "ONNX float32", "ONNX int8"]
  if bench.has_tflite():
    forms += ["LiteRT float32", "LiteRT int8"]
  else:
    (lacking,) = _found(rows, "LiteRT")
    assert "pip install 'hybridpriv[tflite]'" in lacking.skipped
  for form in forms:
    for what in ("a sample", "loading", "memory", "file"):
      assert len(_found(rows, f"pool1, {form}: {what}")) == 1
    assert len(_found(rows, f"pool1, {form}, one thread: a sample")) == 1


def test_parameters_and_operations_are_those_of_the_network(rows):
  (params,) = _found(rows, "pool1: parameters")
  (macs,) = _found(rows, "pool1: multiply-accumulates")
  # Kernels of 5 from 6 to 32 channels, with 128 steps.
  first = 5 * 6 * 32
  assert params.ours == pytest.approx(first + 32, rel=1e-3)
  assert macs.ours == pytest.approx(128 * first, rel=1e-3)
  assert params.ours < params.reference and macs.ours < macs.reference


def test_a_half_is_smaller_than_the_whole_and_int8_smaller_than_float(rows):
  (exact,) = _found(rows, "ONNX float32: file")
  (small,) = _found(rows, "ONNX int8: file")
  assert exact.ours < exact.reference
  assert small.ours < exact.ours
  assert small.reference < exact.reference


def test_the_bytes_sent_are_those_of_a_frame(rows):
  (sent,) = _found(rows, "sent")
  assert sent.ours == 14 + 8  # docs/wire.md
  assert sent.reference == 4 * 128 * 6


def test_numbers_are_there_and_ratios_are_reference_over_ours(rows):
  for row in rows:
    if row.skipped:
      continue
    assert row.ours > 0 and row.reference > 0
    assert row.low <= row.ratio <= row.high
    if row.rounds == 1:
      np.testing.assert_allclose(row.ratio, row.reference / row.ours, rtol=2e-3)


def test_all_networks_can_be_cut_where_the_bench_cuts_them():
  for model in bench.MODELS:
    assert set(model.cuts) <= set(model.network.stage_names())


def test_what_is_sent_is_known_of_every_network():
  for model in bench.MODELS:
    row = bench._sent(model, model.cuts[0])
    assert row.ours == 14 + 8 < row.reference
