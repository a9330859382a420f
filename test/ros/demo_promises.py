"""What a run of the demo says to a test: what no noise excuses, what a busy machine may break.

How fast things go depends on the machine and on who else uses it. Such promises are judged by
the demo itself, with bounds that a user wants; a busy machine breaks one now and then. A program
that is wrong breaks the same one again, or breaks it by far. Pure: no ROS here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import re
from typing import Any

# Promise -> how its failure begins. Of an inner cut: some frames, but not most: found too late.
MAY_BREAK = {
    'as fast as the better baseline': r'auto took .* ms, the best baseline',
    'as many results': r'auto gave .* results/s',
    'results to compare': r'too few results to compare',  # a window passed without frames
    'a cut inside serves': r'a cut inside the network served [1-9]\d* of',
    'no late result': r'\d+ results after their deadline',  # no time to finish even here
    'the server is used again':  # noticed too late, or later still
        r'the server was not used within|all-remote did not use the server',
}
MOST_BROKEN = 2  # of these in one run; more is no accident
WORST_RATIO = 1.6  # latency of auto over the better baseline's, and rate the other way round
WORST_LATENESS = 1.5  # of a result in the phase of the kill, in deadlines
AUTO, KILLED, AFTER_RETURN = 'auto', 'server_killed', ('server_back', 'load_down')


@dataclass(frozen=True)
class Judgement:
    """What was broken in one run.

    Attributes:
        hard: What fails a test at once, in words.
        soft: Phase and promise of what may be the machine; it fails if it is broken again.
    """

    hard: tuple[str, ...]
    soft: frozenset[tuple[str, str]]


def judge(summary: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> Judgement:
    """Judge one run.

    Args:
        summary: Content of ``summary.json``.
        rows: Those of ``frames.csv``.
    """
    hard = [f'frames are unaccounted for: {text}' for text in summary['failures']]
    soft: list[tuple[str, str]] = []
    for phase in summary['phases']:
        for text in phase['failures']:
            name = _promise(text)
            if name:
                soft.append((phase['name'], name))
            else:
                hard.append(f'{phase["name"]}: {text}')
        hard += [f'{phase["name"]}: {text}' for text in _far_from_the_best(phase)]
    if len(soft) > MOST_BROKEN:
        hard.append(f'{len(soft)} promises in one run: {soft}')
    worst_ms = WORST_LATENESS * summary['deadline_ms']
    late = [
        row for row in rows if row['phase'] == KILLED and row['outcome'] != 'dropped'
        and float(row['latency_ms']) > worst_ms
    ]
    if late and worst_ms > 0.0:
        hard.append(f'{len(late)} results later than {worst_ms:.0f} ms around the kill')
    if not any(row['phase'] in AFTER_RETURN and row['outcome'] == 'remote' for row in rows):
        hard.append('the server that came back was never used')
    return Judgement(tuple(hard), frozenset(soft))


def broken_twice(first: Judgement, again: Judgement) -> list[tuple[str, str]]:
    """Phase and promise of what one run broke and the next broke again."""
    return sorted(first.soft & again.soft)


def _promise(failure: str) -> str:
    """The promise of ``MAY_BREAK`` whose failure it is; empty = none of them."""
    return next((name for name, begin in MAY_BREAK.items() if re.match(begin, failure)), '')


def _far_from_the_best(phase: Mapping[str, Any]) -> list[str]:
    """By how much ``auto`` was worse than the best baseline, where that is beyond all noise."""
    far = []
    ratio, rates_hz = phase['auto_over_best_baseline'], phase['rate_hz']
    if ratio is not None and ratio > WORST_RATIO:
        far.append(f'auto took {ratio:.2f} times as long as the best baseline')
    best_hz = max((rates_hz.get(name, 0.0) for name in phase['baselines']), default=0.0)
    if AUTO in rates_hz and rates_hz[AUTO] * WORST_RATIO < best_hz:
        far.append(f'auto gave {rates_hz[AUTO]:.1f} results/s, a baseline {best_hz:.1f}')
    return far
