"""Privatizers are fitted to the cloud half, on what they may see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv import build, study
from hybridpriv.privatizers import privatizer
from hybridpriv.study import fitting, laws


@pytest.fixture(scope="module")
def config(of_pictures):
  return of_pictures(
    privatizers={
      "active": {"chain": ("project.active_subspace",), "k": 2},
      "projected": {
        "chain": ("project.pca", "project.active_subspace"),
        "k": 6,
      },
      "pruned": {
        "chain": ("prune.channels",),
        "drop": 0.5,
        "private": "person",
      },
      "learned": {
        "chain": ("noise.learned",),
        "weight": (0.0, 0.3),
        "num_steps": 100,
      },
      "budget": {
        "chain": ("project.pca", "noise.pac"),
        "k": 6,
        "budget": 2.0,
      },
    },
  )


@pytest.fixture(scope="module")
def fitted(config, quiet, tmp_path_factory):
  folder = tmp_path_factory.mktemp("fitted")
  study.run(config, folder, "fit", say=quiet)
  return study.prepare(config, folder)


@pytest.fixture(scope="module")
def system(fitted):
  return fitting.load_system(fitted, 0, 0, "simple siamese.weight=0")


@pytest.fixture(scope="module")
def feature(fitted, system):
  return system.features(fitted.folds[0].train)


@pytest.fixture(scope="module")
def cloud(fitted, system, feature):
  return context(fitted, system, feature)["cloud"]


def context(setup, system, feature):
  index = setup.folds[0].train
  return laws.context(setup, system.variables, feature, index)


def rows(setup):
  return {row.name: row for row in build.rows(setup.config)}


def test_the_cloud_of_a_fit_answers_as_the_service_does(system, feature, cloud):
  found = cloud(jnp.asarray(feature))
  chain = privatizer.chain()
  expected = fitting.answer(system, chain, (), feature, jax.random.key(0))
  assert list(found) == ["answer"]
  np.testing.assert_allclose(
    found["answer"], expected["answer"][:, 0], atol=1e-4
  )


def test_systems_of_one_kind_have_one_program(fitted, system, feature, cloud):
  again = context(fitted, system, feature)["cloud"]
  assert jax.tree.structure(again) == jax.tree.structure(cloud)


def test_what_the_cloud_reads_is_kept_by_each_chain(
  fitted, system, feature, cloud
):
  """Two logits of one dense layer, also through a projection."""
  expected = np.asarray(cloud(jnp.asarray(feature))["answer"])
  law = fitting.read_law(fitted, 0, 0, rows(fitted)["simple/active"])
  chain = rows(fitted)["simple/active"].privatizer
  code = chain.encode(law, jax.random.key(0), feature)
  assert code.shape == (len(feature), 2)
  answer = cloud(chain.decode(law, code))["answer"]
  np.testing.assert_allclose(answer, expected, atol=1e-3)
  law = fitting.read_law(fitted, 0, 0, rows(fitted)["simple/projected"])
  weights = system.variables["params"]["outer"]["dense"]["kernel"]
  seen = np.asarray(law[0]["components"]) @ np.asarray(weights)
  scale = np.linalg.svd(seen, compute_uv=False)
  np.testing.assert_allclose(law[1]["gains"][:2], scale**2, rtol=1e-3)
  np.testing.assert_allclose(law[1]["gains"][2:], 0, atol=1e-5 * scale[0] ** 2)


def test_half_of_the_channels_are_sent(fitted, feature):
  row = rows(fitted)["simple/pruned"]
  law = fitting.read_law(fitted, 0, 0, row)
  assert law[0]["kept"].shape == (48,)
  code = row.privatizer.encode(law, jax.random.key(0), feature)
  np.testing.assert_array_equal(code, feature[:, law[0]["kept"]])


def test_without_weight_a_row_is_the_undefended_one(fitted):
  found = fitting.read_rows(fitted)
  none = found["simple/learned weight=0"]
  assert none["by_system"] == found["simple/identity"]["by_system"]
  law = fitting.read_law(
    fitted, 0, 0, rows(fitted)["simple/learned weight=0.3"]
  )
  std = np.asarray(law[0]["std"])
  assert std.shape == (96,) and std.min() > 0 and std.max() > 20 * std.min()


def test_unforeseen_labels_are_shown_to_nobody(fitted, system, feature):
  roles = fitted.roles._replace(private=(), unforeseen=("person",))
  hidden = fitted._replace(roles=roles)
  known = context(hidden, system, feature)
  assert list(known["labels"]) == ["answer"] and known["desired"] == ("answer",)
  stage = rows(fitted)["simple/pruned"].privatizer.stages[0]
  with pytest.raises(ValueError, match="no label 'person'"):
    stage.fit(jax.random.key(0), known)
