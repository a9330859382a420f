"""A stream over a link that loses packets: no gap beyond the deadline, newest wins.

Every packet between robot and server passes a relay that drops a share of them, both ways. A frame
whose answer does not come in time is finished on the robot, so results go on whatever is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
import os
from pathlib import Path
import statistics

from ament_index_python.packages import get_package_share_directory
import pytest

from dnn_offload.demo.verdict import accounting_failures
from dnn_offload.report.records import FrameRow
from dnn_offload.testbed.environment import changed_environment, prepare_environment
from dnn_offload.testbed.lossy_link import LossyNetwork, why_no_lossy_network
from dnn_offload.testbed.recorder import wait_until
from dnn_offload.testbed.session import Session

if why_no_lossy_network():
    pytest.skip(f'no lossy link: {why_no_lossy_network()}', allow_module_level=True)

LINK_BPS = 10e6
RATE_HZ = 10.0
DEADLINE_MS = 400.0
FINE_GRAIN_PX = 4      # JPEGs of about 50 kB: 40 ms of the link
WAIT_S = 30.0
LOOK_S = 15.0
LATE = 0.1             # of a period: what this machine may be late by when others compute,
MOSTLY = 0.95          # and how often it is no later


LOSSY = 'fastdds_lossy.xml'


@pytest.fixture(scope='module', params=['fastdds.xml', LOSSY])
def session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Session, LossyNetwork]]:
    """The picture goes up as a JPEG; no planner: nothing but a lost server changes that."""
    prepare_environment(int(os.environ['ROS_DOMAIN_ID']))
    share = Path(get_package_share_directory('dnn_offload'))
    profile = {'FASTRTPS_DEFAULT_PROFILES_FILE': str(share / 'config' / request.param)}
    with (
        changed_environment(profile),
        LossyNetwork(LINK_BPS, LINK_BPS) as network,
        Session(
            tmp_path_factory.mktemp('lossy'), rate_hz=RATE_HZ, strategy='', server={},
            network=network, grain_px=FINE_GRAIN_PX, robot={'deadline_ms': DEADLINE_MS},
        ) as running,
    ):
        profile_there = running.recorder.profile
        assert profile_there is not None
        running.recorder.publish_plan(
            profile_there.model_identity, profile_there.cuts[0].cut_id, 'jpeg', 'edge_server'
        )
        rows = running.recorder.rows
        assert wait_until(lambda: len([r for r in rows if r.outcome == 'remote']) > 5, WAIT_S)
        yield running, network
        network.lose(0.0)
        running.finish()
        counters = list(running.recorder.counters.values())
        assert accounting_failures(running.recorder.rows, counters) == []


@pytest.mark.parametrize('loss', [0.01, 0.05])
def test_results_go_on(
    session: tuple[Session, LossyNetwork], loss: float, request: pytest.FixtureRequest
) -> None:
    running, network = session
    network.lose(loss)
    before, _ = network.packets()
    rows = running.collect(LOOK_S, settle_s=1.0)
    after, _ = network.packets()
    network.lose(0.0)
    lost = after.lost - before.lost
    assert lost > 0, 'nothing was lost'
    results = sorted((row for row in rows if row.has_result), key=lambda row: row.result_time_s)
    gaps_ms = _gaps_ms(results)
    remote = [row for row in results if row.outcome == 'remote']
    print(
        f'\n{100.0 * loss:g} % lost ({lost} of {after.seen - before.seen} packets up): '
        f'{dict(Counter(row.outcome for row in rows))}, '
        f'{dict(Counter(row.drop_reason for row in rows if row.drop_reason))}; remote latency '
        f'{statistics.median(row.latency_ms for row in remote) if remote else 0.0:.0f} ms; gaps: '
        f'median {statistics.median(gaps_ms):.0f}, longest {max(gaps_ms):.0f} ms'
    )
    assert len(results) > 0.5 * LOOK_S * RATE_HZ, Counter(row.drop_reason for row in rows)
    within_ms = DEADLINE_MS + (1.0 + LATE) * 1e3 / RATE_HZ
    assert sum(gap_ms <= within_ms for gap_ms in gaps_ms) >= MOSTLY * len(gaps_ms), gaps_ms
    assert max(gaps_ms) <= 2.0 * DEADLINE_MS  # a frame that nobody rescues takes seconds
    if request.node.callspec.params['session'] == LOSSY:
        assert len(remote) > 0.5 * len(results), 'the profile for such links does not help'
    # Newest wins: nothing older after something newer.
    numbers = [row.frame_seq for row in results]
    assert numbers == sorted(numbers)


def _gaps_ms(results: list[FrameRow]) -> list[float]:
    """Times from one result's publication to the next."""
    published_s = [row.result_time_s for row in results]
    return [
        1e3 * (later - earlier)
        for earlier, later in zip(published_s, published_s[1:], strict=False)
    ]
