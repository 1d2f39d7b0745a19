"""Drawn faces, made up from a seed: no person is shown.

What a person keeps: shape of the head, skin, hair (colour and cut), eyes,
brows, nose, mouth, and whether there is a beard. What changes from picture to
picture: expression, glasses, where the head is and how it is turned, clothes,
background, light, noise.
"""

import numpy as np

from hybridpriv.data.dataset import DataSet, with_roles

_CHUNK = 32  # pictures drawn at once, to bound the memory
# RGB in 0 .. 1; people are drawn between neighbours.
_SKIN = np.array(
  [
    (0.98, 0.86, 0.76),
    (0.90, 0.72, 0.58),
    (0.72, 0.52, 0.38),
    (0.42, 0.28, 0.2),
  ]
)
_HAIR = np.array(
  [(0.1, 0.08, 0.07), (0.32, 0.2, 0.12), (0.62, 0.3, 0.14), (0.85, 0.7, 0.4)]
)
_IRIS = np.array([(0.25, 0.15, 0.08), (0.2, 0.4, 0.25), (0.25, 0.45, 0.7)])


def load(
  *,
  desired: tuple[str, ...] = ("beard",),
  private: tuple[str, ...] = ("person",),
  unforeseen: tuple[str, ...] = ("expression",),
  people: int = 100,
  images_per_person: int = 40,
  size: int = 48,
  seed: int = 0,
) -> DataSet:
  """Draw faces with the labels person, beard, glasses and expression.

  Args:
    desired: labels that the service answers.
    private: labels that the service must not learn.
    unforeseen: labels that no defence knew of.
    people: number of people, every other one with a beard.
    images_per_person: pictures of each.
    size: side of the pictures in pixels.
    seed: seed of people and pictures. The first people and their looks do not
      depend on how many there are.

  Returns:
    uint8 pictures `[people * images_per_person, size, size, 3]`, a person's
    pictures one after the other.
  """
  for name, value, least in (
    ("people", people, 2),
    ("images_per_person", images_per_person, 1),
    ("size", size, 8),
  ):
    if value < least:
      raise ValueError(f"{name} is {value}, expected {least} or more")
  person = np.repeat(np.arange(people, dtype=np.int32), images_per_person)
  beard = np.arange(people) % 2
  looks = _looks(people, seed)
  generator = np.random.default_rng((seed, 1))
  n = len(person)
  expression = generator.integers(2, size=n, dtype=np.int32)
  glasses = generator.integers(2, size=n, dtype=np.int32)
  inputs = np.empty((n, size, size, 3), np.uint8)
  for start in range(0, n, _CHUNK):
    part = slice(start, min(start + _CHUNK, n))
    traits = {name: value[person[part]] for name, value in looks.items()}
    traits["beard"] = beard[person[part]]
    traits["smile"] = expression[part]
    traits["glasses"] = glasses[part]
    inputs[part] = _draw(traits, size, generator)
  data = DataSet(
    name="synthetic faces",
    kind="image",
    inputs=inputs,
    labels={
      "person": person,
      "beard": beard[person].astype(np.int32),
      "glasses": glasses,
      "expression": expression,
    },
    classes={
      "person": tuple(f"drawn {i + 1}" for i in range(people)),
      "beard": ("no beard", "beard"),
      "glasses": ("no glasses", "glasses"),
      "expression": ("neutral", "smile"),
    },
    identity="person",
    recording=np.arange(n, dtype=np.int32),
    position=np.zeros(n, np.float32),
    span=0.0,
    licence="none needed: drawn by hybridpriv",
    citation="hybridpriv, synthetic faces",
    synthetic=True,
  )
  return with_roles(
    data, desired=desired, private=private, unforeseen=unforeseen
  )


def _between(colours: np.ndarray, place: np.ndarray) -> np.ndarray:
  """Give the colours `[n, 3]` at places 0 .. 1 along a list of colours."""
  steps = np.linspace(0, 1, len(colours))
  return np.stack([np.interp(place, steps, c) for c in colours.T], axis=-1)


def _looks(people: int, seed: int) -> dict[str, np.ndarray]:
  """Draw what each person keeps. Lengths are in half pictures."""
  # A stream for each person: more people leave the first ones as they are.
  u = np.stack(
    [np.random.default_rng((seed, 0, i)).random(16) for i in range(people)]
  )

  def span(i: int, low: float, high: float) -> np.ndarray:
    return low + (high - low) * u[:, i]

  return {
    "width": span(0, 0.44, 0.6),
    "height": span(1, 0.6, 0.74),
    "jaw": span(2, 0.0, 0.35),
    "skin": _between(_SKIN, u[:, 3]),
    "hair": _between(_HAIR, u[:, 4]),
    "hairline": span(5, 0.2, 0.5),
    "hair_length": span(6, -0.2, 0.75),
    "hair_volume": span(7, 0.04, 0.16),
    "eye_distance": span(8, 0.17, 0.27),
    "eye_size": span(9, 0.06, 0.095),
    "iris": _between(_IRIS, u[:, 10]),
    "brow": span(11, 0.015, 0.04),
    "brow_tilt": span(12, -0.3, 0.3),
    "nose": span(13, 0.12, 0.22),
    "mouth": span(14, 0.13, 0.22),
    "lips": span(15, 0.02, 0.045),
  }


class _Canvas:
  """Pictures `[n, h, w, 3]` in 0 .. 1, painted over layer by layer.

  Shapes are signed distances `[n, h, w]`, positive inside, in half pictures;
  `x` and `y` run to the right and down from the middle of the head.
  """

  def __init__(self, pixels: np.ndarray, x: np.ndarray, y: np.ndarray):
    self.pixels, self.x, self.y = pixels, x, y
    self.soft = 2 / pixels.shape[1]  # one pixel

  def ellipse(self, cx, cy, rx, ry) -> np.ndarray:
    """Give the shape of an ellipse; the distance is right near its border."""
    away = np.hypot((self.x - cx) / rx, (self.y - cy) / ry)
    return (1 - away) * np.minimum(rx, ry)

  def bar(self, cx, cy, half_width, half_height) -> np.ndarray:
    """Give the shape of a bar; `cy` may bend with x."""
    return np.minimum(
      half_width - np.abs(self.x - cx), half_height - np.abs(self.y - cy)
    )

  def paint(self, shape: np.ndarray, colour, opacity=1.0) -> None:
    """Cover a shape with a colour, its border smoothed over one pixel."""
    alpha = opacity * (shape / self.soft + 0.5).clip(0, 1)
    self.pixels += alpha[..., None] * (colour - self.pixels)


def _draw(
  traits: dict[str, np.ndarray], size: int, generator: np.random.Generator
) -> np.ndarray:
  """Draw uint8 `[n, size, size, 3]` faces, each with a pose, light, noise."""
  n = len(traits["smile"])
  t = {
    name: value.astype(np.float32).reshape(n, 1, 1, *value.shape[1:])
    for name, value in traits.items()
  }
  pose = generator.normal(size=(n, 7, 1, 1)).astype(np.float32)
  backdrop, shirt = generator.uniform(0.15, 0.9, size=(2, n, 1, 1, 3)).astype(
    np.float32
  )
  noise = generator.standard_normal((n, size, size, 3), np.float32)
  axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
  x, y = axis[None, None, :], axis[None, :, None]
  light = 1 + 0.12 * pose[:, 0] + 0.15 * pose[:, 1] * x
  x, y = x - 0.05 * pose[:, 2], y - 0.05 * pose[:, 3]
  angle, zoom = 0.09 * pose[:, 4], np.exp(0.06 * pose[:, 5])
  x, y = (
    zoom * (np.cos(angle) * x + np.sin(angle) * y),
    zoom * (np.cos(angle) * y - np.sin(angle) * x),
  )
  pixels = np.broadcast_to(backdrop, (n, size, size, 3)).copy()
  canvas = _Canvas(pixels, x, y)
  _head(canvas, t, shirt)
  # Turning the head moves the features over it.
  _features(canvas, t, turn=(0.05 * pose[:, 6]).clip(-0.1, 0.1))
  pixels *= light.clip(0.4, 1.6)[..., None]
  pixels += 0.03 * noise
  return (pixels * 255).clip(0, 255).round().astype(np.uint8)


def _head(c: _Canvas, t: dict[str, np.ndarray], shirt: np.ndarray) -> None:
  """Paint shoulders, hair, head and beard."""
  width, height = t["width"], t["height"]
  full = t["hair_volume"]
  # Long hair hangs behind the neck, short hair is a rim round the skull.
  skull = c.ellipse(0, -0.12, width + full, height - 0.12 + full)
  behind = np.minimum(
    np.maximum(skull, c.bar(0, 0.4, width + full, 0.5)),
    t["hair_length"] - c.y,
  )
  c.paint(behind, t["hair"] * 0.8)
  c.paint(c.ellipse(0, 1.25, 0.85, 0.5), shirt)
  c.paint(c.bar(0, 0.6, 0.5 * width, 0.3), t["skin"] * 0.8)
  for side in (-1, 1):
    c.paint(c.ellipse(side * width, 0, 0.07, 0.12), t["skin"] * 0.9)
  narrow = 1 - t["jaw"] * (c.y / height).clip(0, 1) ** 2
  head = c.ellipse(0, 0, width * narrow, height)
  c.paint(head, t["skin"])
  beard = np.minimum(head, c.y - 0.2 - 0.25 * (width - np.abs(c.x)))
  moustache = c.ellipse(0, 0.285, t["mouth"] + 0.03, 0.05)
  c.paint(np.maximum(beard, moustache), t["hair"] * 0.9, 0.9 * t["beard"])
  line = height * (t["hairline"] - 1) + 0.35 * c.x**2
  fringe = np.minimum(np.maximum(head, skull), line - c.y)
  c.paint(fringe, t["hair"])


def _features(c: _Canvas, t: dict[str, np.ndarray], turn: np.ndarray) -> None:
  """Paint eyes, brows, nose, mouth and glasses."""
  eye, smile = t["eye_size"], t["smile"]
  high = -0.08
  for side in (-1, 1):
    middle = turn + side * t["eye_distance"]
    c.paint(c.ellipse(middle, high, 1.3 * eye, 0.85 * eye), 0.97)
    c.paint(c.ellipse(middle, high, 0.7 * eye, 0.7 * eye), t["iris"])
    c.paint(c.ellipse(middle, high, 0.35 * eye, 0.35 * eye), 0.05)
    tilt = side * t["brow_tilt"] * (c.x - middle)
    level = high - 1.9 * eye + tilt
    c.paint(c.bar(middle, level, 1.5 * eye, t["brow"]), t["hair"] * 0.7)
    away = np.hypot(c.x - middle, c.y - high)
    rim = 0.02 - np.abs(away - 0.15)
    c.paint(rim, 0.08, t["glasses"])
  bridge = np.minimum(
    c.bar(turn, high, t["eye_distance"], 0.015),
    np.abs(np.abs(c.x - turn) - t["eye_distance"]) - 0.15,
  )
  c.paint(bridge, 0.08, t["glasses"])
  nose = c.ellipse(1.6 * turn, 0.13, 0.055, 0.5 * t["nose"])
  c.paint(nose, t["skin"] * 0.82)
  # A smile lifts the corners, widens the mouth and shows the teeth.
  half = t["mouth"] * (1 + 0.3 * smile)
  across = ((c.x - turn) / half).clip(-1, 1)
  level = 0.37 + 0.09 * smile * (0.6 - across**2)
  open_by = smile * 0.035 * (1 - across**2)
  lips = np.array([0.68, 0.25, 0.25], np.float32) * (0.4 + 0.6 * t["skin"])
  c.paint(c.bar(turn, level, half, t["lips"] + open_by), lips)
  c.paint(c.bar(turn, level, half - 0.03, open_by), 0.97, smile)
