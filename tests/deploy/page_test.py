import asyncio
import gzip
import hashlib
import html.parser
import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

import hybridpriv
from hybridpriv.deploy.client import manifest

PAGE = pathlib.Path(hybridpriv.__file__).parent / "deploy" / "page"
HERE = pathlib.Path(__file__).parent

# Named in built scripts, and never asked: a namespace, pages that explain.
NAMED = {"www.w3.org", "web.dev", "rolldown.rs"}


class _Read(html.parser.HTMLParser):
  """Notes tags with their attributes, and text within scripts and styles."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.inline, self._within = [], "", ""
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    self._within = tag

  def handle_data(self, data):
    if self._within in ("script", "style"):
      self.inline += data.strip()

  def handle_endtag(self, tag):
    self._within = ""


@pytest.fixture(scope="module")
def index():
  return _Read((PAGE / "index.html").read_text())


def test_all_that_the_page_names_is_there(index):
  named = {
    attributes[name]
    for _, attributes in index.tags
    for name in ("src", "href")
    if name in attributes
  }
  assert {pathlib.Path(n).suffix for n in named} == {
    ".css",
    ".js",
    ".svg",
    ".txt",
  }
  for name in named:
    assert not name.startswith("/"), "a proxy may put something before it"
    assert (PAGE / name).is_file(), name
  (script,) = (n for n in named if n.endswith(".js"))
  text = (PAGE / script).read_text()
  runtimes = {p.name for p in (PAGE / "assets").glob("*.wasm")}
  assert len(runtimes) == 1
  assert runtimes <= set(re.findall(r"[\w-]+\.wasm", text))
  assert "MIT License" in (PAGE / "licenses/onnxruntime-web.txt").read_text()


def test_nothing_in_the_page_needs_more_than_its_policy(index):
  assert not index.inline
  for tag, attributes in index.tags:
    assert tag != "style"
    assert tag != "script" or "src" in attributes
    assert not [a for a in attributes if a == "style" or a.startswith("on")]


def test_nothing_in_the_page_refers_to_another_origin(index):
  for _, attributes in index.tags:
    assert not [v for v in attributes.values() if v and "//" in v]
  for path in PAGE.rglob("*"):
    if path.suffix in (".js", ".css", ".svg", ".html"):
      hosts = re.findall(r"https?://([\w.-]+)", path.read_text())
      assert set(hosts) <= NAMED, path
  (style,) = (PAGE / "assets").glob("*.css")
  assert "url(" not in style.read_text()
  assert "@import" not in style.read_text()


def test_every_label_of_the_page_belongs_to_something(index):
  ids = [a["id"] for _, a in index.tags if "id" in a]
  assert len(ids) == len(set(ids))
  pointed = [
    attributes[name]
    for _, attributes in index.tags
    for name in ("for", "aria-labelledby", "aria-describedby")
    if name in attributes
  ]
  assert pointed and set(pointed) <= set(ids)
  for tag, attributes in index.tags:
    if tag == "input":
      assert attributes["id"] in pointed


def test_pictures_are_made_smaller_as_the_page_does_it():
  vectors = json.loads((HERE / "resize_vectors.json").read_text())
  for case in vectors["cases"]:
    (width, height), (left, top, wide, high) = case["size"], case["box"]
    y, x, c = np.mgrid[:height, :width, :3]
    picture = (37 * x + 91 * y + 53 * c + 7 * x * y) % 256
    found = np.asarray(
      Image.fromarray(picture.astype(np.uint8)).resize(
        case["wanted"],
        Image.Resampling.BILINEAR,
        box=(left, top, left + wide, top + high),
      )
    )
    page = np.frombuffer(bytes.fromhex(case["pixels"]), np.uint8)
    # Versions of Pillow differ in which way they go first.
    assert np.abs(found.reshape(-1).astype(int) - page).max() <= 1


class Reply:
  """What a service sent."""

  def __init__(self, sent):
    start, *rest = sent
    self.status = start["status"]
    self.headers = {k.decode(): v.decode() for k, v in start["headers"]}
    self.body = b"".join(part.get("body", b"") for part in rest)


@pytest.fixture
def get(tmp_path, made_values):
  """Asks a service that has a bundle with a client and a cloud half."""
  fastapi = pytest.importorskip("fastapi")
  from hybridpriv.deploy import pages

  files = {
    "client.onnx": b"the client half",
    "cloud.npz": b"the cloud half",
    "demo/none.onnx": b"a graph",
  }
  (tmp_path / "demo").mkdir()
  for name, content in files.items():
    (tmp_path / name).write_bytes(content)
  listed = {n: hashlib.sha256(c).hexdigest() for n, c in files.items()}
  made_values["files"] = listed
  (tmp_path / "manifest.json").write_text(json.dumps(made_values))

  def refusal(request):
    if request.headers.get("authorization") == "nobody":
      return fastapi.Response(status_code=401)
    return None

  app = fastapi.FastAPI()
  app.include_router(pages.router(manifest.read(tmp_path), refusal))

  def ask(path, **headers):
    sent, asked = [], iter([{"type": "http.request", "body": b""}])

    async def receive():
      if message := next(asked, None):
        return message
      return await asyncio.Future()  # nobody hangs up

    async def send(message):
      sent.append(message)

    scope = {
      "type": "http",
      "method": "GET",
      "path": path,
      "query_string": b"",
      "headers": [
        (k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()
      ],
    }
    asyncio.run(app(scope, receive, send))
    return Reply(sent)

  ask.folder = tmp_path
  return ask


def test_the_page_comes_with_its_policy(get):
  enter = get("/demo")
  assert (enter.status, enter.headers["location"]) == (308, "demo/")
  page = get("/demo/")
  assert page.status == 200
  assert page.body == (PAGE / "index.html").read_bytes()
  assert page.headers["content-type"] == "text/html; charset=utf-8"
  assert page.headers["cache-control"] == "no-cache"
  rules = dict(
    rule.strip().split(" ", 1)
    for rule in page.headers["content-security-policy"].split(";")
  )
  assert rules["default-src"] == "'self'"
  assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
  assert not [r for r in rules.values() if "unsafe-inline" in r or "*" in r]
  assert page.headers["x-content-type-options"] == "nosniff"
  assert page.headers["referrer-policy"] == "no-referrer"


def test_assets_have_their_types_and_may_be_kept(get):
  types = {".js": "text/javascript", ".css": "text/css"}
  types |= {".wasm": "application/wasm", ".svg": "image/svg+xml"}
  for path in (PAGE / "assets").iterdir():
    reply = get(f"/demo/assets/{path.name}")
    assert reply.status == 200
    assert reply.body == path.read_bytes()
    kind = reply.headers["content-type"].partition(";")[0]
    assert kind == types[path.suffix]
    assert "immutable" in reply.headers["cache-control"]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" in reply.headers


def test_the_runtime_is_zipped_for_who_can_unzip_it(get):
  (path,) = (PAGE / "assets").glob("*.wasm")
  reply = get(f"/demo/assets/{path.name}", accept_encoding="gzip, br")
  assert reply.headers["content-encoding"] == "gzip"
  assert reply.headers["vary"] == "Accept-Encoding"
  assert int(reply.headers["content-length"]) < 5e6
  assert gzip.decompress(reply.body) == path.read_bytes()


@pytest.mark.parametrize(
  "path",
  [
    "/demo/assets/none.js",
    "/demo/../pages.py",
    "/demo/assets/../../pages.py",
    "/demo//etc/passwd",
    "/v1/bundle/cloud.npz",
    "/v1/bundle/manifest.json",
    "/v1/bundle/../client.onnx",
    "/v1/bundle/demo/other.onnx",
    "/v1/bundle/demo/../cloud.npz",
    "/v1/bundle/",
  ],
)
def test_nothing_else_is_given_out(get, path):
  assert get(path).status == 404


def test_the_client_half_is_given_and_the_cloud_half_is_not(get):
  reply = get("/v1/bundle/client.onnx")
  assert (reply.status, reply.body) == (200, b"the client half")
  assert reply.headers["x-content-type-options"] == "nosniff"
  again = get("/v1/bundle/client.onnx", if_none_match=reply.headers["etag"])
  assert (again.status, again.body) == (304, b"")
  assert get("/v1/bundle/client.onnx", authorization="nobody").status == 401
  assert get("/v1/bundle/demo/none.onnx").body == b"a graph"
  # The page itself asks for the token, so everybody may have it.
  assert get("/demo/", authorization="nobody").status == 200


def test_a_damaged_client_half_is_not_given_out(get):
  (get.folder / "client.onnx").write_bytes(b"another one")
  reply = get("/v1/bundle/client.onnx")
  assert reply.status == 500
  assert str(get.folder) not in reply.body.decode()
