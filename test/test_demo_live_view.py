"""The demo's live view: a panel on a terminal, lines in a file."""

from __future__ import annotations

import io

from rich.console import Console

from dnn_offload.demo.live_view import LiveView, rate_mbps

VALUES: dict[str, float | str] = {
    'fps': '15.0', 'latency_ms': '41.5', 'load': '1.20', 'uplink_mbps': '20.0', 'cut': '5 pool',
    'codec': 'int8', 'where': 'laptop', 'navigation_hz': '20', 'reason': '[why]', 'remote': 7,
    'local': 1, 'rescued': 0, 'dropped': 2,
}


def shown(terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, width=120, force_terminal=terminal, _environ={})
    with LiveView(console, 60.0) as view:
        view.say('begins')
        view.update(3.0, 'quiet', VALUES)
        view.extend(10.0)
        view.update(3.5, 'quiet', {**VALUES, 'fps': '16.0'})
    return file.getvalue()


def test_a_terminal_gets_a_panel_that_is_redrawn() -> None:
    text = shown(True)
    assert 'dnn_offload demo: quiet' in text and '16.0 fps' in text and '[why]' in text
    assert '3.0 s  quiet' not in text


def test_a_file_gets_a_line_now_and_then() -> None:
    assert shown(False).splitlines() == [
        'begins',
        '  3.0 s  quiet                15.0 fps   41.5 ms  load  1.20  uplink 20.0 Mbit/s'
        '  laptop     cut 5 pool int8  remote 7 local 1 rescued 0 dropped 2',
    ]


def test_a_rate_within_one_machine_is_no_long_number() -> None:
    assert [rate_mbps(bps) for bps in (2e6, 62.84e6, 9.6e8, 1e9, 1e11)] == [
        '2.0', '62.8', '960.0', 'over 1000', 'over 1000',
    ]
