"""What probes say of the load: steps, hiccups, noise, pauses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dnn_offload.cost import load_sources
from dnn_offload.cost.load import LoadTracker
from dnn_offload.cost.load_factors import ProbeFactor
from dnn_offload.cost.load_sources import ProbeRun


def test_probe_factor_is_wall_over_cpu() -> None:
    source = ProbeFactor(window_s=2.0)
    assert math.isnan(source.factor(0.0))
    source.update(0.0, ProbeRun(8.0, 8.0))
    source.update(1.0, ProbeRun(24.0, 8.0))
    assert source.factor(1.0) == pytest.approx(2.0)
    assert math.isnan(source.factor(30.0))


@pytest.mark.parametrize('before, after', [(8.0, 1.0), (1.0, 4.0)])
def test_three_probes_tell_of_a_step(before: float, after: float) -> None:
    source = ProbeFactor(window_s=2.0, confirm=3)
    for tick in range(8):
        assert not source.update(0.25 * tick, ProbeRun(8.0 * before, 8.0))
        assert source.doubtful is (tick < 4), 'the first few are wanted soon'
    told = []
    for tick in range(3):
        told.append(source.update(2.0 + 0.25 * tick, ProbeRun(8.0 * after, 8.0)))
        assert source.doubtful
    assert told == [False, False, True]
    assert source.factor(2.5) == pytest.approx(after)
    assert not source.update(2.75, ProbeRun(8.0 * after, 8.0))
    assert source.doubtful, 'four are few'
    assert not source.update(3.0, ProbeRun(8.0 * after, 8.0))
    assert not source.doubtful


def test_the_first_probe_of_all_may_have_met_somebody() -> None:
    """A server that has just started: a robot read twice its load for two seconds, and left."""
    source = ProbeFactor(window_s=7.0, confirm=3)
    for tick, ratio in enumerate([2.1, 1.0, 1.0]):
        assert not source.update(0.3 * tick, ProbeRun(8.0 * ratio, 8.0))
    assert source.factor(0.6) == pytest.approx(1.0)


def test_one_of_few_probes_after_a_step_that_met_somebody_is_passed_over() -> None:
    """The load has gone, and something else ran for a moment: seen, a return took 2.3 s."""
    source = ProbeFactor(window_s=2.0, confirm=3)
    ratios = [2.0, 2.0, 2.0, 2.0, 1.05, 1.45, 1.1]
    stepped = [
        source.update(0.25 * tick, ProbeRun(8.0 * ratio, 8.0)) for tick, ratio in enumerate(ratios)
    ]
    assert stepped[-1] and source.factor(1.5) == pytest.approx(1.1)
    source.update(1.75, ProbeRun(8.0, 8.0))
    assert source.factor(1.75) == pytest.approx(1.075), 'half-way between the middle two'
    source.update(2.0, ProbeRun(8.0, 8.0))
    assert source.factor(2.0) == pytest.approx(1.12), 'five are enough for a mean'


def test_a_hiccup_among_probes_is_no_step_and_is_forgotten() -> None:
    source = ProbeFactor(window_s=2.0, confirm=3)
    ratios = [2.0, 2.0, 2.0, 8.0, 8.0, 2.0, 2.0, 2.0]
    stepped = [
        source.update(0.5 * tick, ProbeRun(8.0 * ratio, 8.0)) for tick, ratio in enumerate(ratios)
    ]
    assert not any(stepped[:-1])
    assert stepped[-1]  # it is what is forgotten then
    assert source.factor(3.5) == pytest.approx(2.0)


@pytest.mark.parametrize('scatter, steps, doubts', [(0.08, 0, 0.02), (0.15, 0.005, 0.1)])
def test_noise_of_probes_is_hardly_ever_a_step(
    scatter: float, steps: float, doubts: float
) -> None:
    """As beside seven busy processes: deciles of 5.3 and 6.9 around 6.2, a scatter of 0.1."""
    random = np.random.default_rng(2)
    source = ProbeFactor(window_s=2.0, confirm=3)
    count, stepped, doubtful = 5000, 0, 0
    now_s = 0.0
    for _ in range(count):
        ratio = max(6.0 * math.exp(scatter * random.normal()), 1.0)
        stepped += source.update(now_s, ProbeRun(8.0 * ratio, 8.0))
        doubtful += source.doubtful
        now_s += 0.25 if source.doubtful else 0.5
    assert stepped <= steps * count and doubtful <= doubts * count


def test_a_step_between_probes_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down = 8.0
    monkeypatch.setattr(
        load_sources, 'run_probe', lambda cpu_ms, cores, nice: ProbeRun(slow_down * 8.0, 8.0)
    )
    tracker = LoadTracker(str(tmp_path))
    for tick in range(8):
        tracker.probe(0.5 * tick)
        assert tracker.readings(0.5 * tick).factor == pytest.approx(8.0)
    slow_down = 1.0
    for tick in range(3):
        tracker.probe(4.0 + 0.25 * tick)
        assert tracker.wants_probe_soon
    assert tracker.readings(4.5).factor == pytest.approx(1.0)
    for tick in range(2):
        tracker.probe(4.75 + 0.25 * tick)
    assert not tracker.wants_probe_soon


def test_what_a_source_said_before_a_pause_is_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down = 1.2
    monkeypatch.setattr(
        load_sources, 'run_probe', lambda cpu_ms, cores, nice: ProbeRun(slow_down * 8.0, 8.0)
    )
    tracker = LoadTracker(str(tmp_path))
    for tick in range(20):
        tracker.probe(0.2 * tick)
        assert tracker.readings(0.2 * tick).probe == pytest.approx(1.2)
    slow_down = 1.0
    assert math.isnan(tracker.readings(60.0).probe)  # the network ran here meanwhile
    tracker.probe(60.2)
    assert tracker.readings(60.2).probe == pytest.approx(1.0)
