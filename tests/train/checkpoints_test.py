import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hybridpriv.train import checkpoints


@pytest.fixture(scope="module")
def state(make):
  return make(norm=True, optimizers={"defender": optax.adam(0.1)}).state


def shifted(state, by):
  return jax.tree.map(lambda x: x + jnp.asarray(by, x.dtype), state)


def assert_equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_state_comes_back_bit_for_bit(state, tmp_path):
  # Numbers that a text or another type would round.
  odd = shifted(state, 1 / 3)
  checkpoints.save(tmp_path, 5, odd)
  found = checkpoints.restore(tmp_path, jax.tree.map(jnp.zeros_like, odd))
  assert_equal(found, odd)
  for leaf, wanted in zip(
    jax.tree.leaves(found), jax.tree.leaves(odd), strict=True
  ):
    assert leaf.dtype == wanted.dtype


def test_shapes_are_enough_to_restore_onto_all_devices(state, tmp_path):
  checkpoints.save(tmp_path, 5, state)
  shapes = jax.eval_shape(lambda: state)
  found = checkpoints.restore(tmp_path, shapes)
  assert_equal(found, state)
  assert found.step.sharding.device_set == set(jax.devices())


def test_only_the_newest_is_kept(state, tmp_path):
  for step in (2, 4, 10):
    checkpoints.save(tmp_path, step, shifted(state, step))
    assert checkpoints.latest_step(tmp_path) == step
  assert [p.name for p in tmp_path.iterdir()] == ["10"]
  assert_equal(checkpoints.restore(tmp_path, state), shifted(state, 10))


def test_a_newer_one_that_a_kill_left_half_written_is_ignored(state, tmp_path):
  checkpoints.save(tmp_path, 4, state)
  # Orbax writes under a temporary name and renames last.
  half = tmp_path / "6.orbax-checkpoint-tmp"
  shutil.copytree(tmp_path / "4", half)
  for name in ("commit_success.txt", "_CHECKPOINT_METADATA"):
    (half / name).unlink(missing_ok=True)
  assert checkpoints.latest_step(tmp_path) == 4
  assert_equal(checkpoints.restore(tmp_path, shifted(state, 1)), state)
  checkpoints.save(tmp_path, 6, shifted(state, 6))
  assert checkpoints.latest_step(tmp_path) == 6
  assert_equal(checkpoints.restore(tmp_path, state), shifted(state, 6))


def test_no_other_step_is_read_than_the_processes_agreed_on(state, tmp_path):
  checkpoints.save(tmp_path, 4, state)
  assert_equal(checkpoints.restore(tmp_path, shifted(state, 1), 4), state)
  with pytest.raises(ValueError, match="is of step 4, .* 0 is of step 6"):
    checkpoints.restore(tmp_path, state, 6)


def test_without_a_checkpoint_there_is_no_step_and_nothing_to_restore(
  state, tmp_path
):
  assert checkpoints.latest_step(tmp_path) is None
  assert checkpoints.latest_step(tmp_path / "none") is None
  assert not (tmp_path / "none").exists()
  with pytest.raises(ValueError, match="no whole checkpoint in"):
    checkpoints.restore(tmp_path, state)


def tree(**changes):
  return {
    "a": np.zeros((2, 3), np.float32),
    "b": np.ones((), np.int32),
    **changes,
  }


@pytest.mark.parametrize(
  "wanted, message",
  [
    (tree(a=np.zeros((3, 3), np.float32)), r"a: .* \(2, 3\), .* \(3, 3\)"),
    (tree(a=np.zeros((2, 3), np.int32)), "a: .*float32 .*, expected int32"),
    (
      tree(c=np.zeros((), np.float32)),
      r"c: it holds nothing, expected float32 \(\)",
    ),
    ({"a": tree()["a"]}, r"b: it holds int32 \(\), expected nothing"),
  ],
)
def test_another_network_is_one_clear_error(tmp_path, wanted, message):
  checkpoints.save(tmp_path, 7, tree())
  with pytest.raises(ValueError, match=message) as error:
    checkpoints.restore(tmp_path, wanted)
  text = str(error.value)
  assert f"{tmp_path}/7" in text and "use another --workdir" in text
  assert len(text) < 300
