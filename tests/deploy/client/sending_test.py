import json
import socket
import sys
import threading

import numpy as np
import pytest

from hybridpriv.deploy import wire
from hybridpriv.deploy.client import ledger, manifest, sending

PHOTO = np.full((8, 8, 3), 120, np.uint8)


def test_a_code_within_the_radius_is_prepared(own, half):
  found = sending.prepare(own, half, PHOTO)
  np.testing.assert_array_equal(found.values, [0, 0, 0])
  assert found.values.dtype == np.int64 and not found.is_unusual


@pytest.mark.parametrize(
  ("code", "unusual"),
  [
    ([9, -9, 0], False),
    ([10, 0, 0], True),
    ([0, 0, -10], True),
    ([0, 24, 0], True),  # on the edge of the radius
  ],
)
def test_a_code_outside_those_of_the_training_is_unusual(own, code, unusual):
  found = sending.prepare(own, lambda x: np.float32([code]), PHOTO)
  assert found.is_unusual == unusual


@pytest.mark.parametrize(
  "code",
  [
    [24, 1, 0],
    [-25, 0, 0],
    [0.5, 0, 0],
    [np.nan, 0, 0],
    [np.inf, 0, 0],
    [0, 0],
    [0, 0, 0, 0],
    [1e9, 0, 0],
  ],
)
def test_a_code_that_the_guarantee_does_not_hold_for_is_refused(own, code):
  with pytest.raises(ValueError, match="norm 24 at most, so nothing was sent"):
    sending.prepare(own, lambda x: np.float32([code]), PHOTO)


def test_a_client_half_that_fails_sends_nothing_and_says_why(own):
  class Fault(Exception):  # runtimes have types of their own
    pass

  def half(inputs):
    raise Fault(f"no kernel for {inputs.dtype}\nin node 3")

  with pytest.raises(ValueError, match=r"\(no kernel for uint8\), so nothing"):
    sending.prepare(own, half, PHOTO)


def test_a_frame_is_of_this_bundle_and_of_its_length(own, half):
  pytest.importorskip("opendp")
  frame = sending.frame(own, sending.prepare(own, half, PHOTO))
  found = wire.decode(frame, bundle=own.id)
  assert found.bits == 8 and len(found.values) == 3
  assert len(frame) == 14 + 3


def _pay(own, half, path, photo, limit=0.75):
  prepared = sending.prepare(own, half, photo)
  return sending.pay(own, prepared, photo, path=path, limit=limit)


def test_the_same_pixels_are_the_same_input_whatever_made_the_code(
  own, half, tmp_path
):
  pytest.importorskip("opendp")
  path = tmp_path / "ledger"
  first = _pay(own, half, path, PHOTO)
  again = _pay(own, lambda x: 1 + half(x), path, PHOTO.copy())
  assert again.frame == first.frame and not again.is_new
  other = PHOTO.copy()
  other[0, 0, 0] += 1  # its code is the same
  assert _pay(own, half, path, other).is_new
  turned = PHOTO.reshape(4, 16, 3)  # its bytes are the same
  assert _pay(own, half, path, turned).is_new
  with pytest.raises(ledger.Exhausted):
    _pay(own, half, path, other + 1)
  assert ledger.spent(path) == 0.75


def test_a_service_with_this_manifest_is_taken(own, service):
  sending.check_server(own, service.url)
  (one,) = service.received
  assert (one.method, one.path, one.body) == ("GET", "/v1/manifest", b"")


def _differ(content):
  return [
    content + b" ",
    content[:-1],
    content.replace(b"48.0", b"48.1"),
    b"",
    b"{}",
  ]


def test_a_service_with_another_manifest_is_refused(own, service):
  for theirs in _differ(own.content):
    service.manifest = theirs
    with pytest.raises(sending.Failed, match="nothing was sent") as caught:
      sending.check_server(own, service.url)
    assert own.id.hex() in str(caught.value)


def test_a_manifest_of_any_length_can_be_compared(own, service):
  long = own.content + b" " * 3 * 2**20
  own = own._replace(content=long)
  service.manifest = long
  sending.check_server(own, service.url)
  service.manifest = long + b" "
  with pytest.raises(sending.Failed, match="nothing was sent"):
    sending.check_server(own, service.url)


def test_nothing_but_the_frame_goes_out(own, service):
  frame = bytes(range(17))
  sending.ask(own, service.url, frame, token="a-token")
  (one,) = service.received
  assert (one.method, one.path, one.body) == ("POST", "/v1/infer", frame)
  assert one.headers["authorization"] == "Bearer a-token"
  assert set(one.headers) == {
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "user-agent",
  }
  # Nothing of the device: the name of the program is the library's own.
  assert one.headers["user-agent"].startswith("Python-urllib/")
  assert one.headers["content-type"] == "application/octet-stream"


def test_without_a_token_none_is_sent(own, service):
  sending.ask(own, service.url, b"frame")
  assert "authorization" not in service.received[0].headers


def test_the_answer_has_the_labels_and_classes_of_the_bundle(own, service):
  service.answer = json.dumps(
    {
      "answers": {
        "age": {"older": 0.5, "old": 0.25, "young": 0.25, "\x1b[2J": 1},
        "beard": {"no": 0.9, "yes": 0.1},
        "more": {"x": 1.0},
      }
    }
  ).encode()
  found = sending.ask(own, service.url, b"frame")
  assert found == {
    "beard": {"no": 0.9, "yes": 0.1},
    "age": {"young": 0.25, "old": 0.25, "older": 0.5},
  }
  assert sending.best(found) == ["beard: no (90 %)", "age: older (50 %)"]


@pytest.mark.parametrize(
  "answer",
  [
    b"",
    b"<html>",
    b"\xff",
    b"[]",
    b"null",
    b'{"answers": {}}',
    b'{"answers": {"beard": {"no": 1}, "age": {}}}',
    b'{"answers": {"beard": 3}}',
    b'{"answers": {"beard": {"no": "much", "yes": 0}}}',
  ],
)
def test_an_answer_that_is_none_is_one_clear_error(own, service, answer):
  service.answer = answer
  with pytest.raises(sending.Failed, match="gave no answer that"):
    sending.ask(own, service.url, b"frame")


@pytest.mark.parametrize(
  ("status", "answer", "said"),
  [
    (503, b'{"detail": "5 codes wait", "code": "full"}', "503: 5 codes wait"),
    (401, b'{"detail": "a bearer token is needed"}', "401: a bearer token"),
    (502, b"<html>\x1b[2J</html>", "502: Bad Gateway"),
    (500, b"[]", "500: Internal Server Error"),
  ],
)
def test_a_refusal_says_why(own, service, status, answer, said):
  service.status, service.answer = status, answer
  with pytest.raises(sending.Failed, match=said):
    sending.ask(own, service.url, b"frame")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nothing_follows_a_redirect(own, service, status):
  service.status = status
  service.headers = {"Location": f"{service.url}/elsewhere"}
  with pytest.raises(sending.Failed, match=f"refused with status {status}"):
    sending.ask(own, service.url, b"frame", token="a-token")
  assert [one.path for one in service.received] == ["/v1/infer"]


def test_an_answer_that_is_cut_off_is_one_clear_error(own, service):
  service.headers = {"Content-Length": str(len(service.answer))}
  service.answer = service.answer[:-9]
  service.manifest = service.manifest[:-9]
  for call in (
    lambda: sending.ask(own, service.url, b"frame"),
    lambda: sending.check_server(own, service.url),
  ):
    with pytest.raises(sending.Failed):
      call()


def test_a_service_that_dies_is_one_clear_error(own, service):
  service.is_down = True
  with pytest.raises(sending.Failed, match="no answer from http://127.0.0.1"):
    sending.ask(own, service.url, b"frame")


def test_a_service_that_is_not_there_is_one_clear_error(own):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))  # and nobody listens
    url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(sending.Failed, match="no answer from .*try again"):
      sending.check_server(own, url)


def test_what_speaks_no_http_is_one_clear_error(own):
  with socket.create_server(("127.0.0.1", 0)) as listening:

    def answer():
      other, _ = listening.accept()
      with other:
        other.recv(100)
        other.sendall(b"SSH-2.0-something\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(sending.Failed, match="no answer from"):
      sending.check_server(own, url)
    thread.join()


@pytest.mark.parametrize(
  "server",
  ["", "example.org", "ftp://example.org", "file:///etc/passwd", "http://"],
)
def test_an_address_is_of_the_web(own, server):
  with pytest.raises(sending.Failed, match="is no address"):
    sending.check_server(own, server)


@pytest.mark.parametrize(
  "server", ["http://host:port", "http://a b", "http://["]
)
def test_an_address_that_is_none_is_one_clear_error(own, server):
  with pytest.raises((sending.Failed, ValueError)):
    sending.check_server(own, server)


@pytest.mark.parametrize("int8", [False, True])
def test_a_damaged_client_half_is_not_run(tmp_path, made_values, int8):
  name = "client.int8.onnx" if int8 else "client.onnx"
  (tmp_path / name).write_bytes(b"another")
  values = made_values | {"files": {name: "0" * 64}}
  (tmp_path / "manifest.json").write_text(json.dumps(values))
  with pytest.raises(ValueError, match=f"{name} is not the file"):
    sending.model(manifest.read(tmp_path), int8=int8)


@pytest.mark.parametrize(
  ("runtime", "module", "package"),
  [
    ("onnx", "onnxruntime", "onnxruntime"),
    ("tflite", "ai_edge_litert", "ai-edge-litert"),
  ],
)
def test_a_runtime_that_is_not_there_is_one_clear_error(
  tmp_path, made_values, monkeypatch, runtime, module, package
):
  path = tmp_path / f"client.{runtime}"
  path.write_bytes(b"a graph")
  values = made_values | {"files": {path.name: manifest.digest(path)}}
  (tmp_path / "manifest.json").write_text(json.dumps(values))
  monkeypatch.setitem(sys.modules, module, None)
  own = manifest.read(tmp_path)
  with pytest.raises(ValueError, match=f"pip install {package}"):
    sending.model(own, runtime=runtime)
  with pytest.raises(ValueError, match=f"has no client.int8.{runtime}"):
    sending.model(own, int8=True, runtime=runtime)
