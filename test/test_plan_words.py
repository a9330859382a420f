"""The lines of the plan's marker: short, whole, and with what matters."""

from __future__ import annotations

import math

import pytest

from dnn_offload.nodes.plan_words import LINE_CHARS, plan_line, price, reason_line
from dnn_offload.planning.plan import Candidate


def plan(**changes: object) -> Candidate:
    """A plan of 80 ms on a desk."""
    given = {
        'cut_index': 12, 'cut_id': 'a', 'label': 'Mixed_5b.branch1x1', 'codec': 'int8',
        'server': 'desk', 'head_ms': 20.0, 'tail_ms': 60.0, **changes,
    }  # fmt: skip
    return Candidate(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ('changes', 'measured_ms', 'line'),
    [
        ({}, math.nan, 'desk, cut 12 as int8, 20 + 0 + 60 = 80 ms'),
        ({}, 92.4, 'desk, cut 12 as int8, 20 + 0 + 60 = 80 ms, measured 92 ms'),
        ({'energy_j': 0.214}, math.nan, 'desk, cut 12 as int8, 20 + 0 + 60 = 80 ms, 0.21 J'),
        ({'threads': 2}, math.nan, 'desk, cut 12 as int8, 20 + 0 + 60 = 80 ms, 2 threads'),
        (
            {'return_id': 'b', 'return_index': 40, 'return_codec': 'raw'}, math.nan,
            'desk, cut 12 to 40 as int8/raw, 20 + 0 + 60 = 80 ms',
        ),
        (
            {'frontier': ('v', 'w')}, math.nan,
            'desk, branches near cut 12 as int8, 20 + 0 + 60 = 80 ms',
        ),
        (
            {'server': '', 'codec': '', 'cut_id': ''}, 81.0,
            'all on the robot, 80 ms, measured 81 ms',
        ),
    ],
)  # fmt: skip
def test_a_plan_in_one_line(changes: dict[str, object], measured_ms: float, line: str) -> None:
    assert plan_line(plan(**changes), measured_ms) == line


def test_what_has_no_room_is_left_out_and_the_price_never() -> None:
    long = plan(
        server='workstation_of_the_second_floor', codec='int8_zstd', return_id='b',
        return_index=140, return_codec='int8_zstd', energy_j=1.0, threads=4,
    )
    line = plan_line(long, 85.0)
    assert len(line) <= LINE_CHARS
    assert line.startswith('workstation') and ' ..., cut 12 to 140 as int8_zstd/int8_zstd' in line
    assert line.endswith(', 80 ms')


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'uplink_ms': 9.0}, '20 + 9 + 60 = 89 ms'),
        (
            {
                'encode_ms': 5.0, 'overlap_ms': 3.0, 'rest_ms': 4.0, 'finish_ms': 1.0,
                'uplink_ms': 6.0, 'downlink_ms': 2.0, 'queue_ms': 7.0, 'decode_ms': 3.0,
            },
            '27 + 8 + 70 = 105 ms',
        ),
        (
            {'wait_ms': 2.0, 'late_ms': 3.0, 'overhead_ms': 1.0},
            '20 + 0 + 60 + 6 = 86 ms',
        ),
        (
            {'head_ms': 12.4, 'uplink_ms': 9.4, 'tail_ms': 13.45, 'wait_ms': 0.2},
            '12 + 9 + 14 = 35 ms',
        ),
    ],
)  # fmt: skip
def test_parts_of_the_price_add_up(changes: dict[str, object], words: str) -> None:
    assert price(plan(**changes)) == words


def test_a_reason_in_one_line() -> None:
    assert reason_line('server desk lost: all on the robot, 120.0 ms') == (
        'server desk lost: all on the robot, 120.0 ms'
    )
    whole = (
        'objective = energy; faster: cut 3 (conv (2)) as int8 on desk 130.1 ms, cut 5 (pool) as '
        'int8 on desk 92.0 ms (gain 38.1 ms, needed 12.0 ms, for 3 ticks)'
    )
    line = reason_line(whole)
    assert line.startswith('objective = energy; faster: cut 3 as int8 on desk')
    assert line.endswith(' ...') and len(line) <= LINE_CHARS
    assert '(' not in line and '\n' not in line
    assert reason_line('x' * 200) == 'x' * (LINE_CHARS - 4) + ' ...'
    assert reason_line('') == ''
