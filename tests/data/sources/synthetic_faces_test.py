import numpy as np
import pytest

from hybridpriv.data.sources import synthetic_faces


def draw(**options):
  options = {"people": 12, "images_per_person": 10, "size": 24} | options
  return synthetic_faces.load(**options)


def test_faces_are_called_synthetic():
  data = draw()
  assert data.synthetic and "synthetic" in data.name
  assert data.inputs.shape == (120, 24, 24, 3)
  assert data.identity == "person"


def test_the_beard_belongs_to_the_person_and_the_rest_to_the_picture():
  data = draw(images_per_person=20, size=8)
  for p in range(12):
    own = data.person == p
    assert own.sum() == 20
    assert len(set(data.labels["beard"][own])) == 1
    assert set(data.labels["expression"][own]) == {0, 1}
    assert set(data.labels["glasses"][own]) == {0, 1}


def test_the_seed_decides():
  a, b, c = (draw(seed=seed).inputs for seed in (3, 3, 4))
  np.testing.assert_array_equal(a, b)
  assert not np.array_equal(a, c)


@pytest.fixture(scope="module")
def codes():
  """Labels, and the whitened principal components of the pictures."""
  data = draw(images_per_person=40, size=20)
  pixels = data.inputs.reshape(len(data), -1) / 255.0
  pixels -= pixels.mean(0)
  _, _, axes = np.linalg.svd(pixels[::2], full_matrices=False)
  code = pixels @ axes[:60].T
  return data.labels, code / code[::2].std(0)


@pytest.mark.parametrize("label", ["person", "beard", "glasses", "expression"])
def test_every_label_changes_the_drawing(codes, label):
  # The nearest mean of the classes beats chance on pictures not seen before.
  labels, code = codes
  values = labels[label]
  classes = np.unique(values)
  train, test = slice(0, None, 2), slice(1, None, 2)
  means = np.stack([code[train][values[train] == c].mean(0) for c in classes])
  away = ((code[test, None] - means) ** 2).sum(-1)
  hit = classes[away.argmin(1)] == values[test]
  assert hit.mean() > 1 / len(classes) + 0.2


@pytest.mark.parametrize("size", [8, 33, 64])
def test_any_size_shows_the_same_people(size):
  small, large = draw(size=size).inputs, draw(size=96).inputs
  assert small.shape[1:] == (size, size, 3)
  assert 40 < small.mean() < 220 and small.std() > 20
  assert abs(small.mean() - large.mean()) < 20


def test_wrong_options_are_refused():
  with pytest.raises(ValueError, match="people is 1, expected 2 or more"):
    draw(people=1)
  with pytest.raises(ValueError, match="no label 'gender'"):
    draw(desired=("gender",))
