"""The client that attackers, and measures of sensitivity, look through."""

import math

import jax
import numpy as np
import pytest

from hybridpriv import study
from hybridpriv.guarantees import fisher
from hybridpriv.privatizers import privatizer, project
from hybridpriv.study import fitting, granting, training
from hybridpriv.study.setup import constants, spec


def _system(config, folder):
  """Draws a network that nothing was trained on, as a study has it."""
  given = study.prepare(config, folder)
  own = spec(given, "finetune")
  system = fitting.System(
    variables=training.whole(given, 0, 0),
    constants=constants(given, 0),
    network=own.network,
    cut=own.cut,
    shape=own.shape,
    answers=own.answers,
    start=None,
    inputs=given.data.inputs,
  )
  return given, system


@pytest.mark.parametrize("kind", ["of_signals", "of_pictures"])
def test_inputs_in_their_units_have_the_features_of_the_system(
  kind, request, tmp_path
):
  given, system = _system(request.getfixturevalue(kind)(), tmp_path)
  index = np.arange(6)
  client = granting.client(given, system, privatizer.chain(), ())
  sent = client(granting.inputs(given, system, index))
  np.testing.assert_allclose(sent, system.features(index), atol=1e-5)


def test_the_sensitivity_of_a_signal_is_that_of_small_changes(
  of_signals, key, tmp_path
):
  """Convolutions and maxima too; in standard deviations of a channel."""
  given, system = _system(of_signals(), tmp_path)
  chain = privatizer.chain(project.pca(k=3))
  law = chain.fit(key, {"features": system.features(np.arange(100))})
  client = granting.client(given, system, chain, law)
  x = granting.inputs(given, system, np.arange(1))
  found = fisher.dfil(client, x, sigma=0.5, key=key)
  step, total = 1e-3, 0.0
  run = jax.jit(client)
  spread = np.asarray(system.constants["std"])
  raw = np.asarray(given.data.inputs[:1], "f4")
  for at in np.ndindex(x.shape[1:]):
    up, down = raw.copy(), raw.copy()
    up[0][at] += step * spread[at[-1]]
    down[0][at] -= step * spread[at[-1]]
    slope = np.subtract(*(run(x / spread) for x in (up, down))) / (2 * step)
    total += float(np.sum(slope**2))
  expected = total / (math.prod(x.shape[1:]) * 0.5**2)
  assert found[0] == pytest.approx(expected, rel=0.02)
