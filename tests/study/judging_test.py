"""Right answers about samples, and about pairs of them."""

import types

import numpy as np
import pytest

from hybridpriv.study import judging


def _setup(labels, folder="", test="", validation="", names=()):
  n = len(next(iter(labels.values())))
  data = types.SimpleNamespace(
    name="faces",
    labels=labels,
    classes={k: tuple(map(str, range(3))) for k in labels},
    person=np.arange(n),
    names=names,
  )
  return types.SimpleNamespace(
    data=judged(data),
    folds=[types.SimpleNamespace(validation=np.arange(n), test=np.arange(n))],
    roles=types.SimpleNamespace(desired=tuple(labels)),
    config={
      "data": {"path": str(folder)},
      "verification": {"test": test, "validation": validation},
    },
  )


class judged:
  """A data set that can be a key, as the real one is."""

  def __init__(self, values):
    vars(self).update(vars(values))


def test_balanced_accuracy_averages_over_the_known_classes_that_occur():
  given = _setup({"gender": np.asarray([0, 0, 0, 1, -1])})
  predicted = np.asarray([0, 0, 1, 1, 0])
  logits = {"gender": np.eye(3)[predicted][:, None]}
  found = judging.scores(given, 0, "test", logits)
  assert found == {"gender": pytest.approx((2 / 3 + 1) / 2)}


# --- Verification: 20 people with two pictures each, on a line.


def _pairs_file(folder, parts, each):
  lines = [f"{parts}\t{each}"]
  person = 0
  for _ in range(parts):
    lines += [f"P{person + i}\t1\t2" for i in range(each)]
    lines += [
      f"P{person + i}\t1\tP{(person + i + 1) % 20}\t2" for i in range(each)
    ]
    person += each
  (folder / "pairs.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def given(tmp_path):
  _pairs_file(tmp_path, parts=5, each=4)
  names = tuple(f"P{p}/P{p}_{k:04d}.jpg" for p in range(20) for k in (1, 2))
  labels = {"identity": np.repeat(np.arange(20), 2)}
  made = _setup(labels, tmp_path, "pairs.txt", "pairs.txt", names)
  made.data.person = labels["identity"]
  return made


def _embeddings(given, gap, other=()):
  """Pictures of one person are `gap` apart, people are 1 apart."""
  index = judging.samples(given, 0, "test")
  at = given.data.person[index] + gap * (index % 2)
  for person, value in other:
    at = np.where((given.data.person[index] == person) & (index % 2), value, at)
  return {"identity": at[:, None, None].astype(float)}


def test_people_that_are_apart_are_told_apart(given):
  found = judging.scores(given, 0, "test", _embeddings(given, 0.2))
  assert found == {"identity": 1.0}


def test_each_part_is_judged_by_a_threshold_of_the_others(given):
  # In the first part the same person is far apart and others are near: its own
  # threshold would tell them; those of the other parts do not.
  other = [(p, p - 0.9) for p in range(1, 4)]
  logits = _embeddings(given, 0.2, other)
  right = judging.right(given, 0, "test", logits)["identity"][0]
  part = judging.pairs(given, "test").part
  asked = judging.questions(given, 0, "test")["identity"]
  assert right[part > 0].all()
  assert not right[(part == 0) & (asked.label == 1)][1:].any()


def test_pairs_count_to_the_first_person_and_both_answers_occur(given):
  asked = judging.questions(given, 0, "test")["identity"]
  assert asked.num_classes == 2
  assert np.bincount(asked.label).tolist() == [20, 20]
  assert asked.person.tolist()[:4] == [0, 1, 2, 3]


def test_useless_embeddings_are_at_chance(given):
  rng = np.random.default_rng(0)
  index = judging.samples(given, 0, "test")
  logits = {"identity": rng.normal(size=(len(index), 200, 8))}
  found = judging.scores(given, 0, "test", logits)
  assert found["identity"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "no list of pairs"),
    ("name,identity\na,b\n", "no list of pairs"),
    ("5 1\nP1 1\n", "line 2.*expected a name and two numbers"),
    ("5 1\nP1 1 3\n", "line 2: there is no picture 'P1_0003'"),
  ],
)
def test_a_file_that_is_no_list_of_pairs_is_named(given, text, message):
  folder = given.config["data"]["path"]
  with open(f"{folder}/pairs.txt", "w") as file:
    file.write(text)
  with pytest.raises(ValueError, match=message):
    judging.pairs(given, "test")


def test_a_missing_list_is_named(given):
  given.config["verification"]["test"] = "nowhere.txt"
  with pytest.raises(ValueError, match=r"cannot read .*nowhere\.txt"):
    judging.pairs(given, "test")


def test_pairs_to_choose_by_show_nobody_who_is_judged(given, tmp_path):
  (tmp_path / "dev.txt").write_text(
    "4\nP0 1 2\nP30 1 2\nP31 1 P0 2\nP30 1 P31 1\n"
  )
  extra = [f"P{p}/P{p}_{k:04d}.jpg" for p in (30, 31) for k in (1, 2)]
  given.data.names += tuple(extra)
  more = np.repeat([30, 31], 2)
  given.data.person = np.concatenate([given.data.person, more])
  given.config["verification"]["validation"] = "dev.txt"
  found = judging.pairs(given, "validation")
  assert given.data.person[found.first].tolist() == [30, 30]
  assert found.same.tolist() == [1, 0]


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"train": {"base": {"steps": 5}, "finetune": {"steps": 0}}}, "steps"),
    ({"verification": {"test": "pairs.txt", "outputs": 0}}, "outputs"),
    ({"data": {"desired": "identity,gender"}}, "one desired label"),
  ],
)
def test_a_verification_that_cannot_be_is_refused(changed, message):
  config = {
    "data": {"desired": "identity", "private": "age", "unforeseen": ""},
    "verification": {"test": "pairs.txt", "outputs": 128},
    "train": {"base": {"steps": 0}, "finetune": {"steps": 0}},
  }
  judging.check(config)
  for key, value in changed.items():
    config[key] = {**config[key], **value}
  with pytest.raises(ValueError, match=message):
    judging.check(config)
