"""Whoever makes something due does it; one thread at a time; nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import threading
import time

import pytest

from dnn_offload.transport.pump import LONGEST_SLEEP_S, Pump

NEVER_S = float('inf')


class Desk:
    """Pieces of work, each due at a time, and who did them."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.due: list[tuple[float, str]] = []
        self.done: list[tuple[str, str]] = []
        self.to_tell: list[str] = []
        self.told: list[str] = []
        self.looked = 0
        self.doing: Callable[[str], None] = lambda name: None
        self.pump = Pump(
            self.lock, self.take, self.do, self.tell, lambda: bool(self.to_tell), name='own',
        )

    def take(self, now_s: float) -> tuple[list[str], float]:
        if not self.due:
            return [], NEVER_S
        due_s, name = self.due[0]
        if due_s > now_s:
            return [], due_s
        del self.due[0]
        return [name], 0.0

    def do(self, name: str) -> None:
        self.doing(name)
        self.done.append((name, threading.current_thread().name))

    def tell(self) -> None:
        with self.lock:
            self.looked += 1
            self.told += self.to_tell
            self.to_tell.clear()

    def put(self, name: str, due_s: float = 0.0) -> None:
        with self.lock:
            self.due.append((due_s, name))
        self.pump.run()


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    end_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.002)
    return condition()


def at_work(desk: Desk, what: str) -> tuple[threading.Thread, threading.Event]:
    """The first thread, which has begun with a work, and what lets it go on."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(name: str) -> None:
        if name == what:
            begun.set()
            assert go_on.wait(10.0)

    desk.doing = wait
    worker = threading.Thread(target=desk.put, args=(what,), name='first')
    worker.start()
    assert begun.wait(10.0)
    return worker, go_on


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.pump.stop()


def test_what_is_due_is_done_by_whoever_brings_it(desk: Desk) -> None:
    here = threading.current_thread().name
    desk.put('a')
    desk.put('b')
    assert desk.done == [('a', here), ('b', here)]


def test_what_has_to_wait_is_done_in_time_by_the_pump_itself(desk: Desk) -> None:
    time.sleep(0.05)  # it sleeps for LONGEST_SLEEP_S
    due_s = time.monotonic() + 0.1
    desk.put('later', due_s)
    assert desk.done == []
    assert wait_for(lambda: bool(desk.done), LONGEST_SLEEP_S)
    assert desk.done == [('later', 'own')] and time.monotonic() >= due_s


def test_one_at_a_time_and_what_comes_meanwhile_is_done_by_the_first(desk: Desk) -> None:
    first, go_on = at_work(desk, 'long')
    desk.put('short')  # returns at once
    assert desk.done == []
    go_on.set()
    first.join()
    assert desk.done == [('long', 'first'), ('short', 'first')]


def test_nothing_is_lost_between_many_threads(desk: Desk) -> None:
    def bring(who: int) -> None:
        for number in range(200):
            desk.put(f'{who} {number}')

    threads = [threading.Thread(target=bring, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wait_for(lambda: len(desk.done) == 800)
    for who in range(4):
        assert [name for name, _ in desk.done if name.startswith(f'{who} ')] == [
            f'{who} {number}' for number in range(200)
        ]


def test_changes_are_looked_at_and_news_are_told_without_being_asked_for(desk: Desk) -> None:
    time.sleep(0.05)
    with desk.lock:
        desk.due.append((0.0, 'changed'))
        desk.pump.look_again()
    assert wait_for(lambda: desk.done == [('changed', 'own')], LONGEST_SLEEP_S)
    desk.doing = lambda name: desk.to_tell.append(f'{name} was done')
    desk.put('b')
    assert wait_for(lambda: desk.told == ['b was done'], LONGEST_SLEEP_S)


def test_the_pump_sleeps_while_another_thread_is_at_work(desk: Desk) -> None:
    worker, go_on = at_work(desk, 'long')
    with desk.lock:
        desk.due.append((0.0, 'next'))
        desk.pump.look_again()
    looked = desk.looked
    time.sleep(0.2)
    assert desk.looked - looked < 20  # it would be thousands
    go_on.set()
    worker.join()
    assert wait_for(lambda: [name for name, _ in desk.done] == ['long', 'next'])


def test_a_failure_ends_no_more_than_its_own_turn(desk: Desk) -> None:
    def fail(name: str) -> None:
        if name == 'bad':
            raise ValueError(name)

    desk.doing = fail
    with pytest.raises(ValueError, match='bad'):
        desk.put('bad')
    desk.put('good')
    assert [name for name, _ in desk.done] == ['good']


def test_a_failure_of_the_pump_itself_is_not_its_end(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    take = desk.take
    failures = iter(range(2))

    def fail_twice(now_s: float) -> tuple[list[str], float]:
        for _ in failures:
            raise MemoryError('for a moment')
        return take(now_s)

    with desk.lock:
        desk.pump._take = fail_twice
        desk.due.append((0.0, 'piece'))
        desk.pump.look_again()
    assert wait_for(lambda: desk.done == [('piece', 'own')])
    assert 'for a moment' in capfd.readouterr().err


def test_nothing_is_done_after_the_end() -> None:
    desk = Desk()
    worker, go_on = at_work(desk, 'last')
    ending = threading.Thread(target=desk.pump.stop)
    ending.start()
    desk.put('too late')
    ending.join(0.1)
    assert ending.is_alive(), 'it did not wait for what is being done'
    go_on.set()
    ending.join(10.0)
    worker.join()
    desk.put('far too late')
    assert [name for name, _ in desk.done] == ['last']
