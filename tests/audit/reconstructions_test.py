"""The picture shows the images it was given, under the right names."""

import dataclasses
import types

import matplotlib
import numpy as np
import pytest

from hybridpriv.audit import drawing, reconstructions
from hybridpriv.audit.results import Measurement

RNG = np.random.default_rng(0)
PEOPLE = RNG.uniform(size=(5, 16, 16, 3))
ROWS = {
  "simple": 0.9 * PEOPLE,
  "siamese + 8 components + noise 0.5": 0.2 * PEOPLE,
}
CAPTIONS = {
  "simple": reconstructions.caption(psnr=21.04, ssim=0.716, matched=0.482),
}


@pytest.fixture(scope="module")
def drawn():
  with matplotlib.rc_context(drawing.LIGHT.settings):
    return reconstructions.figure(PEOPLE, ROWS, CAPTIONS)


def test_each_column_is_a_person_and_each_row_an_embedding(drawn):
  shown = [panel.images[0].get_array() for panel in drawn.axes]
  expected = np.concatenate([PEOPLE, *ROWS.values()])
  np.testing.assert_array_equal(np.stack(shown), expected)


def _measured(attack, metric, value, validation):
  return Measurement(
    target="picture",
    attack=attack,
    metric=metric,
    value=value,
    low=value,
    high=value,
    interval="none",
    unit="person",
    chance=0.0,
    floor=None,
    num_units=3,
    num_queries=1,
    auxiliary="",
    validation=validation,
  )


@pytest.mark.parametrize("validation, psnr", [(12.0, 20), (30.0, 18)])
def test_a_caption_is_that_of_the_attack_whose_pictures_are_shown(
  validation, psnr
):
  # On people held out, whichever was better on those attacked.
  found = [
    _measured("inversion.ridge", "psnr", 20.0, 15.0),
    _measured("inversion.ridge", "ssim", 0.5, None),
    _measured("inversion.decoder", "psnr", 18.0, validation),
    _measured("inversion.decoder", "ssim", 0.4, None),
    _measured("attribute.linear", "accuracy", 0.9, 0.9),
  ]
  row = types.SimpleNamespace(leakage=found)
  text = reconstructions.of_row(row)
  assert text == reconstructions.caption(
    psnr=psnr, ssim={20: 0.5, 18: 0.4}[psnr]
  )


def _restored(attack, num_queries=1, **metrics):
  """Measurements of an attack; of those with two numbers the second is that
  on people held out."""
  made = []
  for metric, values in metrics.items():
    value, validation = values if isinstance(values, tuple) else (values, None)
    one = _measured(attack, metric, value, validation)
    made.append(dataclasses.replace(one, num_queries=num_queries))
  return made


def _section(*found):
  row = types.SimpleNamespace(
    leakage=[_measured("attribute.linear", "accuracy", 0.9, 0.9), *found],
    name="simple",
    training="simple",
    embedding="identity",
    privatizer=(),
  )
  made = reconstructions.section(types.SimpleNamespace(rows=(row,)), [])
  if made is None:
    return None
  (table,) = made.blocks
  return table


def test_every_attack_that_restores_is_listed_the_worst_first():
  table = _section(
    *_restored("inversion.decoder", psnr=(14.0, 14.5), ssim=0.5),
    *_restored("ridge.linear", psnr=(20.0, 15.0), ssim=0.6, matched=0.7),
    # Worst on people held out, though not on those attacked.
    *_restored("mine.diffusion", psnr=(18.0, 30.0)),
    *_restored("descent.pixels", 10, psnr=(16.0, 16.5), matched=0.3),
    *_restored("other.face", matched=0.9),
  )
  assert table.header[1:] == (
    "attack",
    "PSNR",
    "SSIM, in percent",
    "matched",
  )
  assert [line[1] for line in table.rows] == [
    "mine.diffusion",
    "descent.pixels, 10 codes averaged",
    "ridge.linear",
    "inversion.decoder",
    "other.face",
    *("" for _ in range(3)),
  ]
  assert table.rows[0][2:] == ("18.0 dB [18.0, 18.0]", "–", "–")
  assert table.rows[2][3:] == ("60.0 [60.0, 60.0]", "70.0 [70.0, 70.0]")
  assert table.rows[4][2:] == ("–", "–", "90.0 [90.0, 90.0]")


def test_whom_the_gallery_shows_is_said_where_people_are_matched():
  said = _section(*_restored("any.thing", psnr=(20.0, 15.0), matched=0.7))
  assert "other pictures of the people attacked" in said.caption
  assert "never the attacked one" in said.caption
  plain = _section(*_restored("any.thing", psnr=(20.0, 15.0)))
  assert "gallery" not in plain.caption
  assert _section() is None


def test_rows_are_named_and_say_how_good_they_are(drawn):
  texts = [text.get_text() for panel in drawn.axes for text in panel.texts]
  assert texts == [
    "original",
    "simple\nPSNR 21.0 dB\nSSIM 0.72\nmatched 48 %",
    "siamese + 8\ncomponents + noise\n0.5",
  ]
  assert reconstructions.caption(psnr=9.96, ssim=0.1).endswith("SSIM 0.10")


@pytest.mark.parametrize("people", [1, 12])
def test_names_keep_clear_of_images_and_of_one_another(people):
  images = np.full((people, 8, 8, 1), 0.5)
  rows = {f"embedding {i}": images for i in range(4)}
  captions = dict.fromkeys(
    rows, reconstructions.caption(psnr=11, ssim=1, matched=1)
  )
  made = reconstructions.figure(images, rows, captions)
  made.draw_without_rendering()
  texts = [t.get_window_extent() for p in made.axes for t in p.texts]
  panels = [panel.get_window_extent() for panel in made.axes]
  first = min(panel.x0 for panel in panels)
  assert all(0 <= text.x0 and text.x1 < first for text in texts)
  for above, below in zip(texts, texts[1:], strict=False):
    assert above.y0 > below.y1
  whole = made.bbox
  assert texts[-1].y0 >= 0 and texts[0].y1 <= whole.y1
  assert made.get_figwidth() == drawing.WIDTH
  # Pixels are square, and neighbours do not overlap.
  for panel in made.axes:
    box = panel.get_window_extent()
    assert box.width == pytest.approx(box.height)


def test_grey_images_keep_their_brightness():
  made = reconstructions.figure(
    np.full((1, 4, 4, 1), 0.5), {"dark": np.full((1, 4, 4, 1), 0.1)}, {}
  )
  assert [p.images[0].get_clim() for p in made.axes] == [(0, 1)] * 2


@pytest.mark.parametrize(
  "rows, captions, message",
  [
    ({"a": PEOPLE[:4]}, {}, r"a: images \(4, 16, 16, 3\).*same people"),
    ({"a": 255 * PEOPLE}, {}, "a: values from .* expected 0 to 1"),
    ({"a": PEOPLE * np.nan}, {}, "a: values from nan to nan"),
    ({"a": PEOPLE[0]}, {}, r"a: images \(16, 16, 3\); expected"),
    ({"original": PEOPLE}, {}, "named 'original', as are the originals"),
    ({"a": PEOPLE}, {"b": ""}, r"captions of \['b'\], but rows are \['a'\]"),
  ],
)
def test_wrong_images_are_one_clear_error(rows, captions, message):
  with pytest.raises(ValueError, match=message):
    reconstructions.figure(PEOPLE, rows, captions)
