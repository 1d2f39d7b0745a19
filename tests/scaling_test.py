"""What is fitted to the scaling bench, and what is predicted from it."""

import json

import numpy as np
import pytest
import scaling
from benches import scaling as bench


@pytest.mark.parametrize(
  "grows, text",
  [
    (lambda x: 2 + 0.5 * x, "2 + 0.5 x"),
    (lambda x: 3 * x**1.5, "3 x^1.50"),
    (lambda x: 7 + 0 * x, "7 x^0.00"),
  ],
)
def test_the_nearer_of_line_and_power_is_found(grows, text):
  xs = np.array([1.0, 10.0, 100.0, 1000.0])
  found = scaling.fit(xs, grows(xs))
  assert found.off < 1e-9
  np.testing.assert_allclose(found.at(5e4), grows(5e4), rtol=1e-6)
  if "^0" not in text:
    assert found.text == text


def test_a_fit_says_how_far_it_is_off():
  found = scaling.fit([1.0, 10.0, 100.0], [1.0, 20.0, 100.0])
  assert 0.2 < found.off < 1.0


def _rows(name, values, factor=10):
  return [row._asdict() for row in bench._series(name, values, factor)]


def test_tables_and_figure_come_from_the_files(launch, tmp_path):
  xs = [1000, 10_000, 100_000]
  small = "VGG-16 of a quarter of the width"
  rows = [
    *_rows("ranks of 4,096 codes, by gallery: s", {x: 1e-5 * x for x in xs}),
    *_rows("memory of that, by gallery: MiB", dict.fromkeys(xs, 50.0), 1),
    *_rows("a frame, by values: bytes", bench._frames([1, 10, 100])),
    *_rows(f"{small}, 64 px, gradients of a step: bytes", {1: 4e6}),
    *_rows(f"{small}, 64 px, operations of a step, by images: FLOP", {1: 1e9}),
    *_rows("resnet29_dlib behind block12, a step of 128: s", {128: 0.1}),
  ]
  step = {"what": f"{small}, 64 px, batch 64: a step", "reference": 0.5}
  asked = {
    "what": "a half, 64 clients: a code",
    "against": "the service, one at a time",
    "ours": 0.0003,  # of many at once
    "reference": 0.001,
  }
  files = []
  for name, own in {
    "scaling": rows,
    "processes": [step],
    "serve": [asked],
  }.items():
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({"bench": name, "rows": own}))
    files.append(path)
  out = tmp_path / "out"
  launch("scaling", *files, f"--out={out}")
  text = (out / "scaling.md").read_text()
  # 523,051 x 1e-5 s for every 4,096 of 523,051 codes.
  assert "| rank measure, all among all | 11.1 min |" in text
  assert "| one pass of training behind block12 | 6.8 min |" in text
  assert "frames | 22 MB a day |" in text
  assert "| two cores busy with them, a half | 17 min a day (1.2 %) |" in text
  # 64 GFLOP in 0.5 s, 7 MB sent by each of eight: 14 MB/s.
  assert "| 4 | 4 | 7 | 64 | 14 MB/s | 10.9 GB/s |" in text
  assert (out / "scaling.png").stat().st_size > 1000
  done = launch("scaling", files[1], *files[1:], check=False)
  assert done.returncode == 2 and "is of no run of" in done.stderr
  half = {"bench": "scaling", "rows": rows, "complete": False}
  files[0].write_text(json.dumps(half))
  done = launch("scaling", *files, check=False)
  assert done.returncode == 2 and "failed on the way: run it" in done.stderr


def test_a_series_is_held_against_growth_in_proportion():
  first, second = bench._series("x, by y: s", {10: 1.0, 100: 8.0}, 10)
  assert first.skipped and first.ours == 1.0
  assert second.what == "x, by y: 100" and second.ratio == 1.25
