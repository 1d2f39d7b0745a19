import dataclasses
from typing import Any

import numpy as np
import pytest

from hybridpriv.data import dataset


def signals(**changes) -> dataset.DataSet:
  fields: dict[str, Any] = {
    "name": "made up",
    "kind": "signal",
    "inputs": np.zeros((4, 5, 2), np.float32),
    "labels": {
      "task": np.array([0, 1, -1, 0], np.int32),
      "person": np.array([0, 0, 1, 1], np.int32),
    },
    "classes": {"task": ("sit", "walk"), "person": ("a", "b")},
    "identity": "person",
    "recording": np.arange(4, dtype=np.int32),
    "position": np.zeros(4, np.float32),
    "span": 1.0,
    "licence": "none",
    "citation": "none",
  }
  return dataset.DataSet(**(fields | changes))


def roles(data, desired=("task",), private=("person",), unforeseen=()):
  return dataset.with_roles(
    data, desired=desired, private=private, unforeseen=unforeseen
  )


def test_person_is_the_identity_label_or_the_sample():
  np.testing.assert_array_equal(signals().person, [0, 0, 1, 1])
  np.testing.assert_array_equal(signals(identity=None).person, [0, 1, 2, 3])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"kind": "sound"}, "kind is 'sound'"),
    ({"inputs": np.zeros((4, 5, 2))}, "float64 with 3 axes, expected float32"),
    ({"position": np.zeros(3, np.float32)}, r"position has shape \(3,\)"),
    ({"classes": {"task": ("sit", "walk")}}, "expected the same names"),
    ({"identity": "who"}, "identity 'who' is not one of the labels"),
    (
      {"classes": {"task": ("sit",), "person": ("a", "b")}},
      r"holds -1 .. 1, expected -1 \(not known\) or 0 .. 0",
    ),
    ({"identity": "task"}, "a sample has no person"),
  ],
)
def test_fields_that_do_not_fit_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    signals(**changes)


def test_roles_note_what_is_unknown_once():
  data = roles(roles(signals()))
  assert len(data.notes) == 1
  assert data.notes[0].startswith("1 of 4 samples have no 'task'")


def test_roles_refuse_a_label_that_is_not_there():
  with pytest.raises(ValueError, match="no label 'age'.*person, task"):
    roles(signals(), unforeseen=("age",))


def test_roles_refuse_two_roles_of_one_label():
  with pytest.raises(ValueError, match="'task' is named 2 times"):
    roles(signals(), private=("task",))


def test_roles_refuse_a_label_with_one_class_only():
  labels = {**signals().labels, "task": np.array([1, -1, 1, 1], np.int32)}
  data = dataclasses.replace(signals(), labels=labels)
  with pytest.raises(ValueError, match=r"1 value\(s\) \['walk'\]"):
    roles(data)
