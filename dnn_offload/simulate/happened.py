"""What happened in a simulation: changes of plan, latencies beside the best ones. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field
import math

from dnn_offload.planning.plan import Candidate, Key
from dnn_offload.simulate.frame_fates import Counts

TICK_S = 0.2


@dataclass(frozen=True)
class Switch:
    """One change of plan."""

    at_s: float
    candidate: Candidate
    urgent: bool
    reason: str


@dataclass
class Trace:
    """What happened.

    Attributes:
        switches: All changes of plan, the first plan included.
        true_ms: True latency of the plan in force, per tick.
        best_ms: True latency of the best plan, per tick.
        best_changes: How often the best plan became another one.
        frames: What became of the frames; None = not simulated.
    """

    switches: list[Switch] = field(default_factory=list)
    true_ms: list[float] = field(default_factory=list)
    best_ms: list[float] = field(default_factory=list)
    best_changes: int = 0
    frames: Counts | None = None

    def switches_after(self, at_s: float) -> list[Switch]:
        """Changes of plan later than ``at_s``."""
        return [switch for switch in self.switches if switch.at_s > at_s]

    def returns_after(self, at_s: float) -> int:
        """Changes later than ``at_s`` back to a plan that had been left later than ``at_s``."""
        left: set[Key] = set()
        count = 0
        running: Key | None = None
        for switch in self.switches:
            if switch.at_s > at_s:
                count += switch.candidate.key in left
                if running is not None:
                    left.add(running)
            running = switch.candidate.key
        return count

    def reaction_s(self, step_s: float, slack: float = 1.2) -> float:
        """Time after a step from which on the plan stays within ``slack`` of the best [s]."""
        pairs = list(zip(self.true_ms, self.best_ms, strict=True))
        bad = [i for i, (true, best) in enumerate(pairs) if true > slack * best]
        last_s = (bad[-1] + 1) * TICK_S if bad else 0.0
        return max(last_s - step_s, 0.0)

    def regret(self, after_s: float = 0.0) -> float:
        """Mean latency of what ran over that of the best plan at each moment, less one."""
        first = round(after_s / TICK_S)
        return sum(self.true_ms[first:]) / sum(self.best_ms[first:]) - 1.0

    def typical_regret(self) -> float:
        """Geometric mean over the moments of true over best latency, less one.

        A second on a dead link weighs as one bad second, not as forty times the rest.
        """
        logs = [
            math.log(true / best) for true, best in zip(self.true_ms, self.best_ms, strict=True)
        ]
        return math.expm1(math.fsum(logs) / len(logs))

    def regret_quantile(self, share: float) -> float:
        """Regret of single moments below which ``share`` of them lie (nearest rank)."""
        ratios = sorted(
            true / best - 1.0 for true, best in zip(self.true_ms, self.best_ms, strict=True)
        )
        return ratios[min(int(share * len(ratios)), len(ratios) - 1)]

    def since(self, at_s: float) -> Trace:
        """Latencies from ``at_s`` on; all of them where there is no more."""
        first = round(at_s / TICK_S)
        first = first if first < len(self.true_ms) else 0
        return Trace(self.switches, self.true_ms[first:], self.best_ms[first:])
