import jax
import jax.numpy as jnp
import numpy as np
import optax

from hybridpriv.networks import heads


def test_mlp_takes_any_feature_and_answers_in_float32(key):
  head = heads.Mlp(hidden=(4, 3), num_classes=5)
  feature = jax.random.normal(key, (2, 3, 3, 2), jnp.bfloat16)
  variables = head.init(key, feature)
  assert list(variables) == ["params"]
  logits = head.apply(variables, feature)
  assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)
  assert hash(head) == hash(heads.Mlp(hidden=(4, 3), num_classes=5))


def test_mlp_without_hidden_layers_is_linear(key):
  head = heads.Mlp(hidden=(), num_classes=2)
  feature = jax.random.normal(key, (3, 4))
  variables = head.init(key, feature)
  kernel = variables["params"]["logits"]["kernel"]
  np.testing.assert_allclose(
    head.apply(variables, feature), feature @ kernel, atol=1e-6
  )


def test_many_heads_train_in_one_program_and_learn(key):
  head = heads.Mlp(hidden=(16,), num_classes=2)
  feature = jax.random.normal(key, (64, 2))
  labels = (feature[:, 0] * feature[:, 1] > 0).astype(jnp.int32)
  optimizer = optax.adam(0.03)

  def loss(params):
    logits = head.apply({"params": params}, feature)
    return optax.softmax_cross_entropy_with_integer_labels(
      logits, labels
    ).mean()

  def train(key):
    params = head.init(key, feature)["params"]

    def step(carry, _):
      params, state = carry
      updates, state = optimizer.update(jax.grad(loss)(params), state)
      return (optax.apply_updates(params, updates), state), None

    carry = (params, optimizer.init(params))
    (params, _), _ = jax.lax.scan(step, carry, length=200)
    return loss(params)

  assert np.max(jax.jit(jax.vmap(train))(jax.random.split(key, 3))) < 0.2


def test_a_restorer_is_an_mlp_in_another_shape(key):
  head = heads.Restorer(hidden=(6,), shape=(4, 4, 3))
  feature = jax.random.normal(key, (2, 3, 2), jnp.bfloat16)
  variables = head.init(key, feature)
  found = head.apply(variables, feature)
  assert (found.shape, found.dtype) == ((2, 4, 4, 3), jnp.float32)
  flat = heads.Mlp(hidden=(6,), num_classes=48).apply(
    {"params": variables["params"]["mlp"]}, feature
  )
  np.testing.assert_array_equal(found.reshape(2, 48), flat)
  assert hash(head) == hash(heads.Restorer(hidden=(6,), shape=(4, 4, 3)))
