import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attribute, decensoring
from hybridpriv.audit import engine, problems
from hybridpriv.privatizers import noise, privatizer

NOISE = privatizer.chain(noise.isotropic(sigma=1.0))
PEOPLE = 20
# Three samples of each person to learn from, three to choose by.
ROLE = np.tile(
  np.repeat([problems.TRAIN, problems.VALIDATION, problems.TEST], [3, 3, 12]),
  PEOPLE,
)
PERSON = np.repeat(np.arange(PEOPLE), 18)
ATTACKS = {
  "ridge": decensoring.ridge(weight_decay=0.001, max_steps=600),
  "restored": decensoring.mlp(
    learning_rate=0.005, weight_decay=0.001, max_steps=600
  ),
}
each_attack = pytest.mark.parametrize("name", ATTACKS)


def _mixed(informative):
  """Codes and features of which the codes hold what else varies, and more."""
  rng = np.random.default_rng(0)
  features = 2 * rng.normal(size=(PEOPLE, 6))[PERSON]
  features += 0.3 * rng.normal(size=features.shape)
  # As much of other things, in three times as many directions.
  others = 2 * rng.normal(size=(len(PERSON), 18))
  parts = np.concatenate([informative * features, others], axis=1)
  turn = np.linalg.qr(rng.normal(size=(24, 24)))[0]
  return (parts @ turn).astype("f4"), features.astype("f4")


@pytest.fixture(autouse=True, scope="module")
def one_at_a_time():
  """Attackers are few here: no block need be filled."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(engine, "_block_size", lambda *_: 2)
    yield


def _victims(codes, features, std=0.1):
  law = ({"std": jnp.full(1, std)},)
  return engine.Victims(
    ["codes"], np.zeros(1, int), codes[None], law, NOISE, features[None]
  )


def _attacked(attack, codes, features):
  problem = problems.Problem("person", 0, PERSON, ROLE, PEOPLE, "identity")
  found = engine.attack_all(
    attack,
    _victims(codes, features),
    [problem],
    [(0, 0)],
    key=jax.random.key(0),
    seeds=2,
    draws=2,
  )
  return found[0, 0].right.mean()


@pytest.fixture(scope="module")
def direct():
  """The better of two attacks that learn the person at once."""
  return max(
    _attacked(make(max_steps=600), *_mixed(1.0))
    for make in (attribute.linear, attribute.mlp)
  )


@each_attack
def test_features_teach_what_few_labels_cannot(name, direct):
  found = _attacked(ATTACKS[name], *_mixed(1.0))
  assert found > direct + 0.2


@each_attack
def test_features_of_its_own_samples_say_nothing_of_others(name):
  # The features tell the person, and the codes nothing.
  found = _attacked(ATTACKS[name], *_mixed(0.0))
  assert abs(found - 1 / PEOPLE) < 0.05


@pytest.mark.parametrize("size", [3, 40])
def test_the_regression_is_the_closed_form_whichever_matrix_is_smaller(size):
  rng = np.random.default_rng(0)
  codes = rng.normal(size=(20, size))
  target = rng.normal(size=(20, 2))
  weights = rng.uniform(size=20)
  weights[15:] = 0.0  # padding
  found = decensoring._solve(
    *(jnp.asarray(x, jnp.float32) for x in (codes, target, weights, 0.1))
  )
  own = np.diag(weights[:15])
  gram = codes[:15].T @ own @ codes[:15]
  unit = np.trace(gram) / min(size, 15)
  expected = np.linalg.solve(
    gram + 0.1 * unit * np.eye(size), codes[:15].T @ own @ target[:15]
  )
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_codes_are_read_as_no_farther_out_than_the_attackers_own():
  seen = {
    "mean": jnp.ones(2),
    "std": jnp.full(2, 2.0),
    "low": jnp.asarray([-1.0, 0.0]),
    "high": jnp.asarray([3.0, 5.0]),
  }
  codes = jnp.asarray([[[9.0], [-9.0]], [[2.0], [4.0]]])
  np.testing.assert_allclose(
    decensoring._read(codes, seen), [[1.0, -0.5], [0.5, 1.5]]
  )
