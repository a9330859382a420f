"""Partition curve, regime map and front: what is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from matplotlib.axes import Axes
import matplotlib.pyplot as plt
import numpy as np
import pytest

from dnn_offload.planning.plan import Candidate, Conditions, Constraints
from dnn_offload.planning.search import plan
from dnn_offload.report import regime_map
from dnn_offload.report.partition_curve import best_per_cut, draw_partition_curve, STAGES
from dnn_offload.report.plan_figure import draw_front, plot_plan
from dnn_offload.report.regime_map import draw_regime_map, NONE, regimes
from plan_cases import BOARD, case


@pytest.fixture
def axis() -> Iterator[Axes]:
    figure, axis = plt.subplots()
    yield axis
    plt.close(figure)


def test_bars_add_up_to_the_latency(axis: Axes) -> None:
    ranked = plan('auto', case(bps=2e6), Constraints(deadline_ms=60.0))
    draw_partition_curve(axis, ranked, title='title')
    rows = best_per_cut(ranked)
    assert [row.cut_index for row in rows] == list(range(13))
    tops = {}
    for bar in axis.patches:
        at = round(bar.get_x() + bar.get_width() / 2)
        tops[at] = max(tops.get(at, 0.0), bar.get_y() + bar.get_height())
    assert [tops[at] for at in range(13)] == pytest.approx([row.latency_ms for row in rows])
    assert axis.get_title(loc='left') == 'title'
    assert '[ms]' in axis.get_ylabel()
    names = {text.get_text() for text in axis.get_legend().get_texts()}
    assert {'head (robot)', 'uplink', 'tail (server)', 'too late'} <= names
    assert 'rest (robot)' not in names, 'what no plan has is not in the legend'


def test_a_winner_with_two_cuts_stands_behind_the_cuts(axis: Axes) -> None:
    ranked = plan('auto', case(bps=2e6))
    back = replace(ranked[1], return_id='x', return_index=7, return_codec='raw', rest_ms=3.0)
    draw_partition_curve(axis, [back, *ranked], title='title')
    assert len(axis.get_xticklabels()) == 14
    label = axis.get_xticklabels()[-1].get_text()
    assert label.startswith(f'{back.cut_index} to 7 ')
    assert axis.texts[0].get_text().startswith(f'best: {back.latency_ms:.1f} ms')


def test_every_stage_of_a_plan_is_drawn() -> None:
    stages = {
        name for name in vars(plan('auto', case())[0])
        # The one comes instead of an answer, the other is taken off: no parts of it.
        if name.endswith('_ms') and name not in ('rescue_ms', 'overlap_ms')
    }
    assert {name for name, _, _ in STAGES} == stages


def test_stages_that_overlap_are_drawn_once(axis: Axes) -> None:
    cut = Candidate(
        1, 'c1', 'conv', 'int8_zstd', 's', encode_ms=9.0, uplink_ms=20.0, tail_ms=3.0,
        overlap_ms=7.0,
    )
    draw_partition_curve(axis, [cut], title='t')
    top = max(bar.get_y() + bar.get_height() for bar in axis.patches)
    assert top == pytest.approx(cut.latency_ms) == pytest.approx(25.0)


def test_many_cuts_have_numbers_instead_of_names(axis: Axes) -> None:
    draw_partition_curve(axis, plan('auto', case(cuts=40)), title='t')
    assert len(axis.get_xticklabels()) <= 22
    assert axis.get_xticklabels()[-1].get_text() == '40'


def test_regimes_are_the_best_plans_at_each_point() -> None:
    at = case(cuts=6)
    cells, plans = regimes('auto', at, Constraints(), [1e5, 1e7, 1e9], [0.5, 8.0])
    assert cells.shape == (2, 3)
    assert plans[cells[0, 0]].is_local
    assert plans[cells[1, 1]].codec == 'jpeg'
    assert all(one.cut_index <= two.cut_index for one, two in zip(plans, plans[1:], strict=False))
    nowhere, none = regimes('remote', at, Constraints(private_layers=1), [1e6], [1.0])
    assert nowhere.tolist() == [[NONE]]
    assert none == []


def test_the_map_names_its_regions_and_marks_now(
    axis: Axes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regime_map, 'STEPS', (36, 24))
    at = case(cuts=6, bps=3e6, load=1.5)
    draw_regime_map(axis, 'auto', at, Constraints(), title='map')
    names = {text.get_text() for text in axis.texts}
    assert {'all on the robot', 'picture\njpeg'} <= names
    low, high = axis.get_xlim()
    for text in axis.texts:
        assert low < text.get_position()[0] < high
    (now,) = axis.get_lines()
    assert (now.get_xdata()[0], now.get_ydata()[0]) == (3.0, 1.5)
    assert '[Mbit/s]' in axis.get_xlabel()


def test_plans_with_little_room_are_named_together(
    axis: Axes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regime_map, 'STEPS', (36, 24))
    at = case(cuts=60, bps=3e6, load=1.5)
    draw_regime_map(axis, 'auto', at, Constraints(private_layers=1), title='map')
    assert any(text.get_text().startswith('cuts ') for text in axis.texts)


def test_the_front_is_drawn_with_the_choice(axis: Axes) -> None:
    ranked = plan('auto', case(bps=2e6, power=BOARD.above_idle()))
    draw_front(axis, ranked, title='front')
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels[0] == f'{len(ranked)} plans'
    choice = axis.get_lines()[-1]
    assert choice.get_xdata()[0] == ranked[0].latency_ms
    assert '[J]' in axis.get_ylabel()


def placement(values: str, **changes: object) -> Candidate:
    """A plan that sends these values, near cut 3; in the test of the front the thriftiest."""
    plan = Candidate(
        3, f'of {values}', 'branches near pool', 'int8', 's', head_ms=1.0, energy_j=0.5,
        frontier=tuple(values),
    )
    return replace(plan, **changes)  # type: ignore[arg-type]


def test_a_placement_is_told_from_the_cut_that_it_is_near_to(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = replace(placement('v'), cut_id='c3', label='pool', frontier=())
    rank = {1e6: placement('vw'), 2e6: placement('vx'), 3e6: cut}
    monkeypatch.setattr(
        regime_map, 'plan', lambda _, at, __: [rank[at.servers[0].link.uplink_bps]]
    )
    cells, plans = regimes('auto', case(), Constraints(), list(rank), [1.0])
    assert sorted(cells[0].tolist()) == [0, 1, 2]
    assert {one.key for one in plans} == {one.key for one in rank.values()}


@pytest.mark.parametrize(
    ('number', 'changes', 'name'),
    [
        (2, {}, 'branches near cut 3\nint8'),
        (60, {}, 'branches near cut 3\nint8'),
        (60, {'frontier': (), 'return_id': 'b', 'return_index': 9}, 'cut 3 to 9\nint8'),
        (60, {'codec': '', 'server': '', 'frontier': ()}, 'all on the robot'),
    ],
)  # fmt: skip
def test_plans_of_one_shape_have_one_name(
    axis: Axes, monkeypatch: pytest.MonkeyPatch, number: int, changes: dict[str, object], name: str
) -> None:
    """Large regions by themselves, small ones (here apart in threads) together."""

    def region(_: str, at: Conditions, __: Constraints) -> list[Candidate]:
        places = np.log10([at.servers[0].link.uplink_bps, at.edge_load]) * number // 4
        return [placement('v', threads=int(places @ [1000, 1]), **changes)]

    monkeypatch.setattr(regime_map, 'STEPS', (36, 24))
    monkeypatch.setattr(regime_map, 'plan', region)
    draw_regime_map(axis, 'auto', case(cuts=6), Constraints(), title='map')
    assert {text.get_text() for text in axis.texts} == {name}


def test_the_curve_and_the_front_name_a_placement(axis: Axes) -> None:
    others = [replace(one, energy_j=1.0) for one in plan('auto', case(bps=2e6))]
    best = placement('vw', head_ms=0.1)
    draw_partition_curve(axis, [best, *others], title='curve')
    assert axis.get_xticklabels()[-1].get_text() == 'branches near cut 3 (int8)'
    axis.clear()
    back = replace(best, cut_id='c3', frontier=(), return_id='b', return_index=9, energy_j=0.1)
    draw_front(axis, [best, replace(back, head_ms=2.0), *others], title='front')
    names = [text.get_text() for text in axis.texts]
    assert names == ['branches near cut 3, int8', 'cut 3 to 9, int8']


@pytest.mark.parametrize('with_server', [True, False])
def test_one_picture_with_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_server: bool
) -> None:
    monkeypatch.setattr(regime_map, 'STEPS', (8, 6))
    at = case(cuts=5) if with_server else case(cuts=5, power=None)
    if not with_server:
        at = type(at)(at.edge_profile)
    path = tmp_path / 'plan.png'
    plot_plan(path, 'auto', at, Constraints(), plan('auto', at), title='a plan')
    picture = plt.imread(path)
    assert picture.shape[0] > (1000 if with_server else 500)
    assert np.ptp(picture) > 0.5
