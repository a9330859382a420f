"""Publishing by whoever has something to publish, one thread at a time, in one order.

A thread that only publishes costs every message a change of threads. Here the thread that makes
something due also publishes it. Where another does so at that moment, that one sees what is new
before it ends. What has to wait is published by a thread of the pump's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import threading
import time
import traceback
from typing import Generic, TypeVar

LONGEST_SLEEP_S = 0.5
PAUSE_S = 0.1  # after a failure

Work = TypeVar('Work')


class Pump(Generic[Work]):
    """Takes work and does it until there is none.

    Args:
        lock: Guards all that ``take`` looks at; change it with this held, then ``run`` or
            ``look_again``.
        take: Called with the lock held and ``time.monotonic()``: what to do now, and when to come
            again where that is nothing.
        do: Does one piece of work, without the lock.
        idle: Called by the pump's own thread when it comes by, without the lock.
        is_idle_due: With the lock held: whether ``idle`` should be called soon.
        name: Of the thread.
    """

    def __init__(
        self,
        lock: threading.Condition,
        take: Callable[[float], tuple[Sequence[Work], float]],
        do: Callable[[Work], None],
        idle: Callable[[], None],
        is_idle_due: Callable[[], bool],
        *,
        name: str,
    ) -> None:
        self._changed = lock
        self._take = take
        self._do = do
        self._idle = idle
        self._is_idle_due = is_idle_due
        self._running = False        # a thread is in ``run``, and looks again before it ends
        self._stopping = False
        self._due_s = 0.0
        self._asleep_until_s = 0.0   # our own thread
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def run(self) -> None:
        """Do what there is to do, unless another thread is at it; without the lock."""
        with self._changed:
            if self._running:
                return
            self._running = True
        try:
            while work := self._next():
                for piece in work:
                    self._do(piece)
        except BaseException:
            with self._changed:
                self._running = False
                self._changed.notify_all()
            raise

    def look_again(self) -> None:
        """The pump's own thread runs now; with the lock held."""
        self._due_s = 0.0
        self._changed.notify_all()

    def stop(self) -> None:
        """End; nothing is done afterwards."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running)
        self._thread.join()

    def _next(self) -> Sequence[Work]:
        """What to do now; where that is nothing, running has ended."""
        with self._changed:
            work: Sequence[Work] = ()
            due_s = 0.0
            if not self._stopping:
                work, due_s = self._take(time.monotonic())
            if not work:
                self._running = False
                self._due_s = due_s
                if due_s < self._asleep_until_s or self._stopping or self._is_idle_due():
                    self._changed.notify_all()
            return work

    def _loop(self) -> None:
        while not self._stopping:
            try:
                self.run()
                self._idle()
            except Exception:  # whoever ended here would send nothing ever again
                traceback.print_exc()
                time.sleep(PAUSE_S)
            with self._changed:
                now_s = time.monotonic()
                wait_s = min(self._due_s - now_s, LONGEST_SLEEP_S)
                if self._running:  # by another thread, which sees what is due before it ends
                    wait_s = LONGEST_SLEEP_S
                if wait_s > 0.0 and not self._stopping and not self._is_idle_due():
                    self._asleep_until_s = now_s + wait_s
                    self._changed.wait(wait_s)
                    self._asleep_until_s = 0.0
