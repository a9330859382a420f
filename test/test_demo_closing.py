"""The five lines at the end of the demo: what happened, what was kept, where to look."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnn_offload.demo.closing import summary_lines
from dnn_offload.demo.phases import Phase
from dnn_offload.demo.verdict import PhaseFinding, UNCHECKED, Verdict

OUT = Path('somewhere')
OUTCOMES = {'remote': 40, 'local': 50, 'rescued': 1, 'dropped': 9}


def phase(name: str, ratio: float | None, **more: tuple[str, ...]) -> PhaseFinding:
    rest = {'failures': (), 'notes': (), **more}
    return PhaseFinding(
        Phase(name, f'{name} title', 'x'), {}, {}, ratio, f'{name} plan', **rest,
    )


def lines(*phases: PhaseFinding, failures: tuple[str, ...] = ()) -> list[str]:
    return summary_lines(Verdict(phases, OUTCOMES, {'superseded': 9}, failures), OUT)


def test_a_demo_that_kept_all() -> None:
    frames, served, ratios, kept, look = lines(phase('a', 0.98), phase('b', None))
    assert frames == (
        '100 frames entered, every one accounted for: 40 remote, 50 local, 1 rescued, 9 dropped '
        '(superseded 9)'
    )
    assert served == 'what served: a title: a plan, b title: b plan'
    assert '0.98 (promised: at most 1.20)' in ratios
    assert kept == 'all promises kept'
    assert look == (
        'look at somewhere/report.html, timeline.png, annotated.mp4, frames.csv, summary.json'
    )


def test_a_broken_promise_is_named_with_its_phase() -> None:
    told = lines(phase('a', 1.3, failures=('auto took 13 ms',)), phase('b', 1.0))[3]
    assert told == 'BROKEN: a: auto took 13 ms'
    told = lines(phase('a', 1.3, failures=('auto took 13 ms',), notes=('killed in use',)))[3]
    assert told == 'BROKEN: a: auto took 13 ms. Seen besides: a title: killed in use'


def test_what_was_not_checked_is_no_kept_promise() -> None:
    told = lines(phase('a', 1.0, notes=(f'{UNCHECKED}: the limit',)))[3]
    assert told.startswith('all promises kept but for 1 not checked; a title: ')


@pytest.mark.parametrize('failure', ['frame 7 has no report', 'counters say 101'])
def test_frames_that_are_unaccounted_for_are_said_first(failure: str) -> None:
    told = lines(phase('a', 1.0), failures=(failure,))
    assert told[0] == '100 frames, accounts do not add up'
    assert told[3] == f'BROKEN: {failure}'


def test_any_broken_promise_is_a_failure() -> None:
    assert Verdict((phase('a', 1.0), phase('b', None, notes=(UNCHECKED,))), {}, {}).passed
    assert not Verdict((phase('a', 1.0), phase('b', 1.3, failures=('late',))), {}, {}).passed
    assert not Verdict((phase('a', 1.0),), {}, {}, ('frame 7 has no report',)).passed
