"""Ask a service about a photo or a signal without handing it over.

  python client.py photo.jpg --server https://example.org
  python client.py window.csv --server https://example.org

The client half runs here; a few noisy bytes go out, and the answer comes back.
What has left the device is written to a ledger, which refuses once the budget
is spent; the same input again sends the same bytes and costs nothing.
"""

import argparse
import os
import pathlib
import sys
import urllib.parse
from collections.abc import Sequence

from hybridpriv.deploy.client import inputs, ledger, manifest, sending

_LEDGER = pathlib.Path("~/.local/state/hybridpriv/ledger")
_TOKEN = "HYBRIDPRIV_TOKEN"
_SQUEEZED = 0.05  # of the ratio of its sides


def main(bundle: pathlib.Path, argv: list[str] | None = None) -> int:
  """Run the program; return its exit status.

  Args:
    bundle: the folder with the manifest.
    argv: arguments, those of the command line by default.
  """
  given = _parser().parse_args(argv)
  try:
    return _run(bundle, given)
  except (ValueError, RuntimeError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  except MemoryError:
    print(
      f"error: {given.input} is too large for the memory of this device",
      file=sys.stderr,
    )
    return 1
  except KeyboardInterrupt:
    print("stopped; the same command goes on from here", file=sys.stderr)
    return 130


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="client.py",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "input", type=pathlib.Path, nargs="?", help="photo, or window as CSV"
  )
  parser.add_argument("--server", help="address of the service")
  parser.add_argument(
    "--box",
    type=_box,
    metavar="x,y,w,h",
    help="what to look at in the photo, in pixels; default the central square",
  )
  parser.add_argument(
    "--int8", action="store_true", help="the smaller, faster client half"
  )
  parser.add_argument(
    "--runtime",
    choices=sorted(sending.RUNTIMES),
    default="onnx",
    help="what runs the client half: ONNX Runtime, or LiteRT (tflite) where"
    " the bundle has its files and ai-edge-litert is installed",
  )
  parser.add_argument(
    "--ledger",
    type=pathlib.Path,
    default=_LEDGER,
    help=f"budget of this device, for all bundles; default {_LEDGER}",
  )
  parser.add_argument(
    "--max_queries", type=int, help="stop after fewer codes than the bundle"
  )
  parser.add_argument(
    "--budget", action="store_true", help="show what is left, and send nothing"
  )
  parser.add_argument(
    "--token_file",
    type=pathlib.Path,
    help=f"file with the bearer token; else the variable {_TOKEN}",
  )
  return parser


def _box(text: str) -> tuple[float, ...]:
  try:
    values = tuple(float(part) for part in text.split(","))
  except ValueError:
    values = ()
  if len(values) != 4:
    raise argparse.ArgumentTypeError(
      f"{text!r}: expected left,top,width,height in pixels, as in 40,20,200,200"
    )
  return values


def _run(bundle: pathlib.Path, given: argparse.Namespace) -> int:
  own = manifest.read(bundle)
  limit = manifest.limit(own, given.max_queries)
  path = given.ledger.expanduser()
  if given.budget:
    print(_budget(own, ledger.spent(path), limit))
    return 0
  if given.input is None:
    raise ValueError("name a photo or a window, or ask for --budget")
  if not given.server:
    raise ValueError("--server is missing: give the address of the service")
  server, token = given.server.rstrip("/"), _token(given.token_file)
  _check_secrecy(server, token)
  array = inputs.read(given.input, own.values["input"], box=given.box)
  size = given.input.stat().st_size
  if given.box is not None:
    _check_box(given.box, own.values["input"]["shape"])
  sending.check_server(own, server, token=token)
  client = sending.model(own, int8=given.int8, runtime=given.runtime)
  prepared = sending.prepare(own, client, array)
  if prepared.is_unusual:
    print(
      "warning: unlike what the network was trained on"
      f" ({own.values['input']['framing']}): the answer may be wrong",
      file=sys.stderr,
    )
  paid = sending.pay(own, prepared, array, path=path, limit=limit)
  answers = sending.ask(own, server, paid.frame, token=token)
  for line in sending.best(answers):
    print(line)
  worth = own.values["utility"]["validation"]
  print(
    f"such answers are right {100 * worth:.0f} % of the time (balanced, people"
    " of validation, this noise)"
  )
  again = "" if paid.is_new else ", the same as before"
  print(f"sent {len(paid.frame)} bytes{again}; the file has {size:,}")
  print(_budget(own, paid.spent, limit))
  return 0


def _check_secrecy(server: str, token: str) -> None:
  """Refuse to show a token to everybody between here and the service."""
  parts = urllib.parse.urlsplit(server)
  near = parts.hostname in ("localhost", "127.0.0.1", "::1")
  if token and parts.scheme == "http" and not near:
    raise ValueError(
      f"--server={server} is not encrypted, and would show the token to"
      " everybody in between: use https"
    )


def _token(path: pathlib.Path | None) -> str:
  where = f"--token_file={path}" if path else f"the variable {_TOKEN}"
  try:
    token = (path.read_text() if path else os.environ.get(_TOKEN, "")).strip()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"{where} cannot be read ({error})") from error
  if not token.isascii() or not token.isprintable() or " " in token:
    raise ValueError(f"{where} holds something else than one token")
  return token


def _check_box(box: Sequence[float], shape: Sequence[int]) -> None:
  """Warn of a box that is squeezed to the shape that the network takes."""
  _, _, wide, high = box
  if abs(wide * shape[0] / (high * shape[1]) - 1) > _SQUEEZED:
    print(
      f"warning: the box of {wide:g} x {high:g} is squeezed to"
      f" {shape[1]} x {shape[0]}: the answer may be wrong",
      file=sys.stderr,
    )


def _budget(own: manifest.Manifest, spent: float, limit: float) -> str:
  """Say what is left, and what is proved of all that has left so far."""
  cost = own.values["budget"]["cost"]
  left = max(int((limit - spent) / cost + 1e-9), 0)
  lines = [f"budget: {left} codes left"]
  if spent:
    known = manifest.proved(own, spent)
    if known is None:
      return f"{lines[0]}; of so many, nothing is proved here"
    for target, bound in known["success"].items():
      num = round(1 / bound["blind"])
      lines.append(
        f"  whoever has all codes of this ledger guesses {target}, of {num}"
        f" equally likely, with at most {100 * bound['success']:.1f} %"
        f" (blind: {100 * bound['blind']:.1f} %)"
      )
    lines.append(
      f"  epsilon {known['epsilon']:.2f} at delta {known['delta']:g};"
      f" {own.values['guarantee']['assumes']}"
    )
  return "\n".join(lines)
