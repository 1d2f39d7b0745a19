"""The comparison of cuts draws what the results hold, and only of cuts."""

import copy
import functools
import json

import jsonschema
import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hybridpriv.audit import (
  compare,
  drawing,
  embeddings,
  figures,
  layers,
  results,
)

CUTS = ("conv5_1", "conv5_2", "conv5_3")


def _cost(params):
  client = {
    "params": params,
    "macs": 40 * params,
    "num_bytes": 8192,
    "time_ms": 30.5,
    "memory_bytes": 2 * params,
  }
  whole = {
    "params": 15_000_000,
    "macs": 1_000_000_000,
    "num_bytes": 8,
    "time_ms": 61.0,
    "memory_bytes": 80_000_000,
  }
  return {"client": client, "whole": whole, "machine": "2 CPU cores"}


def _moved(m, shift):
  for name in ("value", "low", "high"):
    m[name] = float(np.clip(m[name] + shift, 0, 1))


def _perturbed(value, number, cut):
  """Return results of another cut: each number is another, none is real."""
  value, rng = copy.deepcopy(value), np.random.default_rng(number)
  value["study"]["cut"] = cut
  value["study"]["cost"] = _cost(1_000_000 * (number + 1))
  for row in value["rows"]:
    row["cut"] = cut
    for m in row["utility"] + row["leakage"]:
      _moved(m, 0.02 * number * rng.uniform(-1, 0))
    worst = copy.deepcopy(row["leakage"][row["worst"]["identity"]])
    for attack in ("transfer.published", "transfer.noise_aware"):
      if row["embedding"] != "noise" or row["selected"]:
        _moved(worst, -0.001)
        row["leakage"].append({**worst, "attack": attack})
  return value


@pytest.fixture(scope="module")
def values(repository):
  path = repository / "docs" / "results" / "lfw_gender.json"
  given = json.loads(path.read_text())
  return [_perturbed(given, i, cut) for i, cut in enumerate(CUTS)]


@pytest.fixture(scope="module")
def studies(values):
  return [results.from_json(value) for value in values]


@pytest.fixture(scope="module")
def text(values, tmp_path_factory):
  """Return the whole comparison of the cuts as Markdown."""
  folder = tmp_path_factory.mktemp("cuts")
  for cut, value in zip(CUTS, values, strict=True):
    (folder / cut / "audit").mkdir(parents=True)
    (folder / cut / "audit" / "results.json").write_text(json.dumps(value))
  out = compare.write([folder / cut for cut in CUTS], folder / "out").parent
  for name in ("bars", "transfer", "curves", "cost"):
    for end in (".png", "-dark.png", ".pdf"):
      assert (out / "figures" / f"layers_{name}{end}").is_file()
  return (out / "report.md").read_text().replace("\\", "")


def _draw(function, *arguments):
  with matplotlib.rc_context(drawing.LIGHT.settings):
    return function(*arguments, drawing.LIGHT)


def _heights(panel):
  return [bar.get_height() for bar in panel.patches]


def _main(studies):
  return [row for s in studies for row in embeddings.main_rows(s)]


def _segments(panel, dashed):
  return [
    segment
    for lines in panel.collections
    if (lines.get_linestyle()[0][1] is not None) == dashed
    for segment in lines.get_segments()
  ]


def test_bars_are_as_high_as_utility_and_worst_leakage(studies):
  figure = _draw(layers.bars, studies)
  rows = _main(studies)
  assert len(rows) == 18
  panels = {p.get_title(loc="left"): p for p in figure.axes}
  assert list(panels) == [
    "utility: gender",
    "worst leakage: identity",
    "worst leakage: emotion",
  ]
  expected = [row.utility_of("gender").value for row in rows]
  assert _heights(panels["utility: gender"]) == expected
  for target in ("identity", "emotion"):
    expected = [row.leakage_of(target).value for row in rows]
    assert _heights(panels[f"worst leakage: {target}"]) == expected


def test_bars_of_a_cut_stand_over_its_name(studies):
  panel = _draw(layers.bars, studies).axes[0]
  names = [label.get_text() for label in panel.get_xticklabels()]
  assert names == list(CUTS)
  middles = [bar.get_x() + bar.get_width() / 2 for bar in panel.patches]
  assert np.round(middles).tolist() == sorted([0, 1, 2] * 6)
  assert np.all(np.diff(middles) > panel.patches[0].get_width())


def test_bars_have_their_intervals_chance_and_floors(studies):
  utility, identity, _ = _draw(layers.bars, studies).axes
  rows = _main(studies)
  found = [row.leakage_of("identity") for row in rows]
  upright = [segment[:, 1] for segment in _segments(identity, dashed=False)]
  np.testing.assert_allclose(upright, [(m.low, m.high) for m in found])
  flat = [segment[:, 1] for segment in _segments(identity, dashed=True)]
  np.testing.assert_allclose(flat, [(m.floor, m.floor) for m in found])
  levels = [line.get_ydata()[0] for line in identity.lines]
  assert levels == [found[0].chance]
  assert _segments(utility, dashed=True) == []


def test_noisy_bars_are_the_operating_points(studies):
  panel = _draw(layers.bars, studies).axes[1]
  noisy = [
    bar.get_height() for bar in panel.patches if bar.get_hatch() is not None
  ]
  expected = [
    row.leakage_of("identity").value
    for s in studies
    for row in s.rows
    if row.selected and row.embedding == "noise"
  ]
  assert len(expected) == 6
  assert noisy == expected


def test_transfer_attacks_are_drawn_alone(studies):
  figure = _draw(layers.transfer, studies)
  titles = [panel.get_title(loc="left") for panel in figure.axes]
  attacks = ["transfer.published", "transfer.noise_aware"]
  assert titles == [f"{attack}: identity" for attack in attacks]
  for panel, attack in zip(figure.axes, attacks, strict=True):
    expected = [
      m.value
      for row in _main(studies)
      for m in row.leakage
      if m.attack == attack and m.metric == "balanced_accuracy"
    ]
    assert _heights(panel) == expected


def test_without_transfer_attacks_there_is_no_picture_of_them(values):
  values = copy.deepcopy(values)
  for value in values:
    for row in value["rows"]:
      row["leakage"] = [
        m for m in row["leakage"] if not m["attack"].startswith("transfer.")
      ]
  studies = [results.from_json(value) for value in values]
  assert _draw(layers.transfer, studies) is None
  assert len(_draw(layers.bars, studies).axes) == 3


def test_rank_privacy_is_one_minus_what_the_rank_attack_reaches(studies):
  row = studies[1].rows[5]
  (rank,) = [
    m for m in row.leakage if (m.attack, m.metric) == ("rank.image", "rank")
  ]
  found = embeddings.rank_privacy(row)
  assert found.value == 1 - rank.value
  assert (found.low, found.high) == (1 - rank.high, 1 - rank.low)
  assert (found.chance, found.floor) == (1 - rank.chance, 1 - rank.floor)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("training", ["simple", "siamese"])
def test_curves_run_along_the_noise_grid_of_each_cut(studies, training, place):
  axes = _draw(layers.curves, studies).axes
  assert len(axes) == 4
  panel = axes[2 * place + (training == "siamese")]
  assert panel.get_title(loc="left") == training
  lines = [np.transpose(line.get_data()) for line in panel.lines]
  for s in studies:
    rows = embeddings.grid(s, training)
    assert len(rows) == 9
    across = [
      r.leakage_of("identity") if place else embeddings.rank_privacy(r)
      for r in rows
    ]
    expected = [
      (m.value, r.utility_of("gender").value)
      for m, r in zip(across, rows, strict=True)
    ]
    assert sum(np.array_equal(line, expected) for line in lines) == 1
  low, high = panel.get_xlim()
  assert low < across[0].chance < high


def test_the_ceiling_of_rank_privacy_is_marked(studies):
  panel = _draw(layers.curves, studies).axes[0]
  upright = [
    line.get_xdata()[0]
    for line in panel.lines
    if line.get_transform() == panel.get_xaxis_transform()
  ]
  rank = embeddings.rank_privacy(studies[0].rows[2])
  assert upright == pytest.approx([rank.chance, rank.floor])
  assert {"ceiling", "guessing"} <= {t.get_text() for t in panel.texts}


def test_cost_bars_are_client_over_whole(studies):
  costs = {s.study["cut"]: s.study["cost"] for s in studies}
  shares, sent = _draw(figures.cost, costs).axes
  names = [label.get_text() for label in shares.get_xticklabels()]
  assert names == ["parameters", "MACs", "time", "memory"]
  bars = {
    (round(bar.get_x() + bar.get_width() / 2), bar.get_x()): bar.get_height()
    for bar in shares.patches
  }
  heights = [bars[place] for place in sorted(bars)]
  expected = [1 / 15, 2 / 15, 3 / 15, 0.04, 0.08, 0.12]
  expected += [0.5, 0.5, 0.5, 0.025, 0.05, 0.075]
  assert heights == pytest.approx(expected)
  assert _heights(sent) == [1024, 1024, 1024]


def test_cuts_are_sorted_by_the_work_of_the_client_half(studies):
  backwards = layers.in_order(studies[::-1])
  assert [s.study["cut"] for s in backwards] == list(CUTS)


def test_cuts_without_cost_keep_their_order_and_say_so(values, tmp_path):
  values = copy.deepcopy(values)
  del values[1]["study"]["cost"]
  studies = [results.from_json(value) for value in values[::-1]]
  assert layers.in_order(studies) == studies
  (block,) = layers._costs(studies, tmp_path)
  assert "results of conv5_2 do not tell it" in block.text
  assert list(tmp_path.iterdir()) == []


def _lines(text, name):
  """Return the cells of a table's lines, by the name of its first column."""
  part = text[text.index(f"| {name} |") :].split("\n\n")[0]
  return [line[2:-2].split(" | ") for line in part.splitlines()[2:]]


def test_the_table_has_a_line_for_each_cut_and_embedding(text, studies):
  lines = _lines(text, "cut")
  assert len(lines) == 18
  last = lines[-1]
  assert last[:2] == ["conv5_3", "noisy reduced siamese, sigma 1.5"]
  row = embeddings.find(studies[2], "siamese", "noise")
  measured = (
    row.utility_of("gender"),
    row.leakage_of("identity"),
    row.leakage_of("emotion"),
    embeddings.rank_privacy(row),
  )
  for cell, m in zip(last[2:-1], measured, strict=True):
    assert cell.startswith(f"{100 * m.value:.1f} [")
  assert last[-1] == "32"


def test_the_table_of_costs_is_absolute(text):
  lines = _lines(text, "client half up to")
  assert lines[0] == (
    ["conv5_1", "1,000,000", "40,000,000", "30.50", "2,000,000", "8,192"]
  )
  assert lines[-1][1:3] == ["15,000,000", "1,000,000,000"]
  assert "measured on 2 CPU cores" in text


def test_cost_without_machine_was_measured_on_that_of_the_study(studies):
  study = dict(studies[0].study)
  study["cost"] = {k: v for k, v in study["cost"].items() if k != "machine"}
  study["machine"] = {"processor": "x86_64", "cores": 2}
  assert layers._machine(study) == "processor x86_64, cores 2"
  assert layers._machine({**study, "machine": "a phone"}) == "a phone"


def test_the_comparison_of_cuts_opens_the_page(text):
  assert text.index("## By cut") < text.index("## The studies")
  for name in ("bars", "transfer", "curves", "cost"):
    assert text.index(f"figures/layers_{name}.png") < text.index("## The s")


@pytest.mark.parametrize(
  "change",
  [
    lambda study: study.update(cut="conv5_2"),
    lambda study: study.update(network="vgg.vgg16(width=0.5)"),
    lambda study: study["data"].update(name="another"),
    lambda study: study["roles"].update(desired=["emotion"]),
  ],
  ids=["cut", "network", "data", "question"],
)
def test_studies_that_differ_otherwise_are_no_comparison_of_cuts(
  values, change, tmp_path
):
  values = copy.deepcopy(values)
  change(values[0]["study"])
  studies = [results.from_json(value) for value in values]
  assert not layers.by_cut(studies)
  assert layers.section(studies, tmp_path) is None
  assert list(tmp_path.iterdir()) == []


def _texts(figure):
  """Return places of all text that is seen, in pixels."""
  FigureCanvasAgg(figure).draw()
  found = [t for legend in figure.legends for t in legend.get_texts()]
  for panel in figure.axes:
    found += [*panel.texts, panel.xaxis.label, panel.yaxis.label]
    found += [panel._left_title]
    for axis in (panel.xaxis, panel.yaxis):
      low, high = sorted(axis.get_view_interval())
      found += [
        tick.label1
        for tick in axis.get_major_ticks()
        if low <= tick.get_loc() <= high and tick.label1.get_visible()
      ]
  return [
    (t.get_text(), t.get_window_extent())
    for t in found
    if t.get_visible() and t.get_text()
  ]


@pytest.mark.parametrize(
  ("name", "number"),
  [("bars", 3), ("bars", 7), ("transfer", 3), ("curves", 3), ("cost", 7)],
)
def test_no_text_lies_on_other_text(values, name, number):
  names = (*CUTS, "pool5", "fc6", "fc7", "fc8")[:number]
  studies = [
    results.from_json(_perturbed(values[0], i, cut))
    for i, cut in enumerate(names)
  ]
  if name == "cost":
    costs = {s.study["cut"]: s.study["cost"] for s in studies}
    draw = functools.partial(_draw, figures.cost, costs)
  else:
    draw = functools.partial(_draw, getattr(layers, name), studies)
  with matplotlib.rc_context(drawing.LIGHT.settings):
    places = _texts(draw())
  assert len(places) > 10
  overlaps = [
    (one, other)
    for i, (one, a) in enumerate(places)
    for other, b in places[:i]
    if a.overlaps(b)
  ]
  assert overlaps == []


def test_cost_is_part_of_the_schema(values, repository):
  path = repository / "hybridpriv" / "audit" / "results.schema.json"
  schema = json.loads(path.read_text())
  jsonschema.validate(values[0], schema)
  broken = copy.deepcopy(values[0])
  del broken["study"]["cost"]["client"]["macs"]
  with pytest.raises(jsonschema.ValidationError, match="macs"):
    jsonschema.validate(broken, schema)
