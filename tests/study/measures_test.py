"""Ranks of samples and of people, with what the desired label alone tells."""

import pathlib
import types

import numpy as np
import pytest

from hybridpriv.data import partition
from hybridpriv.study import measures, setup
from tests.study import made_up

PEOPLE, EACH = 6, 4


def _ranked(answer, rank, identity="person"):
  """Measures one row of a study whose audit people have these answers."""
  data = made_up.signals(
    desired=(), private=(), unforeseen=(), people=PEOPLE, each=EACH
  )
  fields = {name: getattr(data, name) for name in data.__dataclass_fields__}
  fields["labels"] = {**data.labels, "answer": np.asarray(answer)}
  data = type(data)(**fields | {"identity": identity})
  index = np.arange(len(data))
  fold = partition.Fold(index, index, index, index)
  given = setup.Setup(
    {"train": {"seeds": 1}},
    types.SimpleNamespace(desired=("answer",)),
    data,
    (fold,),
    None,
    pathlib.Path(),
  )
  shown = {"row": types.SimpleNamespace(rank=rank)}
  found = measures.ranks(given, {(0, 0): shown}, "row")
  return {m["attack"]: m for m, _ in found}


def _rank(image, person):
  n = PEOPLE * EACH
  return {
    "rank.image": np.full((1, n), image),
    "rank.person": np.full((1, n), person),
  }


def test_a_rank_is_scored_by_the_share_of_candidates_behind_it():
  answer = np.arange(PEOPLE * EACH) % 2
  found = _ranked(answer, _rank(image=7.0, person=3.0))
  assert found["rank.image"]["value"] == pytest.approx(1 - 7 / 24)
  assert found["rank.person"]["value"] == pytest.approx(1 - 3 / 6)
  assert found["rank.image"]["chance"] == pytest.approx(1 - 12.5 / 24)
  assert found["rank.person"]["chance"] == pytest.approx(1 - 3.5 / 6)
  assert {m["metric"] for m in found.values()} == {"rank"}


def test_who_knows_the_label_of_a_person_has_fewer_to_choose_from():
  # Two people of one kind and four of the other.
  answer = np.repeat([0, 0, 1, 1, 1, 1], EACH)
  found = _ranked(answer, _rank(image=1.0, person=1.0))
  people = 1 - (2 * 1.5 + 4 * 2.5) / 6 / 6
  assert found["rank.person"]["floor"] == pytest.approx(people)
  pictures = 1 - (2 * 4.5 + 4 * 8.5) / 6 / 24
  assert found["rank.image"]["floor"] == pytest.approx(pictures)
  assert all(m["floor_of"] == "desired label" for m in found.values())


def test_a_label_that_changes_says_nothing_about_the_person():
  answer = np.arange(PEOPLE * EACH) % 2
  found = _ranked(answer, _rank(image=1.0, person=1.0))["rank.person"]
  assert found["floor"] == found["chance"] and found["floor_of"] == "chance"


def test_where_nobody_is_named_samples_alone_are_ranked():
  answer = np.arange(PEOPLE * EACH) % 2
  found = _ranked(answer, _rank(image=1.0, person=1.0), identity=None)
  assert set(found) == {"rank.image"}
  assert found["rank.image"]["unit"] == "sample"
