import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.privatizers import moments, prune


def between(values, label):
  """Epsilon squared of each channel, by the sums of squares of a table."""
  known = label >= 0
  values, label = values[known].astype("f8"), label[known]
  flat = values.reshape(len(values), -1, values.shape[-1])
  total = ((flat - flat.mean(axis=0)) ** 2).sum(axis=(0, 1))
  within = 0
  for c in np.unique(label):
    own = flat[label == c]
    within = within + ((own - own.mean(axis=0)) ** 2).sum(axis=(0, 1))
  num, classes = len(label), len(np.unique(label))
  return 1 - (within / (num - classes)) / (total / (num - 1))


@pytest.fixture
def maps():
  """Feature maps [b 3 2 6], two desired labels and a private one of ten."""
  rng = np.random.default_rng(0)
  labels = {
    "gender": rng.integers(-1, 2, size=300),
    "smile": rng.integers(2, size=300),
    "person": rng.integers(10, size=300),
  }
  features = rng.normal(size=(300, 3, 2, 6))
  features[..., 1] += labels["smile"][:, None, None]
  features[..., 2] += 2 * (labels["gender"] > 0)[:, None, None]
  offset = rng.normal(size=(10, 3, 2))[labels["person"]]
  features[..., 3] += offset
  features[..., 2] += 0.5 * offset
  features[..., 5] = 0.25
  return {
    "features": features.astype("f4"),
    "labels": labels,
    "desired": ("gender", "smile"),
  }


@pytest.mark.parametrize("chunk", [2**24, 1000])
@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_channels_are_kept_by_shares_of_variance(
  key, monkeypatch, maps, weight, chunk
):
  monkeypatch.setattr(moments, "_CHUNK_VALUES", chunk)
  values, labels = maps["features"], maps["labels"]
  with np.errstate(invalid="ignore"):
    score = (
      between(values, labels["gender"]) + between(values, labels["smile"])
    ) / 2 - weight * between(values, labels["person"])
  score[5] = 0  # constant
  own = prune.channels(drop=0.5, private="person", private_weight=weight)
  state = own.fit(key, maps)
  np.testing.assert_array_equal(state["kept"], np.sort(np.argsort(-score)[:3]))
  np.testing.assert_allclose(state["mean"], values.mean(axis=0), atol=1e-5)
  # The weight matters: without it the channel that tells both is the best.
  assert (2 in state["kept"]) == (weight < 3)


def test_the_share_of_variance_is_nothing_on_average_where_labels_say_nothing():
  """With as many classes as a third of the samples, too."""
  rng = np.random.default_rng(0)
  values = rng.normal(size=(300, 400)).astype("f4")
  label = rng.integers(100, size=300)
  share = prune._between(values, np.zeros(400), label, "any")
  assert abs(share.mean()) < 0.01
  np.testing.assert_allclose(share, between(values, label), atol=1e-5)


def test_kept_channels_arrive_and_the_others_are_their_mean(key, maps):
  own = prune.channels(drop=0.5, private="person")
  state = own.fit(key, maps)
  feature = maps["features"][:7]
  code = jax.jit(own.encode)(state, key, feature)
  assert code.shape == (7, 3, 2, 3)
  np.testing.assert_array_equal(code, feature[..., state["kept"]])
  back = np.asarray(own.decode(state, code))
  assert back.shape == feature.shape
  np.testing.assert_array_equal(back[..., state["kept"]], code)
  dropped = np.setdiff1d(np.arange(6), state["kept"])
  mean = np.broadcast_to(state["mean"], feature.shape)
  np.testing.assert_array_equal(back[..., dropped], mean[..., dropped])
  assert own.radius(state, 2.0) == 2.0


def test_nothing_dropped_changes_nothing(key, maps):
  own = prune.channels(drop=0.0, private="person")
  state = own.fit(key, maps)
  code = own.encode(state, key, maps["features"])
  np.testing.assert_array_equal(code, maps["features"])
  np.testing.assert_array_equal(own.decode(state, code), maps["features"])


def test_without_weight_no_private_label_is_read(key, maps):
  del maps["labels"]["person"]
  prune.channels(drop=0.5, private="person", private_weight=0).fit(key, maps)
  with pytest.raises(ValueError, match=r"'person'.*\['gender', 'smile'\]"):
    prune.channels(drop=0.5, private="person").fit(key, maps)


def test_a_planted_secret_goes_and_the_answer_stays(key, toy, told):
  own, context = toy(turned=False)
  assert told(own.features, own.labels["secret"]) > 0.96
  pruned = prune.channels(drop=0.125, private="secret")
  state = pruned.fit(key, context)
  code = pruned.encode(state, key, own.features)
  assert 0.46 < told(code, own.labels["secret"]) < 0.54
  # Phi(2) = 0.977, within three standard errors of 2,000 samples.
  assert told(code, own.labels["answer"]) == pytest.approx(0.977, abs=0.01)


def test_a_grid_of_weights_stacks_and_vmaps(key, maps):
  grid = [
    prune.channels(drop=0.5, private="person", private_weight=w)
    for w in (0.0, 3.0)
  ]
  states = [own.fit(key, maps) for own in grid]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
  encode = jax.vmap(grid[0].encode, (0, None, None))
  codes = encode(stacked, key, maps["features"])
  back = jax.vmap(grid[0].decode)(stacked, codes)
  for index, state in enumerate(states):
    code = grid[index].encode(state, key, maps["features"])
    np.testing.assert_array_equal(codes[index], code)
    np.testing.assert_array_equal(back[index], grid[1].decode(state, code))
  assert np.any(codes[0] != codes[1])


def test_what_cannot_be_pruned_is_said(key, maps):
  with pytest.raises(ValueError, match="drop=1"):
    prune.channels(drop=1, private="person")
  with pytest.raises(ValueError, match="private_weight=-1"):
    prune.channels(drop=0.5, private="person", private_weight=-1)
  own = prune.channels(drop=0.95, private="person")
  with pytest.raises(ValueError, match="drop=0.95 leaves none of 6"):
    own.fit(key, maps)
  own = prune.channels(drop=0.5, private="person")
  alone = {**maps["labels"], "person": np.arange(300)}
  with pytest.raises(ValueError, match="no class of label 'person'"):
    own.fit(key, {**maps, "labels": alone})
  state = own.fit(key, maps)
  with pytest.raises(ValueError, match=r"\(3, 2, 6\) and got \(6,\)"):
    own.encode(state, key, np.zeros((1, 6), "f4"))
