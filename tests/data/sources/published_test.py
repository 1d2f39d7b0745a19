"""LFW and SisFall as they are, where their folders are at hand.

HYBRIDPRIV_DATA names the folder that holds lfw/ and sisfall/.
"""

import math

import numpy as np
import pytest

from hybridpriv.data import partition
from hybridpriv.data.sources import table

SISFALL_GROUPS = {
  "walk": range(1, 3),
  "jog": range(3, 5),
  "stairs": range(5, 7),
  "sit or lie": range(7, 15),
  "other": range(15, 20),
}


@pytest.mark.slow  # decodes 13,233 pictures
def test_lfw_audits_the_62_people_with_twenty_pictures(published):
  data = table.load(
    path=published("lfw"),
    desired=("gender",),
    private=("identity",),
    unforeseen=("emotion",),
    identity="identity",
    size=16,
    crop=112,
  )
  assert data.inputs.shape == (13233, 16, 16, 3)
  assert len(data.classes["identity"]) == 5749
  assert dict(zip(data.classes["gender"], (2962, 10266), strict=True)) == {
    name: int((data.labels["gender"] == i).sum())
    for i, name in enumerate(data.classes["gender"])
  }
  assert [note.split()[0] for note in data.notes] == ["5", "475"]
  (fold,) = partition.make(data, desired=("gender",), min_audit=20, cap=50)
  assert partition.counts(fold, data)["audit"]["people"] == 62
  assert np.bincount(data.person[fold.audit]).max() == 50
  others = np.concatenate([fold.train, fold.validation, fold.test])
  assert not set(data.person[others]) & set(data.person[fold.audit])
  assert len(others) == 13233 - 3023


def test_lfw_official_split_is_by_person(published):
  options = {
    "path": published("lfw"),
    "desired": ("gender",),
    "private": ("identity",),
    "identity": "identity",
    "size": 8,
    "max_samples": 1000,
  }
  data = table.load(**options, split="split_view1")
  (fold,) = partition.make(data, desired=("gender",), split="split_view1")
  assert all(
    part["people"] > 9 for part in partition.counts(fold, data).values()
  )


def test_sisfall_activities_in_five_groups(published):
  group = {f"D{i:02}": name for name, r in SISFALL_GROUPS.items() for i in r}
  data = table.load(
    path=published("sisfall"),
    desired=("activity",),
    private=("identity", "gender"),
    identity="identity",
    group={"activity": group},
    rate_hz=50.0,
    scale=(1 / 256,) * 3 + (math.radians(2000 / 32768),) * 3,
  )
  assert set(data.classes["activity"]) == set(SISFALL_GROUPS)
  assert len(data.classes["identity"]) == 38
  assert not data.notes  # every trial is longer than a window
  assert len(np.unique(data.recording)) == 2707
  # Gravity is on the vertical axis of the waist.
  assert 0.8 < np.linalg.norm(data.inputs[..., :3].mean((0, 1))) < 1.1
