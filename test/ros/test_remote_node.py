"""The server's node as a real process: ready, right answers, hostile input, coming and going."""

from __future__ import annotations

import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import itertools
from pathlib import Path
import signal
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from harness import Graph, NodeProcess, results, running_graph, tensors, wait_for
from lifecycle_msgs.msg import Transition
from made_up_server import MadeUpRobot, RENDEZVOUS
import numpy as np
import pytest
from rclpy.node import Node
from rclpy.serialization import serialize_message
from safetensors.torch import save_file
from std_msgs.msg import String

from dnn_offload.codec import bundle
from dnn_offload.cost.profile import Profile
from dnn_offload.exchange import UplinkRequest
from dnn_offload.graph.fingerprint import sample, seeded_picture
from dnn_offload.graph.sources import resolve
from dnn_offload.msg import ServerStatus, TensorChunk, TensorMeta, TensorResult
from dnn_offload.nodes import local_parameters, remote_parameters
from dnn_offload.nodes.parameters import by_name
from dnn_offload.runtime.backends.names import missing
from dnn_offload.runtime.backends.torch_backend import TorchBackend, TorchModel
from dnn_offload.transport import names, qos
from dnn_offload.transport.conversion import meta_of
from hostile_bundles import jpeg_bomb, zstd_bomb

SERVER = 'server_a'
NODE = '/edge/remote_inference_node'
GIGABYTE = 1 << 30


class Server:
    """A remote node in its own process, its model loaded here too, and its statuses."""

    def __init__(self, folder: Path, graph: Graph) -> None:
        self.cache = folder / 'cache'
        self.log = folder / 'server.log'
        self.statuses = graph.collect(
            ServerStatus, names.server_status(RENDEZVOUS), qos.latched(16)
        )
        self.start()
        assert wait_for(self.ready, 120.0), self.log.read_text()
        program = next(self.cache.rglob('program.json'))
        self.model: TorchModel = TorchBackend().load(program.parent)
        self.model.set_threads(1)

    def start(self) -> None:
        parameters = {
            'model': 'torchvision:squeezenet1_1', 'weights': 'random', 'input_size': '64x64',
            'server_id': SERVER, 'cache_dir': str(self.cache), 'profile_budget_s': '1.0',
            'max_clients': '4',
            'backend': 'torch', 'threads': '1',  # answers are compared bit for bit with torch's
        }
        arguments = ['-r', '__ns:=/edge']
        for name, value in parameters.items():
            arguments += ['-p', f'{name}:={value}']
        self.process = NodeProcess('remote_inference_node', arguments, self.log)

    def ready(self) -> bool:
        return bool(self.statuses) and self.statuses[-1].state == ServerStatus.STATE_READY

    def forget_peak(self) -> int:
        """Begin a new peak; resident memory now [bytes]."""
        Path(f'/proc/{self.process.process.pid}/clear_refs').write_text('5')
        return self.peak_bytes()

    def peak_bytes(self) -> int:
        """Most memory that was resident since: what was freed again counts, too [bytes]."""
        status = Path(f'/proc/{self.process.process.pid}/status').read_text()
        (line,) = (line for line in status.splitlines() if line.startswith('VmHWM:'))
        return int(line.split()[1]) * 1024


@pytest.fixture(scope='module')
def graph() -> Iterator[Graph]:
    with running_graph() as graph:
        yield graph


@pytest.fixture(scope='module')
def server(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp('server'), graph)
    yield server
    server.process.__exit__()


class Robot(MadeUpRobot):
    """A well-behaved robot with the server's own model."""

    number = 0

    def __init__(self, graph: Graph, server: Server, name: str = 'robot') -> None:
        Robot.number += 1
        super().__init__(graph.add(Node(f'{name}_{self.number}')), server.model.identity)
        self.model = server.model
        assert wait_for(lambda: self.uplink.connected(SERVER))

    @property
    def losses(self) -> int:
        """How often the link was lost."""
        return sum(not connected for _, connected, _ in self.told.connections)

    def ask(self, seq: int, cut_index: int, picture: np.ndarray) -> np.ndarray:
        """Send the frontier of a cut; gives what comes back."""
        model, cut = self.model, self.model.cuts[cut_index]
        arrays = [picture]
        if cut_index:
            arrays = model.run(model.segment(0, cut_index), [picture])
        payload = bundle.encode(arrays, cut.frontier, 'raw')
        told = self.told
        # A burst of somebody else's large messages overflows the socket's buffer; what was lost of
        # ours comes again after DDS's heartbeat of 3 s, and by then the link counts as lost. Then
        # robots connect again, which begins a new count of frames, and so do we.
        for _ in range(2):
            losses = self.losses
            self.uplink.send(UplinkRequest(
                seq, 1, SERVER, cut.cut_id, 'raw', 'raw', cut.frontier, payload
            ))
            ended = wait_for(
                lambda before=losses: seq in told.answers or seq in told.refused
                or self.losses > before
            )
            assert ended, 'no answer'
            if seq in told.answers or self.losses == losses:
                break
            assert wait_for(lambda: self.uplink.connected(SERVER))
        assert seq in told.answers, told.refused.get(seq, 'lost twice')
        (outputs,) = bundle.decode(told.answers[seq].payload, model.outputs, max_bytes=1 << 20)
        return outputs


@pytest.fixture
def robot(graph: Graph, server: Server) -> Iterator[Robot]:
    robot = Robot(graph, server)
    yield robot
    robot.uplink.stop()


def picture_of(server: Server, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(
        0, 256, server.model.cuts[0].frontier[0].shape, np.uint8
    )


def test_status_tells_what_is_served(graph: Graph, server: Server) -> None:
    status = server.statuses[-1]
    assert (status.server, status.model) == (SERVER, 'torchvision:squeezenet1_1')
    assert status.model_identity == server.model.identity and status.session > 0
    seeded = seeded_picture(64, 64)
    model = server.model
    outputs = model.run(model.segment(0, len(model.cuts) - 1), [seeded])
    assert np.allclose(status.fingerprint, sample(outputs), rtol=1e-4, atol=1e-6)
    assert status.load_factor > 0.0 and status.memory_available_bytes > 0
    profiles = graph.collect(String, names.profile(RENDEZVOUS, SERVER), qos.latched())
    assert wait_for(lambda: bool(profiles))
    profile = Profile.from_json(profiles[-1].data)
    assert [cut.cut_id for cut in profile.cuts] == [cut.cut_id for cut in model.cuts]
    count = len(server.statuses)
    time.sleep(2.0)
    assert 4 <= len(server.statuses) - count <= 20, 'about five per second'


def test_every_cut_gives_the_whole_networks_output(server: Server, robot: Robot) -> None:
    picture = picture_of(server, 1)
    model = server.model
    (whole,) = model.run(model.segment(0, len(model.cuts) - 1), [picture])
    for seq, cut_index in enumerate(range(len(model.cuts) - 1), start=1):
        assert np.array_equal(robot.ask(seq, cut_index, picture), whole), f'cut {cut_index}'


def test_two_robots_at_once_get_their_own_answers(graph: Graph, server: Server) -> None:
    robots = [Robot(graph, server, name) for name in ('one', 'two')]
    model = server.model
    whole = model.segment(0, len(model.cuts) - 1)
    for seq in range(1, 16):
        for number, robot in enumerate(robots):
            picture = picture_of(server, 100 * number + seq)
            (wanted,) = model.run(whole, [picture])
            assert np.array_equal(robot.ask(seq, 3 * number, picture), wanted)
    for robot in robots:
        robot.uplink.stop()


class Attacker:
    """Greets as a robot does and then sends whatever it likes."""

    def __init__(self, graph: Graph, server: Server, name: str = 'attacker') -> None:
        self.client, self.server = names.new_client_id(name), server
        self.results: list[Any] = graph.collect(
            TensorResult, names.results(RENDEZVOUS, self.client), results()
        )
        self.publisher = graph.publisher(
            TensorChunk, names.tensors(RENDEZVOUS, SERVER), tensors(64)
        )
        assert wait_for(lambda: self.publisher.get_subscription_count() > 0)
        self.seq = 0

    def greet(self) -> None:
        def accepted() -> bool:
            self.publisher.publish(self.chunk(kind=TensorChunk.KIND_HELLO))
            return wait_for(lambda: any(
                result.status == TensorResult.STATUS_ACCEPTED for result in self.results
            ), 0.5)

        assert wait_for(accepted)

    def chunk(self, **changes: Any) -> TensorChunk:
        """A slice that is right but for ``changes``."""
        cut = self.server.model.cuts[3]
        total = bundle.encode_bound(cut.frontier, 'raw')
        fields = {
            'kind': TensorChunk.KIND_TENSORS, 'client': self.client, 'server': SERVER,
            'model_identity': self.server.model.identity, 'plan_epoch': 1,
            'frame_seq': self.seq, 'cut': cut.cut_id, 'codec': 'raw', 'result_codec': 'raw',
            'chunk_index': 0, 'chunk_count': -(-total // 8192), 'total_bytes': total,
            'tensors': [meta_of(spec) for spec in cut.frontier],
            'data': array.array('B', bytes(8192)), **changes,
        }
        return TensorChunk(**fields)

    def refusal_of(self, *chunks: TensorChunk) -> str:
        """Send slices; the reason of the refusal that must come."""
        before = len(self.results)
        for chunk in chunks:
            self.publisher.publish(chunk)
        assert wait_for(lambda: any(
            result.status == TensorResult.STATUS_REFUSED for result in self.results[before:]
        ), 5.0), 'not refused'
        return next(
            result.reason for result in self.results[before:]
            if result.status == TensorResult.STATUS_REFUSED
        )


def wrong_meta(server: Server, **changes: Any) -> list[TensorMeta]:
    meta = meta_of(server.model.cuts[3].frontier[0])
    for name, value in changes.items():
        setattr(meta, name, value)
    return [meta]


def test_hostile_input_is_refused_and_others_are_served(
    graph: Graph, server: Server, robot: Robot
) -> None:
    attacker = Attacker(graph, server)
    attacker.greet()
    picture = picture_of(server, 7)
    (whole,) = server.model.run(
        server.model.segment(0, len(server.model.cuts) - 1), [picture]
    )
    robot.ask(1, 2, picture)
    before_bytes = server.forget_peak()
    lies: list[tuple[str, dict[str, Any]]] = [
        ('another model', {'model_identity': 'f' * 64}),
        ('no such cut', {'cut': 'deadbeef0000'}),
        ('not offered', {'codec': 'pickle'}),
        ('not offered', {'result_codec': 'exec'}),
        ('not the one', {'tensors': wrong_meta(server, shape=[1, 1 << 40, 15, 15])}),
        ('not the one', {'tensors': wrong_meta(server, dtype_bits=64)}),
        ('unknown type', {'tensors': wrong_meta(server, dtype_code=99)}),
        ('differ in length', {'tensors': wrong_meta(server, strides=[1])}),
        ('negative extent', {'tensors': wrong_meta(server, shape=[-1, 2, 3, 4])}),
        ('number of tensors', {'tensors': []}),
        ('number of tensors', {'tensors': [TensorMeta(dtype_code=2, dtype_bits=32,
                                                      dtype_lanes=1)] * 64}),
        ('impossible size', {'total_bytes': GIGABYTE, 'chunk_count': GIGABYTE // 61440 + 1}),
        ('impossible size', {'total_bytes': 0}),
        ('number of slices', {'chunk_count': 1 << 31}),
        ('first slice', {'chunk_index': 1}),
        ('sent before', {'frame_seq': 0}),
        ('impossible size', {'data': array.array('B')}),
    ]
    def lie() -> None:
        for number, (complaint, change) in enumerate(lies, start=1):
            attacker.seq = number
            assert complaint in attacker.refusal_of(attacker.chunk(**change)), change

    asked = 1
    with ThreadPoolExecutor(1) as pool:
        lying = pool.submit(lie)
        while not lying.done() or asked < 2 * len(lies):
            asked += 1
            assert np.array_equal(robot.ask(asked, 2, picture), whole)
        lying.result()
    assert robot.losses <= 1, 'of all those questions; see ask()'
    # Order and duplicates within a frame.
    for indices, complaint in (((0, 2), 'out of order'), ((0, 0), 'twice')):
        attacker.seq += 1
        chunks = [attacker.chunk(chunk_index=index) for index in indices]
        assert complaint in attacker.refusal_of(*chunks)
    # Complete, and nothing in it is right.
    attacker.seq += 1
    whole_frame = attacker.chunk(budget_ms=float('nan'))
    sizes = [8192] * (whole_frame.chunk_count - 1)
    sizes.append(whole_frame.total_bytes - sum(sizes))
    noise = np.random.default_rng(3)
    frame = [
        attacker.chunk(chunk_index=index, data=array.array('B', noise.bytes(size)))
        for index, size in enumerate(sizes)
    ]
    assert 'tensor bundle' in attacker.refusal_of(*frame)
    assert 'sent before' in attacker.refusal_of(frame[0])
    assert np.array_equal(robot.ask(asked + 1, 2, picture), whole)
    assert server.peak_bytes() - before_bytes < 50 << 20
    attacker.publisher.publish(attacker.chunk(kind=TensorChunk.KIND_BYE))


def test_bombs_are_refused_before_they_are_unpacked(
    graph: Graph, server: Server, robot: Robot
) -> None:
    attacker = Attacker(graph, server, 'bomber')
    attacker.greet()
    picture = picture_of(server, 10)
    robot.ask(1, 2, picture)
    cut = server.model.cuts[0]
    before_bytes = server.forget_peak()
    bombs = (
        ('jpeg', jpeg_bomb(cut.frontier[0], 20_000), '20000 x 20000'),  # 1.2 GB
        ('zstd', zstd_bomb(cut.frontier[0], 256 << 20), 'content'),
    )
    for seq, (codec, payload, complaint) in enumerate(bombs, 1):
        attacker.seq = seq
        assert complaint in attacker.refusal_of(attacker.chunk(
            cut=cut.cut_id, codec=codec, tensors=[meta_of(spec) for spec in cut.frontier],
            total_bytes=len(payload), chunk_count=1, data=array.array('B', payload),
        ))
    robot.ask(2, 2, picture)
    assert server.peak_bytes() - before_bytes < 50 << 20
    attacker.publisher.publish(attacker.chunk(kind=TensorChunk.KIND_BYE))


def test_random_bytes_end_nothing(graph: Graph, server: Server, robot: Robot) -> None:
    attacker = Attacker(graph, server, 'noisy')
    noise = np.random.default_rng(5)
    picture = picture_of(server, 8)
    robot.ask(1, 2, picture)
    before_bytes = server.forget_peak()
    good = bytes(serialize_message(attacker.chunk()))
    for round_number in range(60):
        size = int(noise.integers(0, 60_000))
        attacker.publisher.publish(noise.bytes(size))
        attacker.publisher.publish(good[:int(noise.integers(0, len(good)))])
        damaged = bytearray(good)
        for position in noise.integers(0, min(len(good), 900), 8):
            damaged[position] = int(noise.integers(0, 256))
        attacker.publisher.publish(bytes(damaged))
        if round_number % 10 == 0:
            robot.ask(2 + round_number, 2, picture)
    for length in (1 << 31, (1 << 32) - 1):  # a sequence that says it is gigabytes long
        liar = bytearray(good)
        at = good.index((8192).to_bytes(4, 'little') + bytes(64))
        liar[at:at + 4] = length.to_bytes(4, 'little')
        attacker.publisher.publish(bytes(liar))
    # From somebody who has not greeted, for another server, of no known kind, from nowhere.
    for change in ({}, {'server': 'other'}, {'kind': 99}, {'client': '../../x'}, {'client': ''}):
        attacker.publisher.publish(attacker.chunk(**change))
    robot.ask(100, 2, picture)
    assert server.process.process.poll() is None
    assert server.peak_bytes() - before_bytes < 50 << 20


def test_a_flood_of_greetings_is_bounded(graph: Graph, server: Server, robot: Robot) -> None:
    attacker = Attacker(graph, server, 'crowd')
    for number in range(60):
        attacker.publisher.publish(
            attacker.chunk(kind=TensorChunk.KIND_HELLO, client=f'crowd_{number}')
        )
    picture = picture_of(server, 9)
    robot.ask(1, 2, picture)
    assert wait_for(lambda: server.statuses[-1].clients <= 4, 5.0)
    topics = [name for name, _ in graph.observer.get_topic_names_and_types()]
    assert sum('crowd_' in name for name in topics) <= 12
    time.sleep(4.0)  # those that do not listen are forgotten
    late = Robot(graph, server, 'late')
    late.ask(1, 2, picture)
    late.uplink.stop()


def test_another_model_is_refused_at_the_greeting(graph: Graph, server: Server) -> None:
    attacker = Attacker(graph, server, 'stranger')
    assert wait_for(lambda: 'another model' in attacker.refusal_of(
        attacker.chunk(kind=TensorChunk.KIND_HELLO, model_identity='c' * 64)
    ))


def test_parameters_change_live_and_bad_ones_are_refused(graph: Graph, server: Server) -> None:
    refused = graph.set_parameter(NODE, 'status_rate_hz', 1e9)
    assert not refused.successful
    assert not graph.set_parameter(NODE, 'model', 'python:os:system').successful
    assert not graph.set_parameter(NODE, 'server_id', 'another').successful
    assert graph.set_parameter(NODE, 'status_rate_hz', 20.0).successful
    time.sleep(0.5)
    server.statuses.clear()
    time.sleep(2.0)
    assert len(server.statuses) > 20  # ten by default
    assert graph.set_parameter(NODE, 'status_rate_hz', 5.0).successful


def test_the_largest_request_is_live(graph: Graph, server: Server, robot: Robot) -> None:
    """Also for robots that were greeted before."""
    attacker = Attacker(graph, server, 'large')
    attacker.greet()
    model = server.model
    bounds = [bundle.encode_bound(cut.frontier, 'raw') for cut in model.cuts[:-1]]
    cut = bounds.index(max(bounds))
    assert bounds[0] < 65_536 < bounds[cut]
    picture = picture_of(server, 3)
    robot.ask(1, cut, picture)
    assert graph.set_parameter(NODE, 'max_request_bytes', 65_536).successful
    try:
        frontier = model.cuts[cut].frontier
        attacker.seq = 5
        refusal = attacker.refusal_of(attacker.chunk(
            cut=model.cuts[cut].cut_id, total_bytes=max(bounds),
            chunk_count=-(-max(bounds) // 8192),
            tensors=[meta_of(spec) for spec in frontier],
        ))
        assert 'impossible size' in refusal and '65536' in refusal
        robot.ask(2, 0, picture)  # what is smaller goes on
    finally:
        assert graph.set_parameter(NODE, 'max_request_bytes', 64 << 20).successful
    robot.ask(3, cut, picture)


def test_how_long_a_robot_may_be_silent_is_live(graph: Graph, server: Server) -> None:
    silent = Attacker(graph, server, 'silent')
    silent.greet()  # and listens on
    assert graph.set_parameter(NODE, 'client_timeout_s', 10.0).successful
    began_s = time.monotonic()

    def forgotten() -> bool:
        return f"robot '{silent.client}' is forgotten: nothing came for" in server.log.read_text()

    try:
        assert wait_for(forgotten, 16.0)  # of 30 s by default
        assert time.monotonic() - began_s > 8.0
    finally:
        assert graph.set_parameter(NODE, 'client_timeout_s', 30.0).successful


def test_combinations_that_lose_each_other_cannot_be_set() -> None:
    """The slowest status rate against the shortest patience, and the other way round."""
    server, robot = by_name(remote_parameters.PARAMETERS), by_name(local_parameters.PARAMETERS)
    patience_s, slowest_hz = robot['server_timeout_s'].minimum, server['status_rate_hz'].minimum
    assert patience_s is not None and slowest_hz is not None
    assert patience_s * slowest_hz >= 2.0
    silence_s, patience_s = robot['probe_period_s'].maximum, server['client_timeout_s'].minimum
    assert silence_s is not None and patience_s is not None
    assert patience_s >= 2.0 * silence_s


def test_what_applies_at_configure_is_taken_up_then_and_not_by_an_activation(
    graph: Graph, server: Server, robot: Robot
) -> None:
    def diagnosed(key: str) -> list[str]:
        return [
            value.value for message in arrays for status in message.status
            if 'remote_inference_node' in status.name
            for value in status.values if value.key == key
        ]

    def again() -> None:
        for transition in (
            Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP,
            Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE,
        ):
            assert graph.change_state(NODE, transition)

    assert graph.set_parameter(NODE, 'threads', 3).successful
    assert graph.set_parameter(NODE, 'max_clients', 9).successful
    try:
        assert graph.change_state(NODE, Transition.TRANSITION_DEACTIVATE)
        assert graph.change_state(NODE, Transition.TRANSITION_ACTIVATE)
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        assert wait_for(lambda: bool(diagnosed('threads')))
        assert set(diagnosed('threads')) == {'1'}
        assert set(diagnosed('max_clients')) == {'4'}
        assert wait_for(lambda: robot.uplink.connected(SERVER), 20.0)
        robot.ask(1, 2, picture_of(server, 1))
        again()
        assert wait_for(lambda: '3' in diagnosed('threads'), 60.0)
        assert '9' in diagnosed('max_clients')
    finally:
        graph.set_parameter(NODE, 'threads', 1)
        graph.set_parameter(NODE, 'max_clients', 4)
        again()
    assert wait_for(server.ready, 60.0)
    assert wait_for(lambda: robot.uplink.connected(SERVER), 20.0)
    robot.ask(1, 2, picture_of(server, 1))


def test_diagnostics_say_what_is_going_on(graph: Graph, server: Server, robot: Robot) -> None:
    arrays = graph.collect(DiagnosticArray, '/diagnostics')
    robot.ask(1, 2, picture_of(server, 1))

    def told() -> bool:
        return any(
            value.key == 'served' and int(value.value) > 0
            for message in arrays for status in message.status for value in status.values
        )

    assert wait_for(told)


def test_deactivate_sends_robots_away_and_activate_serves_again(
    graph: Graph, server: Server, robot: Robot
) -> None:
    robot.ask(1, 2, picture_of(server, 1))
    assert wait_for(lambda: server.statuses[-1].frames_served > 0)
    served = server.statuses[-1].frames_served
    assert graph.change_state(NODE, Transition.TRANSITION_DEACTIVATE)
    assert wait_for(lambda: not robot.uplink.connected(SERVER))
    # It was told so; it did not have to find out by silence.
    assert 'deactivated' in robot.told.connections[-1][2]
    assert server.statuses[-1].state == ServerStatus.STATE_STOPPING
    assert graph.change_state(NODE, Transition.TRANSITION_ACTIVATE)
    assert wait_for(lambda: robot.uplink.connected(SERVER), 20.0)
    robot.ask(1, 2, picture_of(server, 1))
    # They count since the start, or whoever reckons with them would see answers taken back.
    assert wait_for(lambda: server.statuses[-1].frames_served > served)


def test_killed_server_is_lost_and_used_again_from_cache(
    graph: Graph, server: Server, robot: Robot
) -> None:
    def made() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in server.cache.rglob('*.safetensors')}

    first_session = server.statuses[-1].session
    server.process.process.kill()
    server.process.process.wait()
    assert wait_for(lambda: not robot.uplink.connected(SERVER), 20.0)
    server.statuses.clear()
    made_ns = made()
    server.start()
    assert wait_for(server.ready, 60.0), server.log.read_text()
    assert wait_for(lambda: robot.uplink.connected(SERVER), 20.0)
    assert server.statuses[-1].session != first_session
    assert made() == made_ns
    robot.ask(1, 2, picture_of(server, 1))


def test_sigterm_says_good_bye(graph: Graph, server: Server) -> None:
    server.statuses.clear()
    assert server.process.end(signal.SIGTERM) == 0
    assert wait_for(lambda: bool(server.statuses) and (
        server.statuses[-1].state == ServerStatus.STATE_STOPPING
    ), 3.0)


def test_a_model_that_cannot_be_had_is_said(graph: Graph, tmp_path: Path) -> None:
    statuses = graph.collect(ServerStatus, names.server_status(RENDEZVOUS), qos.latched(16))
    with NodeProcess(
        'remote_inference_node',
        ['-p', 'model:=torchvision:raft_small', '-p', f'cache_dir:={tmp_path}',
         '-p', 'server_id:=hopeless'],
        tmp_path / 'log',
    ):
        assert wait_for(lambda: any(
            status.server == 'hopeless' and status.state == ServerStatus.STATE_FAILED
            and 'raft_small' in status.detail for status in statuses
        ), 60.0)


def test_robots_are_served_by_torch_until_the_profile_is_measured(
    graph: Graph, server: Server, tmp_path: Path
) -> None:
    """A first start: the same robot is answered before, and after onnxruntime has taken over."""
    if missing('onnxruntime'):
        pytest.skip(missing('onnxruntime'))
    told: list[Profile] = []
    graph.observer.create_subscription(
        String, names.profile(RENDEZVOUS, 'newcomer'),
        lambda message: told.append(Profile.from_json(message.data)), qos.latched(),
    )
    log = tmp_path / 'log'
    with NodeProcess(
        'remote_inference_node',
        ['-p', 'model:=torchvision:squeezenet1_1', '-p', 'weights:=random',
         '-p', 'input_size:=64x64', '-p', f'cache_dir:={tmp_path}/cache',
         '-p', 'profile_budget_s:=5.0', '-p', 'server_id:=newcomer',
         '-p', 'backend:=onnxruntime', '-p', 'threads:=1'],
        log,
    ):
        robot = MadeUpRobot(graph.add(Node('early')), server.model.identity)
        assert wait_for(lambda: robot.uplink.connected('newcomer'), 120.0), log.read_text()
        model, cut, seqs = server.model, server.model.cuts[2], itertools.count(1)

        def ask() -> np.ndarray:
            seq, picture = next(seqs), picture_of(server, 5)
            arrays = model.run(model.segment(0, 2), [picture])
            payload = bundle.encode(arrays, cut.frontier, 'raw')
            robot.uplink.send(UplinkRequest(
                seq, 1, 'newcomer', cut.cut_id, 'raw', 'raw', cut.frontier, payload
            ))
            assert wait_for(lambda: seq in robot.told.answers), robot.told.refused
            (answer,) = bundle.decode(
                robot.told.answers[seq].payload, model.outputs, max_bytes=1 << 20
            )
            return answer

        first = ask()
        by_torch = [profile for profile in told if profile.provisional]
        assert wait_for(lambda: len(told) == 2, 60.0), log.read_text()
        assert [(p.backend, bool(p.provisional)) for p in told] == [
            ('torch', True), ('onnxruntime', False),
        ] and by_torch, 'nothing was answered on the provisional profile'
        # Its tail is compiled beside the first frames that ask for it.
        assert wait_for(lambda: not np.array_equal(ask(), first)), 'torch goes on'
        assert np.allclose(ask(), first, rtol=1e-3, atol=1e-4)
        assert not robot.told.refused
        assert all(connected for _, connected, _ in robot.told.connections), 'lost on the way'
        robot.uplink.stop()
    assert 'ms by torch; provisional' in log.read_text()
    assert 'ms by onnxruntime' in log.read_text()


def test_a_model_that_comes_later_is_served_then(graph: Graph, tmp_path: Path) -> None:
    weights = tmp_path / 'weights.safetensors'
    statuses = graph.collect(ServerStatus, names.server_status(RENDEZVOUS), qos.latched(64))

    def said(state: int) -> bool:
        return any(s.server == 'patient' and s.state == state for s in statuses)

    with NodeProcess(
        'remote_inference_node',
        ['-p', 'model:=torchvision:squeezenet1_1', '-p', f'weights:={weights}',
         '-p', 'input_size:=64x64', '-p', f'cache_dir:={tmp_path}/cache',
         '-p', 'profile_budget_s:=1.0', '-p', 'server_id:=patient'],
        tmp_path / 'log',
    ):
        assert wait_for(lambda: said(ServerStatus.STATE_FAILED), 60.0)
        module = resolve('torchvision:squeezenet1_1', weights='random').module
        save_file(dict(module.state_dict()), weights)
        assert wait_for(lambda: said(ServerStatus.STATE_READY), 120.0), (
            (tmp_path / 'log').read_text()
        )
    assert 'next try in 5 s' in (tmp_path / 'log').read_text()
