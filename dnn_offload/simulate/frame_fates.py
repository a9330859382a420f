"""What becomes of single frames: answered, rescued, late, or passed over. Pure, no clock.

The robot's engine (``runtime/``) as far as a planner's choices show in it:

- the newest frame wins: one that comes while the slowest stage of the plan is still busy with
  an earlier one is passed over (``superseded``);
- with a deadline, a frame without an answer is finished on the robot one local tail before it
  (``rescued``); where that tail does not fit behind the head, an answer after the deadline is
  late, and none at all is a lost frame;
- a second miss in a row within ``MISS_MEMORY_S``, or one without anything heard, loses the server:
  frames run on the robot until the uplink has it again, ``RECONNECT_S`` later.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from dnn_offload.cost.profile import Profile
from dnn_offload.planning.plan import Candidate

MISS_MEMORY_S = 2.0        # as runtime/misses.py
RECONNECT_S = 0.6          # greeting and answer, as seen in benchmarks/loopback.py
NO_ANSWER_MS = 2000.0      # without a deadline, as runtime/settings.py


@dataclass
class Counts:
    """Frames by what became of them.

    Attributes:
        entered: All.
        remote, local, rescued: With a result, by where it was made.
        superseded: Passed over for a newer one.
        lost: Without a result though they were started.
        late: With a result after the deadline.
        total_ms: Sum of the latencies of frames with a result.
    """

    entered: int = 0
    remote: int = 0
    local: int = 0
    rescued: int = 0
    superseded: int = 0
    lost: int = 0
    late: int = 0
    total_ms: float = 0.0

    @property
    def finished(self) -> int:
        """Frames with a result."""
        return self.remote + self.local + self.rescued

    @property
    def mean_ms(self) -> float:
        """Mean latency of frames with a result [ms]; NaN without any."""
        return self.total_ms / self.finished if self.finished else math.nan


@dataclass(frozen=True)
class Fate:
    """Of one frame: outcome (a field of ``Counts``) and latency [ms], NaN without a result."""

    outcome: str
    latency_ms: float


def rescue_ms(plan: Candidate, edge: Profile, load: float) -> float:
    """The rest of the network on the robot, after the head of a plan [ms]."""
    if plan.frontier:  # none of the profile's cuts
        tail_ms = max(edge.whole_ms - plan.head_ms / load, 0.0)
    else:
        tail_ms = edge.cuts[plan.cut_index].tail_ms
    return (tail_ms + edge.finish_ms) * load


def fate(
    answer_ms: float, before_ms: float, rest_ms: float, deadline_ms: float
) -> Fate:
    """What becomes of a frame that was sent.

    Args:
        answer_ms: When its answer is there, after it entered; infinite = never.
        before_ms: When it was sent.
        rest_ms: Finishing it on the robot.
        deadline_ms: 0 = none.
    """
    if deadline_ms <= 0.0:
        if answer_ms <= NO_ANSWER_MS:
            return Fate('remote', answer_ms)
        # The uplink notices at once that a server has gone, not that it is slow.
        gone = math.isinf(answer_ms)
        return Fate('rescued', (before_ms if gone else NO_ANSWER_MS) + rest_ms)
    if before_ms <= deadline_ms - rest_ms:
        if answer_ms <= deadline_ms - rest_ms:
            return Fate('remote', answer_ms)
        return Fate('rescued', deadline_ms)
    if answer_ms <= max(deadline_ms, before_ms + rest_ms):
        return Fate('remote', answer_ms)
    return Fate('lost', math.nan)


def price_ms(
    plan: Candidate, edge: Profile, load: float, deadline_ms: float, server_up: bool
) -> float:
    """What a frame under a plan costs in truth: its latency; a lost one a deadline on top [ms].

    Args:
        plan: Priced under the true conditions.
        edge: Profile of the robot.
        load: Its true slow-down.
        deadline_ms: 0 = none.
        server_up: Whether the server lives.
    """
    if plan.is_local:
        return plan.latency_ms
    answer_ms = plan.latency_ms if server_up else math.inf
    before_ms, rest_ms = plan.head_ms + plan.encode_ms, rescue_ms(plan, edge, load)
    found = fate(answer_ms, before_ms, rest_ms, deadline_ms)
    if found.outcome != 'lost':
        return found.latency_ms
    return min(answer_ms, before_ms + rest_ms) + deadline_ms


class FrameFates:
    """Counts frames and knows when the engine itself gives up a server.

    Args:
        frame_hz: Rate of the stream [Hz].
        deadline_ms: Deadline in force; 0 = none.
    """

    def __init__(self, frame_hz: float, deadline_ms: float = 0.0) -> None:
        self.frame_s = 1.0 / frame_hz
        self.deadline_ms = deadline_ms
        self.counts = Counts()
        self._free_s = -math.inf
        self._missed_s = -math.inf
        self._lost_until_s = -math.inf

    def enters(self, now_s: float, period_ms: float) -> bool:
        """A frame enters; False = it is passed over.

        Args:
            now_s: When.
            period_ms: For so long the slowest stage of its plan is busy with it.
        """
        self.counts.entered += 1
        if now_s < self._free_s - 1e-9:
            self.counts.superseded += 1
            return False
        self._free_s = max(self._free_s, now_s - self.frame_s) + 1e-3 * period_ms
        return True

    def connected(self, now_s: float) -> bool:
        """Whether the engine sends frames; else it runs them itself."""
        return now_s >= self._lost_until_s

    def ends(self, found: Fate) -> None:
        """A frame has its outcome."""
        counts = self.counts
        if found.outcome == 'remote':
            self._missed_s = -math.inf
        setattr(counts, found.outcome, getattr(counts, found.outcome) + 1)
        if math.isfinite(found.latency_ms):
            counts.total_ms += found.latency_ms
            counts.late += 0.0 < self.deadline_ms < found.latency_ms - 1e-9

    def missed(self, now_s: float, *, heard: bool, fits: bool) -> bool:
        """A frame was not answered in time; True if its server counts as lost now.

        Args:
            now_s: When.
            heard: Whether the server lives, so that an acknowledgement came.
            fits: Whether the frame could be finished in time here.
        """
        doubted = now_s - self._missed_s <= MISS_MEMORY_S
        self._missed_s = now_s
        if heard and fits and not doubted:
            return False
        self._missed_s = -math.inf
        self._lost_until_s = now_s + RECONNECT_S
        return True
