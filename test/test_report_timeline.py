"""The picture of a run: every frame, phase and event is in it, on axes that say what they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
import matplotlib.pyplot as plt
import numpy as np
import pytest

from dnn_offload.exchange import SCOUT_LABEL
from dnn_offload.report import timeline
from dnn_offload.report.records import Event, FrameRow, LoadSample, Span

DEADLINE_MS = 300.0
SPANS = [Span('a', 'quiet', 0.0, 5.0), Span('b', 'load up', 5.0, 10.0)]
EVENTS = [Event(5.0, 'load up'), Event(7.5, 'kill -9')]
LOADS = [LoadSample(1.0, 1.1, 0.4, 20.0), LoadSample(6.0, 3.5, -1.0, 12.0)]


def row(seq: int, time_s: float, outcome: str, **changes: object) -> FrameRow:
    values: dict[str, object] = {field.name: 0.0 for field in fields(FrameRow)}
    values |= {
        'time_s': time_s, 'phase': 'a', 'strategy': 'auto', 'frame_seq': seq, 'outcome': outcome,
        'drop_reason': '', 'cut': '', 'cut_index': 9, 'cut_label': '', 'depth': -1, 'codec': '',
        'server': '', 'plan_epoch': 1, 'plan_id': 1, 'uplink_bytes': 0, 'latency_ms': 30.0,
        'deadline_met': True,
    }
    return FrameRow(**(values | changes))  # type: ignore[arg-type]


ROWS = [
    row(1, 1.0, 'local'),
    row(2, 2.0, 'local', latency_ms=40.0),
    row(3, 3.0, 'remote', cut_index=0, codec='jpeg', server='laptop', latency_ms=20.0),
    row(4, 4.0, 'remote', cut_index=2, codec='int8', server='laptop', latency_ms=25.0),
    row(5, 5.5, 'local', cut_label=SCOUT_LABEL),
    row(6, 7.6, 'rescued', cut_index=2, codec='int8', server='laptop', latency_ms=280.0),
    row(7, 7.7, 'dropped', drop_reason='no_answer'),
    row(8, 7.8, 'dropped', drop_reason='superseded'),
]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """What was drawn, kept open for a look at it."""
    kept: list[Figure] = []
    close = plt.close
    monkeypatch.setattr(timeline.plt, 'close', kept.append)
    yield kept
    for figure in kept:
        close(figure)


def drawn(
    figures: list[Figure], path: Path, rows: list[FrameRow], deadline_ms: float = DEADLINE_MS
) -> list[Axes]:
    """The four axes from top to bottom, and the navigation's beside the first."""
    timeline.plot_timeline(
        path, rows, LOADS, SPANS, EVENTS, deadline_ms=deadline_ms, cut_count=9, title='one run',
    )
    assert path.read_bytes().startswith(b'\x89PNG')
    (figure,) = figures
    assert [text.get_text() for text in figure.texts] == ['one run']
    assert len(figure.axes) == 5
    return figure.axes


def dots(axis: Axes) -> dict[str, list[tuple[float, float]]]:
    """Label, or colour where there is none, of each cloud of dots to its places."""
    return {
        cloud.get_label() if not str(cloud.get_label()).startswith('_')
        else to_hex(cloud.get_facecolor()[0]).upper():
            [(float(x), float(y)) for x, y in cloud.get_offsets()]
        for cloud in axis.collections if len(cloud.get_offsets())
    }


def lines(axis: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Label of each line to its places."""
    return {
        str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axis.get_lines() if not str(line.get_label()).startswith('_')
    }


def test_axes_say_what_they_show_and_in_what_unit(figures: list[Figure], tmp_path: Path) -> None:
    load, cut, latency, rate, navigation = drawn(figures, tmp_path / 'a.png', ROWS)
    assert load.get_ylabel() == 'load [1]' and navigation.get_ylabel() == 'navigation [Hz]'
    assert cut.get_ylabel() == 'cut (0 = picture,\n9 = all on the robot)'
    assert latency.get_ylabel() == 'latency [ms]\n(acquisition to result)'
    assert rate.get_ylabel() == 'rate [1/s]'
    assert rate.get_xlabel() == 'time since the start of the script [s]'
    assert latency.get_yscale() == 'log'
    assert all(axis.get_xlim() == (0.0, 10.0) for axis in (load, cut, latency, rate))
    for axis in (load, cut, latency, rate):
        assert axis.get_legend() is not None
    said = [text.get_text() for text in load.get_legend().get_texts()]
    assert said[-1] == 'navigation loop' and len(said) == 3


def test_every_phase_has_its_title_and_every_event_its_line(
    figures: list[Figure], tmp_path: Path
) -> None:
    load, cut, latency, rate, _ = drawn(figures, tmp_path / 'a.png', ROWS)
    titles = [(text.get_text(), text.get_position()[0]) for text in load.texts]
    assert titles == [('quiet', 2.5), ('load up', 7.5)]
    for axis in (load, cut, latency, rate):
        upright = [line.get_xdata()[0] for line in axis.get_lines() if line.get_linestyle() == ':']
        assert upright == [5.0, 7.5]
        assert len(axis.patches) == len(SPANS)
    # What begins a phase has its title on top, and no second text.
    assert [(text.get_text(), text.xy[0]) for text in latency.texts] == [('kill -9', 7.5)]


def test_every_frame_is_at_its_time_by_outcome(figures: list[Figure], tmp_path: Path) -> None:
    _, cut, latency, _, _ = drawn(figures, tmp_path / 'a.png', ROWS)
    assert dots(cut) == {
        'remote (2)': [(3.0, 0.0), (4.0, 2.0)], 'local (2)': [(1.0, 9.0), (2.0, 9.0)],
        'rescued (1)': [(7.6, 2.0)], 'scout (1)': [(5.5, 9.0)],
    }
    # The lost one is drawn at the foot: it has no latency; a superseded one is no loss.
    colours = timeline.OUTCOME_COLOURS
    assert dots(latency) == {
        colours['remote']: [(3.0, 20.0), (4.0, 25.0)],
        colours['local']: [(1.0, 30.0), (2.0, 40.0), (5.5, 30.0)],
        colours['rescued']: [(7.6, 280.0)],
        'dropped, not superseded (1)': [(7.7, 20.0)],
    }
    names = [(text.get_text(), text.xy) for text in cut.texts]
    assert names == [
        ('local', (1.0, 9)), ('jpeg', (3.0, 0)), ('int8', (4.0, 2)),
    ], 'what ran, where it changes'


@pytest.mark.parametrize('deadline_ms', [DEADLINE_MS, 0.0])
def test_the_deadline_is_drawn_where_there_is_one(
    deadline_ms: float, figures: list[Figure], tmp_path: Path
) -> None:
    _, _, latency, _, _ = drawn(figures, tmp_path / 'a.png', ROWS, deadline_ms)
    if deadline_ms:
        assert set(lines(latency)['deadline'][1]) == {deadline_ms}
    else:
        assert 'deadline' not in lines(latency)


def test_load_and_rate_are_over_time(figures: list[Figure], tmp_path: Path) -> None:
    rows = [row(n, 0.1 * n, 'local' if n % 2 else 'dropped') for n in range(1, 100)]
    load, _, _, rate, navigation = drawn(figures, tmp_path / 'a.png', rows)
    assert lines(load) == {
        'load factor (ours)': ([1.0, 6.0], [1.1, 3.5]),
        'load average / core (Dey et al.)': ([1.0, 6.0], [0.4, 0.0]),  # -1: not known
    }
    assert lines(navigation) == {'navigation loop': ([1.0, 6.0], [20.0, 12.0])}
    counted = lines(rate)
    assert set(counted) == {'pictures', 'results'}
    for name, rate_hz in (('pictures', 10.0), ('results', 5.0)):
        times_s, rates_hz = map(np.array, counted[name])
        inner = rates_hz[(times_s > 2.0) & (times_s < 9.0)]
        assert len(inner) > 20 and np.abs(inner - rate_hz).max() <= 1.0


def test_a_run_without_frames_is_drawn_too(figures: list[Figure], tmp_path: Path) -> None:
    _, cut, _, _, _ = drawn(figures, tmp_path / 'a.png', [])
    assert dots(cut) == {}
