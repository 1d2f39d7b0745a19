import numpy as np
import pytest

from hybridpriv import build
from hybridpriv.data.sources import motion_sense

ROLES = {"desired": ("activity",), "private": ("gender",)}
SUBJECTS = "code,weight,height,age,gender\n1,102,188,46,1\n2,72,180,28,1\n"
SUBJECTS += "3,48,161,28,0\n10,72,164,31,0\n"
HEADER = (
  ",attitude.roll,attitude.pitch,attitude.yaw,gravity.x,gravity.y,gravity.z,"
  "rotationRate.x,rotationRate.y,rotationRate.z,userAcceleration.x,"
  "userAcceleration.y,userAcceleration.z"
)
# Activity and trial of every folder, and the time steps of its recordings.
TRIALS = {
  "dws_1": 70,
  "dws_11": 60,
  "ups_3": 80,
  "wlk_7": 60,
  "jog_9": 60,
  "sit_5": 60,
  "std_6": 60,
}
CODES = (1, 2, 3, 10)


def signal(trial, code):
  seed = 100 * sorted(TRIALS).index(trial) + code
  rng = np.random.default_rng(seed)
  return rng.normal(size=(TRIALS[trial], 12)).round(6)


def write(folder, header=HEADER):
  """Write a small folder of exactly the published layout."""
  (folder / "data_subjects_info.csv").write_text(SUBJECTS)
  for trial in TRIALS:
    place = folder / "A_DeviceMotion_data" / trial
    place.mkdir(parents=True)
    for code in CODES:
      lines = [header]
      for i, values in enumerate(signal(trial, code)):
        lines.append(f"{i}," + ",".join(f"{value:.6f}" for value in values))
      (place / f"sub_{code}.csv").write_text("\n".join(lines) + "\n")
  return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory):
  return write(tmp_path_factory.mktemp("motion"))


def load(folder, **options):
  return motion_sense.load(path=str(folder), **(ROLES | options))


def named(data, name):
  classes = (*data.classes[name], "")
  return np.array([classes[i] for i in data.labels[name]])


def test_windows_are_slices_of_their_files(published):
  data = load(published)
  # 60 steps hold two windows of 50 steps every 10; 70 hold three, 80 four.
  assert data.inputs.shape == (4 * (3 + 2 + 4 + 4 * 2), 50, 12)
  assert data.inputs.dtype == np.float32 and data.span == 1.0
  assert data.kind == "signal" and data.identity == "person"
  assert not data.synthetic and not data.notes
  trials = {trial.partition("_")[2]: trial for trial in TRIALS}
  for i, window in enumerate(data.inputs):
    start = round(float(data.position[i]) * 50)
    code = int(named(data, "person")[i])
    whole = signal(trials[named(data, "trial")[i]], code)
    np.testing.assert_array_equal(
      window, whole[start : start + 50].astype("f4")
    )


def test_labels_are_those_of_the_person_and_the_folder(published):
  data = load(published)
  assert data.classes["activity"] == (
    "downstairs",
    "upstairs",
    "walking",
    "jogging",
    "sitting",
    "standing",
  )
  assert data.classes["person"] == ("1", "2", "3", "10")
  assert data.classes["trial"] == ("1", "3", "5", "6", "7", "9", "11")
  assert data.classes["gender"] == ("female", "male")
  people = {"1": "male 46 188 102", "2": "male 28 180 72"}
  people |= {"3": "female 28 161 48", "10": "female 31 164 72"}
  names = ("gender", "age", "height", "weight")
  facts = np.stack([named(data, name) for name in names], axis=1)
  for person, own in zip(named(data, "person"), facts, strict=True):
    assert " ".join(own) == people[person]
  doing = {"1": "downstairs", "11": "downstairs", "3": "upstairs"}
  doing |= {"7": "walking", "9": "jogging", "5": "sitting", "6": "standing"}
  for trial, activity in zip(
    named(data, "trial"), named(data, "activity"), strict=True
  ):
    assert activity == doing[trial]


def test_a_recording_is_one_file(published):
  data = load(published)
  assert len(np.unique(data.recording)) == len(TRIALS) * len(CODES)
  what = np.stack([data.labels["person"], data.labels["trial"]], axis=1)
  for i in np.unique(data.recording):
    own = data.recording == i
    assert len(np.unique(what[own], axis=0)) == 1
    np.testing.assert_allclose(np.diff(data.position[own]), 0.2, rtol=1e-5)


def test_channels_go_by_their_name_and_not_by_their_place(tmp_path):
  names = HEADER.split(",")
  turned = ",".join([names[0], *reversed(names[1:])])
  data = load(write(tmp_path, turned))
  first = signal("dws_1", 1)[:50, ::-1].astype("f4")
  np.testing.assert_array_equal(data.inputs[0], first)


def test_activities_are_chosen_by_their_folders(published):
  data = load(published, activities=("jog", "dws"))
  assert data.classes["activity"] == ("jogging", "downstairs")
  assert set(named(data, "trial")) == {"1", "9", "11"}


def test_numbers_of_a_person_fall_into_bins(published):
  data = load(published, private=("age",), bins={"age": (28, 40)})
  assert data.classes["age"] == ("28 to 40", "40 or more")
  old = named(data, "age") == "40 or more"
  np.testing.assert_array_equal(old, named(data, "person") == "1")


def test_short_recordings_are_dropped_and_counted(published):
  data = load(published, window_s=1.4, overlap=0.0)
  assert set(named(data, "trial")) == {"1", "3"}
  assert data.notes == (
    "20 recordings are shorter than a window of 1.4 s and were dropped",
  )
  with pytest.raises(ValueError, match="window_s=2.0 .*longest is 1.6 s"):
    load(published, window_s=2.0)


def test_few_samples_still_have_all_people(published):
  data = load(published, max_samples=40)
  assert len(data) <= 40
  assert len(data.classes["person"]) == 4


def test_a_configuration_loads_it(published):
  config = {
    "data": {
      "source": "motion_sense",
      "path": str(published),
      "desired": "activity",
      "private": "gender,person",
      "unforeseen": "weight",
      "bins": {"weight": (75,)},
      "overlap": 0.5,
    }
  }
  data = build.load_data(config)
  assert data.classes["weight"] == ("below 75", "75 or more")
  assert data.name == "MotionSense"


def replace(file, old, new):
  text = file.read_text()
  assert old in text
  file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
  ("file", "old", "new", "message"),
  [
    ("dws_1/sub_2.csv", "gravity.y", "gravity", "no column 'gravity.y'; its"),
    ("dws_1/sub_2.csv", "\n7,", "\n7,,", "sub_2.csv line 9 has 14 fields"),
    ("dws_1/sub_2.csv", "\n7,", "\n7,x", "line 9: attitude.roll is 'x.*number"),
    ("info", "3,48,161,28,0\n", "", "sub_3.csv is of subject '3', who is not"),
    ("info", "3,48,161,28,0", "2,48,161,28,0", "line 4: subject '2' is at lin"),
    ("info", "28,0", "28,F", "info.csv line 4: gender is 'F', expected 0"),
    ("info", "height", "size", "no column 'height'; its columns are: code,"),
    ("info", "code", "id", "no column 'code'"),
    ("info", ",28,", ",young,", "line 3: 'age' is 'young', expected a number"),
  ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, file, old, new, message):
  write(tmp_path)
  path = tmp_path / "A_DeviceMotion_data" / file
  if file == "info":
    path = tmp_path / "data_subjects_info.csv"
  replace(path, old, new)
  with pytest.raises(ValueError, match=message):
    load(tmp_path, bins={"age": (30,)})


@pytest.mark.parametrize("value", ["nan", "inf", ""])
def test_gaps_are_refused(tmp_path, value):
  write(tmp_path)
  file = tmp_path / "A_DeviceMotion_data/ups_3/sub_10.csv"
  lines = file.read_text().splitlines()
  cells = lines[5].split(",")
  cells[-1] = value
  lines[5] = ",".join(cells)
  file.write_text("\n".join(lines))
  message = f"sub_10.csv line 6: userAcceleration.z is '{value}', expected a f"
  with pytest.raises(ValueError, match=message):
    load(tmp_path)


def test_missing_files_are_named(tmp_path):
  with pytest.raises(ValueError, match="data_subjects_info.csv is missing"):
    load(tmp_path / "nowhere")
  (tmp_path / "data_subjects_info.csv").write_text(SUBJECTS)
  with pytest.raises(ValueError, match="A_DeviceMotion_data is missing; unp"):
    load(tmp_path)
  (tmp_path / "A_DeviceMotion_data").mkdir()
  with pytest.raises(ValueError, match="no recording dws_<trial>/sub_<code>"):
    load(tmp_path)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"activities": ("run",)}, r"activities are \('run',\), .*'dws', 'ups'"),
    ({"activities": ()}, "expected some of"),
    ({"bins": {"gender": (1,)}}, r"bins are of \['gender'\], .*'age', 'hei"),
    ({"private": ("mood",)}, "no label 'mood'.*activity, age, gender"),
    ({"overlap": 1.0}, "overlap is 1.0"),
    ({"max_samples": 1}, "max_samples=1"),
  ],
)
def test_wrong_options_are_refused(published, options, message):
  with pytest.raises(ValueError, match=message):
    load(published, **options)
