import copy

import jax
import numpy as np
import pytest

from hybridpriv.audit import problems
from hybridpriv.deploy import export
from hybridpriv.study import (
  auditing,
  demonstrating,
  fitting,
  halves,
  shipping,
)

pytest.importorskip("jax2onnx")  # where bundles are made, and only there

STRONG = "simple/certified sigma=12"


@pytest.fixture(scope="module")
def setup(pictures):
  made = shipping.read(pictures)
  config = copy.deepcopy(dict(made.config))
  config["audit"]["inversion"] |= {
    "steps": 20,
    "size": 16,
    "width": 0.05,
  }
  return made._replace(config=config)


@pytest.fixture(scope="module")
def graphs(setup):
  chosen = halves.choose(setup, STRONG, 0)
  return demonstrating.make(setup, chosen, lambda line: None)


def _asked(setup):
  (problem,) = [
    p
    for p in auditing.list_problems(setup)
    if p.kind == "identity" and "(" not in p.target
  ]
  at = np.flatnonzero((problem.role == problems.TEST) & (problem.label >= 0))
  return at, problem


def test_there_is_one_for_no_defence_and_one_for_what_is_sent(graphs):
  # The study has no Siamese training.
  assert [(g.name, g.takes) for g in graphs] == [
    ("none", "sample"),
    ("full", "code"),
  ]
  described = demonstrating.describe(graphs)
  assert [d["file"] for d in described] == ["demo/none.onnx", "demo/full.onnx"]
  assert described[0]["outputs"] == ["picture", "scores"]


def test_they_give_a_picture_and_a_score_for_each_audited_person(setup, graphs):
  _, problem = _asked(setup)
  audit = setup.folds[0].audit
  for graph in graphs:
    half = graph.half
    x = np.zeros((1, *half.shape), half.dtype)
    picture, scores = half.function(half.parameters, x)
    assert picture.shape == (1, 16, 16, 3)
    assert np.all((picture >= 0) & (picture <= 1))
    assert scores.shape == (1, len(graph.people)) == (1, problem.num_classes)
    names = setup.data.classes["person"]
    assert set(graph.people) == {
      names[p] for p in setup.data.person[audit[problem.label >= 0]]
    }


def test_without_a_defence_people_are_named_and_from_noise_they_are_not(
  setup, graphs
):
  at, problem = _asked(setup)
  rows = setup.folds[0].audit[at]
  names = setup.data.classes["person"]
  truth = [names[p] for p in setup.data.person[rows]]
  none, full = graphs

  def right(graph, x):
    _, scores = jax.jit(graph.half.function)(graph.half.parameters, x)
    said = [graph.people[i] for i in np.asarray(scores).argmax(-1)]
    return np.mean([a == b for a, b in zip(said, truth, strict=True)])

  chance = 1 / problem.num_classes
  assert right(none, setup.data.inputs[rows]) > 2 * chance
  # Of noise alone nothing can be made.
  k = full.half.shape[0]
  noise = np.random.default_rng(0).normal(scale=12, size=(len(rows), k))
  assert right(full, noise.round().astype(np.float32)) < 2 * chance


def test_the_graph_for_what_is_sent_takes_codes_as_they_are_sent(setup, graphs):
  chosen = halves.choose(setup, STRONG, 0)
  client, _ = halves.make(setup, chosen)
  full = graphs[-1]
  code = client.function(client.parameters, setup.data.inputs[:1])
  assert code.shape[1:] == full.half.shape
  law = fitting.read_law(setup, 0, 0, chosen.row)
  assert len(law[0]["components"]) == full.half.shape[0]


def test_they_become_files_with_both_outputs(graphs, tmp_path):
  onnxruntime = pytest.importorskip("onnxruntime")
  for graph in graphs:
    path = tmp_path / f"{graph.name}.onnx"
    export.to_onnx(graph.half, path, demonstrating.OUTPUTS)
    session = onnxruntime.InferenceSession(
      str(path), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(1)
    x = rng.integers(0, 100, size=(1, *graph.half.shape))
    x = x.astype(graph.half.dtype)
    found = session.run(list(demonstrating.OUTPUTS), {export.INPUT: x})
    expected = graph.half.function(graph.half.parameters, x)
    for a, b in zip(found, expected, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-3)


def test_what_cannot_be_shown_is_one_clear_error(setup):
  chosen = halves.choose(setup, STRONG, 0)._replace(seed=1)
  with pytest.raises(ValueError, match="--seed=0"):
    demonstrating.make(setup, chosen, lambda line: None)
