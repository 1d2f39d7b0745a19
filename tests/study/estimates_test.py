"""What holds on average is the formula, and is said of nothing else."""

import json
import math
import pathlib

import jsonschema
import numpy as np
import pytest
from scipy import optimize, special

from hybridpriv import build, study
from hybridpriv.audit import averages, results
from hybridpriv.privatizers import clip, privatizer, quantize
from hybridpriv.privatizers import noise as noise_lib
from hybridpriv.study import estimates, fitting, training

SCHEMA = "hybridpriv/audit/results.schema.json"
BUDGET = 0.5  # nats


@pytest.fixture(scope="module")
def config(of_pictures):
  return of_pictures(
    privatizers={
      "grid": {
        "chain": ("project.pca", "clip.unit_ball", "quantize.toward_zero")
        + ("noise.discrete",),
        "k": 4,
        "clip_norm": 1.0,
        "levels": 16,
        "sigma": 16.0,
      },
      "clipped": {
        "chain": ("project.pca", "clip.unit_ball", "noise.isotropic"),
        "k": 4,
        "clip_norm": 1.0,
        "sigma": 2.0,
        "relative": False,
      },
      "whole": {"chain": ("noise.isotropic",), "sigma": 1.0},
      "budget": {
        "chain": ("project.pca", "noise.pac"),
        "k": 4,
        "budget": BUDGET,
      },
    },
    # All audit samples, so that the average is known by hand.
    audit={"queries": (10,), "dfil": 10_000},
  )


@pytest.fixture(scope="module")
def audited(config, quiet, tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("expected")
  study.run(config, folder, say=quiet)
  return folder


@pytest.fixture(scope="module")
def report(audited, repository):
  found = json.loads((audited / "audit" / "results.json").read_text())
  jsonschema.validate(found, json.loads((repository / SCHEMA).read_text()))
  return {row["name"]: row for row in found["rows"]}


@pytest.fixture(scope="module")
def victim(config, audited):
  """What a study has for its one fold and network, and pixels of its audit."""
  own = study.prepare(config, audited)
  system = fitting.load_system(
    own, 0, 0, training.chosen(own)[0]["simple"]["chosen"]
  )
  pictures = own.data.inputs[own.folds[0].audit].reshape(-1, 16 * 16 * 3)
  rows = {row.name: row for row in build.rows(config)}
  return own, system, pictures.astype("f8"), rows


def _hidden(system, pictures):
  """The client by hand: one dense layer of standardised pixels, and a bend."""
  mean, std = (
    np.tile(np.asarray(system.constants[k], "f8"), 256) for k in ("mean", "std")
  )
  layer = system.variables["params"]["inner"]["dense"]
  kernel = np.asarray(layer["kernel"], "f8") / std[:, None]
  value = (pictures - mean) @ kernel + np.asarray(layer["bias"], "f8")
  return np.maximum(value, 0), kernel[None] * (value > 0)[:, None]


def _kinds(row):
  return {(e["kind"], e["num_queries"]) for e in row["estimates"]}


def _entry(row, kind, num_queries):
  (own,) = (
    e
    for e in row["estimates"]
    if (e["kind"], e["num_queries"]) == (kind, num_queries)
  )
  return own


def test_only_what_has_the_assumptions_is_said(report):
  """No noise, a grid before it, and noise without a budget."""
  wanted = {
    "identity": set(),
    "grid": set(),
    "noise sigma=0.5": {"dfil"},
    "clipped": {"dfil"},
    "whole": {"dfil"},
    "budget": {"dfil", "pac"},
  }
  for name, kinds in wanted.items():
    row = report[f"simple/{name}"]
    assert _kinds(row) == {(k, n) for k in kinds for n in (1, 10)}, name
    # A guarantee needs a bound, and an estimate is none.
    assert bool(row["guarantees"]) == (name in ("grid", "clipped"))


@pytest.mark.parametrize("name", ["noise sigma=0.5", "clipped", "budget"])
def test_the_error_of_restored_inputs_is_the_formula(report, victim, name):
  own, system, pictures, rows = victim
  first, *more = fitting.read_law(own, 0, 0, rows[f"simple/{name}"])
  value, jacobian = _hidden(system, pictures)
  components = np.asarray(first["components"], "f8")
  # Pixels from 0 to 1, and so 255 steps a unit.
  jacobian = 255 * np.einsum("kh,bdh->bkd", components, jacobian)
  code = (value - np.asarray(first["mean"], "f8").reshape(-1)) @ components.T
  if name == "clipped":
    unit, variance = float(more[0]["unit"]), 2.0**2
    code, jacobian = code / unit, jacobian / unit
    norm = np.linalg.norm(code, axis=1)[:, None, None]
    ray = code[:, :, None] / norm
    along = ray * np.einsum("bkl,bkd->bld", ray, jacobian)
    jacobian = np.where(norm > 1, (jacobian - along) / norm, jacobian)
    assert (norm > 1).any() and (norm < 1).any()
    white = np.eye(4) / math.sqrt(variance)
  elif name == "budget":
    white = np.linalg.inv(np.asarray(more[0]["factor"], "f8"))
  else:
    white = np.eye(4) / float(more[0]["std"])
  expected = ((white @ jacobian) ** 2).sum((1, 2)) / (16 * 16 * 3)
  person = own.data.person[own.folds[0].audit]
  off = [np.sum((expected - expected.mean())[person == p]) for p in set(person)]
  for num in (1, 10):
    entry = _entry(report[f"simple/{name}"], "dfil", num)
    assert entry["dfil"] == pytest.approx(num * expected.mean(), rel=1e-3)
    assert entry["standard_error"] == pytest.approx(
      num * math.hypot(*off) / len(person), rel=1e-2
    )
    assert entry["least_error"] == pytest.approx(entry["dfil"] ** -0.5)
    assert entry["method"] == "exact" and entry["scale"] == "values from 0 to 1"
    assert (entry["num_samples"], entry["num_units"]) == (len(person), 5)
    assert entry["spread"] == pytest.approx(
      np.sqrt(np.var(pictures / 255, axis=0, ddof=1).mean()), rel=1e-4
    )
    assert "unbiased" in entry["assumes"] and "Average" in entry["case"]


def test_long_codes_are_estimated_by_random_signs(report, victim):
  own, system, pictures, rows = victim
  (law,) = fitting.read_law(own, 0, 0, rows["simple/whole"])
  _, jacobian = _hidden(system, pictures)
  expected = np.mean(((255 * jacobian) ** 2).sum((1, 2)))
  expected /= 16 * 16 * 3 * float(law["std"]) ** 2
  entry = _entry(report["simple/whole"], "dfil", 1)
  assert entry["method"] == "Hutchinson, 16 signs an input"
  # 60 inputs of 16 signs each.
  assert entry["dfil"] == pytest.approx(expected, rel=0.05)
  assert entry["dfil"] != pytest.approx(expected, rel=1e-6)


def test_a_budget_is_stated_with_what_other_people_tell(report, victim):
  own, system, pictures, rows = victim
  first, last = fitting.read_law(own, 0, 0, rows["simple/budget"])
  value, _ = _hidden(system, pictures)
  code = value @ np.asarray(first["components"], "f8").T
  law = np.linalg.matrix_power(np.asarray(last["factor"], "f8"), 2)
  for num in (1, 10):
    entry = _entry(report["simple/budget"], "pac", num)
    told = 0.5 * np.log(
      np.linalg.det(np.eye(4) + num * np.linalg.inv(law) @ np.cov(code.T))
    )
    assert entry["information_bits"] == pytest.approx(
      told / math.log(2), rel=1e-3
    )
    assert entry["budget_bits"] == pytest.approx(num * BUDGET / math.log(2))
    # One of five people, two standard errors added.
    most = told + 2 * entry["standard_error_bits"] * math.log(2)
    bound = 1.0
    if most < math.log(5):
      bound = optimize.brentq(
        lambda p, most=most: (
          special.rel_entr(p, 0.2) + special.rel_entr(1 - p, 0.8) - most
        ),
        0.2,
        1,
      )
    assert entry["leakage"]["person"]["accuracy"] == pytest.approx(
      bound, abs=1e-3
    )
    assert "average over the population" in entry["case"]
    assert entry["num_units"] == 5


def test_the_card_says_of_them_what_they_are(audited, report):
  text = (audited / "report" / "report.md").read_text().replace("\\", "")
  section = text[text.index("## Guarantees") :].split("\n## ")[0]
  assert "**On average, not for everyone" in section
  assert "It is no bound on a decoder" in section
  one = _entry(report["simple/budget"], "dfil", 1)
  assert (
    f"| simple/budget | 1 | {one['dfil']:.3g} ± {one['standard_error']:.3g} |"
    f" {one['least_error']:.3g} | {one['spread']:.3g} | exact |"
  ) in section
  told = _entry(report["simple/budget"], "pac", 1)
  assert (
    f"| simple/budget | 1 | {told['budget_bits']:.3g} |"
    f" {told['information_bits']:.3g} ± {told['standard_error_bits']:.3g} |"
    f" person | {100 * told['leakage']['person']['accuracy']:.1f} |"
  ) in section
  # What is proved and what is estimated share no table.
  proved = section[: section.index("**On average")]
  assert "simple/clipped" in proved and "simple/budget" not in proved


def test_files_of_others_and_of_before_are_read(audited):
  path = audited / "audit" / "results.json"
  value = json.loads(path.read_text())
  for row in value["rows"]:
    row.pop("estimates")
    for g in row["guarantees"]:
      for name in ("fano_error", "information", "different_inputs"):
        g.pop(name)
  old = audited / "old.json"
  old.write_text(json.dumps(value))
  given = results.read(old)
  assert all(row.estimates == () for row in given.rows)
  assert averages.blocks(given.rows) == ()
  other = {"kind": "dfil", "num_queries": 1, "unit": "a", "case": "b"}
  value["rows"][0]["estimates"] = [other]
  old.write_text(json.dumps(value))
  with pytest.raises(ValueError, match="'assumes' is a required property"):
    results.read(old)
  other["assumes"] = "c"
  old.write_text(json.dumps(value))
  assert averages.blocks(results.read(old).rows) == ()


def test_noise_of_any_law_of_the_package_is_made_white(key):
  draws = np.zeros((20_000, 3), "f4")
  mixed = np.random.default_rng(0).normal(size=(500, 3)) @ np.diag([1, 2, 9.0])
  for stage, state in (
    (noise_lib.isotropic(sigma=2.0), {"std": np.float32(2.0)}),
    (noise_lib.learned(weight=1.0), {"std": np.asarray([1.0, 2, 30], "f4")}),
    (noise_lib.covariance(scale=1.0), None),
  ):
    if state is None:
      state = stage.fit(key, {"features": mixed.astype("f4")})
    root = estimates.whitening(state, 3)
    drawn = stage.encode(state, key, draws)
    white = drawn * root if len(root) == 1 else drawn @ root
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=0.05)
  # Thousands of values have no covariance that would fit into memory.
  assert estimates.whitening({"std": np.ones(100_000)}, 100_000).size == 100_000
  # Where noise is silent nothing is bounded.
  silent = {"factor": np.diag([1.0, 0.0, 1.0]).astype("f4")}
  assert not np.isfinite(estimates.whitening(silent, 3)).all()
  assert not np.isfinite(estimates.whitening({"std": np.zeros(3)}, 3)).any()


@pytest.mark.parametrize(
  ("stages", "is_smooth"),
  [
    ((clip.norm(clip_norm=1.0), noise_lib.covariance(scale=1.0)), True),
    ((noise_lib.isotropic(sigma=1.0), quantize.saturate(bits=8)), True),
    ((clip.norm(clip_norm=1.0),), False),
    ((quantize.saturate(bits=8), noise_lib.isotropic(sigma=1.0)), False),
    ((quantize.toward_zero(levels=3), noise_lib.discrete(sigma=1.0)), False),
    (
      (
        clip.norm(clip_norm=1.0)._replace(encode=lambda s, key, x: x // 1),
        noise_lib.isotropic(sigma=1.0),
      ),
      False,
    ),
  ],
  ids=["smooth", "rounded after", "no noise", "rounded", "grid", "foreign"],
)
def test_a_gradient_needs_a_chain_that_has_one(stages, is_smooth):
  parts = privatizer.split_random(privatizer.chain(*stages))
  assert estimates.is_smooth(*parts) == is_smooth
