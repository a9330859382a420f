"""The figures that a bench has to reach: what was promised, what was seen, pass or miss. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
import statistics

from dnn_offload.report.bench_records import BenchRecord, mean, regret

ORACLE, AUTO, LOCAL = 'oracle', 'auto', 'local'
REMOTES = ('compressed_image', 'remote')  # as users do today; through us where that was not run
SERVER_KILLED = 'server killed'
MAX_REACTION_S = 1.0
MAX_MEAN_REGRET, MAX_WORST_REGRET = 0.05, 0.15
MIN_GAIN_BLIND, MIN_GAIN_DEY = 2.0, 1.2
MAX_SLOWER = 0.05


@dataclass(frozen=True)
class Figure:
    """One promise.

    Attributes:
        what: What is promised.
        seen: What was measured, in words.
        allowed: The limit, in words.
        passed: Whether it was kept.
    """

    what: str
    seen: str
    allowed: str
    passed: bool


def figures(
    record: BenchRecord, loaded: Sequence[tuple[float, float]] = (), *, deadline: bool = True
) -> list[Figure]:
    """All promises that this bench has the rows for.

    Args:
        record: What was measured. Windows of a timeline have the point number of their part:
            0 the whole trace, 1 the part under load (``loaded``).
        loaded: Parts of the timeline with navigation load [s]; empty = no timeline.
        deadline: Whether frames had one; without, none is late, and that is no merit.
    """
    found = _regret(record)
    if loaded:
        found += _gains(record)
    found += _reactions(record, deadline)
    if not record.steps:
        found += _ends(record)
    return found


def _regret(record: BenchRecord) -> list[Figure]:
    found, same, failed = [], 0, 0
    for point in range(len(record.points)):
        auto_ms, best = record.latency_ms(point, AUTO), record.cell(point, ORACLE)
        if auto_ms is None or best is None or best.window.simulated:
            continue
        # Faster than the best that the oracle found is no merit that makes up for another point.
        found.append(max(regret(auto_ms, best.latency_ms), 0.0))
        auto = record.cell(point, AUTO)
        same += auto is not None and auto.window.plan == best.window.plan
        failed += math.isinf(auto_ms)
    if not found:
        return []
    floor = mean(search.noise_floor for search in record.searches)
    limit = max(MAX_MEAN_REGRET, 2.0 * floor if math.isfinite(floor) else 0.0)
    short = [search for search in record.searches if not search.exhausted]
    note = ''
    if short:
        doubt = max(record.doubt(search) for search in short)
        note = (
            f'; the oracle stopped early at {len(short)} of {len(record.searches)}, where another '
            f'plan may be up to {100 * doubt:.0f} % faster'
        )
    note += f'; no result of auto at {failed}' if failed else ''
    average, worst = statistics.fmean(found), max(found)
    return [
        Figure(
            'mean regret of auto against the oracle',
            f'{100 * average:.1f} %; the same plan at {same} of {len(found)} points{note}',
            f'{100 * limit:.1f} % (5 %, or twice the noise floor of {100 * floor:.1f} %)',
            average <= limit,
        ),
        Figure(
            'worst regret of auto against the oracle', f'{100 * worst:.1f} %',
            f'{100 * MAX_WORST_REGRET:.0f} %', worst <= MAX_WORST_REGRET,
        ),
    ]


def _gains(record: BenchRecord) -> list[Figure]:
    found = []
    for row, point, part, least in (
        ('neurosurgeon', 1, 'under load', MIN_GAIN_BLIND),
        ('dey2019', 0, 'over the whole trace', MIN_GAIN_DEY),
    ):
        auto_hz, other_hz = record.rate_hz(point, AUTO), record.rate_hz(point, row)
        if auto_hz is None or other_hz is None or other_hz <= 0.0:
            continue
        gain = auto_hz / other_hz
        found.append(Figure(
            f'results per second of auto over {row} {part}',
            f'{gain:.2f} ({auto_hz:.1f} over {other_hz:.1f} /s)', f'{least:g} or more',
            gain >= least,
        ))
    return found


def _reactions(record: BenchRecord, deadline: bool) -> list[Figure]:
    found = []
    for what in dict.fromkeys(step.what for step in record.steps if step.row == AUTO):
        seen = [s.reaction_s for s in record.steps if s.row == AUTO and s.what == what]
        moved = [reaction for reaction in seen if math.isfinite(reaction)]
        if not moved:
            continue  # the plan in force may be the right one: nothing to react with
        worst = max(moved)
        found.append(Figure(
            f'the plan that stays of auto, after: {what}',
            f'{worst:.2f} s (worst of {len(moved)})',
            f'{MAX_REACTION_S:g} s', worst <= MAX_REACTION_S,
        ))
    deaths = [s for s in record.steps if s.row == AUTO and SERVER_KILLED in s.what]
    if deaths and deadline:
        late = sum(step.late for step in deaths)
        found.append(Figure(
            'results of auto after their deadline while the server is dead',
            f'{late} in {len(deaths)} deaths', '0', late == 0,
        ))
    return found


def _ends(record: BenchRecord) -> list[Figure]:
    """Is auto slower than the better of all-local and all-remote?"""
    ratios = []
    for point in range(len(record.points)):
        auto_ms = record.latency_ms(point, AUTO)
        remote = next((c for r in REMOTES if (c := record.cell(point, r)) is not None), None)
        ends = [c for c in (record.cell(point, LOCAL), remote) if c is not None]
        if auto_ms is not None and ends and not any(c.window.simulated for c in ends):
            ratios.append(auto_ms / min(c.latency_ms for c in ends))
    if not ratios:
        return []
    worst = max(ratios)
    return [Figure(
        'latency of auto over the better of all-local and all-remote',
        f'{worst:.2f} at worst, {statistics.median(ratios):.2f} in the middle of '
        f'{len(ratios)} points', f'{1 + MAX_SLOWER:g}', worst <= 1.0 + MAX_SLOWER,
    )]
