import sqlite3

import numpy as np
import pytest
from PIL import Image

from hybridpriv.deploy import wire
from hybridpriv.deploy.client import ledger, main, sending

pytest.importorskip("opendp")


@pytest.fixture
def photo(tmp_path):
  path = tmp_path / "photo.png"
  Image.new("RGB", (8, 8), (120, 120, 120)).save(path)
  return path


@pytest.fixture
def run(own, half, tmp_path, monkeypatch, capsys):
  """Runs the program with a made-up client half; returns status and texts."""
  used = [half]

  def model(own, *, int8, runtime):
    start.asked.append((int8, runtime))
    return used[-1]

  monkeypatch.setattr(sending, "model", model)
  monkeypatch.delenv("HYBRIDPRIV_TOKEN", raising=False)

  def start(*arguments, with_half=None):
    used.append(with_half or half)
    given = [*map(str, arguments), "--ledger", str(tmp_path / "ledger")]
    status = main.main(own.folder, given)
    said = capsys.readouterr()
    return status, said.out, said.err

  start.asked = []  # which client halves
  return start


def _refused(found, message):
  status, out, err = found
  assert status == 1 and not out
  assert err.startswith("error: ") and err.count("\n") == 1
  assert message in err


@pytest.mark.parametrize(
  ("flags", "asked"),
  [
    ((), (False, "onnx")),
    (("--int8",), (True, "onnx")),
    (("--int8", "--runtime=tflite"), (True, "tflite")),
  ],
)
def test_the_client_half_is_the_one_that_is_asked_for(
  run, photo, service, flags, asked
):
  assert run(photo, "--server", service.url, *flags)[0] == 0
  assert run.asked == [asked]


def test_a_photo_becomes_a_frame_and_an_answer(run, photo, service, own):
  status, out, err = run(photo, "--server", service.url)
  assert (status, err) == (0, "")
  assert [(r.method, r.path) for r in service.received] == [
    ("GET", "/v1/manifest"),
    ("POST", "/v1/infer"),
  ]
  (frame,) = service.frames
  assert len(wire.decode(frame, bundle=own.id).values) == 3
  size = photo.stat().st_size
  assert out.splitlines() == [
    "beard: yes (75 %)",
    "age: young (50 %)",
    "such answers are right 72 % of the time (balanced, people of validation,"
    " this noise)",
    f"sent 17 bytes; the file has {size}",
    "budget: 2 codes left",
    "  whoever has all codes of this ledger guesses person, of 4 equally"
    " likely, with at most 40.0 % (blind: 25.0 %)",
    "  epsilon 1.50 at delta 1e-05; the device clips",
  ]


@pytest.mark.parametrize(
  ("server", "is_refused"),
  [
    ("http://example.org", True),
    ("http://[::1]:1", False),
    ("http://localhost:1", False),
    ("https://127.0.0.1:1", False),
  ],
)
def test_a_token_is_not_shown_to_everybody_in_between(
  run, photo, server, is_refused, monkeypatch
):
  monkeypatch.setenv("HYBRIDPRIV_TOKEN", "a-token-of-some-length")
  status, _, err = run(photo, "--server", server)
  assert status == 1  # nobody answers
  assert ("use https" in err) == is_refused


def test_a_box_of_another_shape_brings_a_warning(run, photo, service):
  for box, warns in (("0,0,8,4", True), ("0,0,4,4", False)):
    _, _, err = run(photo, "--server", service.url, f"--box={box}")
    assert ("is squeezed to 8 x 8" in err) == warns


def test_a_slash_at_the_end_of_the_address_changes_nothing(run, photo, service):
  assert run(photo, "--server", service.url + "/")[0] == 0
  assert service.received[1].path == "/v1/infer"


def test_a_frame_depends_on_the_pixels_through_the_code_alone(
  run, photo, service, monkeypatch, own
):
  # With no noise to speak of, two photos of one code make one frame.
  own.values["code"]["sigma"] = 0.01
  monkeypatch.setattr(main.manifest, "read", lambda folder: own)
  run(photo, "--server", service.url)
  pixels = np.asarray(Image.open(photo)).copy()
  pixels[:4] += 5
  pixels[4:] -= 5
  Image.fromarray(pixels).save(photo)
  run(photo, "--server", service.url)
  assert len(service.frames) == 2 and len(set(service.frames)) == 1


def test_the_same_photo_again_sends_the_same_bytes_and_costs_nothing(
  run, photo, service, tmp_path
):
  run(photo, "--server", service.url)
  status, out, _ = run(photo, "--server", service.url)
  assert status == 0
  assert "sent 17 bytes, the same as before;" in out
  assert "budget: 2 codes left" in out
  assert len(service.frames) == 2 and len(set(service.frames)) == 1


def test_a_retry_after_a_dead_server_sends_the_same_bytes_and_costs_nothing(
  run, photo, service, tmp_path
):
  service.is_down = True
  _refused(run(photo, "--server", service.url), "no answer from")
  assert ledger.spent(tmp_path / "ledger") == 0.25  # it may have arrived
  service.is_down = False
  status, out, _ = run(photo, "--server", service.url)
  assert status == 0 and "the same as before" in out
  assert len(service.frames) == 2 and len(set(service.frames)) == 1
  assert ledger.spent(tmp_path / "ledger") == 0.25


def test_nothing_is_sent_or_paid_where_the_manifest_of_the_service_differs(
  run, photo, service, tmp_path
):
  service.manifest += b" "
  _refused(run(photo, "--server", service.url), "nothing was sent")
  assert not service.frames and not (tmp_path / "ledger").exists()


def test_nothing_is_sent_or_paid_where_the_code_is_too_long(
  run, photo, service, tmp_path
):
  found = run(
    photo,
    "--server",
    service.url,
    with_half=lambda x: np.float32([[20, 20, 0]]),
  )
  _refused(found, "nothing was sent")
  assert not service.frames and not (tmp_path / "ledger").exists()


def _photos(tmp_path, num):
  for i in range(num):
    path = tmp_path / f"{i}.png"
    Image.new("RGB", (8, 8), (100 + i, 90, 90)).save(path)
    yield path


def test_nothing_is_sent_when_the_budget_is_spent(run, service, tmp_path):
  *paid, late = _photos(tmp_path, 4)
  for path in paid:
    assert run(path, "--server", service.url)[0] == 0
  _refused(run(late, "--server", service.url), "the budget is spent")
  assert len(service.frames) == 3
  # What was sent may be sent again.
  status, out, _ = run(paid[0], "--server", service.url)
  assert status == 0 and "budget: 0 codes left" in out
  assert service.frames[3] == service.frames[0]


def test_a_smaller_budget_can_be_asked_for(run, service, tmp_path):
  first, second = _photos(tmp_path, 2)
  flags = ("--server", service.url, "--max_queries", 1)
  assert run(first, *flags)[0] == 0
  _refused(run(second, *flags), "the budget is spent")
  _refused(run(second, *flags[:2], "--max_queries", 4), "is for 1 to 3")
  assert len(service.frames) == 1


def test_nothing_is_sent_when_the_ledger_is_broken(
  run, photo, service, tmp_path
):
  (tmp_path / "ledger").write_bytes(b"something else" * 100)
  _refused(run(photo, "--server", service.url), "so nothing was sent")
  assert not service.frames


def test_nothing_is_sent_when_the_row_of_the_ledger_is_not_kept(
  run, photo, service, tmp_path
):
  run(photo, "--server", service.url)
  with sqlite3.connect(tmp_path / "ledger") as connection:
    connection.execute(
      "CREATE TRIGGER no BEFORE INSERT ON codes"
      " BEGIN SELECT RAISE(ABORT, 'no room'); END"
    )
  connection.close()
  (other,) = _photos(tmp_path, 1)
  _refused(run(other, "--server", service.url), "no room")
  assert len(service.frames) == 1


def test_an_unusual_code_is_warned_of_and_sent(run, photo, service):
  flags = (photo, "--server", service.url)
  status, out, err = run(*flags, with_half=lambda x: np.float32([[10, 0, 0]]))
  assert status == 0 and "beard: yes" in out
  assert err.startswith("warning: unlike what the network was trained on")
  assert "(faces, crop 112)" in err and len(service.frames) == 1


def test_the_box_is_what_the_half_sees(run, service, tmp_path):
  pixels = np.random.default_rng(0).integers(256, size=(20, 30, 3), dtype="u1")
  path, seen = tmp_path / "wide.png", []
  Image.fromarray(pixels).save(path)

  def look(x):
    seen.append(x)
    return np.zeros((1, 3), np.float32)

  flags = ("--server", service.url, "--box=3,5,8,8")
  assert run(path, *flags, with_half=look)[0] == 0
  np.testing.assert_array_equal(seen[0], pixels[None, 5:13, 3:11])


@pytest.mark.parametrize(
  "box", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1;2;3;4"]
)
def test_a_box_is_four_numbers(run, photo, service, box, capsys):
  with pytest.raises(SystemExit) as caught:
    run(photo, "--server", service.url, f"--box={box}")
  assert caught.value.code == 2
  assert "expected left,top,width,height" in capsys.readouterr().err
  assert not service.received


def test_what_is_missing_is_asked_for(run, photo):
  _refused(run("--server", "http://x"), "name a photo or a window")
  _refused(run(photo), "--server is missing")


def test_a_photo_that_cannot_be_read_asks_nobody(run, service, tmp_path):
  flags = ("--server", service.url)
  _refused(run(tmp_path / "nowhere.jpg", *flags), "nowhere.jpg cannot be read")
  (tmp_path / "bad.jpg").write_bytes(b"nothing")
  _refused(run(tmp_path / "bad.jpg", *flags), "not a readable picture")
  assert not service.received


def test_the_budget_is_shown_without_sending(run, photo, service, tmp_path):
  assert run("--budget") == (0, "budget: 3 codes left\n", "")
  assert not (tmp_path / "ledger").exists()
  run(photo, "--server", service.url)
  del service.received[:]
  status, out, _ = run("--budget", "--max_queries", 2)
  assert status == 0 and not service.received
  assert out.startswith("budget: 1 codes left\n") and "at most 40.0 %" in out


def test_what_other_bundles_spent_counts_and_is_not_talked_down(
  run, own, tmp_path, photo, service
):
  # More than this bundle's table goes: its last entry would be too little.
  for i in range(2):
    ledger.charge(
      tmp_path / "ledger",
      lambda: b"frame",
      bundle=b"else",
      content=bytes([i]),
      cost=10.0,
      limit=1000.0,
    )
  status, out, _ = run("--budget")
  assert status == 0
  assert out == "budget: 0 codes left; of so many, nothing is proved here\n"
  _refused(run(photo, "--server", service.url), "the budget is spent")


@pytest.mark.parametrize("place", ["file", "variable", "both"])
def test_a_token_comes_from_a_file_or_the_environment(
  run, photo, service, tmp_path, monkeypatch, place
):
  flags, expected = (photo, "--server", service.url), "of-the-variable"
  if place != "file":
    monkeypatch.setenv("HYBRIDPRIV_TOKEN", expected)
  if place != "variable":
    expected = "of-the-file"
    (tmp_path / "token").write_text(f"{expected}\n")
    flags += ("--token_file", tmp_path / "token")
  assert run(*flags)[0] == 0
  sent = {one.headers["authorization"] for one in service.received}
  assert sent == {f"Bearer {expected}"} and len(service.received) == 2


@pytest.mark.parametrize("content", [b"two\ntokens", b"t\xc3\xb6ken", b"\xff"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(
  run, photo, service, tmp_path, content
):
  (tmp_path / "token").write_bytes(content)
  flags = ("--server", service.url, "--token_file", tmp_path / "token")
  found = run(photo, *flags)
  _refused(found, f"--token_file={tmp_path / 'token'}")
  assert "tokens" not in found[2] and not service.received


def test_a_token_file_that_is_not_there_is_one_clear_error(
  run, photo, service, tmp_path
):
  flags = ("--server", service.url, "--token_file", tmp_path / "nowhere")
  _refused(run(photo, *flags), "nowhere cannot be read")


def test_a_folder_that_is_no_bundle_is_one_clear_error(tmp_path, capsys):
  assert main.main(tmp_path, ["photo.jpg", "--server", "http://x"]) == 1
  assert "is no bundle" in capsys.readouterr().err


def test_ctrl_c_stops_with_one_line(run, photo, service):
  def stopped(x):
    raise KeyboardInterrupt

  status, out, err = run(photo, "--server", service.url, with_half=stopped)
  assert (status, out) == (130, "") and err.startswith("stopped")
  assert not service.frames
