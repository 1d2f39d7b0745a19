import jax
import numpy as np

from hybridpriv.privatizers import identity


def test_identity_changes_nothing(key):
  same = identity.identity()
  feature = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f4")
  state = same.fit(key, {})
  code = same.encode(state, key, feature)
  np.testing.assert_array_equal(code, feature)
  np.testing.assert_array_equal(same.decode(state, code), feature)
  assert same.radius(state, 3.0) == 3.0
  assert not same.is_random
  assert not jax.tree.leaves(state)
