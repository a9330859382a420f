"""What a frame takes beside the stages that are priced: learnt per place from real frames.

A frame waits for the camera's message, for threads to wake, for its result to be published;
one that goes to a server also for the hand-overs on both machines. No profile measures that,
and it differs by several milliseconds between the places, which decides between plans that are
close. So it is learnt: the median latency less the medians of what it is priced from, since a
price is their sum. The median of what single frames took beyond their stages would not do: on a
busy robot a frame waits for the processor here or there, seldom twice, so that medians of its
parts leave out what nearly every frame has to wait somewhere. (A JPEG to a server beside
navigation: 15.3 ms, priced at 12.) Medians that forget. Pure.

On a robot whose processor is contended, a process that computes all the time waits whenever one
of its threads is woken; one that sleeps while a server computes does not. (Seven sessions on one
core: 25 ms beside a network on the robot, 1 ms beside a JPEG to the server.) So what load adds to
the robot's own overhead counts for frames that a server answers as well, by the part of the
network that the robot computes for them; the rest of theirs is the same under load.

How old a picture is when it arrives has nothing to do with where it goes then, and doubles when
navigation keeps the camera's process waiting: it is learnt from all frames alike. Otherwise the
place that was used last would carry what the load of now does to pictures, and the other what
the load of then did.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
import math
import statistics
from typing import NamedTuple

ON_ROBOT = ''
RETURN = ' and back'  # after a server's name: plans with a second cut, which wait for our worker
WINDOW = 40          # frames behind the median
AGE_WINDOW = 15      # frames behind the median of the age
MIN_FRAMES = 5       # fewer say nothing
MIN_VISITED = 4      # one of a visit's may be lost
# Of fewer from a server the lower quarter tells: a visit's are the first that go there, through
# code and caches that are cold. What they say too much would stay, since nothing goes there then;
# what they say too little the next frames put right.
WARM_FRAMES = 10
ASSUMED_REMOTE_EXTRA_MS = 3.0  # a server's overhead over the robot's, before one was measured
NEARLY = 0.8         # of two times of the same stages
NEWEST_AGES = 3
AGE_RATIO, AGE_RISE_MS = 2.0, 4.0  # both, of their median over the usual one
LONGEST_MS = 500.0   # more is a hiccup of the machine, not an overhead
OLDEST_MS = 2000.0   # older pictures are of a clock that is not ours


def place_of(server: str, return_cut: str = '') -> str:
    """The place of frames that a server answers, ``ON_ROBOT`` without one."""
    return server + (RETURN if return_cut else '')


class _Frame(NamedTuple):
    """What a frame took that was answered from a place [ms].

    Attributes:
        latency_ms, stages_ms, age_ms: See ``Overheads.add``.
        by_load_ms: What load added to the robot's part of a server's frame.
        slow_down: Of the robot meanwhile, where all was computed there; else 1.
    """

    latency_ms: float
    stages_ms: float
    age_ms: float
    by_load_ms: float = 0.0
    slow_down: float = 1.0

    @property
    def overhead_ms(self) -> float:
        """Its own; below 0 where stages overlap, or the wait was shorter than the modelled one."""
        beside_ms = self.latency_ms - self.stages_ms - self.age_ms
        return (beside_ms - self.by_load_ms) / self.slow_down


def as_priced(measured_ms: float, priced_ms: float) -> float:
    """What the stages of a frame count for: their price, where that is nearly what they took [ms].

    A price that is a little too low or high comes out right then. One that is far off is about to
    be another, and what a frame took beyond it no overhead. NaN = not known.
    """
    near = NEARLY * measured_ms <= priced_ms <= measured_ms / NEARLY
    return priced_ms if near else measured_ms


class Overheads:
    """Overhead of each place: the robot (``ON_ROBOT``), a server, or one with ``RETURN``."""

    def __init__(self) -> None:
        self._frames: dict[str, deque[_Frame]] = {}
        self._ages_ms: deque[float] = deque(maxlen=AGE_WINDOW)

    def add_age(self, age_ms: float) -> None:
        """Take a frame, wherever it ran: acquisition to its arrival at the inference."""
        if math.isfinite(age_ms) and 0.0 <= age_ms <= OLDEST_MS:
            self._ages_ms.append(age_ms)

    @property
    def ages_rise(self) -> bool:
        """Whether the newest pictures came far older than usual: something keeps the robot busy.

        A link or a server that becomes slow does not make them so.
        """
        newest = list(self._ages_ms)[-NEWEST_AGES:]
        if len(self._ages_ms) < MIN_FRAMES:
            return False
        usual_ms = statistics.median(self._ages_ms)
        return statistics.median(newest) > max(AGE_RATIO * usual_ms, usual_ms + AGE_RISE_MS)

    def add(
        self,
        place: str,
        latency_ms: float,
        stages_ms: float,
        age_ms: float = 0.0,
        *,
        slow_down: float = 1.0,
        computed: float = 0.0,
    ) -> None:
        """Take a frame whose result came from ``place``.

        Args:
            place: ``ON_ROBOT``, or the server that answered.
            latency_ms: Acquisition to publication.
            stages_ms: Sum of its priced stages, as measured, and what it waited by the model;
                NaN = unknown, nothing is learnt.
            age_ms: Acquisition to its arrival, which is no overhead of the place.
            slow_down: Of the robot meanwhile, above 0: its network's time over the profiled one.
            computed: Part of the network that ran on the robot for a server's answer, 0 .. 1.
        """
        overhead_ms = latency_ms - stages_ms - age_ms
        if math.isfinite(overhead_ms) and abs(overhead_ms) <= LONGEST_MS:
            if place == ON_ROBOT:
                frame = _Frame(latency_ms, stages_ms, age_ms, slow_down=slow_down)
            else:
                by_load_ms = computed * self.by_load(slow_down)
                frame = _Frame(latency_ms, stages_ms, age_ms, by_load_ms)
            self._frames.setdefault(place, deque(maxlen=WINDOW)).append(frame)

    def forget_servers(self, known: Collection[str]) -> None:
        """Keep the robot's and those of the servers that are still known."""
        for place in list(self._frames):
            if place != ON_ROBOT and place.removesuffix(RETURN) not in known:
                del self._frames[place]

    def knows(self, place: str) -> bool:
        """Whether enough frames have told what a place takes."""
        return self._signed(place) is not None

    def by_load(self, slow_down: float) -> float:
        """What load adds to the overhead of frames that run on the robot [ms]; 0 while unknown."""
        return (self._median(ON_ROBOT) or 0.0) * max(slow_down - 1.0, 0.0)

    def of(self, place: str, edge_load: float = 1.0) -> float:
        """Overhead of a place [ms]; an assumption where nothing was measured.

        Args:
            place: See ``add``.
            edge_load: Slow-down of the robot now.
        """
        known = len(self._ages_ms) >= MIN_FRAMES
        age_ms = statistics.median(self._ages_ms) if known else 0.0
        return self._own(place, edge_load) + age_ms

    def waits_less(self) -> dict[str, float]:
        """By how much frames of a place took less than their stages and the modelled wait [ms].

        A stage that just keeps up with the camera makes no wait, or all of it: the model has some.
        """
        less = {place: -(self._signed(place) or 0.0) for place in self._frames}
        return {place: ms for place, ms in less.items() if ms > 0.0}

    def _own(self, place: str, edge_load: float) -> float:
        """What is the place's alone."""
        measured = self._median(place)
        if measured is not None:
            return measured * edge_load if place == ON_ROBOT else measured
        if place == ON_ROBOT:
            others = [self._median(other) for other in self._frames]
            known = [value for value in others if value is not None]
            return max(min(known) - ASSUMED_REMOTE_EXTRA_MS, 0.0) if known else 0.0
        if place.endswith(RETURN):
            return self._own(place.removesuffix(RETURN), edge_load)
        return self._own(ON_ROBOT, 1.0) + ASSUMED_REMOTE_EXTRA_MS

    def _median(self, place: str) -> float | None:
        signed = self._signed(place)
        return None if signed is None else max(signed, 0.0)

    def _signed(self, place: str) -> float | None:
        frames = list(self._frames.get(place, ()))
        if len(frames) < (MIN_FRAMES if place == ON_ROBOT else MIN_VISITED):
            return None
        if place != ON_ROBOT and len(frames) < WARM_FRAMES:
            return sorted(frame.overhead_ms for frame in frames)[len(frames) // 4]
        return _of_medians(frames)


def _of_medians(frames: Sequence[_Frame]) -> float:
    """The frames' median latency less the medians of its parts, for a robot without load [ms]."""
    return _Frame(*map(statistics.median, zip(*frames, strict=True))).overhead_ms
