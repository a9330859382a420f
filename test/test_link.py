"""The link estimator: converges, reacts, is not fooled, is neither stuck up nor down."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.cost.link import (
    DOWNLINK,
    LinkDefaults,
    LinkEstimator,
    LinkEvidence,
    LOST,
    UPLINK,
)
from dnn_offload.cost.link_state import LinkState
from dnn_offload.cost.transfer_fit import MAX_ALPHA_MS, MAX_BPS, MIN_BPS
from dnn_offload.errors import ConfigurationError

RATE_HZ = 8.0


class Wire:
    """A made-up link with noise, feeding an estimator."""

    def __init__(self, estimator: LinkEstimator, noise: float = 0.1, seed: int = 1) -> None:
        self.estimator = estimator
        self.noise = noise
        self.now_s = 0.0
        self.random = np.random.default_rng(seed)

    def send(
        self, count: int, sizes: int | list[int], bps: float, alpha_ms: float, **options: float
    ) -> LinkState:
        """``count`` transfers at 8 per second; the state after the last."""
        for index in range(count):
            nbytes = sizes if isinstance(sizes, int) else sizes[index % len(sizes)]
            ms = (alpha_ms + 8e3 * nbytes / bps) * np.exp(self.noise * self.random.normal())
            evidence = LinkEvidence(UPLINK, nbytes, float(ms), **options)
            self.estimator.add(evidence, self.now_s)
            self.now_s += 1.0 / RATE_HZ
        return self.estimator.state(self.now_s)


def test_defaults_before_any_sample() -> None:
    state = LinkEstimator(LinkDefaults(4.0, 7e6, 5.0, 9e6)).state(0.0)
    assert state == LinkState(4.0, pytest.approx(7e6), 5.0, pytest.approx(9e6), 0.0)


@pytest.mark.parametrize('bps', [2e5, 1e6, 1e7, 1e8, 1e9])
@pytest.mark.parametrize('alpha_ms', [0.3, 3.0, 30.0])
def test_mixed_sizes_tell_alpha_from_rate(bps: float, alpha_ms: float) -> None:
    sizes = [50_000, 100_000, 300_000, 600_000]
    state = Wire(LinkEstimator()).send(60, sizes, bps, alpha_ms)
    for nbytes in (50_000, 200_000, 600_000):
        assert state.uplink_ms(nbytes) == pytest.approx(alpha_ms + 8e3 * nbytes / bps, rel=0.15)
    assert state.confidence > 0.5


def test_equal_sizes_move_the_rate_and_keep_alpha() -> None:
    state = Wire(LinkEstimator()).send(40, 50_000, 2e6, 3.0)
    assert state.uplink_alpha_ms == pytest.approx(3.0, abs=1.0)
    assert state.uplink_bps == pytest.approx(2e6, rel=0.15)


@pytest.mark.parametrize('before, after', [(20e6, 2e6), (2e6, 20e6), (20e6, 10e6), (10e6, 20e6)])
def test_step_is_seen_within_a_second(before: float, after: float) -> None:
    wire = Wire(LinkEstimator())
    wire.send(60, 60_000, before, 3.0)
    state = wire.send(int(RATE_HZ), 60_000, after, 3.0)  # one second
    assert state.uplink_ms(60_000) == pytest.approx(3.0 + 8e3 * 60_000 / after, rel=0.25)


def test_single_outliers_do_not_move_it() -> None:
    wire = Wire(LinkEstimator(), noise=0.05)
    before = wire.send(60, 60_000, 20e6, 3.0)
    for ms in (0.1, 900.0):
        wire.estimator.add(LinkEvidence(UPLINK, 60_000, ms), wire.now_s)
        after = wire.estimator.state(wire.now_s)
        assert after.uplink_ms(60_000) == pytest.approx(before.uplink_ms(60_000), rel=0.15)
        wire.send(10, 60_000, 20e6, 3.0)


def test_small_payloads_in_a_burst_do_not_explode_the_rate() -> None:
    wire = Wire(LinkEstimator())
    for _ in range(40):  # 5 Mbit/s behind a burst of 32 kB, frames of both sizes
        wire.send(3, 10_000, 1e9, 0.1)
        wire.send(1, 200_000, 5e6, 0.1)
    state = wire.estimator.state(wire.now_s)
    assert state.uplink_bps < 7.5e6
    # Half a minute of small frames only: the rate must not be forgotten.
    state = wire.send(240, 10_000, 1e9, 0.1)
    assert state.uplink_bps < 10e6
    assert state.uplink_ms(10_000) < 20.0


@pytest.mark.parametrize('frame_bytes', [20_000, 47_000, 90_000])
@pytest.mark.parametrize('mbps', [1.0, 10.0, 40.0])
def test_a_burst_is_no_faster_link(frame_bytes: int, mbps: float) -> None:
    """Behind a bucket of 32 kB: right for frames like those sent, and for others as well."""
    burst, alpha_ms = 32_000, 2.0
    wire = Wire(LinkEstimator())
    for _ in range(8):
        wire.send(1, 49_152, mbps * 1e6, alpha_ms, probe=True)  # measured behind the burst
        for _ in range(40):
            held = max(frame_bytes - burst, 0)
            ms = (alpha_ms + 8e-3 * held / mbps) * np.exp(0.1 * wire.random.normal())
            wire.estimator.add(LinkEvidence(UPLINK, frame_bytes, float(ms)), wire.now_s)
            wire.now_s += 1.0 / RATE_HZ
    state = wire.estimator.state(wire.now_s)
    assert state.uplink_bps == pytest.approx(mbps * 1e6, rel=0.3)
    for nbytes in (frame_bytes, 300_000):
        true_ms = alpha_ms + 8e-3 * max(nbytes - burst, 0) / mbps
        assert state.uplink_ms(nbytes) == pytest.approx(true_ms, rel=0.3, abs=1.5)


def test_short_probes_tell_that_a_link_has_become_faster() -> None:
    """Behind the burst even little tells, though frames were much larger."""
    wire = Wire(LinkEstimator())
    for _ in range(20):
        wire.send(1, 100_000, 1e6, 3.0)
    for _ in range(3):
        wire.now_s += 0.3
        wire.send(1, 8_192, 20e6, 3.0, probe=True)
    assert wire.estimator.state(wire.now_s).uplink_bps > 8e6


@pytest.mark.parametrize('mbps', [(1.0, 20.0), (20.0, 1.0), (8.0, 20.0), (20.0, 8.0)])
@pytest.mark.parametrize('apart_s', [0.1, 0.2, 0.3])
def test_three_in_a_row_are_believed_the_sooner_the_further_they_are_off(
    mbps: tuple[float, float], apart_s: float
) -> None:
    """Of stragglers in quick succession there are three soon."""
    before, after = (1e6 * rate for rate in mbps)
    believed = apart_s >= (0.2 if 1.0 in mbps else 0.3)
    wire = Wire(LinkEstimator(), noise=0.01)
    for _ in range(20):
        wire.send(1, 49_152, before, 3.0, probe=True)
        wire.now_s += 1.5
    for _ in range(3):
        wire.send(1, 49_152, after, 3.0, probe=True)
        wire.now_s += apart_s - 1.0 / RATE_HZ
    bps = wire.estimator.state(wire.now_s).uplink_bps
    assert (0.8 < bps / after < 1.25) == believed


def test_probes_that_are_slower_than_frames_are_no_sign_of_a_burst() -> None:
    wire = Wire(LinkEstimator())
    for _ in range(8):
        wire.send(1, 49_152, 8.5e6, 3.0, probe=True)
        state = wire.send(40, 60_000, 10e6, 3.0)
    assert state.uplink_burst_bytes == 0.0
    assert state.uplink_ms(300_000) == pytest.approx(3.0 + 240.0, rel=0.15)


def test_stale_estimate_returns_to_the_prior() -> None:
    for bps in (1e5, 1e9):
        wire = Wire(LinkEstimator())
        state = wire.send(40, 60_000, bps, 3.0)
        later = wire.estimator.state(wire.now_s + 5.0)
        assert later.uplink_bps == state.uplink_bps
        much_later = wire.estimator.state(wire.now_s + 300.0)
        assert much_later.uplink_bps == pytest.approx(20e6, rel=0.05)
        assert much_later.confidence < 0.01


def test_losses_kill_the_link_and_a_success_revives_it() -> None:
    estimator = LinkEstimator()
    estimator.add(LinkEvidence(UPLINK, 60_000, 20.0), 0.0)
    estimator.add(LinkEvidence(LOST), 0.1)
    assert estimator.state(0.1).alive
    estimator.add(LinkEvidence(LOST), 0.2)
    assert not estimator.state(0.2).alive
    estimator.add(LinkEvidence(UPLINK, 60_000, 20.0), 0.3)
    assert estimator.state(0.3).alive


def test_dead_link_is_tried_again_with_back_off() -> None:
    estimator = LinkEstimator(first_dead_s=2.0, max_dead_s=30.0)
    alive_at = []
    now_s = 0.0
    for _ in range(3000):  # five minutes at 10 Hz in which each try is lost
        if estimator.state(now_s).alive:
            alive_at.append(now_s)
            estimator.lost(now_s)
        now_s += 0.1
    waits = np.diff(alive_at[1:])
    assert 10 <= len(alive_at) <= 25          # not for ever, not all the time
    assert waits[0] == pytest.approx(2.0, abs=0.2)
    assert waits.max() == pytest.approx(30.0, abs=0.2)


def test_limit_of_our_own_is_not_the_links() -> None:
    wire = Wire(LinkEstimator())
    free = wire.send(60, 60_000, 40e6, 3.0)
    wire.send(40, 60_000, 1e6, 3.0, max_uplink_bps=1e6)
    limited = wire.estimator.state(wire.now_s, max_uplink_bps=1e6)
    assert limited.uplink_bps == pytest.approx(1e6, rel=0.15)
    assert limited.uplink_bps <= 1e6
    lifted = wire.estimator.state(wire.now_s)
    assert lifted.uplink_bps == pytest.approx(free.uplink_bps, rel=0.1)
    assert wire.estimator.state(wire.now_s, max_uplink_bps=5e6).uplink_bps <= 5e6


def test_slower_than_the_limit_is_the_links_doing() -> None:
    wire = Wire(LinkEstimator())
    wire.send(60, 60_000, 40e6, 3.0)
    wire.send(20, 60_000, 2e5, 3.0, max_uplink_bps=1e6)
    assert wire.estimator.state(wire.now_s).uplink_bps == pytest.approx(2e5, rel=0.2)


def test_downlink_is_apart() -> None:
    estimator = LinkEstimator()
    for index in range(30):
        estimator.add(LinkEvidence(DOWNLINK, 4_000, 12.0), index / 8)
    state = estimator.state(4.0)
    assert state.downlink_ms(4_000) == pytest.approx(12.0, rel=0.1)
    assert state.uplink_bps == pytest.approx(20e6)


def test_a_single_loss_is_forgiven_at_the_first_acknowledgement() -> None:
    estimator = LinkEstimator(lost_after=1)
    for index in range(20):  # one every ten seconds or so: no growth
        now_s = 12.0 * index
        estimator.lost(now_s)
        assert estimator.dead(now_s)
        assert not estimator.dead(now_s + 2.1), 'nor is it dead for ever without any'
        estimator.add(LinkEvidence(UPLINK, 60_000, 20.0, probe=True), now_s + 0.5)
        assert not estimator.dead(now_s + 0.5)


def test_losses_in_quick_succession_keep_a_link_out_for_longer() -> None:
    estimator = LinkEstimator(lost_after=1)
    now_s, waits = 0.0, []
    for _ in range(7):
        estimator.lost(now_s)
        began_s = now_s
        while estimator.dead(now_s):
            now_s += 0.1
        waits.append(now_s - began_s)
        now_s += 1.0
    assert waits == sorted(waits)
    assert waits[0] < 2.2
    assert 29.0 < waits[-1] < 31.0
    now_s += 60.0
    estimator.lost(now_s)
    assert not estimator.dead(now_s + 2.1)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='kind'):
        LinkEstimator().add(LinkEvidence(7, 1, 1.0), 0.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([UPLINK, DOWNLINK, LOST]),
            st.integers(-1, 10**9),
            st.floats(-1e6, 1e9) | st.just(float('nan')),
            st.floats(-10.0, 1e4),
            st.booleans(),
            st.sampled_from([0.0, 1e5, 1e6]),
        ),
        max_size=60,
    )
)
def test_always_within_physical_bounds(
    samples: list[tuple[int, int, float, float, bool, float]],
) -> None:
    estimator = LinkEstimator()
    for kind, nbytes, ms, now_s, probe, limit in samples:
        estimator.add(LinkEvidence(kind, nbytes, ms, probe, limit), now_s)
        state = estimator.state(now_s)
        assert 0.0 <= state.uplink_alpha_ms <= MAX_ALPHA_MS
        assert 0.0 <= state.confidence <= 1.0
        for bps in (state.uplink_bps, state.downlink_bps):
            assert bps == 0.0 or MIN_BPS * 0.999 <= bps <= MAX_BPS * 1.001


def downlink(estimator: LinkEstimator, ms: float, now_s: float) -> None:
    estimator.add(LinkEvidence(DOWNLINK, 4000, ms), now_s)


def test_a_way_back_that_nobody_measures_is_forgotten_when_the_uplink_speeds_up() -> None:
    """Out of a dead corner: only probes are sent, and only upwards."""
    wire = Wire(LinkEstimator())
    for _ in range(20):
        wire.send(1, 60_000, 150e3, 3.0)
        downlink(wire.estimator, 210.0, wire.now_s)
    assert wire.estimator.state(wire.now_s).downlink_ms(4000) > 150.0
    wire.now_s += 4.0
    fast = wire.send(8, 60_000, 30e6, 3.0)
    assert fast.uplink_bps > 20e6
    assert fast.downlink_ms(4000) == pytest.approx(3.0 + 8e3 * 4000 / 20e6)


def test_a_way_back_that_is_measured_is_kept_when_the_uplink_speeds_up() -> None:
    wire = Wire(LinkEstimator())
    for bps in (150e3, 30e6):
        for _ in range(20):
            wire.send(1, 60_000, bps, 3.0)
            downlink(wire.estimator, 210.0, wire.now_s)
    assert wire.estimator.state(wire.now_s).downlink_ms(4000) > 150.0


class Rig:
    """A link at a desk: probes and frames, each frame with its answer, 0.07 ms for 2.5 kB."""

    def __init__(self) -> None:
        self.link, self.now_s = LinkEstimator(lost_after=1), 0.0

    def send(self, count: int, nbytes: int, ms: float, every_s: float, *, probe: bool) -> None:
        for _ in range(count):
            self.now_s += every_s
            self.link.add(LinkEvidence(UPLINK, nbytes, ms, probe=probe), self.now_s)
            if not probe:
                self.link.add(LinkEvidence(DOWNLINK, 2_472, 0.07), self.now_s)

    def use(self) -> None:
        """Probes, and frames with their answers."""
        self.send(4, 49_152, 1.1, 1.5, probe=True)
        self.send(5, 11_821, 0.8, 0.067, probe=False)

    @property
    def answer_ms(self) -> float:
        return self.link.state(self.now_s).downlink_ms(2_472)


def test_load_that_ends_on_the_robot_leaves_a_good_way_back_as_it_was() -> None:
    """Seen: its own transfers took longer under load; calm, the link seemed to be another."""
    rig = Rig()
    rig.use()
    rig.send(2, 49_152, 1.1, 1.5, probe=True)
    rig.send(1, 49_152, 4.0, 0.3, probe=True)     # load: everything takes longer
    rig.send(4, 11_821, 2.0, 0.067, probe=False)
    rig.send(5, 49_152, 1.1, 1.5, probe=True)     # it is gone
    assert rig.answer_ms < 1.0


def test_a_good_way_back_stays_known_while_probes_go_up_as_before() -> None:
    rig = Rig()
    rig.use()
    rig.send(80, 49_152, 1.1, 1.5, probe=True)    # two minutes at home
    assert rig.answer_ms < 1.0
    before_ms = rig.answer_ms
    rig.now_s += 10.3                             # a probe is late: no cliff
    assert rig.answer_ms < before_ms + 0.3
    rig.now_s += 120.0                            # two minutes without a sign of it
    assert rig.answer_ms > 3.0


def test_a_way_back_is_not_trusted_beyond_a_fall_of_the_uplink() -> None:
    rig = Rig()
    rig.use()
    rig.send(40, 49_152, 1.1, 1.5, probe=True)    # a minute at home
    assert rig.answer_ms < 1.0
    rig.send(5, 49_152, 400.0, 1.5, probe=True)   # the robot has driven into a dead corner
    assert rig.answer_ms > 2.0
    rig.send(1, 49_152, 400.0, 1.5, probe=False)  # an answer tells
    assert rig.answer_ms < 2.0


def test_a_bad_way_back_is_forgotten_so_that_it_is_tried_again() -> None:
    rig = Rig()
    rig.send(4, 49_152, 1.1, 1.5, probe=True)
    for _ in range(20):
        rig.now_s += 0.1
        rig.link.add(LinkEvidence(DOWNLINK, 2_472, 90.0), rig.now_s)
    assert rig.answer_ms > 80.0
    rig.send(80, 49_152, 1.1, 1.5, probe=True)
    assert rig.answer_ms < 10.0
