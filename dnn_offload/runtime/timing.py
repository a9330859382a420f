"""Running statistics of how long things take here and now: what a rescue is planned with.

What runs all the time is expected to take what it took lately. A rescue runs rarely, so its
own samples are old: it is predicted as *baseline of that segment* (from the profile, or from
its own fastest runs) times the *slow-down* seen lately in whatever did run (wall time over
baseline, or over CPU time), or that the load monitor tells.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
import threading

from dnn_offload.cost.load import relative

HISTORY = 30  # samples kept: one ratio scatters, an average of about 20 runs does not
ENOUGH = 10  # recent samples of its own that make a prediction unnecessary
MAX_AGE_S = 10.0  # what is older than this says nothing about now
MIN_FACTOR, MAX_FACTOR = 0.05, 50.0  # one odd run may not spoil every later rescue
LEAST_TOLD_MS = 0.5  # shorter work is mostly noise

Key = tuple[Hashable, ...]  # kind of work, and between what


def quantile(samples: Iterable[float], q: float) -> float:
    """Nearest-rank quantile of some samples; 0 for none."""
    return _ranked(sorted(samples), q)


def _ranked(ordered: Sequence[float], q: float) -> float:
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


class _Samples:
    """The last values, kept in order of size too: every frame asks for several quantiles."""

    def __init__(self) -> None:
        self._timed: deque[tuple[float, float]] = deque()
        self.ordered: list[float] = []

    def add(self, at_s: float, value: float) -> None:
        if len(self._timed) == HISTORY:
            _, oldest = self._timed.popleft()
            del self.ordered[bisect_left(self.ordered, oldest)]
        self._timed.append((at_s, value))
        insort(self.ordered, value)

    def clear(self) -> None:
        self._timed.clear()
        self.ordered.clear()

    def recent(self, now_s: float) -> Sequence[float]:
        """Those that still say something, in order of size."""
        if not self._timed or now_s - self._timed[0][0] <= MAX_AGE_S:
            return self.ordered
        return sorted(value for at_s, value in self._timed if now_s - at_s <= MAX_AGE_S)


@dataclass
class _Work:
    baseline_ms: float = 0.0  # of the profile; 0 = not profiled
    samples: _Samples = field(default_factory=_Samples)

    @property
    def base_ms(self) -> float:
        return self.baseline_ms if self.baseline_ms > 0.0 else _ranked(self.samples.ordered, 0.25)


class RunTimes:
    """How long each kind of work takes. Thread-safe. Times in ms, instants in s (steady)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: dict[Key, _Work] = {}
        self._factors = _Samples()
        self._hint: tuple[float, float] | None = None
        self._load_ratios: dict[str, float] = {}

    def seed(self, key: Key, baseline_ms: float) -> None:
        """Tell what a piece of work took when it was profiled."""
        with self._lock:
            self._work.setdefault(key, _Work()).baseline_ms = max(baseline_ms, 0.0)

    def restart(self, baselines: Mapping[Key, float]) -> None:
        """Everything runs differently from now on (another thread count): forget runs, not kinds.

        Args:
            baselines: What pieces of work take now, as profiled [ms]; others keep theirs.
        """
        with self._lock:
            self._factors.clear()
            for key, work in self._work.items():
                if key[0] == 'run':
                    work.samples.clear()
            for key, baseline_ms in baselines.items():
                self._work.setdefault(key, _Work()).baseline_ms = max(baseline_ms, 0.0)

    def forget_factors(self) -> None:
        """The baselines are others now: forget how slow things were relative to the old ones."""
        with self._lock:
            self._factors.clear()

    def set_load_ratios(self, load_ratios: Mapping[str, float]) -> None:
        """Tell how loaded the machine was when it was profiled (``Profile.load_ratios``)."""
        with self._lock:
            self._load_ratios = dict(load_ratios)

    def note_load(self, factor: float, source: str, now_s: float) -> None:
        """Tell the slow-down against an idle machine that a load source shows."""
        with self._lock:
            self._hint = (now_s, _bounded(relative(factor, source, self._load_ratios)))

    def add(self, key: Key, wall_ms: float, now_s: float, cpu_ms: float = 0.0) -> None:
        """Add one run; ``cpu_ms`` > 0 lets work without a baseline tell the slow-down too."""
        with self._lock:
            work = self._work.setdefault(key, _Work())
            factor = 0.0
            if work.baseline_ms >= LEAST_TOLD_MS:
                factor = wall_ms / work.baseline_ms
            elif cpu_ms >= LEAST_TOLD_MS:
                factor = relative(wall_ms / cpu_ms, 'schedstat', self._load_ratios)
            if factor > 0.0:
                self._factors.add(now_s, _bounded(factor))
            work.samples.add(now_s, wall_ms)

    def factor(self, now_s: float, q: float = 0.95) -> float:
        """Slow-down relative to the profile, lately; 1 when nothing is known."""
        with self._lock:
            return self._factor(now_s, q)

    def _factor(self, now_s: float, q: float) -> float:
        known = self._factors.recent(now_s)
        told = [_ranked(known, q)] if known else []
        if self._hint is not None and now_s - self._hint[0] <= MAX_AGE_S:
            told.append(self._hint[1])
        return max(told, default=1.0)

    def expected_ms(self, key: Key, now_s: float, q: float = 0.5) -> float:
        """What a run now would take at quantile ``q``; 0 for work that is quite unknown."""
        with self._lock:
            work = self._work.get(key)
            if work is None:
                return 0.0
            recent = work.samples.recent(now_s)
            if len(recent) >= ENOUGH:
                return _ranked(recent, q)
            return work.base_ms * self._factor(now_s, q)

    def knows(self, key: Key) -> bool:
        """Whether there is a baseline or a run."""
        with self._lock:
            work = self._work.get(key)
            return work is not None and work.base_ms > 0.0


def _bounded(factor: float) -> float:
    return min(max(factor, MIN_FACTOR), MAX_FACTOR)
