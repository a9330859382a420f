"""The figures that a bench has to reach: what was promised, what was seen, pass or miss. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
import math
import statistics

from dnn_offload.planning.objective import LATENCY
from dnn_offload.report.bench_records import BenchRecord, mean, regret

ORACLE, AUTO, LOCAL = 'oracle', 'auto', 'local'
TODAY = 'compressed_image'  # what users do today
REMOTES = (TODAY, 'remote')  # through us where that was not run
SERVER_KILLED, LOAD, UPLINK = 'server killed', 'load', 'uplink'  # words of changes
UNDER_WAY = 4  # frames, at most (runtime/window.py)
MAX_REACTION_S = 1.0
MAX_MEAN_REGRET, MAX_WORST_REGRET = 0.05, 0.15
MIN_GAIN_BLIND, MIN_GAIN_DEY = 2.0, 1.2
MAX_SLOWER = 0.05
MIN_NAVIGATION = 0.95


@dataclass(frozen=True)
class Figure:
    """One promise.

    Attributes:
        what: What is promised.
        seen: What was measured, in words.
        allowed: The limit, in words.
        passed: Whether it was kept; None = nothing happened that it could be seen by.
    """

    what: str
    seen: str
    allowed: str
    passed: bool | None

    @property
    def verdict(self) -> str:
        """For a reader."""
        return 'not checked' if self.passed is None else 'pass' if self.passed else 'MISS'


def figures(
    record: BenchRecord, loaded: Sequence[tuple[float, float]] = (), *, deadline: bool = True,
    objective: str = LATENCY, shaped: bool = True,
) -> list[Figure]:
    """All promises that this bench has the rows for.

    Args:
        record: What was measured. Windows of a timeline have the point number of their part:
            0 the whole trace, 1 the part under load (``loaded``).
        loaded: Parts of the timeline with navigation load [s]; empty = no timeline.
        deadline: Whether frames had one; without, none is late, and that is no merit.
        objective: Of the planner: by another than latency it rightly has slower plans, and the
            oracle looks for the fastest.
        shaped: Whether the link was; else only our own rows kept to its rate.
    """
    found = _unless(_regret(record), _why_no_latency(objective))
    if loaded:
        found += _gains(record)
    found += _reactions(record)
    if deadline:
        found += _deaths(record)
    ends: list[Figure] = []
    if record.stretches:
        ends = _stretches(record)
    elif not record.steps:
        ends = _ends(record)
    unshaped = '' if shaped or TODAY not in record.rows() else (
        f'no link was shaped, and {TODAY} keeps to no rate by itself'
    )
    found += _unless(ends, _why_no_latency(objective) or unshaped)
    return found + _navigation(record)


def _why_no_latency(objective: str) -> str:
    return '' if objective == LATENCY else f'the planner was to go by {objective}'


def _unless(found: Sequence[Figure], why: str) -> list[Figure]:
    """Figures as they are, or not judged where there is a reason."""
    return [
        replace(figure, seen=f'{figure.seen}; {why}', passed=None) if why else figure
        for figure in found
    ]


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


def _reactions(record: BenchRecord) -> list[Figure]:
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
    for word, name in ((UPLINK, 'bandwidth'), (LOAD, 'load')):
        steps = [s for s in record.steps if s.row == AUTO and f'{word} ' in s.what]
        if steps and not any(math.isfinite(step.reaction_s) for step in steps):
            found.append(Figure(
                f'the plan that stays of auto, after a step in {name}',
                f'no step in {name} changed the best plan: nothing to time',
                f'{MAX_REACTION_S:g} s', None,
            ))
    return found


def _deaths(record: BenchRecord) -> list[Figure]:
    """Does the server's death cost a result its deadline?

    Of frames under way at that moment the newest is rescued, what comes behind it would be old:
    as many as can be under way are told, and no miss.
    """
    deaths = [s for s in record.steps if s.row == AUTO and SERVER_KILLED in s.what]
    if not deaths:
        return []
    late, unanswered = sum(s.late for s in deaths), sum(s.unanswered for s in deaths)
    unrescuable = sum(s.unrescuable for s in deaths)
    return [Figure(
        'results of auto after their deadline while the server is dead',
        f'{late} late, {unanswered} never (a newer one was rescued or published instead), '
        f'{unrescuable} never for which the rest did not fit, in {len(deaths)} deaths',
        f'none late, {UNDER_WAY} a death never',
        late == 0 and unanswered <= UNDER_WAY * len(deaths),
    )]


def _ends(record: BenchRecord) -> list[Figure]:
    """Is auto slower than the better of all-local and all-remote?"""
    ratios: dict[str, float] = {}
    for point, title in enumerate(record.points):
        auto_ms = record.latency_ms(point, AUTO)
        remote = next((c for r in REMOTES if (c := record.cell(point, r)) is not None), None)
        ends = [c for c in (record.cell(point, LOCAL), remote) if c is not None]
        if auto_ms is None or not ends or any(c.window.simulated for c in ends):
            continue
        auto, better = record.cell(point, AUTO), min(ends, key=lambda cell: cell.latency_ms)
        same = ''
        if auto is not None and auto.window.plan == better.window.plan:
            same = ', by the same plan'
        ratios[f'{title}{same}'] = auto_ms / better.latency_ms
    if not ratios:
        return []
    where = max(ratios, key=lambda title: ratios[title])
    return [Figure(
        'latency of auto over the better of all-local and all-remote',
        f'{ratios[where]:.2f} at worst ({where}), {statistics.median(ratios.values()):.2f} in '
        f'the middle of {len(ratios)} points',
        f'{1 + MAX_SLOWER:g}', ratios[where] <= 1.0 + MAX_SLOWER,
    )]


def _stretches(record: BenchRecord) -> list[Figure]:
    """The same in every stretch of a timeline: a mean over changing conditions would hide one."""
    ratios: dict[str, float] = {}
    for stretch in record.stretches:
        auto_ms, local_ms = (record.latency_ms(stretch.point, row) for row in (AUTO, LOCAL))
        # Without a server everybody runs on the robot, and what `remote` takes then is noise.
        remote_ms = local_ms if stretch.cut_off else next(
            (ms for r in REMOTES if (ms := record.latency_ms(stretch.point, r)) is not None), None
        )
        if auto_ms is None or local_ms is None or remote_ms is None:
            continue
        best_ms = min(local_ms, remote_ms)
        if math.isfinite(best_ms):
            ratios[stretch.title] = auto_ms / best_ms
    if not ratios:
        return []
    missed = [f'{title} ({r:.2f})' for title, r in ratios.items() if r > 1.0 + MAX_SLOWER]
    told = f'; missed: {"; ".join(missed)}' if missed else ''
    return [Figure(
        'latency of auto over the better of all-local and all-remote, in each stretch between '
        'changes',
        f'{max(ratios.values()):.2f} at worst, {statistics.median(ratios.values()):.2f} in the '
        f'middle of {len(ratios)} stretches{told}',
        f'{1 + MAX_SLOWER:g}', not missed,
    )]


def _navigation(record: BenchRecord) -> list[Figure]:
    """Does navigation keep its loop rate beside auto?"""
    own = {stretch.point for stretch in record.stretches}  # parts of what is judged already
    points = [point for point in range(len(record.points)) if point not in own]
    shares = [
        share for point in points if math.isfinite(share := record.navigation(point, AUTO))
    ]
    if not shares:
        return []
    return [Figure(
        'loop rate of navigation beside auto, over the rate that it is set to',
        f'{100 * min(shares):.1f} % at worst of {len(shares)} points',
        f'{100 * MIN_NAVIGATION:g} %', min(shares) >= MIN_NAVIGATION,
    )]
