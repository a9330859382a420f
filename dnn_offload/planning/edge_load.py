"""The robot's slow-down relative to its profile: what a head costs here now. Pure.

Two kinds of evidence, the better one wins:

- Frames that ran here: wall time over profiled time of the same head. Exact, and it contains
  what no load signal sees (caches gone cold between frames, a lower clock), but only there
  while something runs here, and for all of the network only from heads that are not short.
- The load monitor's factor, which also answers "what would it cost here" when nothing runs.
  It is divided by what the same source read while the profile was taken, and set against what
  frames said (``calibration.py``): when they went elsewhere, and at each scout since; until then
  it is multiplied by the growth of CPU time (1.0 to 1.35 at 5 to 10 Hz) that was last seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
import math
import statistics
from typing import NamedTuple

from dnn_offload.cost.level import newest_level
from dnn_offload.cost.load import AUTO, LOAD_SOURCES, LoadReadings, relative
from dnn_offload.cost.load_factors import StepFilter
from dnn_offload.cost.profile import Profile
from dnn_offload.planning.calibration import Calibration, CALM

WINDOW_S = 1.0             # frames younger than this count
STEPPED = 1.35             # ratio of two readings of one source, one after the other
CALM_PERIOD_S = 0.15       # the mean of the window is averaged at most so often
MIN_EVIDENCE_MS = 40.0     # wall time that they must add up to
MIN_FRAMES = 3
MIN_WHOLE_MS = 0.5         # what takes less is mostly overhead
# A shorter head gets a shared core at once (a scheduler's slice) where all of the network waits.
MIN_HEAD_MS = 2.0
GROWTH_TIME_S = 5.0        # time constant of the growth's average
GROWTH_FORGET_S = 120.0    # half-life of the growth when nothing runs here
GROWTH_RANGE = (0.8, 1.6)
COMPARE_AFTER_S = 0.8      # after the last frames: before, readings still contain them
COMPARE_UNTIL_S = 2.0      # later the load may be another
MIN_COMPARED = 4           # ticks
SCOUTS = 3                 # make the what-if factor as sure as frames
SCOUTS_WITHIN_S = 25.0     # more than twice the longest period between scouts
READING_LAG_S = 1.0        # readings are means of the last second or two
SCOUT_STALE_S = 2.5        # no reading came in time to be compared
SAME_LOAD = 1.3            # ratio of readings before and after a scout; beyond, the load changed
STALE_LOAD_S = 5.0         # a load message older than this is not believed


@dataclass(frozen=True)
class EdgeLoadEstimate:
    """The factor and where it comes from.

    Attributes:
        factor: Slow-down relative to the profile; 1 where nothing is known.
        source: ``frames``, the name of a load source, or ``assumed``.
        sure: Whether it rests on frames that ran here lately.
        problem: Why it is assumed, for users; empty while it is not.
    """

    factor: float
    source: str
    sure: bool = False
    problem: str = ''


class _Frame(NamedTuple):
    """What ran here: the whole network, or the head of a cut."""

    at_s: float
    profile_ms: float
    wall_ms: float
    whole: bool


class _Scout(NamedTuple):
    """A single frame that ran here, until a reading of its time is there."""

    at_s: float
    seen: float     # wall over profiled time
    reading: float  # that there was then, of the seconds before


class EdgeLoad:
    """Combines frames and load readings; clocks are passed in, not thread-safe."""

    def __init__(self) -> None:
        self._readings = LoadReadings()
        self._readings_at_s = -math.inf
        self._frames: deque[_Frame] = deque(maxlen=512)
        self._calm = StepFilter(ratio=1.2, confirm=2)
        self._calmed_at_s = -math.inf
        self._growth = 1.0
        self._growth_at_s = -math.inf
        self._last_seen = (math.nan, -math.inf)  # factor by frames, when
        self._compared: list[float] = []  # of one source
        self._compared_source = ''
        self._calibrations: dict[str, Calibration] = {}  # by source
        self._scouts: deque[_Scout] = deque(maxlen=SCOUTS)
        self._scouted_s: dict[str, deque[float]] = {}  # source -> when it was compared
        self._load_ratios: Mapping[str, float] = {}

    def reset_frames(self) -> None:
        """Forget the frames, e.g. because the profile changed."""
        self._frames.clear()
        self._calm.reset()
        self._growth, self._growth_at_s = 1.0, -math.inf
        self._last_seen = (math.nan, -math.inf)
        self._compared.clear()
        self._calibrations.clear()
        self._scouts.clear()
        self._scouted_s.clear()

    def add_readings(self, readings: LoadReadings, now_s: float) -> bool:
        """Take a message of the load monitor; whether it says another load than the last one."""
        before, self._readings = self._readings, readings
        self._readings_at_s = now_s
        while self._scouts and now_s - self._scouts[0].at_s >= READING_LAG_S:
            scout = self._scouts.popleft()
            if now_s - scout.at_s <= SCOUT_STALE_S:
                self._compare_scout(scout)
        old, new = before.of(AUTO), readings.of(AUTO)
        return readings.source == before.source and (new > old * STEPPED or new < old / STEPPED)

    def add_frame(
        self,
        profile_ms: float,
        wall_ms: float,
        cpu_ms: float,
        load_ratios: Mapping[str, float],
        now_s: float,
        *,
        whole: bool = True,
    ) -> bool:
        """Take a frame whose head (or whole network) ran here.

        Args:
            profile_ms: Profiled time of the same head [ms].
            wall_ms: Its wall time now [ms].
            cpu_ms: Its CPU time now [ms].
            load_ratios: What each load source read while the profile was taken.
            now_s: Monotonic clock [s].
            whole: Whether the whole network ran; a single one then is a scout.

        Returns:
            Whether the newest frames say that the load is another.
        """
        values = (profile_ms, wall_ms, cpu_ms)
        sane = all(math.isfinite(v) and v >= 0.0 for v in values)
        if not sane or not says_load(profile_ms, whole=whole):
            return False
        self._frames.append(_Frame(now_s, profile_ms, wall_ms, whole))
        stepped = self._forget_before_step(now_s, whole)
        if whole and not _enough(self._recent(now_s, whole=True)):
            self._load_ratios = load_ratios
            self._scouts.append(_Scout(now_s, wall_ms / profile_ms, self._readings.of(AUTO)))
        if cpu_ms > 0.0:
            low, high = GROWTH_RANGE
            cpu_ratio = max(load_ratios.get('schedstat', 1.0), 1.0)
            growth = min(max(cpu_ms * cpu_ratio / profile_ms, low), high)
            since_s = min(now_s - self._growth_at_s, GROWTH_TIME_S)
            # At least a 10 s average, however rarely frames come.
            self._growth += min(since_s / GROWTH_TIME_S, 0.1) * (growth - self._growth)
            self._growth_at_s = now_s
        return stepped

    def growth(self, now_s: float) -> float:
        """Growth of CPU time against the profile, fading to 1 without evidence."""
        if not math.isfinite(self._growth_at_s):
            return 1.0
        age_s = max(now_s - self._growth_at_s, 0.0)
        return float(1.0 + (self._growth - 1.0) * 0.5 ** (age_s / GROWTH_FORGET_S))

    def loadavg(self, now_s: float) -> float:
        """max(1, raw load average over cores); 1 where unknown."""
        value = self._readings.loadavg
        fresh = now_s - self._readings_at_s < STALE_LOAD_S
        return value if fresh and math.isfinite(value) else 1.0

    def estimate(self, profile: Profile, source: str, now_s: float) -> EdgeLoadEstimate:
        """The factor by ``source``, one of ``cost.load.LOAD_SOURCES``.

        Frames count for ``auto`` only: a named source is taken as it is, since it was named
        to see what it does.
        """
        if source == AUTO:
            seen = self._from_frames(now_s)
            if seen is not None:
                self._last_seen = (seen, now_s)
                self._compared.clear()
                sure = _enough(self._recent(now_s, whole=True))
                return EdgeLoadEstimate(seen, 'frames', sure)
        if now_s - self._readings_at_s >= STALE_LOAD_S:
            factor = self.growth(now_s) if source == AUTO else 1.0
            return EdgeLoadEstimate(factor, 'assumed', problem='no load message')
        reading = self._readings.of(source)
        if not math.isfinite(reading) or reading <= 0.0:
            known = [name for name in LOAD_SOURCES if 0.0 < self._readings.of(name) < math.inf]
            problem = f'the load source {source} has no value here (others do: {", ".join(known)})'
            return EdgeLoadEstimate(1.0, 'assumed', problem=problem)
        name = self._readings.source if source == AUTO else source
        factor = relative(reading, name, profile.load_ratios)
        if source == AUTO:
            self._compare(factor, name, now_s)
            calibration = self._calibration(name)
            seen, seen_s = self._last_seen
            if factor >= CALM and not calibration.knows_load and now_s - seen_s < COMPARE_UNTIL_S:
                # The first load: a probe may read half of it, and is not compared yet.
                return EdgeLoadEstimate(seen, 'frames')
            factor = calibration.factor(factor, self.growth(now_s))
        sure = source == AUTO and self._is_sure(name, now_s)
        return EdgeLoadEstimate(factor, name or source, sure)

    def _is_sure(self, source: str, now_s: float) -> bool:
        """Whether enough scouts were compared with a source lately."""
        times_s = self._scouted_s.get(source, deque())
        return len(times_s) == SCOUTS and now_s - times_s[0] <= SCOUTS_WITHIN_S

    def _calibration(self, source: str) -> Calibration:
        return self._calibrations.setdefault(source, Calibration())

    def _compare_scout(self, scout: _Scout) -> None:
        """Learn what a single frame said over what the load monitor says of that time.

        Nothing where the load changed meanwhile: one of the last frames under a load would be
        taken for what a frame costs on the calm robot.
        """
        reading, name = self._readings.of(AUTO), self._readings.source
        if not math.isfinite(reading) or reading <= 0.0:
            return
        if not scout.reading / SAME_LOAD <= reading <= scout.reading * SAME_LOAD:
            return
        reading = relative(reading, name, self._load_ratios)
        if self._calibration(name).learn(reading, scout.seen, self.growth(scout.at_s)):
            self._scouted_s.setdefault(name, deque(maxlen=SCOUTS)).append(scout.at_s)

    def _compare(self, factor: float, source: str, now_s: float) -> None:
        """Learn what frames said over what ``source`` says just after they went elsewhere."""
        seen, seen_s = self._last_seen
        since_s = now_s - seen_s
        if source != self._compared_source:
            self._compared.clear()
            self._compared_source = source
        if COMPARE_AFTER_S <= since_s < COMPARE_UNTIL_S:
            self._compared.append(factor)
        elif since_s >= COMPARE_UNTIL_S and self._compared:
            if len(self._compared) >= MIN_COMPARED:
                reading = statistics.fmean(self._compared)
                self._calibration(source).learn(reading, seen, self.growth(seen_s))
            self._compared.clear()

    def _from_frames(self, now_s: float) -> float | None:
        """Wall over profiled time of the last frames, calmed; None without enough of them."""
        recent = self._recent(now_s, whole=True)
        if not _enough(recent):
            recent = self._recent(now_s, whole=False)  # a scout among heads is no stream
        if not _enough(recent):
            self._calm.reset()
            return None
        if now_s - self._calmed_at_s >= CALM_PERIOD_S or not math.isfinite(self._calm.mean):
            self._calmed_at_s = now_s
            self._calm.update(_ratio(recent))
        return self._calm.mean

    def _forget_before_step(self, now_s: float, whole: bool) -> bool:
        """Where the newest frames all say that the load is another, older ones say nothing."""
        kept = self._recent(now_s, whole=whole)
        start = newest_level(
            [frame.wall_ms / frame.profile_ms for frame in kept],
            enough=lambda index: _enough(kept[index:]),
        )
        if not start:
            return False
        last_s = kept[start - 1].at_s
        self._frames = deque(
            (one for one in self._frames if one.at_s > last_s or one.whole != whole),
            maxlen=self._frames.maxlen,
        )
        self._calm.reset()  # so many frames are all the confirmation that it waits for
        return True

    def _recent(self, now_s: float, *, whole: bool) -> list[_Frame]:
        """Frames of the window that ran all here, or the heads of others."""
        return [
            frame for frame in self._frames
            if now_s - frame.at_s <= WINDOW_S and frame.whole == whole
        ]


def says_load(profile_ms: float, *, whole: bool) -> bool:
    """Whether a frame's piece on the robot is long enough to tell what load does to the rest."""
    return profile_ms >= (MIN_WHOLE_MS if whole else MIN_HEAD_MS)


def _ratio(frames: list[_Frame]) -> float:
    """Wall over profiled time of all together."""
    return sum(f.wall_ms for f in frames) / sum(f.profile_ms for f in frames)


def _enough(frames: list[_Frame]) -> bool:
    """Whether they say the load by themselves."""
    # Of wall time: of a robot that is slower than its camera few frames come, and each says much.
    return len(frames) >= MIN_FRAMES and sum(f.wall_ms for f in frames) >= MIN_EVIDENCE_MS
