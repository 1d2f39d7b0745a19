"""Serve the cloud half of a bundle.

  python launch/serve.py --bundle=bundle --port=8000
  python bundle/client.py photo.jpg --server http://127.0.0.1:8000

It answers frames (POST /v1/infer); /v1/manifest, /healthz, /readyz and /metrics
say what and how it is. SIGTERM lets requests finish. Needs the extra `deploy`.
"""

import contextlib
import gc
import pathlib
import ssl
import sys

import program
from absl import flags

BUNDLE = flags.DEFINE_string("bundle", "bundle", "what launch/export.py made")
HOST = flags.DEFINE_string("host", "127.0.0.1", "address to listen on")
PORT = flags.DEFINE_integer("port", 8000, "port to listen on")
TOKEN_FILE = flags.DEFINE_string(
  "token_file", "", "bearer tokens, one a line; by default everybody may ask"
)
MAX_BATCH = flags.DEFINE_integer("max_batch", 64, "codes answered at once")
MAX_WAITING = flags.DEFINE_integer(
  "max_waiting", 256, "codes that may wait; more get status 503"
)
RATE = flags.DEFINE_float(
  "rate", 0.0, "requests a second of one token or address; 0 for any"
)
BURST = flags.DEFINE_integer("burst", 20, "requests of one asker at once")
TLS_CERT = flags.DEFINE_string("tls_cert", "", "certificate chain, PEM")
TLS_KEY = flags.DEFINE_string("tls_key", "", "its private key, PEM")
DRAIN_S = flags.DEFINE_integer(
  "drain_s", 30, "seconds that requests under way have after SIGTERM"
)

_TURN_S = 5e-4  # of a thread, before another one may go on


def main(_: list[str]) -> None:
  """Serve until told to stop."""
  try:
    import uvicorn

    from hybridpriv.deploy import prompt, server
  except ModuleNotFoundError as error:
    program.fail(
      f"{error.name} is not installed: pip install 'hybridpriv[deploy]'"
    )
  from hybridpriv.deploy import access
  from hybridpriv.deploy.client import manifest

  if MAX_BATCH.value < 1 or MAX_WAITING.value < 1 or BURST.value < 1:
    program.fail("--max_batch, --max_waiting and --burst are 1 or more")
  if bool(TLS_CERT.value) != bool(TLS_KEY.value):
    program.fail("--tls_cert and --tls_key go together")
  if TLS_CERT.value:
    try:
      context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
      context.load_cert_chain(TLS_CERT.value, TLS_KEY.value)
    except OSError as error:
      program.fail(
        f"--tls_cert={TLS_CERT.value} with --tls_key={TLS_KEY.value} cannot be"
        f" used ({error})"
      )
  tokens = (
    access.read_tokens(pathlib.Path(TOKEN_FILE.value))
    if TOKEN_FILE.value
    else ()
  )
  own = manifest.read(pathlib.Path(BUNDLE.value))
  cloud = server.load(own, max_batch=MAX_BATCH.value)
  limits = server.Limits(MAX_WAITING.value, RATE.value, BURST.value)
  scheme = "https" if TLS_CERT.value else "http"
  # Looking for garbage in all that JAX loaded, and waiting for the thread of
  # the other batch, was seen to make requests a third slower.
  gc.collect()
  gc.freeze()
  sys.setswitchinterval(_TURN_S)
  _open_many()
  print(
    f"bundle {own.id.hex()}: {scheme}://{HOST.value}:{PORT.value}", flush=True
  )
  uvicorn.run(
    server.app(own, cloud, tokens=tokens, limits=limits),
    host=HOST.value,
    port=PORT.value,
    access_log=False,
    log_level="warning",
    ssl_certfile=TLS_CERT.value or None,
    ssl_keyfile=TLS_KEY.value or None,
    timeout_graceful_shutdown=DRAIN_S.value,
    http=prompt.Prompt,
    # Longer than what a load balancer keeps a connection for. How many there
    # are is not limited: an idle one costs little, and with a limit a crowd of
    # open pages would shut out the probes that ask whether all is well.
    timeout_keep_alive=75,
  )


def _open_many() -> None:
  """Let the process hold as many connections as the system allows it."""
  try:
    import resource
  except ModuleNotFoundError:  # on Windows there is no such limit
    return
  _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
  # Some systems name a limit that they do not grant; what there is then stays.
  with contextlib.suppress(ValueError, OSError):
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
  program.start(main, study=False)
