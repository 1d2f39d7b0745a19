"""What the top of the report says, and what it may not leave out."""

import json

import pytest

from hybridpriv.audit import embeddings, headline, page, results


@pytest.fixture
def value(workdir):
  return json.loads((workdir / "audit" / "results.json").read_text())


def _said(value) -> str:
  section = headline.section(results.from_json(value))
  whole = page.Page("t", "s", (), (section,), "f")
  return page.to_markdown(whole).replace("\\", "")


@pytest.mark.parametrize(
  "train, attack, said",
  [
    (1, 2, ["one train seed", "2 attack seeds"]),
    (2, 1, ["2 train seeds", "one attack seed"]),
  ],
)
def test_few_seeds_are_said_with_what_they_leave_out(
  value, train, attack, said
):
  for row in value["rows"]:
    row.update(train_seeds=train, attack_seeds=attack)
  (note,) = headline.limits(results.from_json(value))
  assert note.kind == "warn"
  assert all(text in note.text for text in [*said, "at least 3 train and 5"])


def test_enough_seeds_need_no_excuse(value):
  for row in value["rows"]:
    row.update(train_seeds=3, attack_seeds=5)
  assert headline.limits(results.from_json(value)) == []


def _at_the_point(value):
  name = embeddings.operating_point(results.from_json(value)).name
  (point,) = (row for row in value["rows"] if row["name"] == name)
  return point, point["leakage"][point["worst"]["person"]]


def test_a_headline_of_fewer_seeds_says_so(value):
  for row in value["rows"]:
    row.update(train_seeds=3, attack_seeds=5)
  _, leak = _at_the_point(value)
  plain = _said(value)
  leak.update(train_seeds=1, attack_seeds=2)
  said = _said(value)
  assert "of 1 train seed and 2 attack seeds** only" in said
  assert "only, where others have" not in plain


@pytest.mark.parametrize("more", [-0.01, 0.01])
def test_people_told_from_restored_pictures_are_in_the_headline(value, more):
  point, leak = _at_the_point(value)
  best = max(
    m["value"]
    for m in point["leakage"]
    if (m["target"], m["metric"], m["num_queries"])
    == (leak["target"], leak["metric"], 1)
  )
  matched = {
    **leak,
    "attack": "inversion.decoder",
    "metric": "matched",
    "value": best + more,
    "low": 0.0,
    "high": 1.0,
  }
  point["leakage"].append(matched)
  said = _said(value)
  assert f"names {100 * (best + more):.1f} %" in said
  assert "a recognizer with other pictures of these people" in said
  assert "`inversion.decoder` restores" in said
  assert ("more than any of these" in said) == (more > 0)
