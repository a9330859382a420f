"""How far a bench is: what it does stays in sight, and the time left is that of its plan."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from dnn_offload.bench.progress import BenchProgress, left_s


def test_the_plan_is_believed_at_first_and_the_pace_later() -> None:
    assert left_s(1000.0, 0.0, 0.0) == 1000.0
    assert 900.0 < left_s(1000.0, 10.0, 20.0) < 1200.0
    assert left_s(10000.0, 5000.0, 10000.0) == pytest.approx(10000.0, rel=0.02)
    assert left_s(1000.0, 1000.0, 700.0) == 0.0


def test_what_it_does_and_the_time_left_stay_in_sight() -> None:
    """A timeline of ten minutes tells only how its seconds pass; a row may take minutes."""
    clock = SimpleNamespace(now_s=0.0)
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    shown = BenchProgress(console, 2000.0, lambda: clock.now_s)

    def line() -> str:
        console.file = io.StringIO()
        console.print(shown._progress.get_renderable())
        return console.file.getvalue()

    with shown:
        shown.doing('auto, round 1 of 2')
        for _ in range(100):
            clock.now_s += 1.0
            shown.passed(1.0)
        assert 'auto, round 1 of 2' in line() and 'left 0:31:40' in line()
        clock.now_s += 120.0  # nothing has ended meanwhile
        assert 'auto, round 1 of 2' in line() and 'left 0:29:40' in line()
