"""What the engine's threads share, under one lock, and how the worker's time is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import contextlib
from dataclasses import dataclass
import os
import threading
import time
from typing import Any

from dnn_offload.codec.chunks import CHUNK_BYTES
from dnn_offload.cost.profile import Profile
from dnn_offload.exchange import Uplink
from dnn_offload.runtime.backends.base import LoadedModel
from dnn_offload.runtime.frame_table import FrameTable
from dnn_offload.runtime.misses import Misses
from dnn_offload.runtime.passing import Passing
from dnn_offload.runtime.plan_slot import PlanSlot
from dnn_offload.runtime.server_pace import ServerPace
from dnn_offload.runtime.settings import EngineSettings
from dnn_offload.runtime.timing import Key, RunTimes
from dnn_offload.runtime.window import StageWatch

PREPROCESS = ('preprocess', 0, 0)
FINISH = ('finish', 0, 0)
HANDOVER = ('handover', 0, 0)  # from one thread's hand to another's, run queue included
SCOUT_SPREAD = 0.25  # of their period
GOLDEN = 0.618       # steps that fill 0 .. 1 evenly, and are never in step with anything
_LINK_MEMORY = 0.3  # weight of the newest transfer in the sending rate


class Shared:
    """State of one engine. ``changed`` is notified whenever a decision could be another.

    ``baselines`` gives what pieces take with a thread count, as profiled; ``coming`` is what the
    worker takes before its next frame in place of ``model``.

    Args:
        model: The model to run.
        settings: Initial settings.
        clock_s: The node's clock, in which frames are stamped [s].
    """

    def __init__(
        self, model: LoadedModel, settings: EngineSettings, clock_s: Callable[[], float]
    ) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.table = FrameTable(self.lock)
        self.slot = PlanSlot(model)
        self.misses = Misses()
        self.pace = ServerPace()
        self.passing = Passing()
        self.times = RunTimes()
        self.stages = StageWatch()
        self.model = model
        self.coming: tuple[LoadedModel, Profile] | None = None
        self.settings = settings
        self.clock_s = clock_s
        self.uplink: Uplink | None = None
        self.running = False
        self.compute_tid = 0
        self.scout_period_s = 0.0
        self.baselines: Callable[[int], Mapping[Key, float]] = lambda threads: {}
        self._whole_s = float('-inf')
        self._phase = 0.0  # of the spread, by which the next comes later
        self._ms_per_byte = 0.0  # 0 = not known
        self._sender_free_s = float('-inf')  # when it should be done, by its rate

    def scout_overdue(self, now_s: float) -> float:
        """Periods since a frame ran all here, 1 and more = it is time; 0 without scouts."""
        if self.scout_period_s <= 0.0:
            return 0.0
        period_s = self.scout_period_s * (1.0 + SCOUT_SPREAD * self._phase)
        return (now_s - self._whole_s) / period_s

    def note_whole(self, now_s: float) -> None:
        """A frame is run all here, for whatever reason."""
        self._whole_s = now_s
        # Never in step with what else runs at a rate of its own here: at 15 Hz every twelfth frame
        # meets a loop of 10 or 20 Hz always or never.
        self._phase = (self._phase + GOLDEN) % 1.0

    def wake(self) -> None:
        """Let the worker decide again."""
        with self.changed:
            self.changed.notify_all()

    def wake_for_work(self) -> None:
        """Let the worker decide again if it has anything to decide on: a frame has made room."""
        with self.changed:
            if self.table.waiting is not None or self.slot.prepares:
                self.changed.notify_all()

    def connected(self, server: str) -> bool:
        """Whether frames can be sent to a server now."""
        return self.uplink is not None and self.uplink.connected(server)

    def note_sent(self, nbytes: int, own_ms: float, now_s: float) -> None:
        """Learn from an acknowledged frame the sending rate, and when the sender will be free.

        Times are averaged, not rates: acknowledgements of two frames that are read one behind
        the other make the second seem to have taken none.
        """
        if nbytes <= 0 or own_ms <= 0.0 or self.uplink is None:
            return
        left = self.uplink.backlog_bytes()
        with self.lock:
            old = self._ms_per_byte or own_ms / nbytes
            self._ms_per_byte = old + _LINK_MEMORY * (own_ms / nbytes - old)
            self._sender_free_s = now_s + 1e-3 * left * self._ms_per_byte

    @property
    def bytes_per_ms(self) -> float:
        """Rate at which frames went lately, their way included; 0 while it is unknown."""
        return 1.0 / self._ms_per_byte if self._ms_per_byte > 0.0 else 0.0

    def note_sending(self, nbytes: int, now_s: float) -> None:
        """A frame has been handed to the sender."""
        self._sender_free_s = max(self._sender_free_s, now_s) + 1e-3 * nbytes * self._ms_per_byte

    def backlog_ms(self, now_s: float) -> float:
        """Expected time until the sender has nothing left; 0 while its rate is unknown.

        Acknowledgements tell it to a slice: of the one that is on its way they know nothing. In
        between it goes by the clock, which is put right at each frame's end.
        """
        if self.uplink is None or self._ms_per_byte <= 0.0:
            return 0.0
        most = self.uplink.backlog_bytes()
        least_ms, most_ms = (
            nbytes * self._ms_per_byte for nbytes in (max(most - CHUNK_BYTES, 0), most)
        )
        return min(max(1e3 * (self._sender_free_s - now_s), least_ms), most_ms)


@dataclass(frozen=True)
class Spent:
    """Time of one piece of work on the calling thread [ms]."""

    wall_ms: float
    cpu_ms: float
    wait_ms: float


class ThreadClock:
    """Wall time, CPU time and run-queue wait of the thread that made it."""

    def __init__(self) -> None:
        self._fd = -1
        with contextlib.suppress(OSError):  # no /proc (not Linux): the wait stays 0
            self._fd = os.open(
                f'/proc/self/task/{threading.get_native_id()}/schedstat', os.O_RDONLY
            )

    def close(self) -> None:
        """Close the file; needed once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _wait_ns(self) -> int:
        if self._fd < 0:
            return 0
        fields = os.pread(self._fd, 96, 0).split()  # on CPU, waiting, slices
        return int(fields[1]) if len(fields) >= 2 else 0

    def measure(self, work: Callable[[], Any]) -> tuple[Any, Spent]:
        """Run ``work`` and measure it."""
        wait_ns = self._wait_ns()
        cpu_s = time.thread_time()
        wall_s = time.perf_counter()
        result = work()
        wall_s = time.perf_counter() - wall_s
        cpu_s = time.thread_time() - cpu_s
        wait_ns = self._wait_ns() - wait_ns
        return result, Spent(wall_s * 1e3, cpu_s * 1e3, wait_ns * 1e-6)
