import concurrent.futures
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.deploy import export, wire
from hybridpriv.deploy.client import manifest
from tests.deploy import served
from tests.deploy.served import server

VECTORS = json.loads(
  (pathlib.Path(__file__).parent / "wire_vectors.json").read_text()
)

# --- Answers.


def test_a_frame_gets_the_probability_of_every_class(own):
  code = [3, -20, 7]
  with served.service(own) as port:
    status, headers, found = served.infer(port, served.frame(own, code))
  assert status == 200 and headers["content-type"] == "application/json"
  assert set(found) == {"answers"}
  served.same(found["answers"], served.expected(code))


def test_extreme_logits_are_probabilities():
  classes = {"a": ("x", "y"), "b": ("z",)}
  logits = np.float32([[3e4, -3e4, -1e30], [0, 0, 3e4]])
  assert server.answers(logits, classes) == [
    {"a": {"x": 1.0, "y": 0.0}, "b": {"z": 1.0}},
    {"a": {"x": 0.5, "y": 0.5}, "b": {"z": 1.0}},
  ]


def test_many_at_once_each_get_their_own_answer(own):
  rng = np.random.default_rng(0)
  codes = rng.integers(-128, 128, size=(400, 3))
  sizes = []

  def run(batch):
    sizes.append(len(batch))
    return served.logits(batch)

  with (
    served.service(own, run) as port,
    concurrent.futures.ThreadPoolExecutor(32) as pool,
  ):
    frames = [served.frame(own, code) for code in codes]
    found = list(pool.map(lambda frame: served.infer(port, frame), frames))
  for code, (status, _, answer) in zip(codes, found, strict=True):
    assert status == 200
    served.same(answer["answers"], served.expected(code))
  # They came in batches, padded ones among them.
  assert set(sizes) <= {1, 2, 4, 8} and max(sizes) > 1
  assert len(sizes) < 400


def test_the_manifest_is_the_file_to_the_byte(own):
  with served.service(own) as port:
    status, headers, content = served.ask(port, "GET", "/v1/manifest")
  assert status == 200 and content == own.content
  assert headers["content-type"] == "application/json"


# --- What is no frame.


@pytest.mark.parametrize(
  "vector", VECTORS["refused"], ids=[v["name"] for v in VECTORS["refused"]]
)
def test_malformed_frames_get_their_status_and_code(own, vector):
  frame = bytes.fromhex(vector["frame"])
  if frame[3:7].hex() == VECTORS["bundle"]:
    frame = frame[:3] + own.id + frame[7:]
  own.values["code"]["k"] = 100  # so that none is too long
  with served.service(own) as port:
    status, _, found = served.infer(port, frame)
    assert found["code"] == vector["code"] and found["detail"]
    expected = {"bundle": 409, "version": 426}.get(vector["code"], 400)
    assert status == expected
    assert served.counts(port) == {expected: 1}


def test_a_frame_of_another_size_is_refused(own):
  with served.service(own) as port:
    for body in (
      wire.encode(np.asarray([1, 2]), bits=8, bundle=own.id),
      wire.encode(np.asarray([1]), bits=16, bundle=own.id),
    ):
      status, _, found = served.infer(port, body)
      assert (status, found["code"]) == (400, "length")
      assert "the bundle has 3 of 8" in found["detail"]


def test_a_long_body_is_refused_by_its_head(own):
  with (
    served.service(own) as port,
    served.raw(port, served.head(Content_Length=18)) as other,
  ):
    # A byte more than a frame has; none of it was sent.
    assert other.recv(1000).startswith(b"HTTP/1.1 413")
    other.close()
    assert served.counts(port) == {413: 1}
    status, _, found = served.infer(port, bytes(10_000_000))
    assert (status, found["code"]) == (413, "length")


def test_a_body_that_does_not_end_is_refused_after_a_frame(own):
  with (
    served.service(own) as port,
    served.raw(port, served.head(Transfer_Encoding="chunked")) as other,
  ):
    for _ in range(2):
      other.sendall(b"a\r\n0123456789\r\n")
    assert other.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_arrive_is_given_up(own, monkeypatch):
  monkeypatch.setattr(server, "_BODY_S", 0.05)
  head = served.head(Content_Length=17)
  with served.service(own) as port, served.raw(port, head + b"hp") as other:
    assert other.recv(1000).startswith(b"HTTP/1.1 408")
    assert served.infer(port, served.frame(own, [1, 2, 3]))[0] == 200
    assert served.counts(port) == {408: 1, 200: 1}


def test_a_body_that_is_cut_off_is_counted_and_disturbs_nobody(own):
  with served.service(own) as port:
    served.raw(port, served.head(Content_Length=17) + b"hp").close()
    served.until(lambda: served.counts(port) == {400: 1})
    assert served.infer(port, served.frame(own, [1, 2, 3]))[0] == 200


def test_what_is_no_post_is_refused(own):
  with served.service(own) as port:
    assert served.ask(port, "GET", "/v1/infer")[0] == 405
    assert served.ask(port, "GET", "/nowhere")[0] == 404


# --- Who may ask.


@pytest.mark.parametrize(
  "header",
  [None, "", "Bearer", "Bearer wrong-token-of-nobody"]
  + ["Basic first-token-of-somebody", "first-token-of-somebody"],
)
def test_without_a_known_token_nothing_is_said(own, header):
  headers = {} if header is None else {"Authorization": header}
  with served.service(own, tokens=served.TOKENS) as port:
    for method, path, body in (
      ("POST", "/v1/infer", served.frame(own, [1, 2, 3])),
      ("POST", "/v1/infer", b"no frame"),
      ("GET", "/v1/manifest", None),
    ):
      status, sent, content = served.ask(port, method, path, body, headers)
      assert status == 401 and sent["www-authenticate"] == "Bearer"
      assert json.loads(content)["code"] == "token"
    assert served.counts(port) == {401: 2}
    assert served.ask(port, "GET", "/healthz")[0] == 200


@pytest.mark.parametrize("token", served.TOKENS)
def test_every_known_token_may_ask(own, token):
  headers = {"Authorization": f"Bearer {token.decode()}"}
  with served.service(own, tokens=served.TOKENS) as port:
    assert served.infer(port, served.frame(own, [1, 2, 3]), **headers)[0] == 200
    assert served.ask(port, "GET", "/v1/manifest", None, headers)[0] == 200


def test_too_many_requests_of_one_token_are_sent_away(own):
  limits = server.Limits(rate=0.001, burst=2)
  with served.service(own, tokens=served.TOKENS, limits=limits) as port:
    frame = served.frame(own, [1, 2, 3])
    mine, yours = (
      {"Authorization": f"Bearer {token.decode()}"} for token in served.TOKENS
    )
    assert [served.infer(port, frame, **mine)[0] for _ in range(2)] == [
      200,
      200,
    ]
    status, headers, found = served.infer(port, frame, **mine)
    assert (status, found["code"]) == (429, "rate")
    assert 900 < int(headers["retry-after"]) <= 1000
    assert served.infer(port, frame, **yours)[0] == 200


def test_without_tokens_an_address_is_an_asker(own):
  with served.service(own, limits=server.Limits(rate=0.001, burst=1)) as port:
    frame = served.frame(own, [1, 2, 3])
    assert [served.infer(port, frame)[0] for _ in range(2)] == [200, 429]


def test_files_of_the_bundle_count_and_the_manifest_does_not(own):
  # A client asks for the manifest before every question.
  with served.service(own, limits=server.Limits(rate=0.001, burst=2)) as port:
    for _ in range(3):
      assert served.ask(port, "GET", "/v1/manifest")[0] == 200
    found = [
      served.ask(port, "GET", "/v1/bundle/client.onnx")[0] for _ in range(3)
    ]
    assert found[2] == 429 and 429 not in found[:2]
    assert served.infer(port, served.frame(own, [1, 2, 3]))[0] == 429


# --- A real bundle.


@pytest.fixture(scope="module")
def cloud(bundle):
  return server.load(manifest.read(bundle), max_batch=6)


def test_answers_are_those_of_the_network(bundle, cloud):
  own = manifest.read(bundle)
  assert tuple(cloud.seconds) == (1, 2, 4, 6)
  assert min(cloud.seconds.values()) > 0
  codes = np.random.default_rng(0).integers(-128, 128, (40, 4))
  call = export.from_stablehlo((bundle / "cloud.stablehlo").read_bytes())
  parameters = export.unpack(bundle / "cloud.npz")
  logits = call(parameters, jnp.asarray(codes, jnp.int8))
  expected = jax.nn.softmax(logits)
  app = server.app(own, cloud)
  with (
    served.served(app) as port,
    concurrent.futures.ThreadPoolExecutor(16) as pool,
  ):
    frames = [wire.encode(c, bits=8, bundle=own.id) for c in codes]
    found = list(pool.map(lambda frame: served.infer(port, frame), frames))
  values = [list(f["answers"]["answer"].values()) for _, _, f in found]
  np.testing.assert_allclose(values, expected, atol=2e-6)
  assert np.ptp(expected) > 0.01  # and they differ


def test_every_size_of_batch_gives_the_same(cloud):
  codes = np.random.default_rng(0).integers(-128, 128, (6, 4))
  single = np.concatenate([cloud.run(code[None]) for code in codes])
  for size in cloud.seconds:
    np.testing.assert_allclose(
      cloud.run(codes[:size]), single[:size], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["cloud.stablehlo", "cloud.npz"])
@pytest.mark.parametrize("how", ["damaged", "exchanged", "missing"])
def test_a_bundle_that_is_not_whole_is_not_served(bundle, tmp_path, name, how):
  copy = shutil.copytree(bundle, tmp_path / "copy")
  path = copy / name
  if how == "missing":
    path.unlink()
  elif how == "exchanged":
    shutil.copy(copy / name.replace("cloud", "client"), path)
  else:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
  with pytest.raises(ValueError, match=name):
    server.load(manifest.read(copy), max_batch=1)
