import numpy as np
import pytest

from hybridpriv.privatizers import moments


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
  monkeypatch.setattr(moments, "_CHUNK_VALUES", 64)  # 10 rows of 6 values


def cloud(num=33, far=0.0, seed=0):
  rng = np.random.default_rng(seed)
  mix = rng.normal(size=(6, 6))
  return (far + rng.normal(size=(num, 6)) @ mix).astype("f4").reshape(-1, 2, 3)


@pytest.mark.parametrize("num", [2, 9, 10, 33])
@pytest.mark.parametrize("far", [0.0, 1e4])
def test_moments_are_those_of_numpy_over_any_number_of_chunks(num, far):
  features = cloud(num, far)
  flat = features.reshape(num, -1).astype("f8")
  covariance = np.cov(flat, rowvar=False)
  np.testing.assert_allclose(
    moments.mean(features), flat.mean(axis=0), rtol=1e-6, atol=1e-6
  )
  np.testing.assert_allclose(
    moments.covariance(features), covariance, rtol=1e-5, atol=1e-5
  )
  assert moments.mean_variance(features) == pytest.approx(
    np.trace(covariance) / 6, rel=1e-5
  )
  basis = np.random.default_rng(1).normal(size=(6, 2))
  np.testing.assert_allclose(
    moments.covariance_times(features, flat.mean(axis=0), basis),
    covariance @ basis,
    rtol=1e-5,
    atol=1e-4,
  )


def test_a_tight_cloud_far_away_keeps_its_variance():
  # Steps of 2^-10 are exact in float32 at 1000.
  steps = np.random.default_rng(0).integers(-8, 8, size=(40, 6)) / 2**10
  features = (1000 + steps).astype("f4")
  np.testing.assert_allclose(
    moments.covariance(features),
    np.cov(steps, rowvar=False),
    rtol=1e-4,
    atol=1e-9,
  )
  assert moments.mean_variance(features) == pytest.approx(
    steps.var(axis=0, ddof=1).mean(), rel=1e-4
  )


def test_features_are_read_slice_by_slice(tmp_path):
  features = cloud()
  stored = np.memmap(tmp_path / "f", "f4", "w+", shape=features.shape)
  stored[:] = features
  rows = []

  class Recorded:
    shape = features.shape

    def __getitem__(self, index):
      rows.append(len(stored[index]))
      return stored[index]

  np.testing.assert_array_equal(
    moments.covariance(Recorded()), moments.covariance(features)
  )
  # The first chunk is read once more, for the offset.
  assert rows == [10, 10, 10, 10, 3]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named(value):
  features = cloud()
  features[17, 1, 2] = value
  with pytest.raises(ValueError, match="Feature 17 of 33 is not finite"):
    moments.mean(features)


def test_missing_or_too_few_features_are_refused():
  with pytest.raises(ValueError, match=r"\['labels'\].*needs 'features'"):
    moments.features_of({"labels": np.zeros(3)})
  with pytest.raises(ValueError, match=r"shape \(1, 2, 3\).*n > 1"):
    moments.features_of({"features": cloud(1)})
