"""The picture of ``dnn-offload simulate --plot``: what it must not hide."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from dnn_offload.report import regret
from dnn_offload.report.regret import axis_top, Curves, plot_regret

FOUND = {'auto': 0.30, 'remote': 0.73, 'dey2019': 1.44, 'local': 12.0}


@pytest.mark.parametrize(
    ('percents', 'top'),
    [
        ([30.0, 73.0, 144.0, 1200.0], 144.0),
        ([1.0, 2.0, 30.0, math.nan], 30.0),
        ([4.0, 100.0, 110.0], 10.0),
        ([], 10.0),
    ],
)
def test_bars_are_to_scale_up_to_outliers(percents: list[float], top: float) -> None:
    assert axis_top(percents) == top


def test_bars_are_linear_and_say_where_they_are_cut_off() -> None:
    figure, axis = plt.subplots()
    regret._draw_bars(axis, {name: {'drive': value} for name, value in FOUND.items()})
    assert axis.get_yscale() == 'linear'
    heights = [bars[0].get_height() for bars in axis.containers]  # type: ignore[index]
    assert heights[:3] == pytest.approx([30.0, 73.0, 144.0])
    assert 144.0 < heights[3] < axis.get_ylim()[1]
    assert [bars[0].get_hatch() for bars in axis.containers] == ['', '', '', '//']
    assert [text.get_text() for text in axis.texts] == ['30', '73', '144', '↑ 1200']
    plt.close(figure)


def test_auto_lies_above_the_oracle(tmp_path: Path) -> None:
    times_s = [0.0, 1.0, 2.0]
    curve = Curves(
        'drive', times_s, {'auto': [5.0] * 3, 'remote': [9.0] * 3}, [5.0] * 3, [1.0] * 3, [1e7] * 3
    )
    figure, axis = plt.subplots()
    regret._draw_latencies(axis, curve)
    lines = {line.get_label(): line for line in axis.lines}
    assert lines['auto'].get_zorder() > lines['remote'].get_zorder()
    assert lines['remote'].get_zorder() > lines['oracle'].get_zorder()
    assert lines['oracle'].get_linewidth() > lines['auto'].get_linewidth()
    plt.close(figure)
    plot_regret(
        tmp_path / 'drive.png', [curve], {name: {'drive': v} for name, v in FOUND.items()},
        title='t',
    )
    assert (tmp_path / 'drive.png').read_bytes().startswith(b'\x89PNG')
