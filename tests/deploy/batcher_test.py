import asyncio
import functools
import threading

import numpy as np
import pytest

from hybridpriv.deploy import batcher


def _double(codes):
  return 2.0 * codes


def _codes(num):
  return np.arange(3 * num, dtype=np.int32).reshape(num, 3)


_FREE = {1: 1.0, 2: 1.0, 4: 1.0}  # larger batches cost no more


def _run(run, body, *, seconds=_FREE, most_waiting=100, seen=None):
  """Runs `body(queue)` beside a batcher that serves."""

  async def whole():
    queue = batcher.Batcher(
      run,
      seconds=seconds,
      most_waiting=most_waiting,
      seen=seen or (lambda size: None),
    )
    task = asyncio.create_task(queue.serve())
    try:
      return await asyncio.wait_for(body(queue), 60)
    finally:
      task.cancel()
      queue.close()

  return asyncio.run(whole())


class _Held:
  """A function that waits until it is let go, and notes what it was given."""

  def __init__(self):
    self.go, self.started, self.given = threading.Event(), 0, []

  def __call__(self, codes):
    self.given.append(codes)
    self.started += 1
    assert self.go.wait(60)
    return _double(codes)


async def _until(true):
  while not true():
    await asyncio.sleep(0.001)


def test_everybody_gets_their_own_answer():
  codes = _codes(200)

  async def body(queue):
    return await asyncio.gather(*map(queue.ask, codes))

  sizes = []
  found = _run(_double, body, most_waiting=200, seen=sizes.append)
  np.testing.assert_array_equal(found, 2.0 * codes)
  assert sum(sizes) == 200 and max(sizes) == 4


def test_what_gathers_meanwhile_is_one_padded_batch():
  held, codes, seen = _Held(), _codes(4), []

  async def body(queue):
    first = asyncio.create_task(queue.ask(codes[0]))
    await _until(lambda: held.started)
    rest = [asyncio.create_task(queue.ask(c)) for c in codes[1:]]
    await _until(lambda: queue.num_waiting == 3)
    held.go.set()
    return await asyncio.gather(first, *rest)

  found = _run(held, body, seen=seen.append)
  np.testing.assert_array_equal(found, 2.0 * codes)
  assert seen == [1, 3]  # padding is not counted
  assert [g.shape for g in held.given] == [(1, 3), (4, 3)]
  np.testing.assert_array_equal(held.given[1][:3], codes[1:])


@pytest.mark.parametrize(
  ("seconds", "sizes"),
  [
    ({1: 1.0, 2: 2.0, 4: 4.0}, [2, 1]),  # dear: nothing is padded
    ({1: 1.0, 2: 1.1, 4: 1.2}, [4]),  # cheap: all at once
    ({1: 1.0, 2: 3.0, 4: 9.0}, [1, 1, 1]),
  ],
)
def test_a_batch_has_the_size_whose_answers_cost_least(seconds, sizes):
  codes, given = _codes(3), []

  def run(codes):
    given.append(len(codes))
    return _double(codes)

  async def body(queue):
    return await asyncio.gather(*map(queue.ask, codes))

  found = _run(run, body, seconds=seconds)
  np.testing.assert_array_equal(found, 2.0 * codes)
  assert given == sizes


def test_nobody_waits_for_company():
  async def body(queue):
    return await queue.ask(_codes(1)[0])

  seen = []
  np.testing.assert_array_equal(
    _run(_double, body, seen=seen.append), [0.0, 2.0, 4.0]
  )
  assert seen == [1]


def test_a_full_queue_sends_away_and_keeps_the_others():
  held, codes = _Held(), _codes(4)

  async def body(queue):
    tasks = [asyncio.create_task(queue.ask(codes[0]))]
    await _until(lambda: held.started)
    tasks += [asyncio.create_task(queue.ask(c)) for c in codes[1:3]]
    await _until(lambda: queue.num_waiting == 2)
    with pytest.raises(batcher.Full, match="2 codes wait"):
      await queue.ask(codes[3])
    held.go.set()
    return await asyncio.gather(*tasks), await queue.ask(codes[3])

  found, last = _run(held, body, most_waiting=2)
  np.testing.assert_array_equal(found, 2.0 * codes[:3])
  np.testing.assert_array_equal(last, 2.0 * codes[3])


def test_who_hangs_up_does_not_disturb_the_others():
  held, codes = _Held(), _codes(4)

  async def body(queue):
    tasks = [asyncio.create_task(queue.ask(c)) for c in codes[:1]]
    await _until(lambda: held.started)
    tasks += [asyncio.create_task(queue.ask(c)) for c in codes[1:]]
    await _until(lambda: queue.num_waiting == 3)
    tasks[0].cancel()  # its batch is under way
    tasks[2].cancel()  # it waits
    held.go.set()
    return await asyncio.gather(*tasks, return_exceptions=True)

  found = _run(held, body)
  for i in (0, 2):
    assert isinstance(found[i], asyncio.CancelledError)
  for i in (1, 3):
    np.testing.assert_array_equal(found[i], 2.0 * codes[i])
  assert [len(g) for g in held.given] == [1, 2]


def test_codes_that_nobody_waits_for_are_not_computed():
  held, codes, asked = _Held(), _codes(9), []

  def gone(number):
    asked.append(number)
    return number in (1, 2, 3, 4, 7)

  async def body(queue):
    tasks = [asyncio.create_task(queue.ask(codes[0]))]
    await _until(lambda: held.started)
    tasks += [
      asyncio.create_task(queue.ask(c, functools.partial(gone, i + 1)))
      for i, c in enumerate(codes[1:])
    ]
    await _until(lambda: queue.num_waiting == 8)
    assert not asked  # nobody is asked before there is a place
    held.go.set()
    return await asyncio.gather(*tasks, return_exceptions=True)

  found = _run(held, body, seconds={1: 1.0, 2: 1.0})
  for i, answer in enumerate(found):
    if i in (1, 2, 3, 4, 7):
      assert isinstance(answer, batcher.Gone)
    else:
      np.testing.assert_array_equal(answer, 2.0 * codes[i])
  # Full batches of those that are there, and of nobody else.
  assert [len(g) for g in held.given] == [1, 2, 1]
  np.testing.assert_array_equal(held.given[1], codes[5:7])
  assert held.given[2][0].tolist() == codes[8].tolist()


def test_a_queue_of_those_who_left_is_soon_empty():
  held, codes = _Held(), _codes(4)

  async def body(queue):
    tasks = [asyncio.create_task(queue.ask(codes[0]))]
    await _until(lambda: held.started)
    tasks += [
      asyncio.create_task(queue.ask(c, lambda: True)) for c in codes[1:]
    ]
    await _until(lambda: queue.num_waiting == 3)
    held.go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert queue.num_waiting == 0
    return await queue.ask(codes[1])  # it still serves

  np.testing.assert_array_equal(_run(held, body), 2.0 * codes[1])
  assert [len(g) for g in held.given] == [1, 1]


def _short(codes):
  return codes[:-1] if codes[0, 0] < 0 else _double(codes)


def _raising(codes):
  if codes[0, 0] < 0:
    raise ZeroDivisionError
  return _double(codes)


@pytest.mark.parametrize(
  ("run", "error"), [(_raising, ZeroDivisionError), (_short, RuntimeError)]
)
def test_what_goes_wrong_fails_its_batch_only(run, error):
  async def body(queue):
    bad = await asyncio.gather(
      *(queue.ask(-1 - c) for c in _codes(3)), return_exceptions=True
    )
    return bad, await asyncio.gather(*map(queue.ask, _codes(3)))

  bad, good = _run(run, body)
  assert [type(one) for one in bad] == [error] * 3
  np.testing.assert_array_equal(good, 2.0 * _codes(3))


def test_a_code_of_another_length_fails_its_batch_only():
  async def body(queue):
    bad = await asyncio.gather(
      queue.ask(np.zeros(3)), queue.ask(np.zeros(2)), return_exceptions=True
    )
    return bad, await queue.ask(_codes(1)[0])

  bad, good = _run(_double, body)
  assert all(isinstance(one, ValueError) for one in bad)
  np.testing.assert_array_equal(good, [0.0, 2.0, 4.0])


def test_a_question_that_cannot_be_asked_ends_nobody_else():
  held, codes = _Held(), _codes(3)
  held.go.set()

  def broken():
    raise RuntimeError("no such connection")

  async def body(queue):
    asks = [queue.ask(codes[0]), queue.ask(codes[1], broken)]
    found = await asyncio.gather(*asks, return_exceptions=True)
    return [*found, await queue.ask(codes[2])]

  first, wrong, last = _run(held, body, seconds={1: 1.0, 2: 1.0})
  np.testing.assert_array_equal(first, 2.0 * codes[0])
  assert "no such connection" in str(wrong)
  np.testing.assert_array_equal(last, 2.0 * codes[2])
