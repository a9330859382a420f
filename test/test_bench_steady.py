"""When a window of the bench may begin: frames run as published, under a plan that stays."""

from __future__ import annotations

import pytest

from dnn_offload.bench.scenario.changes import as_planned
from dnn_offload.exchange import SCOUT_LABEL
from test_bench_records import frame

HERE = frame(1.0, 20.0, cut=9, server='', codec='')
THERE = frame(1.1, 20.0, server='edge')


@pytest.mark.parametrize('row, server', [(HERE, ''), (THERE, 'edge')])
def test_frames_that_run_where_the_plan_says_show_it(row: object, server: str) -> None:
    assert as_planned([THERE, HERE, row], server)  # type: ignore[list-item]


@pytest.mark.parametrize('row, server', [(HERE, 'edge'), (THERE, ''), (THERE, 'other')])
def test_a_robot_that_is_not_connected_is_not_steady(row: object, server: str) -> None:
    """Else all-local is measured as a plan of the server."""
    assert as_planned([row], server) == ''  # type: ignore[list-item]


def test_scouts_and_trials_do_not_count() -> None:
    scout = frame(1.2, 20.0, cut=9, server='', codec='', label=SCOUT_LABEL)
    trial = frame(1.3, 20.0, server='other', trial=True)
    assert as_planned([THERE, scout, trial], 'edge') == as_planned([THERE], 'edge')
    assert as_planned([scout], 'edge') == as_planned([], '') == ''
