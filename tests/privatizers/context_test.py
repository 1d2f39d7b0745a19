import jax
import numpy as np
import pytest

from hybridpriv.privatizers import context


def test_labels_are_found_by_role_and_by_name():
  own = {
    "features": np.zeros((3, 2)),
    "labels": {"a": np.asarray([0, -1, 1]), "b": np.zeros(3, int)},
    "desired": ("b",),
    "cloud": jax.tree_util.Partial(lambda z: {"b": z}),
  }
  np.testing.assert_array_equal(context.labels(own, "a"), [0, -1, 1])
  assert list(context.desired(own)) == ["b"]
  assert context.cloud(own) is own["cloud"]


@pytest.mark.parametrize(
  ("change", "read", "message"),
  [
    ({"cloud": None}, context.cloud, "needs 'cloud', a jax.tree_util.Partial"),
    ({"cloud": len}, context.cloud, "needs 'cloud', a jax.tree_util.Partial"),
    ({"desired": ()}, context.desired, "needs 'desired', the names"),
    ({"desired": ("c",)}, context.desired, r"no label 'c'.*there are \['a'\]"),
    (
      {"labels": {}},
      context.desired,
      r"no label 'a' to fit to; there are \[\]",
    ),
    (
      {"features": np.zeros((5, 2))},
      context.desired,
      r"labels 'a' of shape \(3,\) for 5 features",
    ),
    (
      {"labels": {"a": np.full(3, -1)}},
      context.desired,
      r"All labels 'a' are unknown",
    ),
  ],
)
def test_what_a_fit_lacks_is_said(change, read, message):
  own = {
    "features": np.zeros((3, 2)),
    "labels": {"a": np.zeros(3, int)},
    "desired": ("a",),
  }
  with pytest.raises(ValueError, match=message):
    read({**own, **change})
