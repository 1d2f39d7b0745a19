"""What is not fit to be shipped is not exported, and leaves nothing behind."""

import errno

import numpy as np
import pytest

from hybridpriv.deploy import export
from hybridpriv.deploy.client import sending
from hybridpriv.study import shipping


def _fails(pictures, tmp_path, message, **options):
  with pytest.raises(ValueError, match=message):
    shipping.run(pictures, tmp_path / "out", say=lambda line: None, **options)
  assert not list(tmp_path.iterdir())


def test_a_client_half_that_does_something_else_is_not_exported(
  pictures, tmp_path, monkeypatch, exported
):
  load = sending.load

  def wrong(path):
    run = load(path)
    return lambda x: run(x) + (2 if path.name == "client.onnx" else 0)

  monkeypatch.setattr(sending, "load", wrong)
  _fails(pictures, tmp_path, "client.onnx does not do what the network does")


def test_an_int8_half_that_costs_too_much_says_how_to_do_without(
  pictures, tmp_path, monkeypatch, exported
):
  load = sending.load

  def useless(path):
    run = load(path)
    return lambda x: run(x) * (path.name == "client.onnx")

  monkeypatch.setattr(sending, "load", useless)
  _fails(pictures, tmp_path, "client.int8.onnx does not .*--noint8 exports")


def test_an_int8_half_whose_answers_are_others_is_not_exported(
  pictures, tmp_path, monkeypatch, exported
):
  # As useful as the network, and right about other samples.
  answers = shipping._answers
  asked = []

  def turned(*given):
    asked.append(given)
    found = answers(*given)
    turns = {d: np.roll(a, 1) for d, a in found.items()}
    return turns if len(asked) == 3 else found

  monkeypatch.setattr(shipping, "_answers", turned)
  monkeypatch.setattr(shipping, "_utility", lambda *_: 0.9)
  _fails(
    pictures,
    tmp_path,
    "client.int8.onnx does not .* 0.0 points .* answers the same",
  )
  assert len(asked) == 3


def test_no_room_for_the_graphs_is_one_clear_error(
  pictures, tmp_path, monkeypatch, exported
):
  def full(half, path):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(export, "to_onnx", full)
  _fails(pictures, tmp_path, "No space left on device.*free some space")


def test_codes_are_for_one_query_at_least(pictures, tmp_path):
  _fails(pictures, tmp_path, "max_queries=0; expected 1", max_queries=0)
