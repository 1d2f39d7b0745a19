"""The report stands alone, says what was found, and hides nothing."""

import html.parser
import json
import re

import numpy as np
import pytest
from PIL import Image

from hybridpriv.audit import (
  card,
  headline,
  page,
  provenance,
  results,
  sections,
)

_VOID = {"meta", "img", "source", "br"}


class _Reader(html.parser.HTMLParser):
  """Checks that tags are closed in order; collects what is referred to."""

  def __init__(self):
    super().__init__()
    self.open, self.links, self.ids, self.tags = [], [], [], []

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    self.tags.append((tag, attrs))
    self.links += [
      v for k, v in attrs.items() if k in ("src", "href", "srcset")
    ]
    self.ids += [v for k, v in attrs.items() if k == "id"]
    if tag not in _VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(workdir):
  return card.write(workdir)


@pytest.fixture(scope="module")
def document(report):
  reader = _Reader()
  reader.feed(report.read_text())
  return reader


@pytest.fixture
def value(workdir):
  return json.loads((workdir / "audit" / "results.json").read_text())


def _said(section: page.Section) -> str:
  whole = page.Page("t", "s", (), (section,), "f")
  return page.to_markdown(whole).replace("\\", "")


def test_the_page_is_whole_and_refers_to_nothing_outside_itself(document):
  assert document.open == []
  assert document.links
  assert all(
    link.startswith(("data:image/png", "#")) for link in document.links
  )
  assert {link[1:] for link in document.links if link[0] == "#"} <= set(
    document.ids
  )
  assert len(set(document.ids)) == len(document.ids)
  assert "script" not in {tag for tag, _ in document.tags}


def test_the_page_fits_phones_and_dark_rooms(report, document):
  assert any(attrs.get("name") == "viewport" for _, attrs in document.tags)
  pictures = [attrs for tag, attrs in document.tags if tag == "img"]
  assert len(pictures) == 4 and all(attrs["alt"] for attrs in pictures)
  dark = [attrs["media"] for tag, attrs in document.tags if tag == "source"]
  assert dark == ["(prefers-color-scheme: dark)"] * 4
  text = report.read_text()
  tables = text.count("<table>")
  assert (
    tables and text.count('<div class="scroll" role="region"') == tables + 4
  )


def test_figures_are_there_for_print_and_for_both_grounds(report):
  folder = report.parent / "figures"
  for name in ("trade_off", "attacks", "codes", "training"):
    with Image.open(folder / f"{name}.png") as picture:
      assert picture.info["dpi"][0] == pytest.approx(200, abs=1)
      light = np.asarray(picture.convert("L"))[0, 0]
    with Image.open(folder / f"{name}-dark.png") as picture:
      assert np.asarray(picture.convert("L"))[0, 0] < 60 < 200 < light
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_markdown_tables_are_square_and_pictures_exist(report):
  text = (report.parent / "report.md").read_text()
  shown = re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)
  assert len(shown) == 4
  assert all((report.parent / path).is_file() for path in shown)
  for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
    widths = {len(re.findall(r"(?<!\\)\|", x)) for x in block.splitlines()}
    assert len(widths) == 1


def test_every_part_of_an_honest_report_is_there(report):
  text = (report.parent / "report.md").read_text()
  for heading in (
    "What was found",
    "Utility against leakage",
    "The embeddings",
    "Leakage by attack",
    "Paired comparisons",
    "Controls",
    "Rank and log-rank privacy",
    "Repeat queries",
    "Guarantees",
    "What the codes look like",
    "The threat",
    "Who is where",
    "Trainings",
  ):
    assert f"## {heading}\n" in text
  assert "3 rows without person dropped" in text
  assert "1200 samples, 4 people" in text
  assert "--workdir=runs/demo" in text
  assert "2.0 min" in text


def test_all_embeddings_of_the_paper_are_in_the_table(workdir):
  text = _said(sections.table(results.read(workdir)))
  for name in (
    "simple",
    "reduced simple",
    "noisy reduced simple, sigma 0.5",
    "siamese",
    "reduced siamese",
    "noisy reduced siamese, sigma 1",
  ):
    assert f"| {name} |" in text


def test_the_headline_names_attack_chance_floor_and_undefended(workdir):
  given = results.read(workdir)
  row = next(r for r in given.rows if r.name == "siamese/noise sigma=1.0")
  text = _said(headline.section(given))
  leak = row.leakage_of("person")
  assert "no attack in this set did better than" in text
  assert f"**{100 * leak.value:.1f} %**" in text
  assert "Guessing gives 20.0 %" in text
  assert "the true answer to the desired question, which nobody sends" in text
  assert "would give 23.0 %" in text
  assert f"{100 * given.rows[0].leakage_of('person').value:.1f} %" in text


def test_the_report_never_claims_to_prevent(report):
  text = (report.parent / "report.md").read_text().lower()
  assert not re.search(r"prevent|guarantees that|impossible|anonym", text)


def test_the_best_on_test_is_said_beside_the_one_chosen(value):
  row = next(r for r in value["rows"] if r["name"] == "siamese/noise sigma=1.0")
  row["leakage"][1].update(value=0.9, high=0.95)
  text = _said(headline.section(results.from_json(value)))
  assert "did better than **90.0 %**" in text
  assert "`attribute.mlp`, the best on test" in text


@pytest.mark.parametrize(("validation", "said"), [(0.84, True), (0.86, False)])
def test_an_operating_point_that_costs_too_much_is_called_so(
  value, validation, said
):
  value["study"]["config"]["audit"] = {"max_cost": 0.05}
  for row in value["rows"]:
    for found in row["utility"]:
      plain = row["name"] == "simple/identity"
      found["validation"] = 0.9 if plain else validation
  text = _said(headline.section(results.from_json(value)))
  assert ("No setting was cheap enough" in text) == said
  assert ("may cost 5.0 points" in text and "costs 6.0" in text) == said


@pytest.mark.parametrize(("floor", "more"), [(0.9, True), (0.02, False)])
def test_what_the_answer_tells_is_no_excuse_where_attacks_miss_it(
  value, floor, more
):
  for row in value["rows"]:
    for leak in row["leakage"]:
      leak.update(floor=floor, floor_of="cloud answer")
  text = _said(headline.section(results.from_json(value)))
  assert ("90.0 %, **more than any attack on the code itself**" in text) == more
  assert ("; from the answer 90.0" in text) == more
  assert ("2.0 %, which no defence that keeps these answers" in text) != more


def test_a_defence_that_does_not_help_is_called_so(value):
  row = next(r for r in value["rows"] if r["name"] == "siamese/noise sigma=1.0")
  row["leakage"][row["worst"]["side"]].update(value=0.99, high=1.0)
  text = _said(headline.section(results.from_json(value)))
  assert text.count("the defence did not lower it") == 1


def test_a_failed_control_stands_before_everything_else(make_workdir):
  given = results.read(make_workdir(failed=True))
  first = headline.section(given).blocks[0]
  assert first.kind == "bad" and "FAILED" in first.text
  assert "shuffled labels" in first.text
  text = _said(sections.controls(given))
  assert "| shuffled labels | **FAILED** |" in text
  assert "| constant | **passed** |" in text
  assert "All controls came out" not in text


def test_missing_controls_are_said(value):
  value["controls"] = []
  first = headline.section(results.from_json(value)).blocks[0]
  assert first.kind == "bad" and "No controls were run" in first.text


def test_a_control_that_is_not_judged_neither_passes_nor_fails(value):
  value["controls"] = [
    {"name": "control/raw input", "expected": "reference", "passed": True}
    | {"leakage": value["controls"][0]["leakage"], "worst": {"person": 0}}
  ]
  text = _said(sections.controls(results.from_json(value)))
  assert "| raw input | **not judged** | reference |" in text


def test_made_up_data_is_called_synthetic_everywhere(make_workdir, tmp_path):
  workdir = make_workdir(synthetic=True)
  text = _said(headline.section(results.read(workdir)))
  assert "**Synthetic data.**" in text
  markdown = (card.write(workdir).parent / "report.md").read_text()
  assert markdown.count("Synthetic data.") >= 5


def test_attacks_that_were_asked_for_and_not_run_are_listed(value):
  value["study"]["config"] = {
    "audit": {
      "attacks": {
        "linear": {"function": "attribute.linear"},
        "mlp": {"function": "attribute.conv"},  # named by its entry
        "density": {"function": "density.kde"},
      }
    }
  }
  first = value["rows"][0]
  kept = [m for m in first["leakage"] if m["attack"] != "attribute.mlp"]
  first.update(leakage=kept, worst={})
  said = _said(provenance.threat(results.from_json(value)))
  num = len(value["rows"])
  assert "`density.density` on all rows" in said
  assert f"`attribute.mlp` on 1 of {num} rows, among them simple" in said
  assert "attribute.linear" not in said


def test_units_that_are_samples_are_called_so(make_workdir):
  given = results.read(make_workdir(identity=None))
  assert "Units are samples, not people" in _said(headline.section(given))


def test_ties_are_ties(workdir):
  lines = _said(sections.comparisons(results.read(workdir))).splitlines()
  person, side = (
    next(line for line in lines if f"leakage of {t}" in line)
    for t in ("person", "side")
  )
  assert person.endswith("| −12.0 | [−20.0, −4.0] | **a lower** |")
  assert side.endswith("| +1.0 | [−5.0, +7.0] | **tie** |")


def test_ranks_are_printed_as_privacy_below_their_ceiling(workdir):
  given = results.read(workdir)
  rank = next(m for m in given.rows[4].leakage if m.metric == "rank")
  text = _said(sections.ranks(given))
  privacy = f"{100 * (1 - rank.value):.1f} [{100 * (1 - rank.high):.1f}, "
  assert f"| {privacy}{100 * (1 - rank.low):.1f}] |" in text
  assert "| guessing | 50.0 | 75.0 |" in text
  assert "| ceiling | 47.0 | 72.0 |" in text


def test_repeat_queries_stand_side_by_side(workdir):
  given = results.read(workdir)
  row = next(r for r in given.rows if r.name == "simple/noise sigma=0.5")
  values = {
    m.num_queries: m.value
    for m in row.leakage
    if (m.target, m.attack) == ("person", "attribute.linear")
  }
  line = next(
    line
    for line in _said(sections.repeats(given)).splitlines()
    if line.startswith("| noisy reduced simple, sigma 0.5 |")
  )
  assert re.findall(r"(\d+\.\d) \[", line) == [
    f"{100 * values[n]:.1f}" for n in (1, 10, 100)
  ]


def test_a_study_without_operating_point_still_has_a_report(value):
  for row in value["rows"]:
    row["selected"] = False
  given = results.from_json(value)
  assert "No operating point was chosen" in _said(headline.section(given))
  assert "| reduced siamese |" in _said(sections.table(given))


def test_an_audit_that_was_not_run_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="run the audit"):
    card.write(tmp_path)
  assert list(tmp_path.iterdir()) == []


def _small(text):
  return page.Page("title", "", (), (page.Text(text),), "")


def test_an_old_report_is_replaced_whole(tmp_path):
  out = tmp_path / "report"
  out.mkdir()
  (out / "stale.txt").write_text("old")
  index = card.publish(lambda folder: _small("fresh"), out)
  assert "fresh" in index.read_text()
  assert not (out / "stale.txt").exists()
  assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_a_report_that_fails_leaves_the_old_one_alone(tmp_path):
  def fail(folder):
    (folder / "figures" / "half.png").write_text("half")
    raise RuntimeError("disk")

  out = tmp_path / "report"
  card.publish(lambda folder: _small("old"), out)
  with pytest.raises(RuntimeError, match="disk"):
    card.publish(fail, out)
  assert "old" in (out / "index.html").read_text()
  assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_names_from_the_data_can_not_break_the_page(tmp_path):
  table = page.Table(("<b>", "|"), (("<script>", "a|b"),), "x < y")
  document = page.Page("<t>", "a & b", (), (table,), "")
  text = page.to_html(document, tmp_path)
  assert "<script>" not in text and "&lt;script&gt;" in text
  assert "a &amp; b" in text and "<title>&lt;t&gt;</title>" in text
  assert "a\\|b" in page.to_markdown(document)


def test_a_results_file_that_was_kept_is_drawn_again(report, workdir, tmp_path):
  kept = tmp_path / "kept.json"
  kept.write_bytes((workdir / "audit" / "results.json").read_bytes())
  page_of = card.write(kept, tmp_path / "again").parent
  whole = (workdir / "report" / "report.md").read_text()
  again = (page_of / "report.md").read_text()
  for title in ("## What was found", "## The embeddings", "## Controls"):
    part = whole[whole.index(title) :].split("\n## ")[0]
    assert part in again
  assert (page_of / "figures" / "trade_off.png").is_file()
