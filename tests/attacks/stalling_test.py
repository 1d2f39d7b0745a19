import jax.numpy as jnp
import numpy as np

from hybridpriv.attacks import stalling


def _trained(errors, **options):
  seen = []

  def look(state, number):
    seen.append((number, float(state)))
    return errors[len(seen) - 1]

  options = {"steps": 10, "look_every": 4, "patience": 2} | options
  best = stalling.train(
    jnp.zeros([]), lambda state, number: state + number, look, **options
  )
  return float(best), seen


def test_it_looks_at_intervals_and_at_the_end():
  best, seen = _trained([3.0, 2.0, 1.0])
  assert seen == [(4, 10.0), (8, 36.0), (10, 55.0)] and best == 55.0


def test_the_first_of_the_best_is_kept_and_patience_ends_it():
  best, seen = _trained([1.0, 1.0, 2.0, 0.0], steps=100)
  assert len(seen) == 3 and best == 10.0


def test_where_nothing_is_any_good_the_start_is_kept():
  assert _trained([np.nan] * 3)[0] == 0.0
