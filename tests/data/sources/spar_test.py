import importlib.util
import sys

import numpy as np
import pytest

from hybridpriv.data.sources import spar


def test_every_person_does_every_exercise_on_both_sides_once():
  data = spar.load()
  assert data.inputs.shape == (2229, 200, 6)
  assert data.inputs.dtype == np.float32
  assert np.isfinite(data.inputs).all()
  assert data.identity == "person" and data.kind == "signal"
  assert not data.synthetic and not data.notes
  assert len(data.classes["exercise"]) == 7
  what = np.stack([data.labels[x] for x in ("person", "exercise", "side")], 1)
  _, first = np.unique(data.recording, return_index=True)
  assert len(first) == 140
  assert len(np.unique(what[first], axis=0)) == 10 * 7 * 2
  for i in range(140):
    own = what[data.recording == i]
    assert (own == own[0]).all()


def test_windows_are_those_of_the_file():
  data = spar.load(window_s=2.0, overlap=0.25)
  assert data.inputs.shape[1:] == (100, 6) and data.span == 2.0
  folder = importlib.util.find_spec("seglearn").submodule_search_locations[0]
  file = f"{folder}/data/watch_dataset.npy"
  content = np.load(file, allow_pickle=True).item()
  window = data.inputs[1000]
  start = round(float(data.position[1000]) * 50)
  person = data.classes["person"][data.labels["person"][1000]]
  (match,) = np.flatnonzero(
    (content["subject"] == int(person))
    & (content["y"] == data.labels["exercise"][1000])
    & (content["side"] == data.labels["side"][1000])
  )
  expected = content["X"][match][start : start + 100].astype(np.float32)
  np.testing.assert_array_equal(window, expected)


def test_the_package_that_ships_the_data_is_not_imported():
  spar.load(max_samples=300)
  assert "seglearn" not in sys.modules


def test_few_samples_still_have_all_people():
  data = spar.load(max_samples=700)
  assert len(data) <= 700
  assert len(data.classes["person"]) == 10


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match="run: pip install seglearn"):
    spar.load()


def test_wrong_options_are_refused():
  with pytest.raises(ValueError, match="no label 'gender'.*exercise, person"):
    spar.load(desired=("gender",))
  with pytest.raises(ValueError, match="19 to 52 s.*window_s=60"):
    spar.load(window_s=60.0)
