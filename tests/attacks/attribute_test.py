import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import attribute
from hybridpriv.audit import engine, problems
from hybridpriv.privatizers import noise, privatizer

RNG = np.random.default_rng(0)
SIDE = 2 * (np.arange(240) % 2) - 1
# The sign of the product of two numbers: no line divides it.
CROSSED = RNG.choice([-1.0, 1.0], size=(240, 2))


def compiled(attack):
  """Train on 120 samples, stop by 60, answer 60 others."""

  def run(codes, label, rate, decay=0.001):
    victim = attack_lib.Victim(
      codes[None], (), jnp.int32(0), jnp.arange(240), privatizer.chain()
    )
    auxiliary = attack_lib.Auxiliary(
      label[:180], jnp.ones(120), jnp.ones(60), 2
    )
    knobs = {"learning_rate": rate, "weight_decay": decay}
    attacker = attack.fit(jax.random.key(0), victim, auxiliary, knobs)
    scores = attack.score(attacker, codes[180:])
    return jnp.mean(jnp.argmax(scores, axis=1) == label[180:]), attacker

  return jax.jit(run)


@pytest.fixture(scope="module")
def linear():
  return compiled(attribute.linear(max_steps=300))


@pytest.fixture(scope="module")
def mlp():
  return compiled(attribute.mlp(width=16, max_steps=300))


def test_the_mlp_finds_what_no_line_divides(linear, mlp):
  codes = np.pad(
    (CROSSED + 0.1 * RNG.normal(size=(240, 2))).astype("f4"), ((0, 0), (0, 1))
  )
  label = (CROSSED.prod(1) > 0).astype(int)
  assert mlp(codes, label, 0.02)[0] > 0.98
  assert linear(codes, label, 0.03)[0] < 0.75


def test_the_attacker_of_the_best_validation_is_kept(linear):
  # Validation says the opposite of training, so that learning only hurts:
  # what is kept is the first look and not the last.
  codes = (SIDE[:, None] + 0.3 * RNG.normal(size=(240, 3))).astype("f4")
  label = (SIDE > 0).astype(int)
  opposite = np.where(np.arange(240) < 120, label, 1 - label)

  def margin(label):
    kernel, _ = linear(codes, label, 0.01)[1]["params"][0]
    return float(jnp.sum(kernel[:, 1] - kernel[:, 0]))

  assert margin(label) > 2 * abs(margin(opposite))


def test_codes_of_any_scale_and_offset_are_learned_alike(linear):
  codes = SIDE[:, None] + 0.3 * RNG.normal(size=(240, 1))
  wide = np.concatenate([0.01 * codes + 5, 100 * codes, 0 * codes + 7], axis=1)
  label = (SIDE > 0).astype(int)
  right, attacker = linear(wide.astype("f4"), label, 0.03)
  assert right > 0.98
  mean, std = np.asarray(attacker["mean"]), np.asarray(attacker["std"])
  standard = (wide - mean) / std
  np.testing.assert_allclose(standard[:120].std(0), [1, 1, 0], atol=2e-2)


@pytest.mark.parametrize(
  "make", [attribute.linear, attribute.mlp, attribute.conv]
)
def test_the_grid_tries_every_rate_with_every_decay(make):
  found = make(learning_rate=(0.1, 0.2), weight_decay=(0.0, 1.0)).grid
  assert found == tuple(
    {"learning_rate": r, "weight_decay": d}
    for r in (0.1, 0.2)
    for d in (0.0, 1.0)
  )
  one = {"learning_rate": 0.1, "weight_decay": 0.5}
  assert make(learning_rate=0.1, weight_decay=0.5).grid == (one,)
  assert len({k["weight_decay"] for k in make().grid}) > 1


def test_a_heavier_decay_helps_where_few_samples_have_many_values(linear):
  rng = np.random.default_rng(0)
  label = (SIDE > 0).astype(int)
  wide = rng.normal(size=(len(SIDE), 300)).astype("f4")
  wide += 0.2 * np.sign(SIDE)[:, None]  # a little of it in every value
  light, _ = linear(wide, label, 0.03, 0.001)
  heavy, _ = linear(wide, label, 0.03, 0.3)
  assert heavy >= light


# --- Convolutional.


def _signals(num, length=24):
  """Makes signals with an up-and-down or its mirror somewhere, either sign."""
  rng = np.random.default_rng(0)
  label = np.arange(num) % 2
  codes = rng.normal(size=(num, length, 1))
  shapes = 4 * np.asarray([[1, -1, -1, 1], [1, 1, -1, -1]])[label]
  start = rng.integers(length - 3, size=num)
  sign = rng.choice([-1, 1], size=num)
  for code, at, shape in zip(codes, start, sign[:, None] * shapes, strict=True):
    code[at : at + 4, 0] += shape
  return codes.astype("f4"), label


def test_a_pattern_that_stands_anywhere_is_found_by_convolutions(monkeypatch):
  monkeypatch.setattr(engine, "_block_size", lambda *_: 1)
  codes, label = _signals(900)
  role = np.repeat([problems.TRAIN, problems.VALIDATION, problems.TEST], 300)
  victims = engine.Victims(
    ["codes"], np.zeros(1, int), codes[None], (), privatizer.chain()
  )
  problem = problems.Problem("label", 0, label, role, 2, "attribute")
  right = {}
  for make in (attribute.linear, attribute.conv):
    attack = make(learning_rate=0.01, weight_decay=0.1, max_steps=600)
    found = engine.attack_all(
      attack,
      victims,
      [problem],
      [(0, 0)],
      key=jax.random.key(0),
      seeds=1,
      draws=1,
    )
    right[attack.name] = found[0, 0].right.mean()
  assert right["attribute.conv"] > 0.85
  # Every position has either sign as often: there is no line.
  assert right["attribute.linear"] < 0.6


@pytest.mark.parametrize("shape", [(7, 6, 3), (9, 2)])
def test_convolutions_are_those_of_the_library(shape):
  rng = np.random.default_rng(0)
  window, channels = (3,) * (len(shape) - 1), shape[-1]
  x = rng.normal(size=(2, *shape)).astype("f4")
  kernel = rng.normal(size=(*window, channels, 5)).astype("f4")
  bias = rng.normal(size=5).astype("f4")
  layout = (
    ("NHWC", "HWIO", "NHWC") if len(window) == 2 else ("NWC", "WIO", "NWC")
  )
  expected = jax.lax.conv_general_dilated(
    x, kernel, (1,) * len(window), "SAME", dimension_numbers=layout
  )
  found = attribute._convolve(jnp.asarray(x), kernel.reshape(-1, 5), bias)
  np.testing.assert_allclose(
    found, np.maximum(np.asarray(expected) + bias, 0), rtol=1e-4, atol=1e-4
  )


def test_maxima_and_cells_of_a_map_are_as_by_hand():
  x = jnp.asarray([[1.0, 4, 2], [3, 0, 5], [6, 1, 1]])[None, :, :, None]
  halved = attribute._halve(x)
  np.testing.assert_array_equal(halved[0, :, :, 0], [[4, 5], [6, 1]])
  # No more cells than positions; else four a side, the first ones larger.
  np.testing.assert_array_equal(attribute._cells(halved), halved)
  line = jnp.arange(6.0)[None, :, None]
  np.testing.assert_allclose(
    attribute._cells(line)[0, :, 0], [0.5, 2.5, 4.0, 5.0]
  )


def test_a_pattern_is_as_large_wherever_it_stands(key):
  # Position 0 is louder than the others, in channel 0.
  codes = np.random.default_rng(0).normal(size=(240, 5, 2)).astype("f4")
  codes[:, 0, 0] *= 3
  codes += 7
  attack = attribute.conv(width=4, max_steps=25)
  _, attacker = compiled(attack)(codes, (SIDE > 0).astype(int), 0.01)
  std = np.asarray(attacker["std"]).reshape(5, 2)
  np.testing.assert_allclose(std, np.broadcast_to(std[:1], (5, 2)))
  weighed = codes[:120].std(axis=0)  # classes alike, of 60 each
  np.testing.assert_allclose(
    std[0], np.sqrt((weighed**2).mean(axis=0)), rtol=1e-3
  )
  mean = np.asarray(attacker["mean"]).reshape(5, 2)
  np.testing.assert_allclose(mean, codes[:120].mean(axis=0), rtol=1e-3)


def test_many_codes_are_scored_in_parts_as_together():
  attack = attribute.conv(width=4)
  rng = np.random.default_rng(0)
  codes = jnp.asarray(rng.normal(size=(300, 4, 5, 6)), jnp.float32)
  init, logits = attribute._convolutional(4)
  params = init(jax.random.key(0), codes[:1], 3)
  params["last"] = tuple(
    jnp.asarray(rng.normal(size=p.shape), jnp.float32) for p in params["last"]
  )
  assert params["map"].shape == (6, 4)  # more channels than it works with
  attacker = {"params": params, "mean": jnp.zeros(120), "std": jnp.ones(120)}
  found = attack.score(attacker, codes)
  each = jnp.concatenate(
    [logits(params, codes[i : i + 100]) for i in (0, 100, 200)]
  )
  np.testing.assert_allclose(found, each, rtol=1e-4, atol=1e-4)
  assert np.ptp(found) > 0.1


def test_convolutions_apply_to_maps_and_signals_only():
  applies = attribute.conv().applies
  chain = privatizer.chain()
  for shape in ((3, 1), (3, 3, 8), (32, 32, 3), (1024, 2)):
    assert applies(chain, shape)
  for shape in ((8,), (2, 64), (2, 9, 4), (33, 32, 3), (1025, 2), (3, 3, 3, 3)):
    assert not applies(chain, shape)


# --- Codes of more than 1,024 values.


def _faces(num=240, size=1100):
  """Makes features of a few large directions; a small one tells the class."""
  rng = np.random.default_rng(5)
  hidden = rng.normal(size=(num, 30)) * np.geomspace(1000, 1, 30)
  label = (hidden[:, 20] > 0).astype(int)
  hidden[:, 20] *= 2
  codes = hidden @ rng.normal(size=(30, size)) / np.sqrt(size)
  return codes.astype("f4"), label


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_in_long_codes_small_directions_are_found_by_their_components(name):
  codes, label = _faces()
  found = {
    components: compiled(
      getattr(attribute, name)(max_steps=300, components=components)
    )(codes, label, 0.003)[0]
    for components in (0, 256)
  }
  assert found[256] > 0.8 and found[256] > found[0] + 0.15


def test_long_codes_without_noise_are_turned_once_and_others_at_every_step():
  codes, label = _faces()
  attack = attribute.linear(max_steps=50)
  knobs = {"learning_rate": 0.003, "weight_decay": 0.001}
  silent = noise.isotropic(sigma=1.0)
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(label[:180]), jnp.ones(120), jnp.ones(60), 2
  )
  scores = []
  for chain, law in (
    (privatizer.chain(), ()),
    (privatizer.chain(silent), ({"std": jnp.zeros(1)},)),
  ):
    victim = attack_lib.Victim(
      jnp.asarray(codes)[None], law, jnp.int32(0), jnp.arange(180), chain
    )
    attacker = attack.fit(jax.random.key(0), victim, auxiliary, knobs)
    assert attacker["turn"].shape == (1100, 120)
    scores.append(attack.score(attacker, jnp.asarray(codes[180:])))
  np.testing.assert_allclose(*scores, rtol=1e-3, atol=1e-3)
