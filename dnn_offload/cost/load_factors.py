"""From readings over time to slow-down factors: one small class per source.

A factor says how many times longer our inference takes than on the idle machine; 1 = idle,
NaN = unknown. Clocks are passed in; nothing here reads a file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
import math
import statistics

from dnn_offload.cost.load_sources import CpuTimes, ProbeRun

MAX_FACTOR = 1000.0
NICE_RATIO = 1.25  # of the shares of two neighbouring nicenesses (Linux, sched_prio_to_weight)


class SchedstatFactor:
    """1 + run-queue wait / CPU time of the watched threads within a window.

    Exact within half a second of a change, but only as good as the CPU time behind it:
    ``evidence_ms`` tells how much that was.
    """

    def __init__(self, window_s: float = 1.0) -> None:
        self.window_s = window_s
        self._readings: deque[tuple[float, CpuTimes]] = deque()

    def update(self, now_s: float, times: CpuTimes | None) -> None:
        """Take a reading; None, or counters that went back (another process), start anew."""
        readings = self._readings
        if times is None:
            readings.clear()
            return
        if readings and (times.cpu_ns < readings[-1][1].cpu_ns or now_s < readings[-1][0]):
            readings.clear()
        readings.append((now_s, times))
        # One reading beyond the window is its beginning.
        while len(readings) > 2 and readings[1][0] <= now_s - self.window_s:
            readings.popleft()

    def evidence_ms(self, now_s: float) -> float:
        """CPU time behind the factor [ms]; 0 when the last reading is old."""
        readings = self._readings
        if len(readings) < 2 or now_s - readings[-1][0] > 2.0 * self.window_s:
            return 0.0
        return (readings[-1][1].cpu_ns - readings[0][1].cpu_ns) / 1e6

    def factor(self, now_s: float) -> float:
        """Slow-down; NaN without CPU time."""
        if self.evidence_ms(now_s) <= 0.0:
            return math.nan
        first, last = self._readings[0][1], self._readings[-1][1]
        waited_ns = max(last.wait_ns - first.wait_ns, 0)
        return min(1.0 + waited_ns / (last.cpu_ns - first.cpu_ns), MAX_FACTOR)


class RecentWork:
    """CPU time that the network's slices used within a window."""

    def __init__(self, window_s: float = 1.0) -> None:
        self.window_s = window_s
        self._slices: deque[tuple[float, float]] = deque()
        self.known = False

    def clear(self) -> None:
        """Another process: nothing is known of it."""
        self._slices.clear()
        self.known = False

    def add(self, now_s: float, cpu_ms: float) -> None:
        """Take a slice that has ended; 0 [ms] tells that there was none."""
        self.known = True
        if cpu_ms > 0.0:
            self._slices.append((now_s, cpu_ms))

    def cpu_ms(self, now_s: float) -> float:
        """Their sum [ms]."""
        while self._slices and self._slices[0][0] < now_s - self.window_s:
            self._slices.popleft()
        return sum(cpu_ms for _, cpu_ms in self._slices)


class RunnableFactor:
    """What inference would take here: (others that want to run + 1) / cores, averaged.

    ``procs_running`` counts the whole machine and cannot tell which cores the others use:
    where inference is pinned to some of the cores this is biased, since the others are
    assumed to spread evenly. It also counts niced processes, which hardly slow us: others are
    taken as of niceness 0, and outweigh an inference that is niced itself.

    Args:
        window_s: Averaged over so long; read at 20 to 50 Hz.
    """

    def __init__(self, window_s: float = 1.0) -> None:
        self.window_s = window_s
        self._readings: deque[tuple[float, float]] = deque()

    def update(
        self,
        now_s: float,
        procs_running: int | None,
        own_running: int,
        cores: int,
        machine: int,
        nice: int = 0,
    ) -> None:
        """Take a reading.

        Args:
            now_s: Monotonic clock [s].
            procs_running: Runnable threads of the machine, the reader included.
            own_running: Runnable threads of the watched inference.
            cores: Cores that inference may use.
            machine: Cores of the machine.
            nice: Niceness of the inference.
        """
        if procs_running is None:
            return
        others = max(procs_running - 1 - own_running, 0) * min(cores / max(machine, 1), 1.0)
        # Whoever has a core to itself is not outweighed.
        weight = NICE_RATIO**nice if others >= cores else 1.0
        self._readings.append((now_s, max((others * weight + 1.0) / max(cores, 1), 1.0)))
        while self._readings and self._readings[0][0] < now_s - self.window_s:
            self._readings.popleft()

    def factor(self, now_s: float) -> float:
        """Slow-down; NaN without readings in the window."""
        recent = [f for at_s, f in self._readings if at_s >= now_s - 2.0 * self.window_s]
        return sum(recent) / len(recent) if recent else math.nan


class ProbeFactor:
    """Wall over CPU time of made-up computations within a window.

    Args:
        window_s: Averaged over so long.
        confirm: Probes in a row, the newest ones, that are all off the level of those before by
            more than ``STEP`` the same way: the load is another, and those before are forgotten.
            0 = never.

    Right after such a step, and at the start, the few that there are are told by their median: one
    that met somebody for a moment would be a third of their mean, and stay in it for the whole
    window.
    """

    STEP = 1.35
    FEW = 5  # from so many after a step on the mean tells

    def __init__(self, window_s: float = 2.0, confirm: int = 0) -> None:
        self.window_s = window_s
        self.confirm = confirm
        self._runs: deque[tuple[float, ProbeRun]] = deque()
        self._few = confirm > 0  # since the start or a step

    def update(self, now_s: float, run: ProbeRun) -> bool:
        """Take a probe; True where it made those before forgotten."""
        self._runs.append((now_s, run))
        while self._runs and self._runs[0][0] < now_s - self.window_s:
            self._runs.popleft()
        stepped = self.confirm > 0 and self._newest_off() >= self.confirm
        while stepped and len(self._runs) > self.confirm:
            self._runs.popleft()
        self._few = (self._few or stepped) and len(self._runs) < self.FEW
        return stepped

    @property
    def doubtful(self) -> bool:
        """Whether more are needed soon: the newest is off, or few have come yet."""
        return self._few or (self.confirm > 0 and self._newest_off() > 0)

    def factor(self, now_s: float) -> float:
        """Slow-down; NaN without probes in the window."""
        recent = [run for at_s, run in self._runs if at_s >= now_s - 2.0 * self.window_s]
        cpu_ms = sum(run.cpu_ms for run in recent)
        if cpu_ms <= 0.0:
            return math.nan
        ratio = sum(run.wall_ms for run in recent) / cpu_ms
        if self._few:
            ratio = statistics.median(_ratios(recent))
        return min(max(ratio, 1.0), MAX_FACTOR)

    def _newest_off(self) -> int:
        """How many of the newest are all off the level before them the same way."""
        ratios = _ratios(run for _, run in self._runs)
        found = 0
        for count in range(1, min(self.confirm, len(ratios) - 1) + 1):
            newest, level = ratios[-count:], statistics.median(ratios[:-count])
            if min(newest) > self.STEP * level or max(newest) < level / self.STEP:
                found = count
        return found


def _ratios(runs: Iterable[ProbeRun]) -> list[float]:
    return [run.wall_ms / run.cpu_ms for run in runs if run.cpu_ms > 0.0]


class PsiFactor:
    """1 / (1 - share of time in which somebody waited for a CPU). A poor predictor."""

    def __init__(self, window_s: float = 2.0) -> None:
        self.window_s = window_s
        self._readings: deque[tuple[float, int]] = deque()

    def update(self, now_s: float, total_us: int | None) -> None:
        """Take the cumulated waiting time [us]; None where the kernel does not tell."""
        if total_us is None:
            self._readings.clear()
            return
        self._readings.append((now_s, total_us))
        while len(self._readings) > 2 and self._readings[1][0] <= now_s - self.window_s:
            self._readings.popleft()

    def factor(self) -> float:
        """Slow-down, at most 20; NaN while unknown."""
        if len(self._readings) < 2:
            return math.nan
        (from_s, before_us), (to_s, after_us) = self._readings[0], self._readings[-1]
        if to_s <= from_s:
            return math.nan
        share = (after_us - before_us) / 1e6 / (to_s - from_s)
        return 1.0 / (1.0 - min(max(share, 0.0), 0.95))


class OwnLoadAverage:
    """Our own share of the kernel's load average: the same exponential mean of our threads.

    Args:
        minute_s: Time constant [s]; the kernel's first number has one minute.
    """

    def __init__(self, minute_s: float = 60.0) -> None:
        self.minute_s = minute_s
        self.own = 0.0
        self._last: tuple[float, CpuTimes | None] | None = None

    def update(self, now_s: float, times: CpuTimes | None) -> float:
        """Take a reading of the watched threads (None: gone); their share of the average."""
        if self._last is not None and now_s > self._last[0]:
            since_s = now_s - self._last[0]
            before = self._last[1]
            rate = 0.0  # a process that is gone fades out of the kernel's average as well
            if times is not None and before is not None:
                rate = max(sum(times) - sum(before), 0) / 1e9 / since_s
            self.own += (1.0 - math.exp(-since_s / self.minute_s)) * (rate - self.own)
        self._last = (now_s, times)
        return self.own


class StepFilter:
    """A mean that forgets at once when the level steps: calm in noise, quick in change.

    Args:
        ratio: Readings off by more than this, ``confirm`` times in a row the same way, are
            a step.
        confirm: See above.
        depth: Readings that are averaged, once so many have come since the last step.
    """

    def __init__(self, ratio: float = 1.25, confirm: int = 3, depth: int = 20) -> None:
        self.ratio = ratio
        self.confirm = confirm
        self.depth = depth
        self.reset()

    def reset(self) -> None:
        """Forget all."""
        self.mean = math.nan
        self._count = 0
        self._off: list[float] = []

    def update(self, value: float) -> float:
        """Take a reading (positive; NaN is passed over), give the mean."""
        if not math.isfinite(value) or value <= 0.0:
            return self.mean
        if self._count == 0:
            self.mean, self._count = value, 1
            return self.mean
        off = value / self.mean
        same_way = not self._off or (off > 1.0) == (self._off[-1] > self.mean)
        if (off > self.ratio or off < 1.0 / self.ratio) and same_way:
            self._off.append(value)
        else:
            self._off = []
        if len(self._off) >= self.confirm:
            # The newest alone: readings are themselves means over a window, so the first
            # ones after a step still contain the old level.
            self.mean, self._count, self._off = value, 1, []
        elif not self._off:
            self._count = min(self._count + 1, self.depth)
            self.mean += (value - self.mean) / self._count
        return self.mean
