"""The oracle's search with made-up timings: it finds the best, and never too late."""

from __future__ import annotations

from dataclasses import replace
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from dnn_offload.bench.rows.oracle import best_first, Found, Option, options, search, Shares
from dnn_offload.cost.profile import CodecCost, CutProfile, Profile


def _option(number: int, bound_ms: float) -> Option:
    return Option(f'cut{number}', number, f'layer {number}', 'raw', bound_ms)


@given(
    st.lists(st.tuples(st.floats(0.1, 100.0), st.floats(0.0, 50.0)), min_size=1, max_size=40)
)
def test_a_sound_bound_finds_what_brute_force_finds(pairs: list[tuple[float, float]]) -> None:
    """Pairs of a bound and what the plan takes beyond it."""
    pairs.sort()
    true_ms = {f'cut{n}': bound + more for n, (bound, more) in enumerate(pairs)}
    found = best_first(
        [_option(n, bound) for n, (bound, _) in enumerate(pairs)],
        lambda option: true_ms[option.cut_id], most=len(pairs),
    )
    assert found.exhausted
    assert found.tried[0][1] == min(true_ms.values())
    ran = {option.cut_id for option, _ in found.tried}
    for number, (bound, _) in enumerate(pairs):
        if f'cut{number}' not in ran:
            assert bound >= found.tried[0][1]


def test_a_limit_of_runs_is_told() -> None:
    known = [_option(n, float(n)) for n in range(10)]
    found = best_first(known, lambda option: 100.0 - option.cut_index, most=4)
    assert not found.exhausted and len(found.tried) == 4 and found.left_out_ms == 4.0
    assert found.tried[0][0].cut_index == 3
    just = best_first(known[:4], lambda option: 100.0, most=4)
    assert just.exhausted and len(just.tried) == 4


@given(
    st.lists(st.tuples(st.floats(0.1, 100.0), st.floats(0.0, 50.0)), min_size=4, max_size=30)
)
def test_guesses_never_hide_the_best(pairs: list[tuple[float, float]]) -> None:
    pairs.sort()
    known = [_option(n, bound) for n, (bound, _) in enumerate(pairs)]
    true_ms = {f'cut{n}': bound + more for n, (bound, more) in enumerate(pairs)}
    found = best_first(
        known, lambda option: true_ms[option.cut_id], len(pairs), [known[-1], known[2]]
    )
    assert found.exhausted and found.tried[0][1] == min(true_ms.values())
    ran = [option.cut_id for option, _ in found.tried]
    assert len(set(ran)) == len(ran) and {known[-1].cut_id, known[2].cut_id} <= set(ran)


def test_what_does_not_run_is_not_the_best() -> None:
    known = [_option(0, 1.0), _option(1, 2.0)]
    found = best_first(known, lambda o: math.inf if o.cut_index == 0 else 5.0, most=9)
    assert [option.cut_index for option, _ in found.tried] == [1, 0]


def test_a_bad_moment_does_not_end_what_was_likely_good() -> None:
    """Eight frames of a JPEG in one, and the plan that all are judged by was twice as slow."""
    named = [replace(_option(number, 1.0), cut_id=f'c{number}') for number in range(6)]
    tried = zip(named, (37.0, 38.0, 39.0, 60.0, 61.0, 120.0), strict=True)
    found = Found((*tried, (_option(9, 1.0), math.inf)))
    likely = [named[3].plan, named[5].plan, named[0].plan, _option(9, 1.0).plan]
    assert found.finalists(3, likely) == [*named[:3], named[3]]
    assert found.finalists(3, []) == named[:3]


def _profile(speed: float, last_measured: bool = True) -> Profile:
    """Four layers of 10 ms; the frontier shrinks."""
    cuts = []
    for index in range(5):
        nbytes = 100_000 // (index + 1)
        codecs = {
            'raw': CodecCost(nbytes, 0.0, 0.0), 'int8_zstd': CodecCost(nbytes // 5, 0.5, 0.5),
        } if index < 4 else {}
        cuts.append(CutProfile(
            f'c{index}', index, f'layer {index}', index, nbytes, 10.0 * index / speed,
            10.0 * (4 - index) / speed, head_spread_ms=2.0, tail_spread_ms=2.0,
            measured=last_measured or index != 2, codecs=codecs,
        ))
    return Profile(
        'made:up', 'id', {}, 'torch', 1, {}, 0.1, {'raw': 4000}, 1.0, tuple(cuts)
    )


def test_bounds_are_compute_and_bytes_over_the_rate() -> None:
    found = options(
        _profile(1.0), _profile(4.0), uplink_bps=8e6, downlink_bps=4e6, burst_bytes=1000.0
    )
    assert [o.bound_ms for o in found] == sorted(o.bound_ms for o in found)
    by_plan = {(o.cut_index, o.codec): o.bound_ms for o in found}
    assert len(by_plan) == 9  # four cuts with two codecs, and all-local
    assert by_plan[4, ''] == pytest.approx(0.9 * 40.0)
    down_ms = 3000 * 8 / 4e6 * 1e3
    assert by_plan[1, 'raw'] == pytest.approx(0.9 * (10.0 + 7.5) + 49.0 + down_ms)
    # What a coded tensor comes to depends on the picture; coding is 1 ms on both sides together.
    coded_ms = 0.9 * 0.7 * 1.0 + (7000 - 1000) / 1e3
    assert by_plan[1, 'int8_zstd'] == pytest.approx(0.9 * 17.5 + coded_ms + down_ms)


def test_answers_may_have_any_codec() -> None:
    """Masks go as zstd (codec.registry.answer_codec): a few percent of their raw size."""
    edge, server = _profile(1.0), _profile(4.0)
    edge = replace(edge, output_bytes={'raw': 400_000, 'fp16': 200_000, 'zstd': 9_000})
    known = options(edge, server, uplink_bps=0.0, downlink_bps=1e6)
    bound = next(o.bound_ms for o in known if o.cut_index == 1 and o.codec == 'raw')
    assert bound == pytest.approx(0.9 * (10.0 + 7.5) + 0.7 * 9e3 * 8 / 1e3)


def test_a_cut_that_was_not_measured_has_the_lower_end_of_its_interval() -> None:
    edge, server = _profile(1.0, last_measured=False), _profile(4.0)
    known = options(edge, server, uplink_bps=0.0, downlink_bps=0.0)
    bound = next(o.bound_ms for o in known if o.cut_index == 2)
    assert bound == pytest.approx(0.9 * (20.0 - 2.0 + 5.0))


def test_cuts_and_codecs_that_the_server_lacks_are_no_options() -> None:
    edge, server = _profile(1.0), _profile(1.0)
    cuts = list(server.cuts)
    cuts[1] = replace(cuts[1], codecs={'raw': cuts[1].codecs['raw']})
    known = options(
        edge, replace(server, cuts=tuple(cuts[1:])), uplink_bps=1e6, downlink_bps=1e6
    )
    assert {(o.cut_index, o.codec) for o in known} == {
        (4, ''), (1, 'raw'), (2, 'raw'), (2, 'int8_zstd'), (3, 'raw'), (3, 'int8_zstd'),
    }


@given(
    speed=st.floats(0.5, 20.0), rate=st.floats(1e5, 1e8), late=st.floats(0.0, 5.0),
    slower=st.floats(0.0, 0.5), seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_bounds_are_below_what_plans_really_take(
    speed: float, rate: float, late: float, slower: float, seed: int
) -> None:
    """Truth: compute from 0.9 times its profile on, bytes at the rate, and more on top."""
    edge, server = _profile(1.0), _profile(speed)
    known = options(edge, server, uplink_bps=rate, downlink_bps=rate)

    def truth(option: Option) -> float:
        share = 0.9 + slower * ((option.cut_index * 7 + seed) % 5) / 5
        head, tail = edge.cuts[option.cut_index].head_ms, server.cuts[option.cut_index].tail_ms
        if not option.cut_id:
            return share * head + late
        nbytes = edge.cuts[option.cut_index].codecs[option.codec].nbytes + 4000
        return share * (head + tail) + 8e3 * nbytes / rate + late

    best = min(truth(option) for option in known)
    assert best_first(known, truth, most=99).tried[0][1] == pytest.approx(best)


@given(
    robot=st.floats(0.4, 1.1), server=st.floats(0.4, 1.1), rate=st.floats(1e6, 1e8),
    late=st.floats(0.0, 3.0),
)
@settings(max_examples=60)
def test_profiles_of_a_busier_time_do_not_hide_the_best(
    robot: float, server: float, rate: float, late: float
) -> None:
    """Truth: everything computes in such a share of what it took when it was profiled."""
    edge, there = _profile(1.0), _profile(2.0)
    runs: list[tuple[str, str]] = []

    def run(option: Option, shares: Shares) -> tuple[float, Shares]:
        runs.append(option.plan)
        head_ms = robot * edge.cuts[option.cut_index].head_ms
        tail_ms = server * there.cuts[option.cut_index].tail_ms if option.cut_id else math.nan
        seen = shares.seen(option, edge, there, head_ms, tail_ms)
        return truth(option), seen

    def truth(option: Option) -> float:
        head_ms = robot * edge.cuts[option.cut_index].head_ms
        if not option.cut_id:
            return head_ms + late
        nbytes = edge.cuts[option.cut_index].codecs[option.codec].nbytes + 4000
        tail_ms = server * there.cuts[option.cut_index].tail_ms
        return head_ms + tail_ms + 8e3 * nbytes / rate + late

    def bounded(shares: Shares) -> list[Option]:
        return options(edge, there, uplink_bps=rate, downlink_bps=rate, shares=shares)

    found = search(bounded, run, 99, [('', ''), ('c0', 'raw')])
    assert found.exhausted and len(set(runs)) == len(runs)
    assert found.tried[0][1] == pytest.approx(min(truth(option) for option in bounded(Shares())))


def test_short_and_unknown_times_tell_no_share() -> None:
    edge, there = _profile(1.0), _profile(40.0)
    one = options(edge, there, uplink_bps=0.0, downlink_bps=0.0)
    local = next(option for option in one if not option.cut_id)
    inner = next(option for option in one if option.cut_index == 2)
    assert Shares().seen(local, edge, there, 30.0, math.nan) == Shares(0.75, 1.0)
    assert Shares().seen(local, edge, there, math.nan, math.nan) == Shares()
    assert Shares(0.8).seen(inner, edge, there, 19.0, 0.1) == Shares(0.8, 1.0)  # 0.5 ms profiled
