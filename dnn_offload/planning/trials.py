"""Plans whose price is a prediction run on a few frames before the stream goes over to them. Pure.

Most prices rest on measured heads and tails. Some do not: a cut between two measured ones, the
middle piece of a plan with two cuts, a placement over branches, which are sums of what operators
took within a run of the whole network. Alone a piece takes up to a third more or less. So before
such a plan runs, a few single frames do, between those of the plan in force; each has its result.
What their pieces take over what they were priced at corrects the plan's price from then on,
whether or not the plan is chosen, and so do its own frames while it runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
import math
import statistics
from typing import TypeAlias

from dnn_offload.exchange import TRIAL_FRAMES, TRIAL_PATIENCE_S
from dnn_offload.planning.plan import Candidate, Conditions, Key
from dnn_offload.planning.session_data import FrameEvidence

NEEDED_FRAMES = TRIAL_FRAMES - 1  # answered ones behind a judgement
KEPT_FRAMES = 9        # behind the medians
# What is learnt stays within. Sums of operators miss a piece by 30 % at worst; more is an estimate
# of the load that was not right yet, and would stay in the price when it is.
RATIOS = (0.67, 1.5)
LEAST_MS = 0.3         # shorter pieces are mostly noise
FORGET_S = 900.0       # without a frame for so long a plan is tried again

AS_PRICED = (1.0, 1.0, 1.0)

Pieces: TypeAlias = tuple[str, str, str, int]


def _pieces(plan: Candidate) -> Pieces:
    """What decides on how far off a plan's computing times are; codecs hardly do."""
    return plan.cut_id, plan.server, plan.return_id, plan.threads


@dataclass
class _Seen:
    """Measured over priced of the pieces of a plan: head, server's part, rest."""

    ratios: tuple[deque[float], deque[float], deque[float]] = field(
        default_factory=lambda: (
            deque(maxlen=KEPT_FRAMES), deque(maxlen=KEPT_FRAMES), deque(maxlen=KEPT_FRAMES),
        )
    )
    last_s: float = -math.inf

    def add(self, frame: FrameEvidence, priced: Candidate, now_s: float) -> None:
        measured_ms = (frame.head_ms, frame.tail_ms, frame.rest_ms)
        priced_ms = (priced.head_ms, priced.tail_ms, priced.rest_ms)
        for kept, seen_ms, price_ms in zip(self.ratios, measured_ms, priced_ms, strict=True):
            if price_ms >= LEAST_MS and math.isfinite(seen_ms) and seen_ms > 0.0:
                kept.append(min(max(seen_ms / price_ms, RATIOS[0]), RATIOS[1]))
        self.last_s = now_s

    def factors(self) -> tuple[float, float, float]:
        """Of head, server's part, rest; 1 where nothing was learnt."""
        head, tail, rest = (statistics.median(kept) if kept else 1.0 for kept in self.ratios)
        return head, tail, rest


class Trials:
    """Of one planner; clocks are passed in, not thread-safe."""

    def __init__(self) -> None:
        self._seen: dict[Pieces, _Seen] = {}
        self._trial: Candidate | None = None
        self._trial_id = 0
        self._began_s = -math.inf
        self._answers = 0
        self._predicted = True
        self._priced: dict[Key, Candidate] = {}  # as predicted at the last tick
        self._followed: Candidate | None = None

    @property
    def trial_id(self) -> int:
        """Number of the plan that is being tried; 0 = none."""
        return self._trial_id if self._trial is not None else 0

    @property
    def trial(self) -> Candidate | None:
        """The plan that is being tried."""
        return self._trial

    def reset(self) -> None:
        """Forget all: a profile is another one."""
        self._seen.clear()
        self._priced.clear()
        self._trial = self._followed = None

    def follow(self, plan: Candidate, conditions: Conditions) -> None:
        """Learn from the frames of the plan in force, tried or not, if its price is a prediction.

        Of plans that need another thread count nothing is learnt, since they are not tried either:
        the one that runs would be right and its neighbour not.
        """
        wanted = not plan.threads and is_predicted(plan, conditions)
        self._followed = plan if wanted else None

    def drop(self) -> None:
        """End the trial without a verdict: another plan goes out, or other plans are demanded.

        The robot ends it too, when that plan comes.
        """
        self._trial = self._followed = None
        self._priced.clear()

    def untried(self, plan: Candidate, conditions: Conditions, now_s: float) -> bool:
        """Whether a plan's price is a prediction that no frame has tested.

        Plans that need another thread count are taken as priced: a single frame under one would
        change it for all.
        """
        if plan.threads or not is_predicted(plan, conditions):
            return False
        if self._trial is not None and _pieces(plan) == _pieces(self._trial):
            return True
        seen = self._seen.get(_pieces(plan))
        return seen is None or now_s - seen.last_s > FORGET_S

    def begin(
        self, plan: Candidate, plan_id: int, now_s: float, *, predicted: bool = True
    ) -> None:
        """Frames are going to run under ``plan``, which has a number of its own.

        Args:
            plan: What is tried.
            plan_id: Its number.
            now_s: Monotonic clock [s].
            predicted: Whether its pieces are to be corrected; otherwise they were measured, and
                only the way to the server and back is new (``scouting.Visits``).
        """
        self._trial, self._trial_id = plan, plan_id
        self._began_s, self._answers, self._predicted = now_s, 0, predicted

    def frame(self, frame: FrameEvidence, now_s: float) -> bool:
        """Take a frame; whether it ran under the trial."""
        trial = self._trial
        if trial is None or frame.plan_id != self._trial_id:
            return False
        if frame.answered and not frame.stood_in:
            if self._predicted:
                self._learn(trial, frame, now_s)
            self._answers += 1
        return True

    def ran(self, plan: Candidate, frame: FrameEvidence, now_s: float) -> None:
        """Take an answered frame of the plan in force."""
        if plan.key in self._priced and not frame.stood_in:
            self._learn(plan, frame, now_s)

    def _learn(self, plan: Candidate, frame: FrameEvidence, now_s: float) -> None:
        priced = self._priced.get(plan.key, plan)
        self._seen.setdefault(_pieces(plan), _Seen()).add(frame, priced, now_s)

    @property
    def began_s(self) -> float:
        """When the newest trial began."""
        return self._began_s

    def settle(self, now_s: float) -> Candidate | None:
        """End the trial when enough frames came, or when no more are to be expected.

        Returns:
            The plan whose trial ended now, if any.

        A plan that got no answer at all stays as it was priced: the stream has paused, or the
        robot knows no trials. If answers do not come for the plan's own sake, frames under it
        are rescued and it is left as any other.
        """
        tried = self._trial
        if tried is None:
            return None
        needed = NEEDED_FRAMES if self._predicted else TRIAL_FRAMES
        if self._answers < needed and now_s - self._began_s < TRIAL_PATIENCE_S:
            return None
        if self._predicted:
            self._seen.setdefault(_pieces(tried), _Seen()).last_s = now_s
        self._trial = None
        return tried

    def as_predicted(self, plan: Candidate) -> Candidate:
        """A plan as it was priced at the last search, before what was learnt of its pieces.

        Load is reckoned from these times. From corrected ones, a correction that was learnt under
        a wrong estimate of the load would make frames say that load, and so confirm itself.
        """
        return self._priced.get(plan.key, plan)

    def corrected(self, plans: Sequence[Candidate]) -> list[Candidate]:
        """Plans with what was learnt of their pieces.

        What hangs on their times is not known then (NaN): waiting, lateness, energy and value.
        """
        self._priced = {}
        tried = self._trial if self._predicted else None
        told = [plan for plan in (tried, self._followed) if plan is not None]
        known = {*self._seen, *(_pieces(plan) for plan in told)}
        if not known:
            return list(plans)
        made = []
        for plan in plans:
            pieces = _pieces(plan)
            if pieces in known:
                self._priced[plan.key] = plan
                seen = self._seen.get(pieces)
                factors = seen.factors() if seen is not None else AS_PRICED
                if factors != AS_PRICED:
                    head, tail, rest = factors
                    plan = replace(
                        plan, head_ms=plan.head_ms * head, tail_ms=plan.tail_ms * tail,
                        rest_ms=plan.rest_ms * rest, wait_ms=math.nan, late_ms=math.nan,
                        energy_j=math.nan, value=math.nan,
                    )
            made.append(plan)
        return made


def is_predicted(plan: Candidate, conditions: Conditions) -> bool:
    """Whether a piece of a plan was not measured as a unit."""
    if plan.is_local:
        return False
    if plan.return_id or plan.frontier:
        return True
    servers = (server for server in conditions.servers if server.name == plan.server)
    profiles = [conditions.edge_profile, *(server.profile for server in servers)]
    # By identity: of another version the cuts may stand elsewhere in the list, or be fewer.
    cuts = (next((c for c in p.cuts if c.cut_id == plan.cut_id), None) for p in profiles)
    return not all(cut is not None and cut.measured for cut in cuts)
