import sys
import threading

import pytest

from hybridpriv.deploy import access

TOKENS = (b"first-token-of-somebody", b"another-token-of-another")


def _written(tmp_path, text):
  path = tmp_path / "tokens"
  path.write_text(text)
  return path


def test_tokens_are_read_one_a_line_without_comments(tmp_path):
  text = "# of the phones\n\n  first-token-of-somebody  \n"
  path = _written(tmp_path, f"{text}another-token-of-another")
  assert access.read_tokens(path) == TOKENS


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "holds no token"),
    ("# nothing but this\n", "holds no token"),
    ("short\nfirst-token-of-somebody\n", "1 tokens have fewer than 16"),
    ("two words of sixteen letters", "characters other than"),
    ("schlüssel-mit-umlaut", "characters other than"),
  ],
)
def test_a_file_without_good_tokens_is_refused(tmp_path, text, message):
  with pytest.raises(ValueError, match=message) as caught:
    access.read_tokens(_written(tmp_path, text))
  # Who reads the log must not learn one.
  for word in text.split("\n"):
    assert not word or word.startswith("#") or word not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path):
  with pytest.raises(ValueError, match="cannot be read"):
    access.read_tokens(tmp_path / "nowhere")
  (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(ValueError, match="cannot be read"):
    access.read_tokens(tmp_path / "binary")


@pytest.mark.parametrize(
  ("header", "place"),
  [
    ("Bearer first-token-of-somebody", 0),
    ("bearer another-token-of-another", 1),
    ("Bearer  another-token-of-another ", 1),
    ("Bearer first-token-of-somebod", None),
    ("Bearer first-token-of-somebody1", None),
    ("Bearer", None),
    ("Bearer ", None),
    ("", None),
    ("first-token-of-somebody", None),
    ("Basic first-token-of-somebody", None),
    ("Bearer \xfc\xff", None),
  ],
)
def test_only_a_bearer_of_a_known_token_is_somebody(header, place):
  assert access.who(header, TOKENS) == place


def test_where_no_token_is_known_nobody_is_somebody():
  assert access.who("Bearer ", ()) is None
  assert access.who("Bearer x", ()) is None


class _Clock:
  now = 100.0

  def __call__(self):
    return self.now


def test_a_burst_passes_and_the_next_waits_until_its_turn():
  clock = _Clock()
  limiter = access.Limiter(2.0, 3, clock)
  assert [limiter.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
  # Being sent away takes nothing: half a second later it may ask.
  assert limiter.wait("a") == 0.5
  clock.now += 0.25
  assert limiter.wait("a") == pytest.approx(0.25)
  clock.now += 0.25
  assert limiter.wait("a") == 0
  assert limiter.wait("a") == pytest.approx(0.5)


def test_rest_saves_up_no_more_than_a_burst():
  clock = _Clock()
  limiter = access.Limiter(1.0, 2, clock)
  clock.now += 1000
  assert [limiter.wait("a") > 0 for _ in range(3)] == [False, False, True]
  clock.now += 1000
  assert [limiter.wait("a") > 0 for _ in range(3)] == [False, False, True]


def test_in_the_long_run_the_rate_holds():
  clock = _Clock()
  limiter = access.Limiter(5.0, 10, clock)
  passed = 0
  for _ in range(10_000):  # 100 a second
    passed += limiter.wait("a") == 0
    clock.now += 0.01
  assert passed == pytest.approx(10 + 5 * 100, abs=1)


def test_askers_do_not_share_a_bucket():
  limiter = access.Limiter(1.0, 1, _Clock())
  assert limiter.wait(0) == 0 and limiter.wait(0) > 0
  assert limiter.wait(1) == 0


def test_memory_is_bounded_and_the_latest_are_remembered():
  limiter = access.Limiter(1.0, 1, _Clock())
  for asker in range(20_000):
    assert limiter.wait(asker) == 0
  assert limiter.wait(19_999) > 0
  assert len(limiter._known) <= 10_000


def test_threads_that_ask_at_once_share_one_bucket():
  limiter = access.Limiter(rate=1e-9, burst=20)
  admitted, interval = [], sys.getswitchinterval()
  sys.setswitchinterval(1e-6)
  try:
    threads = [
      threading.Thread(
        target=lambda: admitted.extend(
          not limiter.wait("somebody") for _ in range(200)
        )
      )
      for _ in range(8)
    ]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
  finally:
    sys.setswitchinterval(interval)
  assert len(admitted) == 1600 and sum(admitted) == 20
