"""Running statistics of how long things take here and now: what a rescue is planned with.

A rescue runs rarely, so its own samples are old. What it will take is therefore predicted as
*baseline of that segment* (from the profile, or from its own fastest runs) times the
*slow-down* seen lately in whatever did run (walls over baselines, or wall over CPU time).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
import threading

HISTORY = 30  # samples kept; FACTS 5: a ratio needs an average of about 20 runs
MAX_AGE_S = 10.0  # slow-downs older than this say nothing about now
MAX_FACTOR = 50.0  # one stalled run may not put every later rescue out of reach

Key = tuple[str, int, int]  # kind of work, first cut, last cut


def quantile(samples: Iterable[float], q: float) -> float:
    """Nearest-rank quantile of some samples; 0 for none."""
    ordered = sorted(samples)
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


@dataclass
class _Work:
    baseline_ms: float = 0.0  # of the profile; 0 = not profiled
    samples: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))

    @property
    def base_ms(self) -> float:
        if self.baseline_ms > 0.0:
            return self.baseline_ms
        return quantile(self.samples, 0.25)


class RunTimes:
    """How long each kind of work takes. Thread-safe. Times in ms, instants in s (steady)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: dict[Key, _Work] = {}
        self._factors: deque[tuple[float, float]] = deque(maxlen=HISTORY)
        self._hint = 1.0

    def seed(self, key: Key, baseline_ms: float) -> None:
        """Tell what a piece of work took when it was profiled."""
        with self._lock:
            self._work.setdefault(key, _Work()).baseline_ms = max(baseline_ms, 0.0)

    def note_load(self, factor: float) -> None:
        """Tell the slow-down that the load monitor sees; used where it is above our own."""
        with self._lock:
            self._hint = min(max(factor, 1.0), MAX_FACTOR)

    def add(self, key: Key, wall_ms: float, now_s: float, cpu_ms: float = 0.0) -> None:
        """Add one run; ``cpu_ms`` > 0 lets work without a baseline tell the slow-down too."""
        with self._lock:
            work = self._work.setdefault(key, _Work())
            if work.baseline_ms > 0.1:
                factor = wall_ms / work.baseline_ms
            elif cpu_ms > 0.5:
                factor = wall_ms / cpu_ms
            else:
                factor = 0.0
            if factor > 0.0:
                self._factors.append((now_s, min(max(factor, 1.0), MAX_FACTOR)))
            work.samples.append(wall_ms)

    def factor(self, now_s: float, q: float = 0.95) -> float:
        """Slow-down relative to the profile, lately; 1 when nothing is known."""
        with self._lock:
            return self._factor(now_s, q)

    def _factor(self, now_s: float, q: float) -> float:
        recent = [factor for at_s, factor in self._factors if now_s - at_s <= MAX_AGE_S]
        return max(quantile(recent, q), self._hint, 1.0)

    def expected_ms(self, key: Key, now_s: float, q: float = 0.5) -> float:
        """What a run now would take at quantile ``q``; 0 for work that is quite unknown."""
        with self._lock:
            work = self._work.get(key)
            if work is None:
                return 0.0
            predicted = work.base_ms * self._factor(now_s, q)
            if len(work.samples) >= 10 and q <= 0.5:
                return quantile(work.samples, q)
            return predicted

    def knows(self, key: Key) -> bool:
        """Whether there is a baseline or a run."""
        with self._lock:
            work = self._work.get(key)
            return work is not None and work.base_ms > 0.0
