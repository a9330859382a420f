"""The uplink over real DDS, against the service around a made-up model, in one process."""

from __future__ import annotations

from collections.abc import Iterator
import math
import threading
import time
from typing import Any

from harness import Graph, results, running_graph, wait_for
from made_up_server import FakeModel, MadeUpRobot, MadeUpServer, RENDEZVOUS
import numpy as np
import pytest
from rclpy._rclpy_pybind11 import RCLError
from rclpy.node import Node

from dnn_offload.msg import LinkSample, ServerStatus, TensorChunk, TensorResult
from dnn_offload.transport import names, qos
from dnn_offload.transport.room import GONE_S, MAX_SERVERS
from dnn_offload.transport.tensor_server import ServiceSettings
from dnn_offload.transport.topics import Quality
from dnn_offload.transport.uplink_settings import UplinkSettings


class World:
    """A graph with servers and robots that end with it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.servers: list[MadeUpServer] = []
        self.robots: list[MadeUpRobot] = []

    def server(self, name: str = 'server_a', **options: object) -> MadeUpServer:
        node = Node(f'node_of_{name}_{len(self.servers)}')
        server = MadeUpServer(node, name, **options)
        self.servers.append(server)
        self.graph.add(node)
        return server

    def robot(
        self, name: str = 'robot', *, connect: bool = True, **options: object
    ) -> MadeUpRobot:
        node = Node(f'{name}_{len(self.robots)}')
        robot = MadeUpRobot(node, **options)
        self.robots.append(robot)
        self.graph.add(node)
        if connect:
            assert wait_for(lambda: robot.uplink.connected('server_a'))
        return robot


@pytest.fixture
def world() -> Iterator[World]:
    with running_graph() as graph:
        world = World(graph)
        yield world
        for robot in world.robots:
            robot.uplink.stop()
        for server in world.servers:
            server.stop()


def test_answers_come_back_whole_and_with_times(world: World) -> None:
    world.server()
    robot = world.robot()
    told = robot.told
    for seq in range(1, 31):
        robot.send(seq, float(seq), cut=2 if seq % 3 == 0 else 1)
        assert wait_for(lambda seq=seq: seq in told.answers), f'{seq}: {told.refused}'
        assert robot.answer(seq) == 2.0 * seq
    answer = told.answers[30]
    assert answer.uplink_ms > 0.0 and answer.downlink_ms >= 0.0
    parts = answer.queue_ms + answer.decode_ms + answer.compute_ms + answer.encode_ms
    assert 0.0 < parts <= answer.service_ms + 0.5
    assert set(told.uplinked) == set(range(1, 31))
    kinds = {(kind, probe) for _, kind, probe, _, _ in told.samples}
    assert {(LinkSample.UPLINK, True), (LinkSample.UPLINK, False),
            (LinkSample.DOWNLINK, False)} <= kinds
    assert robot.uplink.backlog_bytes() == 0
    assert told.connections == [('server_a', True, 'connected')]


def test_a_frame_is_sent_while_its_rest_is_being_encoded(world: World) -> None:
    server = world.server()
    robot = world.robot()
    heard = world.graph.collect(
        TensorChunk, names.tensors(RENDEZVOUS, 'server_a'), qos.profile_of(Quality(50))
    )
    payload = robot.payload(7.0, cut=2)
    for seq in (1, 2, 3):
        robot.send(seq, 7.0, cut=2, payload=payload[:70_000], complete=False)
        assert wait_for(lambda seq=seq: server.tensors.held_bytes > 0)
        assert robot.uplink.backlog_bytes() > 0
        if seq == 2:  # one that is given up in the middle
            robot.uplink.cancel(seq)
            assert wait_for(lambda: server.tensors.held_bytes == 0)
        robot.uplink.send_more('server_a', seq, payload[70_000:150_000], last=False)
        robot.uplink.send_more('server_a', seq, payload[150_000:], last=True)
        if seq != 2:
            assert wait_for(lambda seq=seq: seq in robot.told.answers), robot.told.refused
            assert robot.answer(seq) == 14.0
    assert wait_for(lambda: robot.uplink.backlog_bytes() == 0)
    assert set(robot.told.answers) == {1, 3} and not robot.told.refused
    frames = [m for m in heard if m.kind == TensorChunk.KIND_TENSORS and m.frame_seq == 1]
    counts = [message.chunk_count for message in frames]
    assert counts[0] == 0 and counts[-1] == len(counts) >= 3
    assert frames[-1].total_bytes == len(payload)


def test_two_robots_get_their_own_answers_only(world: World) -> None:
    server = world.server()
    one, two = world.robot('one'), world.robot('two')
    heard = {
        robot.client: world.graph.collect(
            TensorResult, names.results(RENDEZVOUS, robot.client), results()
        )
        for robot in (one, two)
    }
    time.sleep(0.5)
    for seq in range(1, 41):  # the same numbers on purpose
        one.send(seq, 1000.0 + seq)
        two.send(seq, 5000.0 + seq, cut=2)
        time.sleep(0.01)
    assert wait_for(lambda: 40 in one.told.answers and 40 in two.told.answers)
    for robot, base in ((one, 1000.0), (two, 5000.0)):
        told = robot.told
        assert len(told.answers) + len(told.superseded) == 40 and not told.refused
        assert all(robot.answer(seq) == 2.0 * (base + seq) for seq in told.answers)
        assert {message.client for message in heard[robot.client]} == {robot.client}
    assert set(server.tensors.clients) == {one.client, two.client}


def test_newer_frame_supersedes_and_cancel_frees(world: World) -> None:
    server = world.server()
    robot = world.robot()
    server.model.gate.clear()
    robot.send(1, 1.0)
    assert wait_for(lambda: len(server.model.runs) == 1)
    for seq in (2, 3, 4):
        robot.send(seq, float(seq))
    assert wait_for(lambda: robot.told.superseded == [2, 3])
    robot.uplink.cancel(4)
    time.sleep(0.3)
    server.model.gate.set()
    assert wait_for(lambda: 1 in robot.told.answers)
    robot.send(5, 5.0)
    assert wait_for(lambda: 5 in robot.told.answers)
    assert set(robot.told.answers) == {1, 5}


def test_refusals_say_why_and_end_only_that_frame(world: World) -> None:
    server = world.server()
    robot = world.robot()
    frontier = FakeModel().cuts[2].frontier
    told = robot.told
    frames: list[dict[str, object]] = [
        {'cut_id': '0123456789ab'},
        {'specs': frontier},
        {'payload': bytes(60)},
        {'cut': 2, 'payload': bytes(500_000)},
        {'value': 666.0},
        {'server': 'nobody'},
    ]
    for seq, changes in enumerate(frames, start=1):
        robot.send(seq, **{'value': 1.0, **changes})
        assert wait_for(lambda seq=seq: seq in told.refused), seq
    robot.send(7, 21.0)
    assert wait_for(lambda: 7 in told.answers)
    assert 'no such cut' in told.refused[1]
    assert 'number of tensors' in told.refused[2]
    assert 'payload' in told.refused[3]
    assert 'impossible size' in told.refused[4] and 'allowed: 1..' in told.refused[4]
    assert 'RuntimeError' in told.refused[5]
    assert 'not known' in told.refused[6]
    assert robot.answer(7) == 42.0
    assert 'a kernel failed' in server.logged[0]
    assert server.tensors.held_bytes == 0 and robot.uplink.backlog_bytes() == 0


def test_server_that_falls_silent_is_lost_and_found_again(world: World) -> None:
    server = world.server()
    robot = world.robot()
    server.node.destroy_timer(server.timer)
    silent_s = time.monotonic()
    assert wait_for(lambda: not robot.uplink.connected('server_a'), 3.0)
    assert time.monotonic() - silent_s > 0.7
    # Told a moment after it is so.
    assert wait_for(lambda: 'no status' in robot.told.connections[-1][2])
    assert wait_for(lambda: robot.told.samples[-1][1] == LinkSample.LOST)
    robot.send(1, 1.0)
    assert wait_for(lambda: 1 in robot.told.refused)
    server.timer = server.node.create_timer(0.2, server.say)
    assert wait_for(lambda: robot.uplink.connected('server_a'), 5.0)
    robot.send(2, 1.0)
    assert wait_for(lambda: 2 in robot.told.answers)


def test_restart_and_stopping_are_noticed_at_once(world: World) -> None:
    server = world.server()
    robot = world.robot()
    server.session += 1
    assert wait_for(lambda: len(robot.told.connections) >= 3, 5.0)
    assert 'restarted' in robot.told.connections[1][2]
    assert wait_for(lambda: robot.uplink.connected('server_a'))
    server.state = ServerStatus.STATE_STOPPING
    assert wait_for(lambda: not robot.uplink.connected('server_a'), 3.0)


def test_engine_may_call_a_server_lost(world: World) -> None:
    world.server()
    robot = world.robot()
    robot.uplink.lost('server_a', 'no answer in time')
    assert wait_for(lambda: [ok for _, ok, _ in robot.told.connections] == [True, False, True])
    assert wait_for(lambda: robot.uplink.connected('server_a'), 5.0)


def test_server_forgets_a_robot_that_leaves_or_vanishes(world: World) -> None:
    server = world.server()
    polite, gone = world.robot('polite'), world.robot('gone')
    assert len(server.tensors.clients) == 2
    polite.uplink.stop()
    assert wait_for(lambda: server.tensors.clients == (gone.client,), 5.0)
    # Without good-bye: the subscription ends as it does when a process dies.
    gone.uplink._results.stop()
    assert wait_for(lambda: server.tensors.clients == (), 6.0)


def test_other_models_and_full_servers_are_not_used(world: World) -> None:
    world.server(identity='b' * 40)
    world.server('server_b', settings=ServiceSettings(max_clients=1))
    robot = world.robot(connect=False)
    assert wait_for(lambda: robot.uplink.connected('server_b'))
    assert 'another model' in robot.uplink.describe()['server_a']
    second = world.robot('second', connect=False)
    assert wait_for(
        lambda: any('full' in reason for _, _, reason in second.told.connections), 5.0
    )
    picky = world.robot('picky', connect=False, accept_server=lambda status: 'I do not like it')
    time.sleep(1.0)
    assert not picky.uplink.connected('server_b')
    assert 'do not like' in picky.uplink.describe()['server_b']


def test_limit_is_kept_and_publish_does_not_block(world: World) -> None:
    world.server()
    robot = world.robot(settings=UplinkSettings(max_uplink_bps=1e6))
    robot.uplink.take_longest_publish_ms()
    longest_ms = _longest_pause_ms(lambda: _send_and_wait(robot, 1, cut=2))
    uplink_ms = robot.told.uplinked[1]
    payload_bytes = 160_000 + 100
    link_ms = 8e3 * payload_bytes / 1e6
    assert 0.95 * link_ms < uplink_ms < 1.25 * link_ms
    # A socket that blocks does so for most of the transfer; others use this machine too.
    assert robot.uplink.take_longest_publish_ms() < 0.1 * link_ms
    assert longest_ms < 0.25 * link_ms
    robot.uplink.configure(UplinkSettings())
    _send_and_wait(robot, 2, cut=2)
    assert robot.told.uplinked[2] < 200.0


def test_garbage_on_our_topics_does_not_stop_us(world: World) -> None:
    world.server()
    robot = world.robot()
    generator = np.random.default_rng(1)
    status = world.graph.publisher(
        ServerStatus, names.server_status(RENDEZVOUS), qos.latched()
    )
    answers = world.graph.publisher(
        TensorResult, names.results(RENDEZVOUS, robot.client), results()
    )
    assert wait_for(lambda: answers.get_subscription_count() > 0)
    for size in (0, 1, 4, 30, 300, 3000, 60_000):
        for publisher in (status, answers):
            publisher.publish(generator.bytes(size))
    status.publish(ServerStatus(server='../../etc', state=1, session=1))
    answers.publish(TensorResult(client=robot.client, server='server_a', status=77))
    answers.publish(TensorResult(
        client=robot.client, server='server_a', status=TensorResult.STATUS_OK, frame_seq=3,
        chunk_count=1 << 31, total_bytes=1 << 31, data=bytes(100),
    ))
    robot.send(4, 4.0)
    assert wait_for(lambda: 4 in robot.told.answers)
    assert robot.uplink.connected('server_a')


def test_made_up_answers_end_nothing(world: World) -> None:
    server = world.server()
    robot = world.robot()
    _send_and_wait(robot, 1, cut=1)
    forger = _forger_of_answers(world, robot)
    for seq in (0, 1 << 20, (1 << 64) - 1):
        for count in (1, 3):  # of three slices the robot would hold the first
            forger.publish(_made_up_answer(robot, seq, chunk_count=count, total_bytes=4096))
    time.sleep(0.3)
    assert not robot.uplink._servers['server_a'].answers.held_bytes
    _send_and_wait(robot, 2, cut=1)
    server.model.gate.clear()
    robot.send(3, 3.0)
    assert wait_for(lambda: 3 in robot.told.uplinked)
    robot.uplink.cancel(3)  # rescued: its answer is told nevertheless, and is the engine's matter
    forger.publish(_made_up_answer(robot, 3, data=bytes(7)))
    assert wait_for(lambda: 3 in robot.told.answers)
    server.model.gate.set()
    _send_and_wait(robot, 4, cut=1)


def test_a_servers_next_life_continues_no_answer(world: World) -> None:
    server = world.server()
    robot = world.robot()
    server.model.gate.clear()
    robot.send(1, 1.0)
    assert wait_for(lambda: 1 in robot.told.uplinked)
    forger = _forger_of_answers(world, robot)
    forger.publish(_made_up_answer(robot, 1, chunk_count=2, total_bytes=8192, data=bytes(4096)))
    known = robot.uplink._servers['server_a']
    assert wait_for(lambda: known.answers.held_bytes == 4096)
    server.session += 1
    assert wait_for(lambda: known.answers.held_bytes == 0)
    server.model.gate.set()
    assert wait_for(lambda: robot.uplink.connected('server_a'))
    _send_and_wait(robot, 2, cut=1)


@pytest.mark.parametrize('claimed', [math.nan, math.inf, -math.inf, -1.0, 3e38])
def test_times_that_cannot_be_get_no_further(world: World, claimed: float) -> None:
    server = world.server()
    robot = world.robot()
    server.model.gate.clear()
    robot.send(1, 1.0)
    assert wait_for(lambda: 1 in robot.told.uplinked)
    forger, began_s = _forger_of_answers(world, robot), time.monotonic()
    fields = ('queue_ms', 'decode_ms', 'compute_ms', 'encode_ms', 'service_ms')
    forger.publish(_made_up_answer(robot, 1, **dict.fromkeys(fields, claimed)))
    assert wait_for(lambda: 1 in robot.told.answers)
    answer = robot.told.answers[1]
    most_ms = answer.uplink_ms + 1e3 * (time.monotonic() - began_s) + 5e3
    assert all(0.0 <= getattr(answer, name) < most_ms for name in (*fields, 'downlink_ms'))


def _forger_of_answers(world: World, robot: MadeUpRobot) -> Any:
    forger = world.graph.publisher(
        TensorResult, names.results(RENDEZVOUS, robot.client), results()
    )
    assert wait_for(lambda: forger.get_subscription_count() > 0)
    return forger


def _made_up_answer(robot: MadeUpRobot, seq: int, **changes: Any) -> TensorResult:
    fields = {
        'status': TensorResult.STATUS_OK, 'request_kind': TensorChunk.KIND_TENSORS,
        'client': robot.client, 'server': 'server_a', 'frame_seq': seq, 'codec': 'raw',
        'chunk_count': 1, 'data': bytes(16), **changes,
    }
    return TensorResult(**{'total_bytes': len(fields['data']), **fields})


def test_old_names_make_room_and_servers_that_are_there_stay(world: World) -> None:
    world.server()
    robot = world.robot()
    status = world.graph.publisher(
        ServerStatus, names.server_status(RENDEZVOUS), qos.profile_of(Quality(64, latched=True))
    )

    def say(name: str) -> None:
        status.publish(ServerStatus(
            server=name, session=1, state=ServerStatus.STATE_READY,
            model_identity=FakeModel.identity,
        ))

    def known() -> set[str]:
        return set(robot.uplink.describe())

    for number in range(MAX_SERVERS - 1):
        say(f'old_{number}')
    assert wait_for(lambda: len(known()) == MAX_SERVERS)
    topic, observer = names.tensors(RENDEZVOUS, 'old_0'), world.graph.observer
    assert wait_for(lambda: observer.count_publishers(topic) == 1)
    end_s, number = time.monotonic() + 2.0 * GONE_S, 0
    while time.monotonic() < end_s:  # made up, faster than any is gone
        say(f'made_up_{number}')
        number += 1
        time.sleep(0.01)
        assert robot.uplink.connected('server_a')
    assert 'old_0' not in known() and len(known()) == MAX_SERVERS
    assert wait_for(lambda: observer.count_publishers(topic) == 0)
    time.sleep(GONE_S + 0.5)
    world.server('server_b')
    assert wait_for(lambda: robot.uplink.connected('server_b'))
    robot.send(1, 1.0, server='server_b')
    robot.send(2, 1.0)
    assert wait_for(lambda: {1, 2} <= set(robot.told.answers))
    assert [ok for name, ok, _ in robot.told.connections if name == 'server_a'] == [True]


def test_events_that_fail_do_not_stop_the_uplink(world: World) -> None:
    world.server()
    robot = world.robot()

    def fail(*unused: object) -> None:
        raise RuntimeError('on purpose')

    robot.told.on_uplinked = robot.told.on_refused = fail  # type: ignore[method-assign]
    robot.send(1, 1.0, server='nobody')
    for seq in range(2, 6):
        robot.send(seq, float(seq))
        assert wait_for(lambda seq=seq: seq in robot.told.answers)


def test_stop_ends_every_thread(world: World) -> None:
    world.server()
    robot = world.robot()
    robot.uplink.stop()
    robot.uplink.stop()
    assert not {'uplink', 'results'} & {thread.name for thread in threading.enumerate()}


def test_stop_ends_everything_even_if_nobody_can_be_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.server()
    robot = world.robot()
    topic, observer = names.results(RENDEZVOUS, robot.client), world.graph.observer
    assert wait_for(lambda: observer.count_subscribers(topic) == 1)

    def fail(message: TensorChunk) -> None:
        raise RCLError('on purpose')

    publisher = robot.uplink._servers['server_a'].publisher
    monkeypatch.setattr(publisher, 'publish', fail)
    robot.uplink.stop()
    assert wait_for(lambda: observer.count_subscribers(topic) == 0)


def _send_and_wait(robot: MadeUpRobot, seq: int, cut: int) -> None:
    robot.send(seq, 1.0, cut=cut)
    assert wait_for(lambda: seq in robot.told.answers)


def _longest_pause_ms(work: object) -> float:
    """Longest time for which a thread that sleeps 1 ms at a time did not run."""
    longest, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            began_s = time.perf_counter()
            time.sleep(0.001)
            longest[0] = max(longest[0], 1e3 * (time.perf_counter() - began_s))

    thread = threading.Thread(target=watch)
    thread.start()
    work()
    stop.set()
    thread.join()
    return longest[0]
