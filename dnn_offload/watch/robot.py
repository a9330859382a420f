"""What is known of one robot. Pure: facts and times go in, a view comes out."""

from __future__ import annotations

from collections import Counter, deque
import math
from typing import NamedTuple

import numpy as np

from dnn_offload.report.records import OUTCOMES
from dnn_offload.watch.facts import (
    DOWNLINK,
    FrameFact,
    HealthFact,
    LinkFact,
    LoadFact,
    LOST,
    PlanFact,
    UPLINK,
)
from dnn_offload.watch.views import LinkView, NodeView, RobotView, StreamView

WINDOW_S = 5.0          # of rate, latency, outcomes
REASONS_S = 60.0        # of drop reasons, which are rare
LINK_S = 10.0           # of transfers; probes are rare
NODE_FORGOTTEN_S = 60.0
HISTORY = 60            # seconds with results that the latency's line shows
MAX_KEPT = 5000         # reports, reasons, transfers
MAX_NODES = 32
_DROPPED = OUTCOMES[-1]


class _Frame(NamedTuple):
    at_s: float
    fact: FrameFact


class Robot:
    """One robot, from its first sign of life on.

    Args:
        name: Its namespace.
        now_s: Time; of this clock are all times that are given later, too [s].
    """

    def __init__(self, name: str, now_s: float) -> None:
        self.name = name
        self.inference_nodes = 0  # that publish its frame reports now
        self.gone = False         # no publisher is left
        self._heard_s = now_s
        self._frames: deque[_Frame] = deque(maxlen=MAX_KEPT)
        self._newest: _Frame | None = None  # with a result
        self._reasons: deque[tuple[float, str]] = deque(maxlen=MAX_KEPT)
        self._history: deque[tuple[int, float, int]] = deque(maxlen=HISTORY)  # second, sum, count
        self._transfers: deque[tuple[float, LinkFact]] = deque(maxlen=MAX_KEPT)
        self._plan: PlanFact | None = None
        self._plan_s = -math.inf
        self._load: LoadFact | None = None
        self._load_s = -math.inf
        self._nodes: dict[str, tuple[HealthFact, float]] = {}
        self._model = ''

    # -- facts --------------------------------------------------------------------------

    def hear_frame(self, fact: FrameFact, at_s: float) -> None:
        """A frame has ended."""
        self._heard(at_s)
        if self._frames:
            before = self._frames[-1].fact
            if fact.pid != before.pid or fact.entered < before.entered:
                self._frames.clear()  # another life, or activated anew: counters begin again
        frame = _Frame(at_s, fact)
        self._frames.append(frame)
        self._let_go_frames(at_s)
        if fact.outcome == _DROPPED:
            self._reasons.append((at_s, fact.drop_reason))
            return
        self._newest = frame
        second, total, count = int(at_s), fact.latency_ms, 1
        if self._history and self._history[-1][0] == second:
            _, sum_before, count_before = self._history.pop()
            total, count = total + sum_before, count + count_before
        self._history.append((second, total, count))

    def hear_plan(self, fact: PlanFact, at_s: float) -> None:
        """The planner's word, about once a second."""
        self._heard(at_s)
        self._plan, self._plan_s = fact, at_s

    def hear_load(self, fact: LoadFact, at_s: float) -> None:
        """The load monitor's word."""
        self._heard(at_s)
        self._load, self._load_s = fact, at_s

    def hear_link(self, fact: LinkFact, at_s: float) -> None:
        """A transfer has ended, or was lost."""
        self._heard(at_s)
        self._transfers.append((at_s, fact))

    def hear_health(self, fact: HealthFact, at_s: float) -> None:
        """A node's diagnostics."""
        self._heard(at_s)
        if fact.model:
            self._model = fact.model
        if fact.node in self._nodes or len(self._nodes) < MAX_NODES:
            self._nodes[fact.node] = fact, at_s

    def _heard(self, at_s: float) -> None:
        self._heard_s = max(self._heard_s, at_s)

    # -- the view -----------------------------------------------------------------------

    def silent_s(self, now_s: float) -> float:
        """Since anything was heard of it [s]."""
        return max(0.0, now_s - self._heard_s)

    def look(self, now_s: float) -> RobotView:
        """How it is now."""
        self._nodes = {
            name: entry for name, entry in self._nodes.items()
            if now_s - entry[1] < NODE_FORGOTTEN_S
        }
        return RobotView(
            name=self.name,
            silent_s=self.silent_s(now_s),
            gone=self.gone,
            model=self._model,
            inference_nodes=self.inference_nodes,
            stream=self._stream(now_s),
            plan=self._plan,
            plan_silent_s=now_s - self._plan_s,
            load=self._load,
            load_silent_s=now_s - self._load_s,
            link=self._link(now_s),
            nodes=tuple(
                NodeView(name, fact.level, fact.message, max(0.0, now_s - at_s))
                for name, (fact, at_s) in sorted(self._nodes.items())
            ),
        )

    def _let_go_frames(self, now_s: float) -> None:
        """Keep the reports of the window, and the last one before it, to count from."""
        while len(self._frames) > 1 and self._frames[1].at_s <= now_s - WINDOW_S:
            self._frames.popleft()

    def _stream(self, now_s: float) -> StreamView | None:
        if not self._frames:
            return None
        self._let_go_frames(now_s)
        while self._reasons and self._reasons[0][0] <= now_s - REASONS_S:
            self._reasons.popleft()
        base, last = self._frames[0], self._frames[-1]
        window_s = min(max(now_s - base.at_s, 0.0), WINDOW_S)
        # Counters tell of frames whose reports were lost on the way, too.
        ended = {name: getattr(last.fact, name) - getattr(base.fact, name) for name in OUTCOMES}
        count = sum(ended.values())
        lost = last.fact.lost_pictures - base.fact.lost_pictures
        recent = [frame.fact for frame in self._frames if frame.at_s > now_s - WINDOW_S]
        results = [fact for fact in recent if fact.outcome != _DROPPED]
        median_ms = p95_ms = missed = math.nan
        if results:
            median_ms, p95_ms = np.percentile([fact.latency_ms for fact in results], (50, 95))
            missed = sum(not fact.deadline_met for fact in results) / len(results)
        newest = self._newest
        return StreamView(
            window_s=window_s,
            results_hz=(count - ended[_DROPPED]) / window_s
            if window_s > 0.0 and (len(self._frames) > 1 or window_s >= WINDOW_S) else math.nan,
            latency_median_ms=float(median_ms),
            latency_p95_ms=float(p95_ms),
            newest_age_s=math.nan if newest is None
            else max(0.0, now_s - newest.at_s) + newest.fact.latency_ms / 1e3,
            shares={name: ended[name] / count if count else math.nan for name in OUTCOMES},
            totals={name: getattr(last.fact, name) for name in OUTCOMES},
            drop_reasons=dict(Counter(reason for _, reason in self._reasons)),
            missed_deadline=missed,
            deadline_ms=last.fact.deadline_ms,
            late_answers=last.fact.late_answers,
            lost_pictures=last.fact.lost_pictures,
            lost_share=lost / (lost + count) if count else math.nan,
            runs_at=(newest or last).fact.server,
            heard_share=min(1.0, (len(self._frames) - 1) / count) if count else math.nan,
            silent_s=max(0.0, now_s - last.at_s),
            latency_history_ms=tuple(total / n for _, total, n in self._history),
        )

    def _link(self, now_s: float) -> LinkView:
        while self._transfers and self._transfers[0][0] <= now_s - LINK_S:
            self._transfers.popleft()
        by_kind: dict[str, list[LinkFact]] = {UPLINK: [], DOWNLINK: [], LOST: []}
        for _, fact in self._transfers:
            by_kind[fact.kind].append(fact)
        up, down = by_kind[UPLINK], by_kind[DOWNLINK]
        return LinkView(
            len(up), _median([fact.duration_ms for fact in up]),
            _median([fact.payload_bytes for fact in up]),
            len(down), _median([fact.duration_ms for fact in down]),
            _median([fact.payload_bytes for fact in down]),
            len(by_kind[LOST]),
        )


def _median(values: list[float] | list[int]) -> float:
    return float(np.median(values)) if values else math.nan
