"""Robot and server as real processes over real DDS: every frame has one end, whatever happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
import contextlib
import time

from harness import Graph
import pytest

from dnn_offload.demo.verdict import accounting_failures
from dnn_offload.exchange import TRIAL_FRAMES
from dnn_offload.msg import FrameReport, LinkSample
from dnn_offload.report.records import FrameRow
from dnn_offload.testbed.recorder import wait_until
from dnn_offload.testbed.session import ROBOT, SERVER, Session

DEADLINE_MS = 600.0
SWITCHES = 1000
SWITCHING_LIMIT_S = 240.0
ENOUGH = 10  # results that show that a plan serves


@pytest.fixture(scope='module')
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp('stream')
    with Session(
        folder, rate_hz=25.0, strategy='', server={'client_timeout_s': 10.0},
        robot={'deadline_ms': DEADLINE_MS},
    ) as running:
        yield running
        # Whatever the tests did: the accounts of all frames add up at the end.
        running.finish()
        recorder = running.recorder
        assert accounting_failures(recorder.rows, list(recorder.counters.values())) == []


def _use(session: Session, cut_index: int, codec: str) -> None:
    """Make the robot run a cut, and wait until it does."""
    profile = session.recorder.profile
    assert profile is not None
    cut_id = '' if codec == '' else profile.cuts[cut_index].cut_id
    server = '' if codec == '' else 'edge_server'
    plan_id = session.recorder.publish_plan(profile.model_identity, cut_id, codec, server)
    outcome = 'local' if codec == '' else 'remote'

    def runs() -> bool:
        session.fleet.check()
        last = session.recorder.rows[-1]
        return last.plan_id == plan_id and last.outcome == outcome

    assert wait_until(runs, 20.0), f'plan {plan_id} is not run; last {session.recorder.rows[-1]}'


def _middle_cut(session: Session) -> int:
    profile = session.recorder.profile
    assert profile is not None
    inner = [cut for cut in profile.cuts[1:-1] if cut.depth >= 1]
    return min(inner, key=lambda cut: cut.frontier_bytes).index


def _remote_results(session: Session) -> list[FrameRow]:
    """The next results that the server gives."""
    rows = session.recorder.rows
    first = len(rows)

    def found() -> list[FrameRow]:
        return [row for row in rows[first:] if row.outcome == 'remote']

    assert wait_until(lambda: len(found()) >= ENOUGH, 20.0), rows[-5:]
    return found()


@pytest.mark.parametrize('codec', ['raw', 'fp16', 'int8', 'int8_zstd'])
def test_an_inner_cut_serves(session: Session, codec: str) -> None:
    _use(session, _middle_cut(session), codec)
    remote = _remote_results(session)
    assert all(row.uplink_bytes > 0 and row.tail_ms > 0.0 for row in remote)
    assert all(row.depth >= 1 for row in remote), 'the picture itself left the robot'


def test_a_jpeg_serves(session: Session) -> None:
    _use(session, 0, 'jpeg')
    assert max(row.uplink_bytes for row in _remote_results(session)) < 60_000


def test_reports_tell_of_each_transfer(session: Session) -> None:
    _use(session, 0, 'jpeg')
    with contextlib.closing(Graph()) as graph:
        reports: list[FrameReport] = graph.collect(FrameReport, f'{ROBOT}/frame_report')
        assert wait_until(lambda: len(reports) >= 3 * ENOUGH, 20.0)
    remote = [report for report in reports if report.outcome == FrameReport.OUTCOME_REMOTE]
    told = [transfer for report in reports for transfer in report.transfers]
    # Those of a frame come with its report or one of the next: the ends of the list differ.
    up = [transfer for transfer in told if transfer.kind == LinkSample.UPLINK]
    down = [transfer for transfer in told if transfer.kind == LinkSample.DOWNLINK]
    assert abs(len(up) - len(remote)) <= 4 and abs(len(down) - len(remote)) <= 4
    assert {transfer.payload_bytes for transfer in up} & {r.uplink_bytes for r in remote}
    assert all(transfer.server == 'edge_server' and not transfer.probe for transfer in told)
    assert all(transfer.duration_ms >= 0.0 and transfer.payload_bytes > 0 for transfer in told)


def test_robot_server_robot(session: Session) -> None:
    """The server computes the middle of the network; the robot goes on from what comes back."""
    profile = session.recorder.profile
    assert profile is not None
    second = profile.cuts[_middle_cut(session)]
    first = next(cut for cut in profile.cuts if cut.depth >= 1)
    assert first.index < second.index
    plan_id = session.recorder.publish_plan(
        profile.model_identity, first.cut_id, 'int8_zstd', 'edge_server',
        return_index=second.index, return_cut=second.cut_id, return_codec='raw',
    )

    def runs() -> bool:
        session.fleet.check()
        return session.recorder.rows[-1].plan_id == plan_id

    assert wait_until(runs, 20.0), session.recorder.rows[-1]
    remote = _remote_results(session)
    assert all(row.rest_ms > 0.0 and row.tail_ms > 0.0 for row in remote[-ENOUGH:])
    assert all(row.depth >= 1 for row in remote)


def test_a_cut_by_its_values(session: Session) -> None:
    """A frontier that the plan names value by value; here that of a listed cut, unnamed."""
    profile = session.recorder.profile
    assert profile is not None
    cut = profile.cuts[_middle_cut(session)]
    plan_id = session.recorder.publish_plan(
        profile.model_identity, 'dag:by hand', 'raw', 'edge_server', frontier=list(cut.frontier),
        cut_index=cut.index, label='by hand',
    )

    def runs() -> bool:
        session.fleet.check()
        last = session.recorder.rows[-1]
        return last.plan_id == plan_id and last.outcome == 'remote'

    assert wait_until(runs, 20.0), session.recorder.rows[-1]
    remote = _remote_results(session)
    assert {row.cut_label for row in remote} == {'by hand'}
    assert all(row.uplink_bytes >= cut.frontier_bytes for row in remote)


def test_single_frames_run_under_a_plan_that_is_tried(session: Session) -> None:
    _use(session, 0, 'jpeg')
    profile = session.recorder.profile
    assert profile is not None
    cut = profile.cuts[_middle_cut(session)]
    rows = session.recorder.rows
    first = len(rows)
    plan_id = session.recorder.publish_plan(
        profile.model_identity, cut.cut_id, 'int8', 'edge_server', trial=True
    )

    def tried() -> list[FrameRow]:
        return [row for row in rows[first:] if row.plan_id == plan_id and not row.stood_in]

    assert wait_until(lambda: len(tried()) == TRIAL_FRAMES, 20.0), rows[-5:]
    _remote_results(session)  # the stream goes on under the old plan
    assert len(tried()) == TRIAL_FRAMES
    assert {(row.outcome, row.cut_index, row.codec) for row in tried()} == {
        ('remote', cut.index, 'int8')
    }
    others = [row for row in rows[first:] if row.plan_id != plan_id and row.has_result]
    assert {row.cut_index for row in others} == {0} and not any(row.stood_in for row in others)


def test_a_thousand_switches_lose_no_frame(session: Session) -> None:
    """Plans change far faster than any planner would; each frame runs under one of them."""
    profile = session.recorder.profile
    assert profile is not None
    identity, middle = profile.model_identity, profile.cuts[_middle_cut(session)].cut_id
    picture = profile.cuts[0].cut_id
    choices = (
        ('', '', ''), (middle, 'int8', 'edge_server'), (picture, 'jpeg', 'edge_server'),
        (middle, 'fp16', 'edge_server'),
    )
    first = session.recorder.rows[-1].frame_seq
    started_epoch = session.recorder.rows[-1].plan_epoch
    end_s = time.monotonic() + SWITCHING_LIMIT_S
    number = 0
    while session.recorder.rows[-1].plan_epoch - started_epoch < SWITCHES:
        assert time.monotonic() < end_s, session.recorder.rows[-1]
        session.recorder.publish_plan(identity, *choices[number % len(choices)])
        number += 1
        time.sleep(0.02)
    last_plan = session.recorder.publish_plan(identity, '', '', '')
    assert wait_until(lambda: session.recorder.rows[-1].plan_id == last_plan, 20.0)
    time.sleep(1.0)
    rows = [row for row in session.recorder.rows if row.frame_seq > first]
    numbers = [row.frame_seq for row in session.recorder.rows]
    assert len(numbers) == len(set(numbers)), 'a frame has two ends'
    settled = max(numbers) - 10  # the newest may be in flight
    assert set(range(1, settled)) <= set(numbers), 'a frame has no end'
    results = [row for row in rows if row.has_result]
    assert Counter(row.outcome for row in results)['remote'] > ENOUGH
    # Reports come in the order of ending; published results in the order of acquisition.
    published = [row.time_s for row in results]
    assert published == sorted(published)
    assert not [row for row in rows if row.drop_reason in ('error', 'bad_image')]


def _results_late(rows: list[FrameRow]) -> list[FrameRow]:
    return [row for row in rows if row.has_result and not row.deadline_met]


def test_kill_9_of_the_server_under_full_stream(session: Session) -> None:
    _use(session, _middle_cut(session), 'int8')
    session.collect(1.0)
    recorder = session.recorder
    old_session = recorder.latest.status.session if recorder.latest.status else 0
    killed_s = session.recorder.now_s()
    session.kill_server()
    rows = session.collect(3.0)
    # What was on its way when the server died is what needs a rescue.
    since = [row for row in recorder.rows if row.result_time_s > killed_s]
    assert not _results_late(since), 'a result came after its deadline'
    unanswered = ('no_answer', 'cannot_rescue')
    assert [
        row for row in since if row.outcome == 'rescued' or row.drop_reason in unanswered
    ], 'no frame was on its way to the dead server'
    assert len([row for row in rows if row.has_result]) > ENOUGH
    after = [row for row in rows if row.time_s > killed_s + 2.0 and row.has_result]
    assert {row.outcome for row in after} == {'local'}
    session.start_server()

    def ready() -> bool:
        status = recorder.latest.status
        return status is not None and status.state == status.STATE_READY and (
            status.session != old_session
        )

    assert wait_until(ready, 60.0)
    ready_s = recorder.now_s()
    assert wait_until(lambda: recorder.rows[-1].outcome == 'remote', 5.0), (
        'the server was not used within 5 s of being ready'
    )
    assert recorder.now_s() - ready_s < 5.0


def test_kill_9_of_the_robot(session: Session) -> None:
    """The server forgets a robot that died; a new life of it is served at once."""
    _use(session, _middle_cut(session), 'int8')
    robot = session.fleet.nodes[f'{ROBOT}/local_inference_node']
    recorder = session.recorder
    assert wait_until(lambda: _clients(session) == 1, 5.0)
    old_pid = robot.pid
    # Its life so far is accounted for while it can still report; then it dies in full stream.
    recorder.deactivate('local_inference_node')
    assert wait_until(lambda: recorder.counters[old_pid]['in_flight'] == 0, 5.0)
    assert accounting_failures(recorder.rows, list(recorder.counters.values())) == []
    recorder.activate('local_inference_node')
    _use(session, _middle_cut(session), 'int8')
    assert wait_until(lambda: _clients(session) == 1, 5.0)
    robot.kill()
    assert wait_until(lambda: _clients(session) == 0, 40.0), 'the server remembers a dead robot'
    # What was open when it died has no report, and cannot have one: its account is closed, now
    # that its last reports have long arrived.
    del recorder.counters[old_pid]
    recorder.rows.clear()
    robot.start()  # as respawn does
    assert wait_until(lambda: len(recorder.rows) > 0, 30.0), 'not active again by itself'
    assert wait_until(lambda: recorder.rows[-1].outcome == 'remote', 20.0)
    assert wait_until(lambda: _clients(session) == 1, 2.0)  # with its next status
    assert session.fleet.nodes[f'{SERVER}/remote_inference_node'].running


def _clients(session: Session) -> int:
    status = session.recorder.latest.status
    return -1 if status is None else int(status.clients)
