"""Did the demo keep its promises? Pure: rows and phases in, findings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dnn_offload.demo.phases import AUTO, Phase
from dnn_offload.report.records import FrameRow

MAX_RATIO = 1.2  # the default strategy may be this much slower than the best baseline
MIN_FRAMES = 5  # fewer frames than this in a window say nothing
MAX_RETURN_S = 5.0  # a server that is ready again is used within this
UPLINK_TOLERANCE = 1.2  # what went up over what may: medians of frames with a burst before them
MAX_GAP_S = 2.0  # the longest silence that still counts as a stream that goes on
UNCHECKED = 'NOT CHECKED'  # marks notes of what nothing could show
BEFORE_KILL = 5  # last results before a kill: most of them must be the server's


@dataclass(frozen=True)
class Window:
    """A stretch of time in which one strategy was in force and had settled."""

    phase: str
    strategy: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Kill:
    """When the server was killed [s], and the strategy by which it was in use."""

    time_s: float
    strategy: str


@dataclass(frozen=True)
class PhaseFinding:
    """What one phase showed.

    Attributes:
        latency_ms: Strategy to median latency in all its settled windows.
        rate_hz: Strategy to results per second in its settled windows.
        rounds: How often each strategy was measured.
        in_doubt: Whether a promise looks broken that a slow second of the machine may break:
            ``auto`` beside the baselines, or what served most of a private phase.
        ratio: Latency of ``auto`` over the best baseline's; None without a baseline.
        served: What ``auto`` ran most, e.g. ``cut 0 jpeg`` or ``local``.
        failures: Broken promises, in words; empty = kept.
        notes: What a reader must know to trust this: what was seen, what was not checked.
    """

    phase: Phase
    latency_ms: dict[str, float]
    rate_hz: dict[str, float]
    ratio: float | None
    served: str
    failures: tuple[str, ...]
    rounds: int = 1
    in_doubt: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The whole demo."""

    phases: tuple[PhaseFinding, ...]
    outcomes: dict[str, int]
    drop_reasons: dict[str, int]
    failures: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return not self.failures and not any(phase.failures for phase in self.phases)

    @property
    def kept(self) -> str:
        """What is said where nothing was broken: with how much was not checked."""
        unchecked = sum(UNCHECKED in note for phase in self.phases for note in phase.notes)
        return 'all promises kept' + (f' but for {unchecked} not checked' if unchecked else '')


def accounting_failures(rows: Sequence[FrameRow], counters: Sequence[dict[str, int]]) -> list[str]:
    """Frames that are unaccounted for.

    Args:
        rows: One per frame report received, every life of the inference process together.
        counters: For each life, the counters of its last report: ``entered``, ``remote``,
            ``local``, ``rescued``, ``dropped``, ``in_flight``.
    """
    failures = []
    reported = Counter(row.outcome for row in rows)
    for outcome in ('remote', 'local', 'rescued', 'dropped'):
        counted = sum(life[outcome] for life in counters)
        if counted != reported[outcome]:
            failures.append(
                f'{outcome}: the robot counted {counted} frames, {reported[outcome]} reported'
            )
    for life in counters:
        ended = sum(life[key] for key in ('remote', 'local', 'rescued', 'dropped'))
        if life['entered'] != ended + life['in_flight'] or life['in_flight'] != 0:
            failures.append(
                f'{life["entered"]} frames entered, {ended} ended, {life["in_flight"]} open'
            )
    numbers = Counter(row.frame_seq for row in rows)
    twice = [seq for seq, count in numbers.items() if count > len(counters)]
    if twice:
        failures.append(f'frames with two outcomes: {twice[:5]}')
    if not rows:
        failures.append('no frame was reported at all')
    return failures


def count_outcomes(rows: Sequence[FrameRow]) -> tuple[dict[str, int], dict[str, int]]:
    """Frames by outcome, and dropped frames by reason."""
    outcomes = Counter(row.outcome for row in rows)
    reasons = Counter(row.drop_reason for row in rows if row.drop_reason)
    return dict(outcomes), dict(reasons)


def serves(rows: Sequence[FrameRow], since_s: float, count: int) -> bool:
    """Whether the newest ``count`` results, of frames since then, are all the server's."""
    newest = _planned_results(rows[-4 * count:])[-count:]
    return len(newest) == count and all(
        row.outcome == 'remote' and row.time_s >= since_s for row in newest
    )


def _planned_results(rows: Sequence[FrameRow]) -> list[FrameRow]:
    """Results under the plan in force, without what was tried beside it, as they came."""
    results = [row for row in rows if row.has_result and not row.is_scout and not row.is_trial]
    return sorted(results, key=lambda row: row.result_time_s)


def judge_phase(
    phase: Phase,
    span: tuple[float, float],
    windows: Sequence[Window],
    rows: Sequence[FrameRow],
    *,
    deadline_ms: float,
    grace_s: float,
    ready_s: float | None = None,
    kill: Kill | None = None,
) -> PhaseFinding:
    """Compare ``auto`` with the baselines of one phase, and check the phase's constraint.

    Args:
        phase: The phase.
        span: Its start and end [s].
        windows: Settled windows of this phase.
        rows: All frames of the run.
        deadline_ms: Deadline in force; 0 = none.
        grace_s: Time after the start in which a new constraint may not be in force yet.
        ready_s: When the server of a ``start`` phase said that it is ready; None = never.
        kill: The kill of a ``kill`` phase; None = there was none.
    """
    latency_ms: dict[str, float] = {}
    rate_hz: dict[str, float] = {}
    served = 'nothing'
    settled_auto: list[FrameRow] = []
    truly_remote = True
    for strategy in dict.fromkeys(window.strategy for window in windows):
        own = [window for window in windows if window.strategy == strategy]
        chosen = [
            row for row in rows if row.has_result and row.strategy == strategy
            and any(window.start_s <= row.time_s < window.end_s for window in own)
        ]
        if len(chosen) >= MIN_FRAMES:
            latency_ms[strategy] = float(np.median([row.latency_ms for row in chosen]))
            length_s = sum(window.end_s - window.start_s for window in own)
            rate_hz[strategy] = len(chosen) / length_s
        if strategy == 'remote':
            truly_remote = 2 * sum(row.outcome == 'remote' for row in chosen) > len(chosen)
        if strategy == AUTO and chosen:
            settled_auto = chosen
            served = Counter(
                f'cut {row.cut_index} {row.codec}' if row.server else 'local' for row in chosen
            ).most_common(1)[0][0]
    failures = []
    ratio = None
    best_ms = min((latency_ms[s] for s in phase.baselines if s in latency_ms), default=None)
    missing = [s for s in (AUTO, *phase.baselines) if s not in latency_ms]
    if missing:
        failures.append(f'too few results to compare: {", ".join(missing)}')
    elif best_ms is not None:
        ratio = latency_ms[AUTO] / best_ms
        if ratio > MAX_RATIO:
            failures.append(
                f'auto took {latency_ms[AUTO]:.1f} ms, the best baseline {best_ms:.1f} ms'
            )
        best_hz = max(rate_hz[s] for s in phase.baselines)
        if rate_hz[AUTO] * MAX_RATIO < best_hz:
            failures.append(
                f'auto gave {rate_hz[AUTO]:.1f} results/s, the best baseline {best_hz:.1f}'
            )
    inside = [row for row in rows if span[0] <= row.time_s < span[1]]
    notes: list[str] = []
    if phase.private_layers > 0:
        broken, seen = _judge_inner_cut(settled_auto, latency_ms.get('local', np.inf))
        failures += broken
        notes += seen
    in_doubt = bool(failures or notes) and not missing
    failures += _constraint_failures(phase, span, inside, grace_s)
    if phase.max_uplink_bps > 0.0 and not any(row.uplink_bytes > 0 for row in inside):
        notes.append(f'limit of the uplink {UNCHECKED}: nothing was sent')
    if not truly_remote:
        notes.append(
            f'all-remote ran on the robot, {UNCHECKED}: auto was compared with all-local only'
        )
    if phase.server == 'kill':
        failures += _kill_failures(inside, kill, deadline_ms)
        if kill is not None:
            notes.append(f'in use by strategy {kill.strategy} when it was killed')
    elif phase.server == 'start':
        worth_it = latency_ms.get('remote', 0.0) * MAX_RATIO < latency_ms.get('local', 0.0)
        forced_s = min((w.start_s for w in windows if w.strategy == 'remote'), default=0.0)
        if ready_s is not None and not truly_remote and forced_s - ready_s > MAX_RETURN_S:
            failures.append('all-remote did not use the server that was back')
        broken, seen = _judge_return(inside, ready_s, worth_it)
        failures += broken
        notes += seen
    rounds = sum(window.strategy == AUTO for window in windows)
    return PhaseFinding(
        phase, latency_ms, rate_hz, ratio, served, tuple(failures), rounds, in_doubt, tuple(notes)
    )


def _judge_inner_cut(
    rows: Sequence[FrameRow], local_ms: float
) -> tuple[list[str], list[str]]:
    """Failures and notes: where a cut inside pays, it must serve most settled frames of auto.

    That it does not pay must show in enough frames that ran so, tried or planned.
    """
    tried = [row for row in rows if row.uplink_bytes > 0 and row.outcome == 'remote']
    inner = sum(not row.is_trial for row in tried)
    if 2 * inner > len(rows):
        return [], []
    served = f'a cut inside the network served {inner} of {len(rows)} settled frames of auto'
    enough = len(tried) >= MIN_FRAMES
    if enough and np.median([row.latency_ms for row in tried]) * MAX_RATIO >= local_ms:
        return [], [f'{served} (most {UNCHECKED}: it was not clearly faster than all-local)']
    return [f'{served}, not most of them'], []


def _kill_failures(rows: Sequence[FrameRow], kill: Kill | None, deadline_ms: float) -> list[str]:
    """The server must have been in use when it was killed, and the stream goes on without it."""
    if kill is None:
        return ['the server was not killed']
    failures = []
    before = [
        row for row in _planned_results(rows) if row.result_time_s < kill.time_s
    ][-BEFORE_KILL:]
    remote = sum(row.outcome == 'remote' for row in before)
    if 2 * remote <= BEFORE_KILL:
        failures.append(
            f'{remote} of the last {BEFORE_KILL} results before the kill were the server\'s: it '
            'was not in use'
        )
    late = [row.frame_seq for row in rows if row.has_result and not row.deadline_met]
    if late and deadline_ms > 0.0:
        failures.append(f'{len(late)} results after their deadline, first frame {late[0]}')
    entered = [row for row in rows if kill.time_s <= row.time_s < kill.time_s + MAX_GAP_S]
    answered = sum(row.has_result for row in entered)
    if answered < MIN_FRAMES or 2 * answered < len(entered):
        failures.append(
            f'{answered} of {len(entered)} frames got a result in the {MAX_GAP_S:.0f} s after '
            'the kill'
        )
    return failures


def _judge_return(
    rows: Sequence[FrameRow], ready_s: float | None, worth_it: bool
) -> tuple[list[str], list[str]]:
    """A server that came back must be used soon, if using it is worth it: failures, notes."""
    if ready_s is None:
        return ['the server did not come back'], []
    used_s = min(
        (row.result_time_s for row in rows
         if row.outcome == 'remote' and row.strategy == AUTO and row.time_s >= ready_s),
        default=float('inf'),
    )
    took_s = used_s - ready_s
    if worth_it and took_s > MAX_RETURN_S:
        return [f'the server was not used within {MAX_RETURN_S:.0f} s of being ready'], []
    seen = f'used {took_s:.1f} s after it was ready' if np.isfinite(took_s) else 'not used'
    if not worth_it:
        seen += (
            f' (at most {MAX_RETURN_S:.0f} s {UNCHECKED}: all-remote was not clearly better)'
        )
    return [], [seen]


def _constraint_failures(
    phase: Phase,
    span: tuple[float, float],
    rows: Sequence[FrameRow],
    grace_s: float,
) -> list[str]:
    failures = []
    settled = [row for row in rows if row.time_s >= span[0] + grace_s]
    if phase.private_layers > 0:
        # A picture taken in this phase may wait for its turn until the constraint is lifted.
        leaked = [
            row.frame_seq for row in settled
            if row.uplink_bytes > 0 and row.depth < phase.private_layers
            and row.result_time_s < span[1]
        ]
        if leaked:
            failures.append(f'{len(leaked)} pictures left the robot, first frame {leaked[0]}')
    if phase.max_uplink_bps > 0.0:
        rates_bps = [
            8e3 * row.uplink_bytes / row.uplink_ms for row in settled
            if row.outcome == 'remote' and row.uplink_ms > 0.0
        ]
        rate_bps = float(np.median(rates_bps)) if rates_bps else 0.0
        if rate_bps > UPLINK_TOLERANCE * phase.max_uplink_bps:
            failures.append(
                f'frames went up at {rate_bps / 1e6:.1f} Mbit/s, allowed were '
                f'{phase.max_uplink_bps / 1e6:.1f}'
            )
    times = np.sort([row.result_time_s for row in rows if row.has_result])
    edges = np.concatenate(([span[0]], times, [span[1]]))
    gap_s = float(np.max(np.diff(edges)))
    if gap_s > MAX_GAP_S:
        failures.append(f'no result for {gap_s:.1f} s')
    return failures
