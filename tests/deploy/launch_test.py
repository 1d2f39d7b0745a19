"""From a fitted study to an answer, each program in a process of its own."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import venv

import jax
import numpy as np
import pytest
from PIL import Image

from hybridpriv.deploy import export, wire
from hybridpriv.deploy.client import manifest
from tests.deploy import alone

for name in ("fastapi", "jax2onnx", "onnxruntime", "opendp", "uvicorn"):
  pytest.importorskip(name)

DEADLINE_S = 120
TOKEN = "a-token-of-somebody"


@pytest.fixture(scope="module")
def shipped(launch, pictures, tmp_path_factory):
  """The bundle, and what the export printed."""
  out = tmp_path_factory.mktemp("shipped") / "bundle"
  flags = (f"--workdir={pictures}", f"--out={out}", "--max_queries=3")
  return out, launch("export", *flags).stdout


def _one_line(done):
  assert done.returncode == 2, done.stderr
  assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
  return done.stderr


def test_the_export_says_what_it_made(shipped):
  out, text = shipped
  own = manifest.read(out)
  lines = text.splitlines()
  assert lines[-1] == f"bundle {own.id.hex()}: {out}"
  for start in ("JAX: utility", "client.onnx: utility", "client.int8.onnx: "):
    assert any(line.startswith(start) for line in lines)
  assert own.values["export"]["command"].startswith("python launch/export.py")
  assert {p.name for p in out.parent.iterdir()} == {"bundle"}


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--row=simple/identity",), "name one of simple/certified"),
    (("--max_queries=0",), "max_queries=0"),
    (("--seed=5",), "seed=5; the study has 1"),
  ],
)
def test_what_cannot_be_exported_is_one_line(
  launch, pictures, tmp_path, flags, message
):
  out = tmp_path / "out"
  flags = (f"--workdir={pictures}", f"--out={out}", *flags)
  assert message in _one_line(launch("export", *flags, check=False))
  assert not list(tmp_path.iterdir())


def test_a_bundle_is_not_replaced(launch, pictures, shipped):
  flags = (f"--workdir={pictures}", f"--out={shipped[0]}")
  assert "is there" in _one_line(launch("export", *flags, check=False))


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--bundle=/nowhere",), "is no bundle: manifest.json cannot be read"),
    (("--max_batch=0",), "are 1 or more"),
    (("--tls_cert=a",), "go together"),
    (("--tls_cert=/no/a", "--tls_key=/no/b"), "--tls_cert=/no/a"),
    (("--token_file=/nowhere",), "--token_file=/nowhere cannot be read"),
  ],
)
def test_what_cannot_be_served_is_one_line(launch, shipped, flags, message):
  flags = (f"--bundle={shipped[0]}", *flags)
  assert message in _one_line(launch("serve", *flags, check=False))


def test_a_damaged_bundle_is_not_served(launch, shipped, tmp_path):
  copy = shutil.copytree(shipped[0], tmp_path / "copy")
  with (copy / "cloud.npz").open("ab") as file:
    file.write(b"\0")
  done = launch("serve", f"--bundle={copy}", check=False)
  assert "cloud.npz is not the file" in _one_line(done)


def _free():
  with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    return one.getsockname()[1]


def _get(port, path):
  """Returns status and body; None where nobody answers."""
  connection = http.client.HTTPConnection("127.0.0.1", port, DEADLINE_S)
  with contextlib.closing(connection):
    try:
      connection.request("GET", path)
      reply = connection.getresponse()
      return reply.status, reply.read()
    except OSError:
      return None


def _listens(port):
  with socket.socket() as one:
    return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def serve(repository, environment, tmp_path_factory):
  """Starts a service of a bundle; gives port and process once it is ready."""
  started = []
  log = tmp_path_factory.mktemp("log") / "log"

  def start(bundle, *flags):
    port = _free()
    command = [sys.executable, "launch/serve.py", f"--bundle={bundle}"]
    with log.open("w") as out:
      process = subprocess.Popen(
        [*command, f"--port={port}", "--max_batch=2", *flags],
        cwd=repository,
        env=environment,
        stdout=out,
        stderr=out,
      )
    started.append(process)
    end = time.monotonic() + DEADLINE_S
    while not _listens(port):
      assert process.poll() is None and time.monotonic() < end, log.read_text()
      time.sleep(0.05)
    return port, process

  yield start
  for process in started:
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def service(serve, shipped, tmp_path_factory):
  """A service with a token; gives port, process and the token's file."""
  path = tmp_path_factory.mktemp("token") / "tokens"
  path.write_text(f"{TOKEN}\n")
  return *serve(shipped[0], f"--token_file={path}"), path


@pytest.fixture
def photo(tmp_path):
  pixels = np.random.default_rng(0).integers(256, size=(30, 40, 3), dtype="u1")
  path = tmp_path / "photo.png"
  Image.fromarray(pixels).save(path)
  return path


def _client(bundle, *arguments, python=(sys.executable,), **variables):
  own = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
  return subprocess.run(
    [*python, bundle / "client.py", *map(str, arguments)],
    capture_output=True,
    text=True,
    env=own | variables,
  )


def _frames(path):
  with sqlite3.connect(path) as connection:
    rows = connection.execute("SELECT frame FROM codes").fetchall()
  connection.close()
  return [row[0] for row in rows]


def _check_answer(bundle, done, path):
  """Holds what the client printed against JAX, applied to what it sent."""
  assert done.returncode == 0, done.stderr
  own = manifest.read(bundle)
  (frame,) = _frames(path)
  code = wire.decode(frame, bundle=own.id).values
  call = export.from_stablehlo((bundle / "cloud.stablehlo").read_bytes())
  logits = call(export.unpack(bundle / "cloud.npz"), code[None].astype("int8"))
  share = np.asarray(jax.nn.softmax(logits[0]))
  found = re.match(r"answer: (no|yes) \((\d+) %\)\n", done.stdout)
  assert found, done.stdout
  assert found[1] == ("no", "yes")[share.argmax()]
  assert int(found[2]) == pytest.approx(100 * share.max(), abs=0.51)
  assert f"sent {len(frame)} bytes; the file has " in done.stdout


def test_a_photo_is_answered_by_a_device_without_jax(
  shipped, service, photo, tmp_path
):
  bundle, port, token = shipped[0], service[0], service[2]
  flags = (photo, "--server", f"http://127.0.0.1:{port}", "--ledger")
  flags += (tmp_path / "ledger", "--token_file", token)
  # The program is run where nothing else of the package can be imported.
  python = (sys.executable, "-c", alone.RUN)
  done = _client(bundle, *flags, python=python)
  _check_answer(bundle, done, tmp_path / "ledger")
  again = _client(bundle, *flags, "--int8", python=python)
  assert again.stdout.splitlines()[0] == done.stdout.splitlines()[0]
  assert "the same as before" in again.stdout
  assert len(_frames(tmp_path / "ledger")) == 1


def test_a_device_without_the_token_sends_nothing(
  shipped, service, photo, tmp_path
):
  flags = (photo, "--server", f"http://127.0.0.1:{service[0]}", "--ledger")
  done = _client(shipped[0], *flags, tmp_path / "ledger")
  assert done.returncode == 1 and not (tmp_path / "ledger").exists()
  assert "status 401: a bearer token is needed" in done.stderr


def test_another_bundle_than_the_service_has_sends_nothing(
  shipped, service, photo, tmp_path
):
  copy = shutil.copytree(shipped[0], tmp_path / "copy")
  values = json.loads((copy / "manifest.json").read_text())
  values["code"]["high"][0] += 1
  (copy / "manifest.json").write_text(json.dumps(values))
  flags = (photo, "--server", f"http://127.0.0.1:{service[0]}", "--ledger")
  flags += (tmp_path / "ledger", "--token_file", service[2])
  done = _client(copy, *flags)
  assert done.returncode == 1 and not (tmp_path / "ledger").exists()
  assert "nothing was sent" in done.stderr


def test_a_damaged_client_half_sends_nothing(shipped, service, photo, tmp_path):
  copy = shutil.copytree(shipped[0], tmp_path / "copy")
  with (copy / "client.onnx").open("ab") as file:
    file.write(b"\0")
  flags = (photo, "--server", f"http://127.0.0.1:{service[0]}", "--ledger")
  flags += (tmp_path / "ledger", "--token_file", service[2])
  done = _client(copy, *flags)
  assert done.returncode == 1 and not (tmp_path / "ledger").exists()
  assert "client.onnx is not the file that the manifest lists" in done.stderr


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_over_tls_only_a_service_that_proves_itself_is_asked(
  serve, shipped, photo, tmp_path
):
  command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert"
  command += " -subj /CN=here -addext subjectAltName=IP:127.0.0.1"
  subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
  cert, key = (tmp_path / name for name in ("cert", "key"))
  port, _ = serve(shipped[0], f"--tls_cert={cert}", f"--tls_key={key}")
  flags = (photo, "--server", f"https://127.0.0.1:{port}")
  flags += ("--ledger", tmp_path / "ledger")
  done = _client(shipped[0], *flags)
  assert done.returncode == 1 and not (tmp_path / "ledger").exists()
  assert "CERTIFICATE_VERIFY_FAILED" in done.stderr
  done = _client(shipped[0], *flags, SSL_CERT_FILE=str(cert))
  _check_answer(shipped[0], done, tmp_path / "ledger")


def test_sigterm_lets_requests_under_way_finish(serve, shipped):
  own = manifest.read(shipped[0])
  port, process = serve(shipped[0])
  frame = wire.encode(np.asarray([1, 2, 3, 4]), bits=8, bundle=own.id)
  with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as under_way:
    head = f"POST /v1/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(frame)}"
    under_way.sendall(head.encode() + b"\r\n\r\n" + frame[:5])
    _get(port, "/healthz")  # so that the other was heard of before
    process.send_signal(signal.SIGTERM)
    end = time.monotonic() + DEADLINE_S
    while _get(port, "/healthz") is not None:  # until it takes no new ones
      assert time.monotonic() < end
      time.sleep(0.02)
    assert process.poll() is None
    under_way.sendall(frame[5:])
    assert under_way.recv(10_000).startswith(b"HTTP/1.1 200")
  assert process.wait(DEADLINE_S) in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_a_device_needs_no_more_than_the_requirements(
  shipped, service, photo, tmp_path
):
  bundle = shipped[0]
  venv.create(tmp_path / "venv", with_pip=True)
  python = tmp_path / "venv" / "bin" / "python"
  install = [python, "-m", "pip", "install", "--quiet", "-r"]
  subprocess.run([*install, bundle / "requirements.txt"], check=True)
  listed = subprocess.run(
    [python, "-m", "pip", "list", "--format=json"],
    capture_output=True,
    text=True,
    check=True,
  )
  names = {one["name"].lower() for one in json.loads(listed.stdout)}
  assert not names & {"jax", "jaxlib", "flax", "scipy", "hybridpriv"}
  flags = (photo, "--server", f"http://127.0.0.1:{service[0]}", "--ledger")
  flags += (tmp_path / "ledger", "--token_file", service[2])
  done = _client(bundle, *flags, python=(python,))
  _check_answer(bundle, done, tmp_path / "ledger")
