import io
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from hybridpriv.data.sources import table

ROLES = {"desired": ("mood",), "private": ("person",), "identity": "person"}
HEADER = "path,person,mood,age,part"
ROWS = (
  "a/0.png,ann,sad,20,train",
  "a/1.png,ann,glad,,train",
  "a/2.png,bob,sad,40,test",
  "a/3.png,bob,,41,test",
  "a/4.png,,glad,60,test",
  "a/5.png,cleo,odd,61,train",
)


def png(grey: int) -> bytes:
  stream = io.BytesIO()
  Image.new("RGB", (12, 10), (grey, grey, grey)).save(stream, "png")
  return stream.getvalue()


def write(folder, rows=ROWS, header=HEADER, place="images"):
  """Write labels.csv and pictures whose grey is ten times their number."""
  text = "\n".join([header, *rows]) + "\n"
  (folder / "labels.csv").write_text(text)
  pictures = {f"a/{i}.png": png(10 * i) for i in range(len(rows))}
  if place.endswith(".zip"):
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
      for name, content in pictures.items():
        archive.writestr(place.removesuffix("images.zip") + name, content)
  else:
    for name, content in pictures.items():
      path = folder / place / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(content)
  return folder


def load(folder, **options):
  return table.load(path=str(folder), **(ROLES | {"size": 4} | options))


def named(data, name):
  classes = (*data.classes[name], "")
  return [classes[i] for i in data.labels[name]]


def greys(data):
  return [int(grey) // 10 for grey in data.inputs[:, 0, 0, 0]]


@pytest.mark.parametrize(
  "place", ["images", "", "images.zip", "images/images.zip"]
)
def test_pictures_keep_their_labels_wherever_they_lie(tmp_path, place):
  data = load(write(tmp_path, place=place))
  assert data.inputs.shape == (5, 4, 4, 3)
  assert greys(data) == [0, 1, 2, 3, 5]
  assert named(data, "person") == ["ann", "ann", "bob", "bob", "cleo"]
  assert named(data, "mood") == ["sad", "glad", "sad", "", "odd"]
  assert data.name == tmp_path.name and data.licence == "not stated"
  np.testing.assert_array_equal(data.recording, range(5))
  assert data.notes == (
    "1 rows name no person ('person'): dropped",
    "1 of 5 samples have no 'mood' and are left out where 'mood' is learned "
    "or scored",
  )


def test_no_person_makes_every_sample_a_unit(tmp_path):
  data = load(
    write(tmp_path), identity="", private=("age",), bins={"age": (30, 50)}
  )
  assert data.identity is None and len(data) == 6
  np.testing.assert_array_equal(data.person, range(6))
  ages = ["below 30", "", "30 to 50", "30 to 50", "50 or more", "50 or more"]
  assert named(data, "age") == ages
  assert data.classes["age"] == ("below 30", "30 to 50", "50 or more")


def test_keep_and_group_drop_and_count(tmp_path):
  data = load(
    write(tmp_path),
    keep={"person": ["ann", "bob", "cleo"]},
    group={"mood": {"sad": "low", "glad": "high"}},
  )
  # Keep comes first; an empty mood is unknown, "odd" has no group.
  assert greys(data) == [0, 1, 2, 3]
  assert named(data, "mood") == ["low", "high", "low", ""]
  assert data.notes[:2] == (
    "1 rows have another 'person' than ann, bob, cleo: dropped",
    "1 rows have a 'mood' without a group ('odd'): dropped",
  )


def test_only_the_rows_kept_are_decoded(tmp_path):
  write(tmp_path)
  (tmp_path / "images/a/5.png").write_text("no picture")
  load(tmp_path, keep={"person": ("ann", "bob")})


def test_most_samples_are_chosen_before_decoding(tmp_path):
  rows = [f"a/{i}.png,p{i % 6},{('x', 'y')[i // 6 % 2]}" for i in range(24)]
  write(tmp_path, rows, "path,person,mood")
  data = load(tmp_path, max_samples=12)
  assert len(data) == 12
  for name, value in (("person", "p{}"), ("mood", "")):
    if value:
      assert named(data, name) == [value.format(i % 6) for i in greys(data)]


def test_split_is_a_label_too(tmp_path):
  data = load(write(tmp_path), split="part")
  assert named(data, "part") == ["train", "train", "test", "test", "train"]


def test_crop_is_of_the_picture_in_the_file(tmp_path):
  write(tmp_path)
  assert load(tmp_path, crop=9).inputs.shape[1:] == (4, 4, 3)
  with pytest.raises(ValueError, match="line 2, 'a/0.png': the picture is 12"):
    load(tmp_path, crop=11)


def replaced(number, row):
  return [row if i == number else old for i, old in enumerate(ROWS)]


@pytest.mark.parametrize(
  ("changes", "options", "message"),
  [
    ({}, {"desired": ("age2",)}, "no column 'age2'; its columns are: path, p"),
    ({}, {"identity": "who"}, "no column 'who'"),
    ({}, {"keep": {"who": ("x",)}}, "no column 'who'"),
    ({}, {"keep": {"mood": "x"}}, "leaves no row.*'glad', 'odd', 'sad'"),
    ({}, {"group": {"mood": {"x": "y"}}}, "none of which is in .*labels.csv"),
    ({}, {"bins": {"mood": (1, 2)}}, "labels.csv line 2: 'mood' is 'sad'"),
    ({}, {"bins": {"age": (2, 1)}}, "expected numbers that rise"),
    (
      {},
      {"bins": {"age": (2,)}, "group": {"age": {"20": "x"}}},
      r"\['age'\] have a group and bins",
    ),
    ({}, {"keep": {"mood": ("sad",)}}, r"1 value\(s\) \['sad'\]"),
    ({}, {"keep": {"person": ("ann",)}}, "'person' of .* takes 1 value"),
    (
      {"rows": replaced(3, "a/3.png,ann,,41,test")},
      {"split": "part"},
      "line 5: person 'ann' is in part='test', but in 'train' at line 2",
    ),
    (
      {"rows": replaced(1, "a/9.png,ann,glad,,train")},
      {},
      "line 3: there is no picture 'a/9.png' in images.zip, images/ or",
    ),
    (
      {"rows": replaced(1, "a/0.png,ann,glad,,train")},
      {},
      "line 3: 'a/0.png' is at line 2 too",
    ),
    ({"rows": replaced(1, ",ann,glad,,train")}, {}, "line 3: path is empty"),
    ({"rows": replaced(1, "a/1.png,ann,glad")}, {}, "line 3 has 3 fields"),
    ({"rows": []}, {}, "0 rows, expected"),
    ({"header": "path,mood,mood,age,part"}, {}, "expected different names"),
    ({}, {"size": 0}, "size is 0"),
    ({}, {"signals": "x.npz", "rate_hz": 50.0}, "x.npz is missing"),
  ],
)
def test_what_is_wrong_is_named(tmp_path, changes, options, message):
  write(tmp_path, **changes)
  with pytest.raises(ValueError, match=message):
    load(tmp_path, **options)


@pytest.mark.parametrize("place", ["images", "images.zip"])
def test_an_unreadable_picture_is_named_with_its_row(tmp_path, place):
  write(tmp_path, place=place)
  if place == "images":
    (tmp_path / "images/a/2.png").write_bytes(png(3)[:40])
  else:
    file = tmp_path / "images.zip"
    content = file.read_bytes()
    # The first bytes of the third picture, so that its checksum fails.
    at = content.index(b"a/2.png") + 20
    file.write_bytes(content[:at] + b"broken" + content[at + 6 :])
  message = "labels.csv line 4, 'a/2.png': .*; mend the file or take its row"
  with pytest.raises(ValueError, match=message):
    load(tmp_path)


def test_missing_files_are_named(tmp_path):
  with pytest.raises(ValueError, match="path is '', which is no folder"):
    table.load(path="", **ROLES)
  with pytest.raises(ValueError, match="labels.csv is missing"):
    load(tmp_path)
  (tmp_path / "labels.csv").write_text("person,mood\nann,sad\n")
  message = "no column 'path' and .*signals.npz is missing"
  with pytest.raises(ValueError, match=message):
    load(tmp_path)
  (tmp_path / "labels.csv").write_bytes(b"person,mood\nj\xf6rg,sad\n")
  with pytest.raises(ValueError, match="not a CSV file in UTF-8"):
    load(tmp_path)
  write(tmp_path)
  (tmp_path / "images.zip").write_text("no zip")
  with pytest.raises(ValueError, match="images.zip cannot be opened"):
    load(tmp_path)


def test_without_grain_the_remedy_is_named(tmp_path, monkeypatch):
  write(tmp_path)
  monkeypatch.setitem(sys.modules, "grain", None)
  with pytest.raises(ValueError, match=r"pip install 'hybridpriv\[grain\]'"):
    table.load(path=str(tmp_path), engine="grain", **ROLES)


def test_signals_have_no_engine(tmp_path):
  (tmp_path / "labels.csv").write_text("person,mood\nann,sad\nbob,glad\n")
  np.savez(tmp_path / "signals.npz", signals=np.zeros((2, 100, 3), "f4"))
  with pytest.raises(ValueError, match="engine='grain' reads pictures"):
    table.load(path=str(tmp_path), engine="grain", rate_hz=10, **ROLES)


def test_an_editors_mark_and_quoted_commas_are_read(tmp_path):
  write(tmp_path, replaced(0, '"a/0.png","Ann, B.",sad,20,train'))
  file = tmp_path / "labels.csv"
  file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
  assert named(load(tmp_path), "person")[0] == "Ann, B."
